//! Pairs of a protein and what its annotations say it does, for pretraining the joint space.
//!
//! A protein is taken if a molecular function or an ENZYME entry is known of it. Its text is that of its ENZYME entries, then
//! one sentence a GO term, whatever its namespace: the name, then the first sentence of the definition. Pairs are
//! put into an order whose every beginning is as diverse as can be: first one protein of each cluster of relatives, then
//! a second of each, and so on. Within a cluster enzymes come first, then the order of a hash of the accession, so the
//! same input gives the same pairs, whatever its order.

mod choose;
mod proteins;

use std::collections::HashMap;

pub use choose::PairChoice;
pub use proteins::{Protein, ProteinFile, ProteinSet};

use crate::enzyme::Enzyme;
use crate::error::TextError;
use crate::go::{Namespace, Ontology, ProteinTerms};

/// A protein with its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FunctionPair {
    /// The protein.
    pub protein: Protein,
    /// What it does.
    pub text: String,
    /// Whether an ENZYME entry names it.
    pub is_enzyme: bool,
}

/// Pairs, and why other proteins are in none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FunctionPairs {
    /// In the order of the choice.
    pub pairs: Vec<FunctionPair>,
    /// Proteins without a molecular function that tells something, and without an ENZYME entry.
    pub n_without_function: usize,
    /// Proteins past the number wanted of their cluster.
    pub n_past_cluster: usize,
    /// Proteins past the number wanted in all.
    pub n_past_limit: usize,
    /// What became of the terms of all proteins.
    pub terms: TermCounts,
}

/// Terms of proteins that are in no text.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TermCounts {
    /// Ids that the ontology does not have.
    pub n_unknown: u64,
    /// Obsolete ids without a replacement.
    pub n_obsolete: u64,
    /// Roots and "protein binding".
    pub n_vague: u64,
}

/// Names of enzymes by protein.
#[derive(Debug, Clone, Default)]
pub struct EnzymeTexts {
    by_accession: HashMap<String, Vec<String>>,
    /// Entries that were deleted or transferred.
    pub n_not_in_use: usize,
}

impl EnzymeTexts {
    /// Collects the texts of entries in use.
    ///
    /// # Errors
    /// The first error of `enzymes`.
    pub fn collect(enzymes: impl IntoIterator<Item = Result<Enzyme, TextError>>) -> Result<Self, TextError> {
        let mut texts = Self::default();
        for enzyme in enzymes {
            let enzyme = enzyme?;
            if !enzyme.is_in_use() {
                texts.n_not_in_use += 1;
                continue;
            }
            let text = enzyme.text();
            for accession in enzyme.accessions {
                texts.by_accession.entry(accession).or_default().push(text.clone());
            }
        }
        Ok(texts)
    }

    /// Texts of a protein's entries, in their order.
    fn of_protein(&self, accession: &str) -> &[String] {
        self.by_accession.get(accession).map_or(&[], Vec::as_slice)
    }
}

/// Writes the texts of `proteins` and takes those that `choice` says.
#[must_use]
pub fn function_pairs(
    proteins: Vec<Protein>,
    terms: &ProteinTerms,
    ontology: &Ontology,
    enzymes: &EnzymeTexts,
    choice: &PairChoice,
) -> FunctionPairs {
    let mut found = FunctionPairs::default();
    let mut pairs = Vec::new();
    for protein in proteins {
        let of_enzymes = enzymes.of_protein(&protein.accession);
        let (has_function, of_terms) = term_sentences(&protein.accession, terms, ontology, &mut found.terms);
        if !has_function && of_enzymes.is_empty() {
            found.n_without_function += 1;
            continue;
        }
        let sentences = [of_enzymes, &of_terms].concat();
        pairs.push(FunctionPair { protein, text: sentences.join(" "), is_enzyme: !of_enzymes.is_empty() });
    }
    choose::choose(pairs, choice, &mut found);
    found
}

/// One sentence a term of a protein, by id; true if one of them is a molecular function.
fn term_sentences(
    accession: &str,
    terms: &ProteinTerms,
    ontology: &Ontology,
    counts: &mut TermCounts,
) -> (bool, Vec<String>) {
    let resolved = ontology.resolve(terms.of_protein(accession));
    counts.n_unknown += resolved.n_unknown;
    counts.n_obsolete += resolved.n_obsolete;
    counts.n_vague += resolved.n_vague;
    let has_function = resolved.terms.values().any(|term| term.namespace == Namespace::MolecularFunction);
    (has_function, resolved.terms.values().map(|term| sentence(&term.text())).collect())
}

/// The first sentence of "name: definition.", with a capital letter, so that a text of many can be told apart again.
fn sentence(text: &str) -> String {
    let first = text.split_once(". ").map_or(text, |(first, _)| first).trim_end_matches('.');
    let mut letters = first.chars();
    let capital = letters.next().map(|letter| letter.to_uppercase().to_string()).unwrap_or_default();
    format!("{capital}{}.", letters.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    const OBO: &str = "[Term]\nid: GO:0003677\nname: DNA binding\nnamespace: molecular_function\ndef: \"Binds DNA\" []\n\
        alt_id: GO:0000009\n\n\
        [Term]\nid: GO:0004252\nname: serine endopeptidase\nnamespace: molecular_function\n\n\
        [Term]\nid: GO:0005515\nname: protein binding\nnamespace: molecular_function\n\n\
        [Term]\nid: GO:0006412\nname: translation\nnamespace: biological_process\n";
    const TABLE: &str =
        "accession\tgo_mf\tgo_bp\nA\tGO:0004252;GO:0000009;GO:0005515\tGO:0006412\nB\tGO:0005515\t\nC\t\t\n";
    const ENZYMES: &str = "ID   3.4.21.4\nDE   Trypsin.\nCA   Cuts.\nDR   A, A_X;  C, C_X;\n//\n\
        ID   3.4.21.5\nDE   Deleted entry.\nDR   B, B_X;\n//\n";

    fn protein(accession: &str) -> Protein {
        Protein { accession: accession.to_owned(), sequence: "MK".to_owned(), cluster: None, group: None }
    }

    #[test]
    fn a_text_is_the_enzyme_then_a_sentence_a_term() {
        let ontology = Ontology::from_obo(OBO.as_bytes(), "go").unwrap();
        let terms = ProteinTerms::new(TABLE.as_bytes(), "table", |_| true, &[]).unwrap();
        let enzymes =
            EnzymeTexts::collect(crate::enzyme::Enzymes::new(ENZYMES.as_bytes(), "enzyme").unwrap()).unwrap();
        let proteins = ["A", "B", "C"].map(protein).to_vec();
        let found = function_pairs(proteins, &terms, &ontology, &enzymes, &PairChoice::default());
        let mut texts: Vec<_> =
            found.pairs.iter().map(|pair| (pair.protein.accession.as_str(), pair.text.as_str())).collect();
        texts.sort_unstable();
        assert_eq!(
            texts,
            [
                ("A", "Trypsin. Cuts. DNA binding: Binds DNA. Serine endopeptidase. Translation."),
                ("C", "Trypsin. Cuts.")
            ]
        );
        assert_eq!((found.n_without_function, enzymes.n_not_in_use), (1, 1));
        assert_eq!(found.terms, TermCounts { n_vague: 2, ..TermCounts::default() });
    }
}
