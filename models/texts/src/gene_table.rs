//! Tables of genes and of gene summaries: columns by any of their usual names, plain or gzip'd.
//!
//! A row becomes the [`GeneRecord`] that `gene_text` writes a text from. GO ids are resolved here, so that merged and
//! obsolete ones, roots and "protein binding" are in no text.

use std::collections::HashMap;
use std::path::Path;

use crate::error::TextError;
use crate::fetch::GeneSummary;
use crate::gene_text::{GeneRecord, GoAnnotation};
use crate::go::{GoId, Ontology};
use crate::input::Input;
use crate::table::Table;

const ID: [&str; 6] = ["entrez_id", "gene_id", "ncbi_gene_id", "ncbi_id", "entrez", "id"];
const SYMBOL: [&str; 5] = ["symbol", "gene_symbol", "approved_symbol", "gene", "hgnc_symbol"];
const NAME: [&str; 6] = ["gene_name", "name", "full_name", "approved_name", "protein_name", "description"];
const ALIASES: [&str; 4] = ["aliases", "alias", "synonyms", "alias_symbols"];
const SUMMARY: [&str; 4] = ["summary", "refseq_summary", "ncbi_summary", "text"];
/// Terms with evidence that a person looked at, or all there are.
const GO: [&str; 5] = ["go_curated", "go_terms", "go_ids", "go", "go_annotations"];

/// A gene of a table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Gene {
    /// NCBI Gene id, or the symbol where the table has no ids.
    pub id: String,
    /// Symbol, name, aliases and the table's own summary; GO terms are added by [`Gene::with_terms`].
    pub record: GeneRecord,
    /// Terms with curated evidence, as the table gives them.
    pub go_curated: Vec<GoId>,
    /// Other terms.
    pub go_other: Vec<GoId>,
}

impl Gene {
    /// Adds the gene's GO terms to its record: the curated ones, or the others where it has none of those; all of them if
    /// `takes_all`.
    #[must_use]
    pub fn with_terms(mut self, ontology: &Ontology, takes_all: bool) -> Self {
        let ids = match (takes_all, self.go_curated.is_empty()) {
            (true, _) => [self.go_curated.as_slice(), &self.go_other].concat(),
            (false, false) => self.go_curated.clone(),
            (false, true) => self.go_other.clone(),
        };
        let mut terms = ontology.resolve(ids).terms;
        if terms.is_empty() {
            // Curated as no more than a root or "protein binding".
            terms = ontology.resolve(self.go_other.iter().copied()).terms;
        }
        self.record.go_terms = terms.values().map(|term| GoAnnotation::from(*term)).collect();
        self
    }

    /// What its text is made of: `summary` or `name`, then `go` where it has terms and `with_go` asks for them.
    #[must_use]
    pub fn sources(&self, with_go: bool) -> &'static str {
        let has_summary = self
            .record
            .summary
            .as_deref()
            .is_some_and(|summary| !crate::refseq::tidy_summary(summary).is_empty());
        let has_name = !self.record.name.trim().is_empty();
        match (has_summary, has_name, with_go && !self.record.go_terms.is_empty()) {
            (true, _, true) => "summary;go",
            (true, _, false) => "summary",
            (false, true, true) => "name;go",
            (false, true, false) => "name",
            (false, false, true) => "go",
            (false, false, false) => "symbol",
        }
    }
}

impl From<GeneSummary> for Gene {
    fn from(gene: GeneSummary) -> Self {
        Self { id: gene.gene_id.to_string(), record: gene.into(), ..Self::default() }
    }
}

/// Gene ids out of a file with one a line; a first line that names the column, and blank ones, are passed over. Of a
/// table the first column counts.
///
/// # Errors
/// [`TextError`] naming file, line and rule.
pub fn read_gene_ids(path: &Path) -> Result<Vec<u64>, TextError> {
    let mut input = Input::open(path)?;
    let (mut ids, mut line, mut is_first) = (Vec::new(), String::new(), true);
    loop {
        input.begin_record();
        if !input.next_line(&mut line)? {
            return Ok(ids);
        }
        let value = line.split('\t').next().unwrap_or_default().trim();
        let is_name = std::mem::take(&mut is_first) && ID.contains(&value.to_ascii_lowercase().as_str());
        if value.is_empty() || is_name {
            continue;
        }
        let start: String = value.chars().take(40).collect();
        let rule = || format!("{start:?} is no NCBI Gene id; write one number a line, such as 7157");
        ids.push(value.parse().map_err(|_| input.bad_line(rule()))?);
    }
}

