//! The 20 standard amino acids, in the order in which language heads give their probabilities.
//!
//! Sequences hold more letters than these (see [`crate::protein`]); substitutions lead from one of these to another.

use std::fmt;

/// Letters in alphabetic order: the columns of every table of 20.
const LETTERS: [u8; 20] = *b"ACDEFGHIKLMNPQRSTVWY";

/// One of the 20 standard amino acids.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AminoAcid(u8);

impl AminoAcid {
    /// How many there are.
    pub const COUNT: usize = LETTERS.len();

    /// All of them, in alphabetic order of their letters.
    pub fn all() -> impl ExactSizeIterator<Item = Self> + Clone {
        (0..LETTERS.len() as u8).map(Self)
    }

    /// The amino acid of an upper-case letter; `None` for any other character.
    #[must_use]
    pub fn from_letter(letter: u8) -> Option<Self> {
        LETTERS.iter().position(|&known| known == letter).map(|index| Self(index as u8))
    }

    /// Its letter.
    #[must_use]
    pub fn letter(self) -> u8 {
        LETTERS[self.index()]
    }

    /// Its column, 0 to 19.
    #[must_use]
    pub fn index(self) -> usize {
        usize::from(self.0)
    }

    /// Hydropathy, -4.5 to 4.5, positive where it avoids water.
    /// Source: Kyte and Doolittle 1982, table 2.
    #[must_use]
    pub fn hydropathy(self) -> f32 {
        const VALUES: [f32; AminoAcid::COUNT] = [
            1.8, 2.5, -3.5, -3.5, 2.8, -0.4, -3.2, 4.5, -3.9, 3.8, 1.9, -3.5, -1.6, -3.5, -4.5, -0.8, -0.7,
            4.2, -0.9, -1.3,
        ];
        VALUES[self.index()]
    }

    /// Volume of the residue in cubic angstroms.
    /// Source: Zamyatnin 1972.
    #[must_use]
    pub fn volume(self) -> f32 {
        const VALUES: [f32; AminoAcid::COUNT] = [
            88.6, 108.5, 111.1, 138.4, 189.9, 60.1, 153.2, 166.7, 168.6, 166.7, 162.9, 114.1, 112.7, 143.8,
            173.4, 89.0, 116.1, 140.0, 227.8, 193.6,
        ];
        VALUES[self.index()]
    }

    /// Charge at neutral pH, histidine counted as a tenth.
    #[must_use]
    pub fn charge(self) -> f32 {
        match self.letter() {
            b'K' | b'R' => 1.0,
            b'D' | b'E' => -1.0,
            b'H' => 0.1,
            _ => 0.0,
        }
    }
}

impl fmt::Display for AminoAcid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", char::from(self.letter()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_and_columns_agree() {
        let letters: String = AminoAcid::all().map(|amino_acid| amino_acid.to_string()).collect();
        assert_eq!(letters, "ACDEFGHIKLMNPQRSTVWY");
        for (index, amino_acid) in AminoAcid::all().enumerate() {
            assert_eq!(amino_acid.index(), index);
            assert_eq!(AminoAcid::from_letter(amino_acid.letter()), Some(amino_acid));
        }
        assert!(b"BJOUXZ*-a1".iter().all(|&letter| AminoAcid::from_letter(letter).is_none()));
    }

    #[test]
    fn properties_belong_to_their_letters() {
        let of = |letter| AminoAcid::from_letter(letter).unwrap();
        assert_eq!((of(b'I').hydropathy(), of(b'R').hydropathy()), (4.5, -4.5));
        assert_eq!((of(b'G').volume(), of(b'W').volume()), (60.1, 227.8));
        assert_eq!((of(b'D').charge(), of(b'K').charge(), of(b'Y').charge()), (-1.0, 1.0, 0.0));
    }
}
