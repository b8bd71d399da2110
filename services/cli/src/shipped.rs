//! Collections over data that ships: demo proteins, their genes, and functions in words.
//!
//! Each is embedded on first use and kept in the cache under the hash of its data, so a second start is immediate. The
//! demo serves all three; `protext annotate` offers the functions.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use protext_core::Modality;
use protext_engine::input::{InputOptions, open_stream};
use protext_engine::{Embedder, OpenCollection, Target};
use protext_index::{Collection, HnswParams, IndexKind};
use protext_registry::Cache;
use sha2::{Digest as _, Sha256};

use crate::commands::embed::{FailedFile, RecordArgs, output_space};
use crate::commands::index::{CollectionPlan, build_collection};
use crate::interrupt;

const PROTEINS: &str = include_str!("../demo/proteins.fasta");
const FUNCTIONS: &str = include_str!("../demo/functions.tsv");

/// Data of one collection that ships.
pub(crate) struct Shipped {
    /// Name of its file in the cache.
    file_name: &'static str,
    content: Cow<'static, str>,
    target: Target,
}

impl Shipped {
    /// Proteins of many families and organisms.
    pub(crate) fn proteins() -> Self {
        Self { file_name: "proteins.fasta", content: Cow::Borrowed(PROTEINS), target: Target::Proteins }
    }

    /// What proteins can do: ids and names of GO terms, each with a sentence or two.
    pub(crate) fn functions() -> Self {
        Self { file_name: "functions.tsv", content: Cow::Borrowed(FUNCTIONS), target: Target::Texts }
    }

    /// The genes of [`Shipped::proteins`], described by the names of what they encode.
    pub(crate) fn genes() -> anyhow::Result<Self> {
        let content = Cow::Owned(genes_of(PROTEINS)?);
        Ok(Self { file_name: "genes.tsv", content, target: Target::Genes })
    }

    /// Puts the data into the cache unless it is there, and says where.
    pub(crate) fn file(&self, cache: &Cache) -> anyhow::Result<PathBuf> {
        let path = cache.folder("demo")?.join(self.file_name);
        // What is there is left alone: the cache of a container may be read-only.
        if std::fs::read(&path).is_ok_and(|there| there == self.content.as_bytes()) {
            tracing::debug!(file = self.file_name, "the data is in the cache");
        } else {
            Cache::put(&path, self.content.as_bytes())?;
        }
        Ok(path)
    }

    /// The collection, embedded and kept unless it is there in the right spaces.
    pub(crate) fn open(&self, cache: &Cache, embedder: &Embedder) -> anyhow::Result<OpenCollection> {
        output_space(embedder, true)?;
        let folder = self.folder(cache, embedder)?;
        if let Ok(there) = Collection::open(&folder)
            && embedder.joint_spaces().eq(there.spaces())
        {
            return Ok(OpenCollection::new(there));
        }
        let mut failed = FailedFile::new(folder.with_extension("failed.tsv"));
        let plan = CollectionPlan { target: self.target, kind: self.kind(), taxonomy: None };
        let (file, stop) = (self.file(cache)?, interrupt::flag()?);
        let built = build_collection(embedder, &file, &RecordArgs::default(), plan, stop, &mut failed)?;
        built.save(&folder)?;
        println!("indexed {} {} in {}", built.len(), self.target, built.space());
        Ok(OpenCollection::new(built))
    }

    /// Vectors of proteins are ten times as wide as those that the rule of `Auto` was measured on: comparing all two thousand
    /// of them reads 10 MB for each query, on the cores that serve the other callers.
    fn kind(&self) -> IndexKind {
        match self.target {
            Target::Proteins => IndexKind::Hnsw(HnswParams::default()),
            Target::Texts | Target::Genes => IndexKind::Auto,
        }
    }

    fn folder(&self, cache: &Cache, embedder: &Embedder) -> anyhow::Result<PathBuf> {
        let content = hex::encode(Sha256::digest(self.content.as_bytes()));
        // Demos from before the graph stay where they are, for the programs that made them.
        let kind = if self.kind() == IndexKind::Auto { "" } else { "-graph" };
        let name = format!("{}-{}{kind}", embedder.encoder().id(), &content[..12]);
        Ok(cache.folder(Path::new("demo"))?.join(name))
    }
}

/// A table of the genes that a FASTA file names, each once.
fn genes_of(fasta: &'static str) -> anyhow::Result<String> {
    let options = InputOptions::new(Modality::Protein);
    let mut genes = BTreeMap::new();
    for record in open_stream("demo proteins".to_owned(), Box::new(fasta.as_bytes()), &options)? {
        let record = record?;
        let (Some(gene), name) = (record.gene, record.description) else { continue };
        // Such a name says nothing of the gene.
        if !name.to_lowercase().contains("uncharacterized") {
            genes.entry(gene.to_lowercase()).or_insert((gene, name));
        }
    }
    let mut table = "id\tgene\tname\ttext\n".to_owned();
    for (gene, name) in genes.values() {
        writeln!(table, "{gene}\t{gene}\t{name}\tGene {gene} encodes: {name}.")?;
    }
    Ok(table)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_gene_comes_once_with_the_name_of_what_it_encodes() {
        let fasta = ">sp|P1|A_HUMAN Catalase OS=Homo sapiens OX=9606 GN=CAT PE=1 SV=1\nMK\n\
                     >sp|P2|B_MOUSE Catalase-like OS=Mus musculus OX=10090 GN=Cat PE=1 SV=1\nMV\n\
                     >tr|P3|C_MOUSE Uncharacterized protein OS=Mus musculus OX=10090 GN=Xyz PE=1 SV=1\nMV\n";
        let table = genes_of(fasta).unwrap();
        assert_eq!(table, "id\tgene\tname\ttext\nCAT\tCAT\tCatalase\tGene CAT encodes: Catalase.\n");
    }

    #[test]
    fn functions_that_ship_have_an_id_a_name_and_a_text() {
        let mut lines = FUNCTIONS.lines();
        assert_eq!(lines.next(), Some("id\tname\ttext"));
        for line in lines {
            let cells: Vec<&str> = line.split('\t').collect();
            assert!(cells.len() == 3 && cells[0].starts_with("GO:") && cells[2].ends_with('.'), "{line}");
        }
    }
}
