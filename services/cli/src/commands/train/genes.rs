//! `protext train genes`: the table of genes that heads of genes read.
//!
//! Each gene has the vector of a text as GenePT writes them (`protext texts genes`, then `protext embed`) and its GO terms
//! with those above them; the vectors of its proteins and of its responses may join them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use ndarray::{Array2, Axis};
use protext_core::{Fingerprint, Space};
use protext_engine::genes::{ByteVector, Gene, GeneTable, GeneTableOrigin};
use protext_engine::output::{VectorMetadata, read_vectors};
use protext_registry::cache::sha256_of;
use protext_texts::gene_table::{Gene as GeneRow, GeneFile};
use protext_texts::go::{GoId, Ontology};
use protext_train::principal_components;

use super::{gene_proteins, gene_responses};
use crate::fault::UsageError;
use crate::wiring::ModelArgs;

/// Terms of fewer genes tell little, and those of more than half of all genes nothing.
const MIN_GENES: usize = 3;
/// How texts are written, for the table.
const TEXT_RECIPE: &str =
    "symbol, name, RefSeq summary without its notes, names of up to 30 GO terms (curated ones, else others)";

#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  protext texts genes --genes human_genes.tsv.gz --summaries gene_summary.tsv.gz \\\n    \
    --go go_terms.tsv.gz --names-only -o texts.tsv\n  \
    protext embed texts.tsv --encoder all-MiniLM-L6-v2 -o texts.parquet\n  \
    protext train genes --table human_genes.tsv.gz --aliases human_gene_alias.tsv.gz --go go_terms.tsv.gz \\\n    \
    --text-rows texts.parquet -o genes.parquet\n\n\
    The table is one Parquet file: names and aliases, GO terms, and text vectors cut to their leading principal components, a \
    byte each."
)]
pub(crate) struct Args {
    /// Table with symbol and, where there are, entrez_id, gene_name, aliases, summary, go_curated and go_other.
    #[arg(long, value_name = "FILE")]
    table: PathBuf,
    /// Table with alias and symbol.
    #[arg(long, value_name = "FILE")]
    aliases: Option<PathBuf>,
    /// The Gene Ontology: go-basic.obo or the table of terms.
    #[arg(long, value_name = "FILE")]
    go: PathBuf,
    /// Vectors of the genes' texts by gene id, made by `protext embed`; several files are one.
    #[arg(long, value_name = "FILE", num_args = 1.., required = true)]
    text_rows: Vec<PathBuf>,
    /// Table of proteins with accession, entrez_ids (separated by semicolons) and sequence; their vectors join the table, from
    /// the row cache where it has them.
    #[arg(long, value_name = "FILE")]
    proteins: Option<PathBuf>,
    /// Components kept of a protein vector.
    #[arg(long, default_value_t = 96)]
    protein_components: usize,
    #[command(flatten)]
    model: ModelArgs,
    /// Ranked responses (pert, up_ranked) by which genes are told that answer to the same knock-downs; those that no
    /// knock-down raises are told, too: most are not expressed.
    #[arg(long, value_name = "FILE", num_args = 1..)]
    responses: Vec<PathBuf>,
    /// Components kept of a response vector.
    #[arg(long, default_value_t = 16)]
    response_components: usize,
    /// Take genes without such a vector, too; all that is known of them is their GO terms.
    #[arg(long)]
    allow_missing: bool,
    /// How the texts were written, for the table.
    #[arg(long, default_value = TEXT_RECIPE)]
    text_recipe: String,
    /// Components kept of a text vector.
    #[arg(long, default_value_t = 192)]
    components: usize,
    /// Name of the table.
    #[arg(long, default_value = "human-genes-2")]
    id: String,
    /// Where the table goes.
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
}

pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let ontology = Ontology::open(&args.go)?;
    let aliases = args.aliases.as_deref().map(read_aliases).transpose()?.unwrap_or_default();
    let rows: Vec<GeneRow> = GeneFile::open(&args.table)?.collect::<Result<_, _>>()?;
    let (vectors, metadata, text_space) = vectors(&args, &rows)?;
    let (scores, text_variance) = components(&vectors, args.components)?;
    let proteins = match &args.proteins {
        Some(path) => gene_proteins::vectors(path, &rows, &args.model, args.protein_components)?,
        None => Array2::zeros((rows.len(), 0)),
    };
    let terms = terms(&rows, &ontology);
    let mut origin = GeneTableOrigin {
        id: args.id.clone(),
        terms: terms.names.clone(),
        text_recipe: args.text_recipe.clone(),
        text_encoder: metadata.encoder.unwrap_or_default(),
        text_space,
        text_dim: scores.ncols(),
        text_variance,
        protein_encoder: args.proteins.as_ref().map(|_| args.model.encoder.clone()).unwrap_or_default(),
        protein_dim: proteins.ncols(),
        response_dim: 0,
        sources: sources(&args)?,
    };
    let mut genes: Vec<Gene> = rows
        .iter()
        .zip(scores.rows().into_iter().zip(proteins.rows()))
        .zip(&terms.of_gene)
        .map(|((row, (vector, protein)), terms)| {
            let mut names: Vec<String> = aliases.get(&row.record.symbol).cloned().unwrap_or_default();
            names.extend(row.record.aliases.iter().cloned());
            names.sort_unstable();
            names.dedup();
            names.retain(|alias| *alias != row.record.symbol);
            Gene {
                entrez_id: row.id.clone(),
                symbol: row.record.symbol.clone(),
                name: row.record.name.clone(),
                aliases: names,
                terms: terms.clone(),
                text: ByteVector::new(&vector.to_vec()),
                protein: ByteVector::new(&protein.to_vec()),
                response: ByteVector::new(&[]),
            }
        })
        .collect();
    if !args.responses.is_empty() {
        let table = GeneTable::new(genes.clone(), origin.clone(), "");
        let responses = gene_responses::vectors(&args.responses, &table, args.response_components)?;
        origin.response_dim = responses.ncols();
        for (gene, vector) in genes.iter_mut().zip(responses.rows()) {
            gene.response = ByteVector::new(&vector.to_vec());
        }
    }
    GeneTable::write(&genes, &origin, &args.output)?;
    println!(
        "{}: {} genes, {} GO terms, text vectors of {} components that hold {:.1}% of the variance",
        args.output.display(),
        genes.len(),
        origin.terms.len(),
        origin.text_dim,
        100.0 * origin.text_variance
    );
    Ok(ExitCode::SUCCESS)
}

/// The vectors of all genes, `[genes, dim]`, by gene id.
fn vectors(args: &Args, genes: &[GeneRow]) -> anyhow::Result<(Array2<f32>, VectorMetadata, Space)> {
    let mut by_id: HashMap<String, Vec<f32>> = HashMap::new();
    let mut first: Option<(VectorMetadata, Space)> = None;
    for path in &args.text_rows {
        let file = read_vectors(path)?;
        let stated = file.metadata.fingerprint.as_deref().and_then(Fingerprint::parse);
        let unstated = || UsageError(format!("{}: does not say what made its rows", path.display()));
        let name = file.metadata.space.clone().unwrap_or_default();
        let space = Space { name, dim: file.dim, fingerprint: stated.ok_or_else(unstated)? };
        let (_, known) = first.get_or_insert_with(|| (file.metadata.clone(), space.clone()));
        known.ensure_same("the first file", &space, "a later one")?;
        for (id, vector) in file.ids.iter().zip(file.vectors.chunks_exact(file.dim)) {
            by_id.insert(id.clone(), vector.to_vec());
        }
    }
    let (metadata, space) = first.ok_or_else(|| UsageError("--text-rows names no file".to_owned()))?;
    let missing: Vec<&GeneRow> = genes.iter().filter(|gene| !by_id.contains_key(&gene.id)).collect();
    if let Some(gene) = missing.first() {
        let (n, symbol, id) = (missing.len(), &gene.record.symbol, &gene.id);
        let said = format!("{n} genes have no row in --text-rows, {symbol} ({id}) the first");
        if !args.allow_missing {
            return Err(UsageError(format!("{said}; embed all texts, or take --allow-missing")).into());
        }
        eprintln!("{said}; their text vectors are zero");
    }
    let mut vectors = Array2::from_elem((genes.len(), space.dim), f32::NAN);
    for (gene, mut row) in genes.iter().zip(vectors.axis_iter_mut(Axis(0))) {
        if let Some(vector) = by_id.get(&gene.id) {
            row.assign(&ndarray::ArrayView1::from(vector));
        }
    }
    Ok((vectors, metadata, space))
}

