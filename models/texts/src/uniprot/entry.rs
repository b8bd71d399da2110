//! A UniProtKB entry, as far as texts need it.

use super::citations::strip_citations;
use crate::go::GoId;

/// A protein.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Entry {
    /// Primary accession, such as `P04637`.
    pub accession: String,
    /// Entry name, such as `P53_HUMAN`.
    pub entry_name: Option<String>,
    /// Recommended name, or the first submitted one.
    pub protein_name: Option<String>,
    /// Symbol of the first gene that has one.
    pub gene: Option<String>,
    /// Scientific name of the organism.
    pub organism: Option<String>,
    /// NCBI taxon id of the organism.
    pub taxon_id: Option<u32>,
    /// Residues of the canonical sequence.
    pub sequence: Option<String>,
    /// Function comments in the entry's order; often none.
    pub functions: Vec<FunctionText>,
    /// GO terms in the entry's order.
    pub go_terms: Vec<GoId>,
}

/// A function comment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FunctionText {
    /// Isoform or chain that it speaks of, such as `Isoform 2`; `None` for the whole protein.
    pub molecule: Option<String>,
    /// The comment with its citations.
    pub text: String,
}

impl Entry {
    /// All function comments without citations, joined by a space; those about one isoform start with `[Isoform 2]:`.
    /// `None` if nothing is said.
    #[must_use]
    pub fn function_text(&self) -> Option<String> {
        let texts = self.functions.iter().filter_map(|function| {
            let text = strip_citations(&function.text);
            match &function.molecule {
                _ if text.is_empty() => None,
                Some(molecule) => Some(format!("[{molecule}]: {text}")),
                None => Some(text),
            }
        });
        let joined = texts.collect::<Vec<_>>().join(" ");
        (!joined.is_empty()).then_some(joined)
    }

    /// Checks accession and sequence; `stated_len` is the length the source states, in residues.
    pub(super) fn check(&self, stated_len: Option<usize>) -> Result<(), String> {
        let accession: String = self.accession.chars().take(40).collect();
        if accession.is_empty() {
            return Err("no accession; every entry has one".to_owned());
        }
        let Some(sequence) = &self.sequence else { return Ok(()) };
        if let Some(other) = sequence.chars().find(|residue| !residue.is_ascii_alphabetic()) {
            return Err(format!("{accession}: {other:?} in the sequence; residues are letters"));
        }
        match stated_len {
            Some(stated_len) if stated_len != sequence.len() => Err(format!(
                "{accession}: {} residues, but the entry states {stated_len}; it was cut short or changed, fetch it again",
                sequence.len()
            )),
            _ => Ok(()),
        }
    }
}

/// White space runs as one space.
pub(super) fn tidy(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The text as a value, unless it is empty.
pub(super) fn filled(text: &str) -> Option<String> {
    let text = tidy(text);
    (!text.is_empty()).then_some(text)
}
