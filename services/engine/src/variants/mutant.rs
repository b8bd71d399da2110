//! Mutants as people write them: `A12V`, or several substitutions as `A12V:G45D`.
//!
//! Positions are written from 1 and kept from 0. A mutant is held against its sequence before anything is computed: a
//! wild type that does not match means another numbering or another protein.

use std::fmt;

use protext_core::{AminoAcid, ProteinSequence};

use super::error::BadMutant;

/// One amino acid in the place of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Substitution {
    /// 0-based.
    pub position: usize,
    /// What the sequence has there.
    pub wild_type: AminoAcid,
    /// What takes its place.
    pub mutant: AminoAcid,
}

/// `A12V`.
impl fmt::Display for Substitution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}{}", self.wild_type, self.position + 1, self.mutant)
    }
}

/// One or more substitutions at different positions.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Mutant(Vec<Substitution>);

/// A rule that a mutant breaks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MutantError {
    /// Nothing was written.
    #[error("is empty; write a substitution such as A12V, or several as A12V:G45D")]
    Empty,
    /// Not of the form letter, number, letter.
    #[error("{part:?} is not of the form A12V: wild type, position from 1, mutant")]
    Malformed {
        /// The part between colons.
        part: String,
    },
    /// A letter that is none of the 20.
    #[error("{part:?}: {letter:?} is none of the 20 standard amino acids")]
    NotAnAminoAcid {
        /// The part between colons.
        part: String,
        /// The letter.
        letter: char,
    },
    /// A position past the end, or 0.
    #[error("{part:?}: position {position} is not in the sequence, which has positions 1 to {length}")]
    OutOfRange {
        /// The part between colons.
        part: String,
        /// As written.
        position: u64,
        /// Residues of the sequence.
        length: usize,
    },
    /// Another residue stands there.
    #[error(
        "{part:?}: the sequence has {found} at position {position}, not {stated}; check the numbering and the protein"
    )]
    WildType {
        /// The part between colons.
        part: String,
        /// As written.
        position: usize,
        /// What stands there.
        found: char,
        /// What the mutant says.
        stated: AminoAcid,
    },
    /// One position twice.
    #[error("position {position} is substituted twice")]
    Repeated {
        /// From 1.
        position: usize,
    },
}

impl Mutant {
    /// Reads `A12V` or `A12V:G45D`, in either case, and holds it against `sequence`.
    ///
    /// # Errors
    /// [`MutantError`] naming the part that breaks a rule.
    pub fn parse(written: &str, sequence: &ProteinSequence) -> Result<Self, MutantError> {
        if written.trim().is_empty() {
            return Err(MutantError::Empty);
        }
        let mut substitutions = Vec::new();
        for part in written.split(':') {
            let substitution = parse_part(part.trim(), sequence.as_str().as_bytes())?;
            if substitutions.iter().any(|other: &Substitution| other.position == substitution.position) {
                return Err(MutantError::Repeated { position: substitution.position + 1 });
            }
            substitutions.push(substitution);
        }
        Ok(Self(substitutions))
    }

    /// One substitution that is known to fit.
    #[must_use]
    pub fn single(substitution: Substitution) -> Self {
        Self(vec![substitution])
    }

    /// Its substitutions, in the order written; at least one.
    #[must_use]
    pub fn substitutions(&self) -> &[Substitution] {
        &self.0
    }

    /// Positions that any of these mutants changes, from 0, in order, each once.
    #[must_use]
    pub fn positions(mutants: &[Self]) -> Vec<usize> {
        let all = mutants.iter().flat_map(|mutant| &mutant.0).map(|change| change.position);
        all.collect::<std::collections::BTreeSet<_>>().into_iter().collect()
    }

    /// The mutated sequence.
    #[must_use]
    pub fn apply(&self, sequence: &ProteinSequence) -> ProteinSequence {
        sequence.substituted(self.0.iter().map(|change| (change.position, change.mutant)))
    }
}

/// `A12V:G45D`.
impl fmt::Display for Mutant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, substitution) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str(":")?;
            }
            substitution.fmt(f)?;
        }
        Ok(())
    }
}

/// Reads all mutants of one sequence; `number` of each is its place in `written`, from 1.
///
/// # Errors
/// Every mutant that breaks a rule, in order.
pub fn parse_all<'a>(
    written: impl IntoIterator<Item = &'a str>,
    sequence: &ProteinSequence,
) -> Result<Vec<Mutant>, Vec<BadMutant>> {
    let (mut mutants, mut bad) = (Vec::new(), Vec::new());
    for (index, text) in written.into_iter().enumerate() {
        match Mutant::parse(text, sequence) {
            Ok(mutant) => mutants.push(mutant),
            Err(rule) => bad.push(BadMutant::new(index as u64 + 1, text, &rule)),
        }
    }
    if bad.is_empty() { Ok(mutants) } else { Err(bad) }
}

