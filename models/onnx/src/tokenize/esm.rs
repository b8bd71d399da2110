//! The ESM-2 alphabet: one token a residue, BOS in front, EOS behind.
//!
//! Source: `vocab.txt` of facebook/esm2_t6_8M_UR50D (all ESM-2 models share it).

/// Tokenizes validated residues.
#[derive(Debug, Clone, Copy, Default)]
pub struct EsmAlphabet;

impl EsmAlphabet {
    /// `<cls>`, which ESM-2 uses as begin of sequence.
    pub const BOS: i64 = 0;
    /// `<eos>`.
    pub const EOS: i64 = 2;
    /// `<unk>`; no validated residue maps to it.
    pub const UNKNOWN: i64 = 3;
    /// `<mask>`.
    pub const MASK: i64 = 32;
    /// Names this tokenization in space fingerprints.
    pub const NAME: &'static str = "esm2-alphabet bos eos star-as-mask";

    /// Token of one residue as [`protext_core::ProteinSequence`] holds them: the 25 letters, and `*` for the mask.
    #[must_use]
    pub fn token(residue: u8) -> i64 {
        match residue {
            b'L' => 4,
            b'A' => 5,
            b'G' => 6,
            b'V' => 7,
            b'S' => 8,
            b'E' => 9,
            b'R' => 10,
            b'T' => 11,
            b'I' => 12,
            b'D' => 13,
            b'P' => 14,
            b'K' => 15,
            b'Q' => 16,
            b'N' => 17,
            b'F' => 18,
            b'Y' => 19,
            b'M' => 20,
            b'H' => 21,
            b'W' => 22,
            b'C' => 23,
            b'X' => 24,
            b'B' => 25,
            b'U' => 26,
            b'Z' => 27,
            b'O' => 28,
            b'*' => Self::MASK,
            _ => Self::UNKNOWN,
        }
    }

    /// BOS, one token a residue, EOS.
    #[must_use]
    pub fn tokens(residues: &[u8]) -> Vec<i64> {
        let mut token_ids = Vec::with_capacity(residues.len() + 2);
        token_ids.push(Self::BOS);
        token_ids.extend(residues.iter().map(|&residue| Self::token(residue)));
        token_ids.push(Self::EOS);
        token_ids
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_follow_the_published_vocabulary() {
        let vocabulary =
            "<cls> <pad> <eos> <unk> L A G V S E R T I D P K Q N F Y M H W C X B U Z O . - <null_1> <mask>";
        for (id, symbol) in vocabulary.split(' ').enumerate() {
            if let &[letter] = symbol.as_bytes()
                && letter.is_ascii_uppercase()
            {
                assert_eq!(EsmAlphabet::token(letter), id as i64, "{symbol}");
            }
        }
        assert_eq!(EsmAlphabet::tokens(b"MK*"), [0, 20, 15, 32, 2]);
    }
}
