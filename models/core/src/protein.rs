//! Protein sequences: the only validator of residues in Protext.
//!
//! The rules, applied character by character and counted in [`ResidueNotes`]:
//!
//! | in the input | becomes | why |
//! |---|---|---|
//! | white space, line ends | removed | wrapped FASTA |
//! | `-`, `.` | removed | gaps of an alignment are not residues |
//! | lower case | upper case | soft masking is not chemistry |
//! | `*` at the very end | removed | translators write the stop codon; it is no residue |
//! | `*` elsewhere | kept, read as the encoder's mask token | as ProteinCLIP does |
//! | `J` | `X` | leucine or isoleucine; ESM-2 has no token for it |
//! | `B`, `Z`, `X`, `U`, `O` | kept | ESM-2 has a token for each |
//! | anything else | the record is refused | |
//!
//! In strict mode every row but the first refuses the record.

use crate::amino_acid::AminoAcid;
use crate::error::ParseError;

/// How residues outside the 20 standard ones are treated, and how long a record may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResiduePolicy {
    /// Refuse everything that the default rules would change or that is ambiguous.
    pub strict: bool,
    /// Longest sequence accepted, in residues.
    pub max_residues: usize,
}

impl Default for ResiduePolicy {
    /// Lenient, up to 100,000 residues (titin, the longest human protein, has about 35,000).
    fn default() -> Self {
        Self { strict: false, max_residues: 100_000 }
    }
}

/// What the rules did to one sequence.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct ResidueNotes {
    /// Lower-case letters raised.
    pub n_lower_case: usize,
    /// `-` and `.` removed.
    pub n_gaps: usize,
    /// Stops: inside (masked) and final (removed).
    pub n_stops: usize,
    /// `J` turned into `X`.
    pub n_replaced: usize,
    /// `B`, `Z`, `X` (also those that were `J`).
    pub n_ambiguous: usize,
    /// `U` and `O`.
    pub n_rare: usize,
    /// Looks like DNA or RNA: 20 or more residues, all of them A, C, G, T, U or N.
    pub looks_like_nucleotides: bool,
}

impl ResidueNotes {
    /// True if no rule had to act.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        *self == Self::default()
    }
}

/// A validated protein: one or more of `ACDEFGHIKLMNPQRSTVWY`, `B U X Z O`, and `*` for a masked position.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ProteinSequence(String);

impl ProteinSequence {
    /// Applies the rules of this module to `raw`.
    ///
    /// # Errors
    /// A [`ParseError`] naming the first position that broke a rule.
    pub fn parse(raw: &str, policy: ResiduePolicy) -> Result<(Self, ResidueNotes), ParseError> {
        let mut notes = ResidueNotes::default();
        let mut residues = String::with_capacity(raw.len().min(policy.max_residues + 1));
        for (index, character) in raw.chars().enumerate() {
            let position = index + 1;
            if character.is_ascii_whitespace() {
                continue;
            }
            let residue =
                classify(character, &mut notes).ok_or(ParseError::NotAResidue { position, character })?;
            if policy.strict && !is_standard(character) {
                return Err(ParseError::NotStrict { position, character });
            }
            let Some(residue) = residue else { continue };
            residues.push(residue);
            // One more is let through here because it may be a final stop.
            if residues.len() > policy.max_residues + 1 {
                return Err(ParseError::TooManyResidues { max_residues: policy.max_residues });
            }
        }
        if residues.ends_with('*') {
            residues.pop();
        }
        if residues.len() > policy.max_residues {
            return Err(ParseError::TooManyResidues { max_residues: policy.max_residues });
        }
        if residues.bytes().all(|residue| residue == b'*') {
            return Err(ParseError::EmptySequence);
        }
        notes.looks_like_nucleotides = residues.len() >= 20
            && residues.bytes().all(|r| matches!(r, b'A' | b'C' | b'G' | b'T' | b'U' | b'N'));
        Ok((Self(residues), notes))
    }

    /// The residues, upper case.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The same sequence with the residues at these 0-based positions masked, so that an encoder has to guess them.
    ///
    /// # Panics
    /// If a position is past the end.
    #[must_use]
    pub fn masked(&self, positions: impl IntoIterator<Item = usize>) -> Self {
        let mut residues = self.0.clone().into_bytes();
        positions.into_iter().for_each(|position| residues[position] = b'*');
        Self(String::from_utf8(residues).expect("residues are ASCII letters"))
    }

    /// The same sequence with other amino acids at these 0-based positions.
    ///
    /// # Panics
    /// If a position is past the end.
    #[must_use]
    pub fn substituted(&self, changes: impl IntoIterator<Item = (usize, AminoAcid)>) -> Self {
        let mut residues = self.0.clone().into_bytes();
        changes.into_iter().for_each(|(position, amino_acid)| residues[position] = amino_acid.letter());
        Self(String::from_utf8(residues).expect("residues are ASCII letters"))
    }

    /// The residues of a 0-based, end-exclusive range.
    ///
    /// # Panics
    /// If the range is empty or passes the end.
    #[must_use]
    pub fn part(&self, range: std::ops::Range<usize>) -> Self {
        assert!(!range.is_empty(), "a sequence has at least one residue");
        Self(self.0[range].to_owned())
    }

    /// Number of residues, at least 1.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a protein sequence is never empty")]
    pub fn len(&self) -> usize {
        self.0.len()
    }
}

