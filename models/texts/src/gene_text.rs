//! One text for one gene, as GenePT writes them: symbol, name, summary and GO terms.
//!
//! Pure: the same record and options give the same text, whatever the order of aliases and GO terms. The text encoder
//! gets it next; where the summary is missing, name and GO terms speak for the gene.
//!
//! ```
//! use protext_texts::gene_text::{GeneRecord, GeneTextOptions, gene_text};
//!
//! let gene = GeneRecord {
//!     symbol: "RAD51".to_owned(),
//!     name: "RAD51 recombinase".to_owned(),
//!     summary: Some("Repairs DNA breaks. [provided by RefSeq, Aug 2009]".to_owned()),
//!     ..GeneRecord::default()
//! };
//! let text = gene_text(&gene, &GeneTextOptions::default())?;
//! assert_eq!(text, "Gene Symbol RAD51 RAD51 recombinase. Repairs DNA breaks.");
//! # Ok::<(), protext_texts::TextError>(())
//! ```

use std::collections::{BTreeMap, VecDeque};

use crate::error::TextError;
use crate::go::{GoId, Namespace, Term};
use crate::refseq::tidy_summary;

/// What is known about a gene.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GeneRecord {
    /// Official symbol, such as `TP53`.
    pub symbol: String,
    /// Other symbols; written beside the symbol. Leave empty to keep them out.
    pub aliases: Vec<String>,
    /// Full name.
    pub name: String,
    /// RefSeq summary, with or without its closing notes.
    pub summary: Option<String>,
    /// Terms the gene is annotated with, in any order.
    pub go_terms: Vec<GoAnnotation>,
}

/// A GO term of a gene.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GoAnnotation {
    /// Its id.
    pub id: GoId,
    /// Its part of the ontology.
    pub namespace: Namespace,
    /// Its name.
    pub name: String,
    /// Its definition; may be empty.
    pub definition: String,
}

impl From<&Term> for GoAnnotation {
    fn from(term: &Term) -> Self {
        Self {
            id: term.id,
            namespace: term.namespace,
            name: term.name.clone(),
            definition: term.definition.clone(),
        }
    }
}

/// How much is said of each GO term.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum GoDetail {
    /// No GO terms.
    None,
    /// Names.
    #[default]
    Names,
    /// Names, each with its definition.
    NamesAndDefinitions,
}

/// What goes into the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GeneTextOptions {
    /// "Gene Symbol TP53", and the aliases.
    pub include_symbol: bool,
    /// The full name.
    pub include_name: bool,
    /// The summary without its closing notes.
    pub include_summary: bool,
    /// How GO terms are written.
    pub include_go: GoDetail,
    /// Most GO terms written; the three namespaces take turns, lowest ids first.
    pub max_go_terms: usize,
}

impl Default for GeneTextOptions {
    fn default() -> Self {
        Self {
            include_symbol: true,
            include_name: true,
            include_summary: true,
            include_go: GoDetail::Names,
            max_go_terms: 30,
        }
    }
}

/// Writes "Gene Symbol SYMBOL NAME. SUMMARY. GO molecular function: ...". Parts that are missing or switched off are left
/// out.
///
/// # Errors
/// [`TextError::NoText`] if no part is left.
pub fn gene_text(gene: &GeneRecord, options: &GeneTextOptions) -> Result<String, TextError> {
    let mut sentences = vec![head(gene, options)];
    if options.include_symbol {
        sentences.push(aliases(gene));
    }
    if options.include_summary {
        sentences.push(gene.summary.as_deref().map(tidy_summary).unwrap_or_default());
    }
    if options.include_go != GoDetail::None {
        let terms = chosen_terms(&gene.go_terms, options.max_go_terms);
        sentences.extend(go_sentences(&terms, options.include_go));
    }
    let sentences: Vec<_> = sentences.iter().filter_map(|text| sentence(text)).collect();
    if sentences.is_empty() {
        return Err(TextError::NoText { gene: gene.symbol.clone() });
    }
    Ok(sentences.join(" "))
}