/// Another name of a gene.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GeneAlias {
    /// The other or retired symbol.
    pub alias: String,
    /// Official symbol.
    pub symbol: String,
}

/// The aliases of a table with the columns `alias` and `symbol`, in its order; one alias may be that of several genes.
///
/// # Errors
/// [`TextError`] naming file, line, column and rule.
pub fn read_aliases(path: &Path) -> Result<Vec<GeneAlias>, TextError> {
    let mut table = Table::open(path)?;
    let (alias, symbol) = (table.needed(&["alias", "alias_symbol", "prev_symbol"])?, table.needed(&SYMBOL)?);
    let mut aliases = Vec::new();
    while let Some(row) = table.next_row()? {
        let (alias, symbol) = (row.required(alias)?.to_owned(), row.required(symbol)?.to_owned());
        aliases.push(GeneAlias { alias, symbol });
    }
    Ok(aliases)
}

/// The genes of one table, in its order. Ends at the first error.
#[derive(Debug)]
pub struct GeneFile {
    table: Option<Table>,
    id: Option<usize>,
    symbol: usize,
    /// Name, aliases, summary, curated terms, other terms.
    parts: [Option<usize>; 5],
}

impl GeneFile {
    /// Opens a table with a symbol and, where there are, an id, a name, aliases, a summary and GO ids.
    ///
    /// # Errors
    /// [`TextError`] for a file that cannot be opened or has no symbols.
    pub fn open(path: &Path) -> Result<Self, TextError> {
        let table = Table::open(path)?;
        let parts = [NAME.as_slice(), &ALIASES, &SUMMARY, &GO, &["go_other"]];
        Ok(Self {
            id: table.column(&ID),
            symbol: table.needed(&SYMBOL)?,
            parts: parts.map(|names| table.column(names)),
            table: Some(table),
        })
    }

    /// Whether the table has GO ids.
    #[must_use]
    pub fn has_terms(&self) -> bool {
        self.parts[3].or(self.parts[4]).is_some()
    }

    fn read(&mut self) -> Result<Option<Gene>, TextError> {
        let Some(table) = &mut self.table else { return Ok(None) };
        let Some(row) = table.next_row()? else { return Ok(None) };
        let [name, aliases, summary, go_curated, go_other] = self.parts;
        let symbol = row.required(self.symbol)?;
        let id = self.id.map_or(Ok(symbol), |id| row.required(id))?;
        let record = GeneRecord {
            symbol: symbol.to_owned(),
            aliases: row.list(aliases)?,
            name: row.filled(name).unwrap_or_default().to_owned(),
            summary: row.filled(summary).map(str::to_owned),
            go_terms: Vec::new(),
        };
        Ok(Some(Gene {
            id: id.to_owned(),
            record,
            go_curated: row.list(go_curated)?,
            go_other: row.list(go_other)?,
        }))
    }
}

impl Iterator for GeneFile {
    type Item = Result<Gene, TextError>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.read();
        if !matches!(next, Ok(Some(_))) {
            self.table = None;
        }
        next.transpose()
    }
}

/// Summaries by gene id, and by symbol for tables without ids.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summaries {
    by_id: HashMap<String, String>,
    by_symbol: HashMap<String, String>,
}

impl Summaries {
    /// Reads a table with a summary and an id or a symbol; the first row of a gene counts.
    ///
    /// # Errors
    /// [`TextError`] naming file, line, column and rule.
    pub fn open(path: &Path) -> Result<Self, TextError> {
        let mut table = Table::open(path)?;
        let (id, symbol) = (table.column(&ID), table.column(&SYMBOL));
        if id.is_none() && symbol.is_none() {
            table.needed(&ID)?;
        }
        let summary = table.needed(&SUMMARY)?;
        let mut summaries = Self::default();
        while let Some(row) = table.next_row()? {
            if let Some(summary) = row.filled(Some(summary)) {
                summaries.add(row.filled(id), row.filled(symbol), summary);
            }
        }
        Ok(summaries)
    }

    /// Adds a summary, unless the gene has one.
    pub fn add(&mut self, id: Option<&str>, symbol: Option<&str>, summary: &str) {
        let mut add = |map: fn(&mut Self) -> &mut HashMap<String, String>, key: Option<&str>| {
            if let Some(key) = key {
                map(self).entry(key.to_owned()).or_insert_with(|| summary.to_owned());
            }
        };
        add(|summaries| &mut summaries.by_id, id);
        add(|summaries| &mut summaries.by_symbol, symbol);
    }

