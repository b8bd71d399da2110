//! Texts over the window: cut where a sentence ends, else between words, into pieces that fit.
//!
//! Tokens are not counted here but taken from bytes: `bytes_per_token` states how few bytes a token is taken to have.

use protext_core::{EncodeError, LongPolicy, LongReport, Piece, TextPiece};

/// What errors call the window's unit.
const UNIT: &str = "tokens (estimated from bytes)";

/// How texts are measured.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Measure {
    /// Tokens of one piece at most.
    pub(crate) window: usize,
    /// Bytes of a token.
    pub(crate) bytes_per_token: f64,
}

impl Measure {
    /// Tokens that `text` is taken for, at least 1.
    pub(crate) fn n_tokens(self, text: &str) -> usize {
        ((text.len() as f64 / self.bytes_per_token).ceil() as usize).max(1)
    }

    /// Bytes of one piece; a character always fits.
    fn max_bytes(self) -> usize {
        ((self.window as f64 * self.bytes_per_token) as usize).max(4)
    }

    /// Cuts a tidy text that is not empty.
    pub(crate) fn cut(self, text: &str, policy: LongPolicy) -> Result<(Vec<Piece>, LongReport), EncodeError> {
        let max_bytes = self.max_bytes();
        if text.len() <= max_bytes {
            return Ok((vec![self.piece(0, text)], LongReport::Whole));
        }
        let length = self.n_tokens(text);
        match policy {
            LongPolicy::Reject => Err(EncodeError::TooLong { length, window: self.window, unit: UNIT }),
            LongPolicy::Truncate => {
                let kept = self.piece(0, &text[..end_of_piece(text, max_bytes)]);
                let report = LongReport::Truncated { kept: kept.n_tokens(), length };
                Ok((vec![kept], report))
            }
            LongPolicy::Window => {
                let mut pieces = Vec::new();
                let mut rest = text;
                while !rest.is_empty() {
                    let (piece, after) = rest.split_at(end_of_piece(rest, max_bytes));
                    pieces.push(self.piece(text.len() - rest.len(), piece));
                    rest = after.trim_start();
                }
                let report = LongReport::Windowed { n_windows: pieces.len() };
                Ok((pieces, report))
            }
        }
    }

    fn piece(self, start_bytes: usize, text: &str) -> Piece {
        let n_tokens = self.n_tokens(text);
        Piece {
            start: (start_bytes as f64 / self.bytes_per_token) as usize,
            token_ids: Vec::new(),
            weights: vec![text.len() as f32],
            text: Some(TextPiece { text: text.to_owned(), n_tokens }),
        }
    }
}

/// Where the first piece of `text` ends: after the last sentence of its second half, else after its last word, else
/// after its last character.
fn end_of_piece(text: &str, max_bytes: usize) -> usize {
    if text.len() <= max_bytes {
        return text.len();
    }
    let end = (0..=max_bytes).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(max_bytes);
    // The space behind counts: a word may end exactly at the limit.
    let spaces = || text.as_bytes()[..=end].iter().enumerate().rev().filter(|(_, byte)| **byte == b' ');
    let ends_sentence = |at: usize| at > 0 && matches!(text.as_bytes()[at - 1], b'.' | b'!' | b'?' | b';');
    let sentence = spaces().map(|(at, _)| at).take_while(|&at| at > end / 2).find(|&at| ends_sentence(at));
    let word = || spaces().map(|(at, _)| at).find(|&at| at > 0);
    sentence.or_else(word).unwrap_or(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEASURE: Measure = Measure { window: 10, bytes_per_token: 2.0 };

    fn cut(text: &str) -> Vec<String> {
        let (pieces, _) = MEASURE.cut(text, LongPolicy::Window).unwrap();
        pieces.into_iter().map(|piece| piece.text.unwrap().text).collect()
    }

    #[test]
    fn pieces_end_where_sentences_or_words_do() {
        let cases: [(&str, &[&str]); 6] = [
            ("short enough.", &["short enough."]),
            ("One is here. Two is here. Three.", &["One is here.", "Two is here. Three."]),
            ("A. then no end for a long while", &["A. then no end for a", "long while"]),
            ("a word of twenty end and more now", &["a word of twenty end", "and more now"]),
            ("MKTAYIAKQRQISFVKSHFSRQ and", &["MKTAYIAKQRQISFVKSHFS", "RQ and"]),
            (
                "\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}a\u{e9}",
                &["\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}a", "\u{e9}"],
            ),
        ];
        for (text, pieces) in cases {
            assert_eq!(cut(text), pieces, "{text}");
        }
    }

    #[test]
    fn nothing_is_lost_and_every_piece_fits() {
        let text = "Binds copper; moves it. Is found in liver, \u{3b1}-cells and kidney! ".repeat(40);
        let text = text.trim();
        let pieces = cut(text);
        assert!(pieces.iter().all(|piece| (1..=20).contains(&piece.len())));
        assert_eq!(pieces.concat().replace(' ', ""), text.replace(' ', ""));
    }

    #[test]
    fn policies_are_reported() {
        let report = |policy| MEASURE.cut("One is here. Two is here. Three.", policy).map(|cut| cut.1);
        assert_eq!(report(LongPolicy::Window).unwrap(), LongReport::Windowed { n_windows: 2 });
        assert_eq!(report(LongPolicy::Truncate).unwrap(), LongReport::Truncated { kept: 6, length: 16 });
        let refused = report(LongPolicy::Reject).unwrap_err().to_string();
        assert!(refused.contains("16 tokens (estimated from bytes)"), "{refused}");
        let (pieces, whole) = MEASURE.cut("One.", LongPolicy::Reject).unwrap();
        assert_eq!((whole, pieces[0].n_tokens(), &pieces[0].weights[..]), (LongReport::Whole, 2, &[4.0][..]));
    }
}
