//! How the records of a job share batches: decided by the records alone, so that the same records make the same batches.
//!
//! Pieces are taken in order; a batch is closed by the first piece that does not fit. Called by the batcher's lane for jobs.

use protext_core::{Packing, Piece, Prepared};

/// A piece by its record and its place in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PieceAt {
    pub(crate) record: usize,
    pub(crate) index: usize,
}

/// Whether the pieces of a record share their batches with nothing, whatever else is in the job: so that their last bits are
/// theirs alone.
pub(crate) fn goes_alone(parts: &[Prepared], packing: Packing, max_batch_tokens: usize) -> bool {
    let mut pieces = parts.iter().flat_map(|part| &part.pieces);
    match packing {
        Packing::Padded => pieces.all(|piece| 2 * piece.n_tokens() > max_batch_tokens),
        Packing::Unpadded { .. } => pieces.all(|piece| piece.n_tokens() >= max_batch_tokens),
        Packing::Listed { .. } => false,
    }
}

/// The batches of `records`, each record's pieces in order.
pub(crate) fn pack(records: &[Vec<&Piece>], packing: Packing, max_batch_tokens: usize) -> Vec<Vec<PieceAt>> {
    let mut batches = Vec::new();
    let mut open = Open::default();
    for (record, pieces) in records.iter().enumerate() {
        for (index, piece) in pieces.iter().enumerate() {
            let n_tokens = piece.n_tokens();
            if !open.pieces.is_empty() && !open.takes(n_tokens, packing, max_batch_tokens) {
                batches.push(std::mem::take(&mut open).pieces);
            }
            open.pieces.push(PieceAt { record, index });
            open.n_tokens += n_tokens;
            open.longest = open.longest.max(n_tokens);
        }
    }
    if !open.pieces.is_empty() {
        batches.push(open.pieces);
    }
    batches
}

/// The batch that is being filled.
#[derive(Default)]
struct Open {
    pieces: Vec<PieceAt>,
    n_tokens: usize,
    longest: usize,
}

impl Open {
    fn takes(&self, n_tokens: usize, packing: Packing, max_batch_tokens: usize) -> bool {
        match packing {
            Packing::Padded => {
                let longest = self.longest.max(n_tokens);
                // At most an eighth of a row may be padding.
                let alike = self.longest.abs_diff(n_tokens) * 8 <= longest;
                alike && longest * (self.pieces.len() + 1) <= max_batch_tokens
            }
            Packing::Unpadded { max_pieces } => {
                self.pieces.len() < max_pieces && self.n_tokens + n_tokens <= max_batch_tokens
            }
            Packing::Listed { max_pieces, max_tokens } => {
                self.pieces.len() < max_pieces && self.n_tokens + n_tokens <= max_tokens
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use protext_core::LongReport;

    use super::*;

    fn sizes(lengths: &[usize], packing: Packing, max_batch_tokens: usize) -> Vec<usize> {
        let piece = |&n: &usize| Piece { start: 0, token_ids: vec![1; n], weights: vec![1.0; n], text: None };
        let pieces: Vec<Piece> = lengths.iter().map(piece).collect();
        let records: Vec<Vec<&Piece>> = pieces.iter().map(|piece| vec![piece]).collect();
        pack(&records, packing, max_batch_tokens).iter().map(Vec::len).collect()
    }

    #[test]
    fn what_fills_half_of_a_batch_goes_alone_in_any_company() {
        let record = |lengths: &[usize]| {
            let piece =
                |&n: &usize| Piece { start: 0, token_ids: vec![1; n], weights: vec![1.0; n], text: None };
            [Prepared { pieces: lengths.iter().map(piece).collect(), report: LongReport::Whole }]
        };
        for (lengths, max_batch_tokens) in [(vec![17], 32), (vec![17, 40], 32), (vec![100], 8)] {
            assert!(goes_alone(&record(&lengths), Packing::Padded, max_batch_tokens), "{lengths:?}");
            for other in 1..64 {
                let all: Vec<usize> = [other].into_iter().chain(lengths.clone()).chain([other]).collect();
                let sizes = sizes(&all, Packing::Padded, max_batch_tokens);
                assert!(sizes.len() > lengths.len(), "{all:?}: {sizes:?}");
                assert_eq!(sizes.iter().sum::<usize>(), all.len());
            }
        }
        assert!(!goes_alone(&record(&[16]), Packing::Padded, 32));
        assert!(!goes_alone(&record(&[17, 16]), Packing::Padded, 32), "one of two could have company");
        let listed = Packing::Listed { max_pieces: 3, max_tokens: 20 };
        assert!(!goes_alone(&record(&[30]), listed, 32));
        let unpadded = Packing::Unpadded { max_pieces: 5 };
        assert!(goes_alone(&record(&[32, 40]), unpadded, 32));
        assert!(!goes_alone(&record(&[31]), unpadded, 32), "one token more has room");
    }

    #[test]
    fn batches_keep_their_budget_and_padded_ones_hold_like_lengths() {
        assert_eq!(sizes(&[8, 8, 8, 9, 30, 100], Packing::Padded, 32), [3, 1, 1, 1]);
        assert_eq!(sizes(&[], Packing::Padded, 32), [0; 0]);
        let unpadded = Packing::Unpadded { max_pieces: 5 };
        assert_eq!(sizes(&[8, 1, 20, 3, 9, 30, 100], unpadded, 32), [4, 1, 1, 1]);
        assert_eq!(sizes(&[1, 1, 1, 1, 1, 1, 1], unpadded, 32), [5, 2]);
        let listed = Packing::Listed { max_pieces: 3, max_tokens: 20 };
        assert_eq!(sizes(&[9, 1, 5, 10, 1, 30, 1], listed, 1), [3, 2, 1, 1]);
    }
}