/// "Gene Symbol TP53 tumor protein p53".
fn head(gene: &GeneRecord, options: &GeneTextOptions) -> String {
    let mut words = Vec::new();
    if options.include_symbol && !gene.symbol.trim().is_empty() {
        words.extend(["Gene Symbol", gene.symbol.as_str()]);
    }
    if options.include_name {
        words.push(gene.name.as_str());
    }
    words.join(" ")
}

fn aliases(gene: &GeneRecord) -> String {
    let mut aliases: Vec<_> = gene.aliases.iter().map(|alias| alias.trim()).collect();
    aliases.retain(|alias| !alias.is_empty() && *alias != gene.symbol.trim());
    aliases.sort_unstable();
    aliases.dedup();
    if aliases.is_empty() { String::new() } else { format!("Also called {}", aliases.join(", ")) }
}

/// At most `n_terms` terms by namespace, then id; no term twice. Namespaces take turns, so that a gene with many
/// functions still shows where it works.
fn chosen_terms(terms: &[GoAnnotation], n_terms: usize) -> BTreeMap<(Namespace, GoId), &GoAnnotation> {
    let mut waiting: BTreeMap<Namespace, BTreeMap<GoId, &GoAnnotation>> = BTreeMap::new();
    for term in terms {
        // Of two readings of the same id the smaller one stays, so that the order of the list does not matter.
        let slot = waiting.entry(term.namespace).or_default().entry(term.id).or_insert(term);
        if (&term.name, &term.definition) < (&slot.name, &slot.definition) {
            *slot = term;
        }
    }
    let mut queues: Vec<VecDeque<_>> =
        waiting.into_values().map(|terms| terms.into_values().collect()).collect();
    let mut chosen = BTreeMap::new();
    while chosen.len() < n_terms && queues.iter().any(|queue| !queue.is_empty()) {
        for term in queues.iter_mut().filter_map(VecDeque::pop_front) {
            if chosen.len() < n_terms {
                chosen.insert((term.namespace, term.id), term);
            }
        }
    }
    chosen
}

/// One sentence a namespace, or one a term where definitions are wanted.
fn go_sentences(terms: &BTreeMap<(Namespace, GoId), &GoAnnotation>, detail: GoDetail) -> Vec<String> {
    if detail == GoDetail::NamesAndDefinitions {
        let defined = |term: &&GoAnnotation| match term.definition.trim() {
            "" => format!("GO {}: {}", term.namespace.words(), term.name),
            definition => format!("GO {}: {}, {definition}", term.namespace.words(), term.name),
        };
        return terms.values().map(defined).collect();
    }
    let mut names: BTreeMap<Namespace, Vec<&str>> = BTreeMap::new();
    for term in terms.values() {
        names.entry(term.namespace).or_default().push(term.name.trim());
    }
    names.iter().map(|(namespace, names)| format!("GO {}: {}", namespace.words(), names.join("; "))).collect()
}