fn parse_part(part: &str, sequence: &[u8]) -> Result<Substitution, MutantError> {
    let malformed = || MutantError::Malformed { part: part.to_owned() };
    let mut letters = part.chars();
    let (Some(first), Some(last)) = (letters.next(), letters.next_back()) else { return Err(malformed()) };
    let digits = letters.as_str();
    if digits.is_empty() || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return Err(malformed());
    }
    let amino_acid = |letter: char| {
        let known = u8::try_from(letter.to_ascii_uppercase()).ok().and_then(AminoAcid::from_letter);
        known.ok_or_else(|| match letter.is_ascii_digit() {
            true => malformed(),
            false => MutantError::NotAnAminoAcid { part: part.to_owned(), letter },
        })
    };
    let (wild_type, mutant) = (amino_acid(first)?, amino_acid(last)?);
    // More digits than a number holds are past the end of any sequence.
    let number: u64 = digits.parse().unwrap_or(u64::MAX);
    let found = usize::try_from(number).ok().and_then(|number| sequence.get(number.checked_sub(1)?));
    let Some(&found) = found else {
        let length = sequence.len();
        return Err(MutantError::OutOfRange { part: part.to_owned(), position: number, length });
    };
    let position = number as usize;
    if found != wild_type.letter() {
        let (part, found) = (part.to_owned(), char::from(found));
        return Err(MutantError::WildType { part, position, found, stated: wild_type });
    }
    Ok(Substitution { position: position - 1, wild_type, mutant })
}

#[cfg(test)]
mod tests {
    use protext_core::ResiduePolicy;

    use super::*;

    fn sequence() -> ProteinSequence {
        ProteinSequence::parse("MKVLAX", ResiduePolicy::default()).unwrap().0
    }

    #[test]
    fn single_and_multiple_mutants_are_read_in_either_case() {
        for (written, shown, residues) in [
            ("K2W", "K2W", "MWVLAX"),
            (" k2w ", "K2W", "MWVLAX"),
            ("K2W:A5C", "K2W:A5C", "MWVLCX"),
            ("A5C : M1A", "A5C:M1A", "AKVLCX"),
            ("L4L", "L4L", "MKVLAX"),
        ] {
            let mutant = Mutant::parse(written, &sequence()).unwrap();
            assert_eq!(mutant.to_string(), shown);
            assert_eq!(mutant.apply(&sequence()).as_str(), residues);
        }
    }

    #[test]
    fn every_rule_is_named() {
        let part = |part: &str| part.to_owned();
        let out = |position| MutantError::OutOfRange { part: format!("K{position}W"), position, length: 6 };
        let k = AminoAcid::from_letter(b'K').unwrap();
        for (written, rule) in [
            ("", MutantError::Empty),
            ("  ", MutantError::Empty),
            ("K", MutantError::Malformed { part: part("K") }),
            ("KW", MutantError::Malformed { part: part("KW") }),
            ("2W", MutantError::Malformed { part: part("2W") }),
            ("22W", MutantError::Malformed { part: part("22W") }),
            ("K22", MutantError::Malformed { part: part("K22") }),
            ("K-2W", MutantError::Malformed { part: part("K-2W") }),
            ("K2W:", MutantError::Malformed { part: part("") }),
            ("K2*", MutantError::NotAnAminoAcid { part: part("K2*"), letter: '*' }),
            ("K2é", MutantError::NotAnAminoAcid { part: part("K2é"), letter: 'é' }),
            ("X6A", MutantError::NotAnAminoAcid { part: part("X6A"), letter: 'X' }),
            ("K0W", out(0)),
            ("K7W", out(7)),
            ("K1W", MutantError::WildType { part: part("K1W"), position: 1, found: 'M', stated: k }),
            ("K6W", MutantError::WildType { part: part("K6W"), position: 6, found: 'X', stated: k }),
            ("K2W:K2C", MutantError::Repeated { position: 2 }),
        ] {
            assert_eq!(Mutant::parse(written, &sequence()), Err(rule), "{written:?}");
        }
        let giant = format!("K{}W", "9".repeat(60));
        assert!(matches!(Mutant::parse(&giant, &sequence()), Err(MutantError::OutOfRange { .. })));
    }

    #[test]
    fn all_bad_mutants_are_told_with_their_places() {
        let bad = parse_all(["K2W", "K9W", "A5C", "x"], &sequence()).unwrap_err();
        assert_eq!(bad.iter().map(|bad| bad.number).collect::<Vec<_>>(), [2, 4]);
        assert_eq!(parse_all(["K2W", "A5C"], &sequence()).unwrap().len(), 2);
    }
}