    /// The summary of a gene, by its id, or by its symbol where that is all there is to go by.
    #[must_use]
    pub fn of_gene(&self, gene: &Gene) -> Option<&str> {
        let symbol = &gene.record.symbol;
        let is_symbol_all = self.by_id.is_empty() || gene.id == *symbol;
        let by_symbol = || self.by_symbol.get(symbol).filter(|_| is_symbol_all);
        self.by_id.get(&gene.id).or_else(by_symbol).map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OBO: &str = "[Term]\nid: GO:0003677\nname: DNA binding\nnamespace: molecular_function\n\n\
        [Term]\nid: GO:0003700\nname: transcription factor\nnamespace: molecular_function\n\n\
        [Term]\nid: GO:0005515\nname: protein binding\nnamespace: molecular_function\n";

    fn genes(text: &str) -> Result<Vec<Gene>, TextError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("genes.tsv");
        std::fs::write(&path, text).unwrap();
        GeneFile::open(&path)?.collect()
    }

    fn names(gene: &Gene, takes_all: bool) -> Vec<String> {
        let ontology = Ontology::from_obo(OBO.as_bytes(), "go").unwrap();
        let terms = gene.clone().with_terms(&ontology, takes_all).record.go_terms;
        terms.into_iter().map(|term| term.name).collect()
    }

    #[test]
    fn curated_terms_come_before_others() {
        let found = genes(
            "symbol\tentrez_id\tgene_name\tgo_curated\tgo_other\n\
             A\t1\tgene a\tGO:0003677;GO:0005515\tGO:0003700\nB\t2\t\t\tGO:0003700\nC\t3\tgene c\tGO:0005515\tGO:0003677\n",
        )
        .unwrap();
        assert_eq!((found[0].id.as_str(), found[0].record.name.as_str()), ("1", "gene a"));
        assert_eq!(names(&found[0], false), ["DNA binding"]);
        assert_eq!(names(&found[0], true), ["DNA binding", "transcription factor"]);
        assert_eq!(names(&found[1], false), ["transcription factor"]);
        assert_eq!(names(&found[2], false), ["DNA binding"]);
        assert_eq!((found[0].sources(true), found[1].sources(true)), ("name", "symbol"));
    }

    #[test]
    fn summaries_are_joined_by_id_or_where_there_is_none_by_symbol() {
        let with_ids = genes("gene_id\tsymbol\n1\tA\n2\tB\n").unwrap();
        let without = genes("gene\tname\nA\tgene a\n").unwrap();
        let mut summaries = Summaries::default();
        summaries.add(Some("1"), Some("B"), "Binds.");
        summaries.add(Some("1"), Some("B"), "Again.");
        assert_eq!(summaries.of_gene(&with_ids[0]), Some("Binds."));
        assert_eq!(summaries.of_gene(&with_ids[1]), None, "another gene of the same symbol");
        assert_eq!(summaries.of_gene(&without[0]), None);
        summaries.add(Some("9"), Some("A"), "Cuts.");
        assert_eq!(summaries.of_gene(&without[0]), Some("Cuts."));
    }

    #[test]
    fn ids_are_read_with_or_without_their_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ids.txt");
        for text in ["7157\n1\n", "entrez_id\tsymbol\n7157\tTP53\n\n1\tA1BG\n"] {
            std::fs::write(&path, text).unwrap();
            assert_eq!(read_gene_ids(&path).unwrap(), [7157, 1]);
        }
        std::fs::write(&path, "7157\nTP53\n").unwrap();
        let error = read_gene_ids(&path).unwrap_err().to_string();
        assert!(error.contains("ids.txt, line 2") && error.contains("TP53"), "{error}");
    }

    #[test]
    fn missing_columns_and_bad_cells_are_named() {
        for (text, rule) in [
            ("entrez_id\tname\n", "\"symbol\""),
            ("symbol\tgo\nA\tGO:7\n", "line 2: go: "),
            ("symbol\tentrez_id\nA\t\n", "line 2: entrez_id: is empty"),
        ] {
            let error = genes(text).unwrap_err().to_string();
            assert!(error.contains("genes.tsv") && error.contains(rule), "{error}");
        }
    }
}