/// Principal components of the rows that are there; zeros for the others.
fn components(vectors: &Array2<f32>, n_components: usize) -> anyhow::Result<(Array2<f32>, f64)> {
    let there: Vec<usize> = (0..vectors.nrows()).filter(|&row| vectors[[row, 0]].is_finite()).collect();
    let found = principal_components(&vectors.select(Axis(0), &there).view(), n_components);
    let found = found.map_err(|error| UsageError(error.to_string()))?;
    let mut scores = Array2::zeros((vectors.nrows(), found.scores.ncols()));
    there.iter().zip(found.scores.rows()).for_each(|(&row, from)| scores.row_mut(row).assign(&from));
    Ok((scores, found.variance_share))
}

/// GO terms that are columns, and those of each gene.
struct Terms {
    names: Vec<String>,
    of_gene: Vec<Vec<u16>>,
}

/// Terms of any evidence with all above them; those of too few or too many genes are left out.
fn terms(genes: &[GeneRow], ontology: &Ontology) -> Terms {
    let mut above: HashMap<GoId, Vec<GoId>> = HashMap::new();
    let mut of_gene: Vec<BTreeSet<GoId>> = Vec::with_capacity(genes.len());
    let mut counts: BTreeMap<GoId, usize> = BTreeMap::new();
    for gene in genes {
        let mut terms = BTreeSet::new();
        for id in ontology.resolve(gene.go_curated.iter().chain(&gene.go_other).copied()).terms.into_keys() {
            terms.insert(id);
            terms.extend(above.entry(id).or_insert_with(|| ontology.ancestors(id)).iter().copied());
        }
        terms.iter().for_each(|id| *counts.entry(*id).or_default() += 1);
        of_gene.push(terms);
    }
    let is_kept = |count: usize| count >= MIN_GENES && 2 * count < genes.len();
    let kept: Vec<GoId> = counts
        .iter()
        .filter(|(_, count)| is_kept(**count))
        .map(|(id, _)| *id)
        .take(usize::from(u16::MAX))
        .collect();
    let places: HashMap<GoId, u16> = kept.iter().copied().zip(0..).collect();
    Terms {
        names: kept.iter().map(GoId::to_string).collect(),
        of_gene: of_gene
            .iter()
            .map(|terms| terms.iter().filter_map(|id| places.get(id).copied()).collect())
            .collect(),
    }
}

fn read_aliases(path: &Path) -> anyhow::Result<HashMap<String, Vec<String>>> {
    let mut aliases: HashMap<String, Vec<String>> = HashMap::new();
    for pair in protext_texts::gene_table::read_aliases(path)? {
        aliases.entry(pair.symbol).or_default().push(pair.alias);
    }
    Ok(aliases)
}

fn sources(args: &Args) -> anyhow::Result<BTreeMap<String, String>> {
    let files = [Some(&args.table), args.aliases.as_ref(), Some(&args.go), args.proteins.as_ref()];
    let files = files.into_iter().chain(args.responses.iter().map(Some));
    let name = |path: &PathBuf| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    files.flatten().map(|path| Ok((name(path), sha256_of(path)?))).collect()
}