/// `None`: no residue code. `Some(None)`: dropped by rule. `Some(Some(r))`: the residue to keep.
fn classify(character: char, notes: &mut ResidueNotes) -> Option<Option<char>> {
    if character.is_ascii_lowercase() {
        notes.n_lower_case += 1;
    }
    match character.to_ascii_uppercase() {
        residue if is_standard(residue) => Some(Some(residue)),
        residue @ ('B' | 'Z' | 'X') => {
            notes.n_ambiguous += 1;
            Some(Some(residue))
        }
        residue @ ('U' | 'O') => {
            notes.n_rare += 1;
            Some(Some(residue))
        }
        'J' => {
            notes.n_replaced += 1;
            notes.n_ambiguous += 1;
            Some(Some('X'))
        }
        '*' => {
            notes.n_stops += 1;
            Some(Some('*'))
        }
        '-' | '.' => {
            notes.n_gaps += 1;
            Some(None)
        }
        _ => None,
    }
}

fn is_standard(character: char) -> bool {
    matches!(
        character,
        'A' | 'C'
            | 'D'
            | 'E'
            | 'F'
            | 'G'
            | 'H'
            | 'I'
            | 'K'
            | 'L'
            | 'M'
            | 'N'
            | 'P'
            | 'Q'
            | 'R'
            | 'S'
            | 'T'
            | 'V'
            | 'W'
            | 'Y'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(raw: &str) -> Result<(String, ResidueNotes), ParseError> {
        ProteinSequence::parse(raw, ResiduePolicy::default()).map(|(s, notes)| (s.as_str().to_owned(), notes))
    }

    #[test]
    fn each_rule_acts_and_is_counted() {
        let clean = ResidueNotes::default();
        let table = [
            ("MKV", "MKV", clean),
            (" M K\r\nV\t", "MKV", clean),
            ("mkV", "MKV", ResidueNotes { n_lower_case: 2, ..clean }),
            ("MK-V.", "MKV", ResidueNotes { n_gaps: 2, ..clean }),
            ("MKV*", "MKV", ResidueNotes { n_stops: 1, ..clean }),
            ("MK*V", "MK*V", ResidueNotes { n_stops: 1, ..clean }),
            ("MJK", "MXK", ResidueNotes { n_replaced: 1, n_ambiguous: 1, ..clean }),
            ("BZX", "BZX", ResidueNotes { n_ambiguous: 3, ..clean }),
            ("MUO", "MUO", ResidueNotes { n_rare: 2, ..clean }),
        ];
        for (raw, residues, notes) in table {
            assert_eq!(parse(raw), Ok((residues.to_owned(), notes)), "{raw:?}");
        }
    }

    #[test]
    fn refusals_name_the_position_and_the_character() {
        assert_eq!(parse("MK1V"), Err(ParseError::NotAResidue { position: 3, character: '1' }));
        assert_eq!(parse("MKé"), Err(ParseError::NotAResidue { position: 3, character: 'é' }));
        assert_eq!(parse("M\0K"), Err(ParseError::NotAResidue { position: 2, character: '\0' }));
        for empty in ["", "  \n", "---", "*", "**"] {
            assert_eq!(parse(empty), Err(ParseError::EmptySequence), "{empty:?}");
        }
    }

    #[test]
    fn strict_mode_takes_only_the_standard_letters_in_upper_case() {
        let strict = ResiduePolicy { strict: true, ..ResiduePolicy::default() };
        assert!(ProteinSequence::parse("MKV\nLLA", strict).is_ok());
        for raw in ["mKV", "MXK", "MUK", "MK-V", "MKV*", "MJK"] {
            let error = ProteinSequence::parse(raw, strict).unwrap_err();
            assert!(matches!(error, ParseError::NotStrict { .. }), "{raw}: {error}");
        }
    }

    #[test]
    fn the_length_limit_is_exact_and_a_final_stop_is_free() {
        let policy = ResiduePolicy { max_residues: 3, strict: false };
        assert!(ProteinSequence::parse("MKV", policy).is_ok());
        assert!(ProteinSequence::parse("MKV*", policy).is_ok());
        for raw in ["MKVL", "MKVLL", "MKVL*"] {
            let refused = ProteinSequence::parse(raw, policy);
            assert_eq!(refused, Err(ParseError::TooManyResidues { max_residues: 3 }), "{raw}");
        }
    }

    #[test]
    fn positions_are_masked_substituted_and_cut_out() {
        let (sequence, _) = ProteinSequence::parse("MKVLA", ResiduePolicy::default()).unwrap();
        assert_eq!(sequence.masked([0, 4]).as_str(), "*KVL*");
        let tryptophan = AminoAcid::from_letter(b'W').unwrap();
        assert_eq!(sequence.substituted([(1, tryptophan)]).as_str(), "MWVLA");
        assert_eq!(sequence.part(1..3).as_str(), "KV");
    }

    #[test]
    fn nucleotides_are_noticed() {
        assert!(parse("ACGTACGTACGTACGTACGT").unwrap().1.looks_like_nucleotides);
        assert!(parse("acguacguacguacguacgun").unwrap().1.looks_like_nucleotides);
        assert!(!parse("ACGTACGTACGTACGTACGM").unwrap().1.looks_like_nucleotides);
        assert!(!parse("ACGT").unwrap().1.looks_like_nucleotides);
    }
}