/// One line with a full stop; `None` for white space.
fn sentence(text: &str) -> Option<String> {
    let mut line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.is_empty() {
        return None;
    }
    if !line.ends_with(['.', '!', '?']) {
        line.push('.');
    }
    Some(line)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn term(id: u32, namespace: Namespace, name: &str, definition: &str) -> GoAnnotation {
        GoAnnotation {
            id: GoId::new(id).unwrap(),
            namespace,
            name: name.to_owned(),
            definition: definition.to_owned(),
        }
    }

    fn gene() -> GeneRecord {
        GeneRecord {
            symbol: "TP53".to_owned(),
            aliases: vec!["P53".to_owned(), "LFS1".to_owned(), "P53".to_owned(), "TP53".to_owned()],
            name: "tumor protein p53".to_owned(),
            summary: Some("Responds to\tstress. [provided by RefSeq, Dec 2016]".to_owned()),
            go_terms: vec![
                term(6915, Namespace::BiologicalProcess, "apoptotic process", "A cell death."),
                term(3700, Namespace::MolecularFunction, "transcription factor activity", ""),
                term(3677, Namespace::MolecularFunction, "DNA binding", "Interacting with DNA"),
                term(5634, Namespace::CellularComponent, "nucleus", "An organelle."),
                term(3677, Namespace::MolecularFunction, "DNA binding", "Interacting with DNA"),
            ],
        }
    }

    fn text(gene: &GeneRecord, options: GeneTextOptions) -> String {
        gene_text(gene, &options).unwrap()
    }

    #[test]
    fn all_parts_in_their_order() {
        assert_eq!(
            text(&gene(), GeneTextOptions::default()),
            "Gene Symbol TP53 tumor protein p53. Also called LFS1, P53. Responds to stress. GO molecular function: DNA \
             binding; transcription factor activity. GO biological process: apoptotic process. GO cellular component: \
             nucleus."
        );
    }

    #[test]
    fn parts_switched_off_are_left_out() {
        let all = GeneTextOptions::default();
        let no_go = GeneTextOptions { include_go: GoDetail::None, ..all };
        let cases = [
            (no_go, "Gene Symbol TP53 tumor protein p53. Also called LFS1, P53. Responds to stress."),
            (GeneTextOptions { include_symbol: false, ..no_go }, "tumor protein p53. Responds to stress."),
            (
                GeneTextOptions { include_name: false, ..no_go },
                "Gene Symbol TP53. Also called LFS1, P53. Responds to stress.",
            ),
            (GeneTextOptions { include_symbol: false, include_name: false, ..no_go }, "Responds to stress."),
            (
                GeneTextOptions { include_symbol: false, include_summary: false, max_go_terms: 3, ..all },
                "tumor protein p53. GO molecular function: DNA binding. GO biological process: apoptotic process. GO \
                 cellular component: nucleus.",
            ),
            (
                GeneTextOptions { max_go_terms: 0, include_symbol: false, ..all },
                "tumor protein p53. Responds to stress.",
            ),
            (
                GeneTextOptions {
                    include_go: GoDetail::NamesAndDefinitions,
                    include_symbol: false,
                    include_summary: false,
                    ..all
                },
                "tumor protein p53. GO molecular function: DNA binding, Interacting with DNA. GO molecular function: \
                 transcription factor activity. GO biological process: apoptotic process, A cell death. GO cellular \
                 component: nucleus, An organelle.",
            ),
        ];
        for (options, expected) in cases {
            assert_eq!(text(&gene(), options), expected, "{options:?}");
        }
    }

    #[test]
    fn a_gene_without_summary_or_with_an_empty_one_is_told_by_name_and_go() {
        for summary in [None, Some(" "), Some("[provided by RefSeq, Jul 2008]")] {
            let gene = GeneRecord { summary: summary.map(str::to_owned), aliases: Vec::new(), ..gene() };
            let told = text(&gene, GeneTextOptions { max_go_terms: 1, ..GeneTextOptions::default() });
            assert_eq!(told, "Gene Symbol TP53 tumor protein p53. GO molecular function: DNA binding.");
        }
    }

    #[test]
    fn a_gene_with_nothing_to_say_is_refused_by_symbol() {
        let nothing = GeneTextOptions {
            include_symbol: false,
            include_name: false,
            include_summary: false,
            include_go: GoDetail::None,
            max_go_terms: 9,
        };
        let error = gene_text(&gene(), &nothing).unwrap_err().to_string();
        assert!(error.contains("TP53"), "{error}");
        assert!(gene_text(&GeneRecord::default(), &GeneTextOptions::default()).is_err());
    }

    proptest! {
        #[test]
        fn the_order_of_the_input_does_not_matter(
            ids in proptest::collection::vec((1_u32..30, 0_usize..3), 0..20), max_go_terms in 0_usize..12, seed in 0_usize..20,
        ) {
            let spaces = [Namespace::MolecularFunction, Namespace::BiologicalProcess, Namespace::CellularComponent];
            let terms = ids.iter().map(|(id, space)| term(*id, spaces[*space], &format!("name {id}"), "")).collect();
            let one = GeneRecord { go_terms: terms, ..gene() };
            let mut other = one.clone();
            other.go_terms.reverse();
            other.go_terms.rotate_left(seed.min(ids.len()));
            other.aliases.reverse();
            let options = GeneTextOptions { max_go_terms, ..GeneTextOptions::default() };
            let told = text(&one, options);
            prop_assert_eq!(&told, &text(&other, options));
            prop_assert!(told.matches("name ").count() <= max_go_terms);
        }
    }
}
