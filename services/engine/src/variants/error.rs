//! What can be wrong with mutants, and with scoring them.

use std::path::PathBuf;

use protext_core::{ProjectionError, SpaceMismatch};

use super::mutant::MutantError;
use crate::error::EngineError;

/// Bad mutants that a message lists; the rest are counted.
const LISTED: usize = 20;

/// A mutant that breaks a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadMutant {
    /// Its row in the file, or its place in the request, from 1.
    pub number: u64,
    /// As it was written.
    pub written: String,
    /// Its protein, where there are several.
    pub protein: Option<String>,
    /// What is wrong, with the way out.
    pub rule: String,
}

impl BadMutant {
    /// A mutant that does not fit its sequence.
    #[must_use]
    pub fn new(number: u64, written: &str, rule: &MutantError) -> Self {
        Self { number, written: written.to_owned(), protein: None, rule: rule.to_string() }
    }

    /// Names its protein.
    #[must_use]
    pub fn of_protein(mut self, protein: &str) -> Self {
        self.protein = Some(protein.to_owned());
        self
    }
}

/// Variants that cannot be scored.
#[derive(Debug, thiserror::Error)]
pub enum VariantError {
    /// Mutants that break rules.
    #[error("{}", list(place, bad, *n_given))]
    Mutants {
        /// What numbers count: "row" or "mutant".
        place: &'static str,
        /// All of them.
        bad: Vec<BadMutant>,
        /// Mutants that were given.
        n_given: usize,
    },
    /// Neither mutants nor a scan.
    #[error("no mutants were given; name some, such as A12V, or ask for a scan")]
    NothingAsked,
    /// The encoder cannot guess residues.
    #[error(
        "{encoder} has no language head, so only the embedding shift can be had; take an encoder whose checkpoint has \
         one, or fit one by `protext train lm-head`"
    )]
    NoLanguageHead {
        /// Encoder id.
        encoder: String,
    },
    /// A head that was fitted on another encoder.
    #[error(transparent)]
    Space(#[from] SpaceMismatch),
    /// The head failed.
    #[error(transparent)]
    Head(#[from] ProjectionError),
    /// A position that truncation cut off.
    #[error(
        "position {position} is past the {kept} residues that the truncate policy keeps; use the window policy"
    )]
    CutOff {
        /// From 1.
        position: usize,
        /// Residues kept.
        kept: usize,
    },
    /// More mutants than one request may name.
    #[error(
        "{n_given} mutants were sent, but at most {limit} are taken at once; split them, or ask for a scan"
    )]
    TooMany {
        /// Mutants given.
        n_given: usize,
        /// Mutants allowed.
        limit: usize,
    },
    /// More work than one request may ask for.
    #[error("the request needs {n_passes} passes through the encoder, more than {limit}: {instead}")]
    TooMuch {
        /// Passes needed.
        n_passes: usize,
        /// Passes allowed.
        limit: usize,
        /// What to do instead.
        instead: &'static str,
    },
    /// The file of mutants cannot be read.
    #[error("{}: cannot read the mutants: {source}; check the path, and that a .gz file is whole", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The reason.
        #[source]
        source: csv::Error,
    },
    /// The file holds nothing.
    #[error("{}: holds no mutants; write one a line, or a table with the column mutant", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// The record has no residues.
    #[error("record {id:?} has no sequence, so it has no positions to mutate; name a protein")]
    NoSequence {
        /// Its id.
        id: String,
    },
    /// Encoding failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The caller asked to stop.
    #[error("stopped")]
    Stopped,
}

/// `3 of 10 mutants are wrong; row 2, A12V: ...`, one a line.
fn list(place: &str, bad: &[BadMutant], n_given: usize) -> String {
    let shown = bad.iter().take(LISTED).map(|mutant| {
        let BadMutant { number, written, protein, rule } = mutant;
        let of = protein.as_ref().map(|protein| format!(" of {protein:?}")).unwrap_or_default();
        let written: String = written.chars().take(60).collect();
        format!("\n  {place} {number}, {written:?}{of}: {rule}")
    });
    let shown: String = shown.collect();
    let rest = bad.len().saturating_sub(LISTED);
    let rest = if rest > 0 { format!("\n  and {rest} more") } else { String::new() };
    format!("{} of {n_given} mutants cannot be scored:{shown}{rest}", bad.len())
}
