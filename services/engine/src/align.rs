//! Local alignment of a query with a hit, for the columns of m8: identity, ranges, bit score, E-value.
//!
//! Smith-Waterman with BLOSUM62, gap open 11 and extend 1, as blastp. Bit scores and E-values use the gapped
//! Karlin-Altschul parameters of that scoring system. Source: NCBI BLAST (`blast_stat.c`, BLOSUM62 11/1:
//! lambda 0.267, K 0.041). Only what was aligned is reported; nothing is derived from a cosine.

use bio::alignment::AlignmentOperation;
use bio::alignment::pairwise::Aligner;
use bio::scores::blosum62;

/// Karlin-Altschul lambda for BLOSUM62 with gaps 11/1.
const LAMBDA: f64 = 0.267;
/// Karlin-Altschul K for BLOSUM62 with gaps 11/1.
const K: f64 = 0.041;

/// One local alignment; ranges are 1-based and inclusive, as in m8.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct LocalAlignment {
    /// Identical columns in percent of alignment columns, 0..=100.
    pub identity_percent: f64,
    /// Columns, gaps included.
    pub n_columns: usize,
    /// Columns with two different residues.
    pub n_mismatches: usize,
    /// Runs of gaps.
    pub n_gap_opens: usize,
    /// First and last aligned residue of the query.
    pub query_range: (usize, usize),
    /// First and last aligned residue of the hit.
    pub target_range: (usize, usize),
    /// Raw score in half bits of BLOSUM62.
    pub score: i32,
    /// Normalised score.
    pub bit_score: f64,
    /// Expected number of alignments this good in a database of the size given.
    pub e_value: f64,
}

/// Aligns two sequences; `None` if no pair of residues scores above zero.
///
/// `database_residues` is the size of what was searched, for the E-value. Time and memory grow with the product
/// of the lengths.
#[must_use]
pub fn align_locally(query: &str, target: &str, database_residues: u64) -> Option<LocalAlignment> {
    let (query, target) = (scored_letters(query), scored_letters(target));
    let mut aligner = Aligner::with_capacity(query.len(), target.len(), -11, -1, blosum62);
    let alignment = aligner.local(&query, &target);
    if alignment.score <= 0 {
        return None;
    }
    let (mut n_matches, mut n_mismatches, mut n_gap_opens, mut n_columns) = (0, 0, 0, 0);
    let mut previous = None;
    for operation in &alignment.operations {
        match operation {
            AlignmentOperation::Match => n_matches += 1,
            AlignmentOperation::Subst => n_mismatches += 1,
            AlignmentOperation::Del | AlignmentOperation::Ins => {
                n_gap_opens += usize::from(previous != Some(operation));
            }
            AlignmentOperation::Xclip(_) | AlignmentOperation::Yclip(_) => continue,
        }
        n_columns += 1;
        previous = Some(operation);
    }
    let bit_score = (LAMBDA * f64::from(alignment.score) - K.ln()) / std::f64::consts::LN_2;
    let search_space = query.len() as f64 * database_residues as f64;
    Some(LocalAlignment {
        identity_percent: 100.0 * f64::from(n_matches) / n_columns as f64,
        n_columns,
        n_mismatches,
        n_gap_opens,
        query_range: (alignment.xstart + 1, alignment.xend),
        target_range: (alignment.ystart + 1, alignment.yend),
        score: alignment.score,
        bit_score,
        e_value: search_space * (-bit_score * std::f64::consts::LN_2).exp(),
    })
}

/// Positions that the best local alignment puts side by side, 0-based, query first; gaps are left out. None without an
/// alignment.
#[must_use]
pub fn aligned_positions(query: &str, target: &str) -> Vec<(usize, usize)> {
    let (query, target) = (scored_letters(query), scored_letters(target));
    let mut aligner = Aligner::with_capacity(query.len(), target.len(), -11, -1, blosum62);
    let alignment = aligner.local(&query, &target);
    let (mut at_query, mut at_target) = (alignment.xstart, alignment.ystart);
    let mut pairs = Vec::new();
    for operation in &alignment.operations {
        match operation {
            AlignmentOperation::Match | AlignmentOperation::Subst => {
                pairs.push((at_query, at_target));
                (at_query, at_target) = (at_query + 1, at_target + 1);
            }
            // Of the target: what the query lacks is a deletion.
            AlignmentOperation::Del => at_target += 1,
            AlignmentOperation::Ins => at_query += 1,
            AlignmentOperation::Xclip(_) | AlignmentOperation::Yclip(_) => {}
        }
    }
    pairs
}

/// BLOSUM62 scores the 20 residues, B, Z and X; the rest is scored as X (U as C).
fn scored_letters(residues: &str) -> Vec<u8> {
    let letter = |residue| match residue {
        b'U' => b'C',
        b'O' | b'J' | b'*' => b'X',
        other => other,
    };
    residues.bytes().map(letter).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_side_by_side_pass_over_gaps() {
        let (query, target) = ("MKTAYIAKQRWWQISFVKSHFSRQ", "AAMKTAYIAKQRQISFVKSHFSRQ");
        let pairs = aligned_positions(query, target);
        assert_eq!((pairs[0], pairs.last().copied()), ((0, 2), Some((23, 23))));
        assert_eq!(pairs.len(), 22);
        let letters = |&(a, b): &(usize, usize)| (query.as_bytes()[a], target.as_bytes()[b]);
        assert!(pairs.iter().map(letters).all(|(a, b)| a == b));
        assert!(aligned_positions("AAAA", "WWWW").is_empty());
    }

    #[test]
    fn an_identical_pair_is_identical_from_end_to_end() {
        let alignment = align_locally("MKTAYIAKQR", "MKTAYIAKQR", 1_000).unwrap();
        assert_eq!(alignment.identity_percent, 100.0);
        assert_eq!((alignment.query_range, alignment.target_range), ((1, 10), (1, 10)));
        assert_eq!((alignment.n_columns, alignment.n_mismatches, alignment.n_gap_opens), (10, 0, 0));
        // BLOSUM62 diagonal: M5 K5 T5 A4 Y7 I4 A4 K5 Q5 R5.
        assert_eq!(alignment.score, 49);
        assert!((alignment.bit_score - (0.267 * 49.0 - 0.041_f64.ln()) / 2.0_f64.ln()).abs() < 1e-9);
    }

    #[test]
    fn gaps_and_mismatches_are_counted_and_ranges_are_local() {
        let core = "WWCHFYPWWCHFYP";
        let with_gap = "WWCHFYPAAWWCHFYP";
        let alignment = align_locally(&format!("GGG{core}"), &format!("II{with_gap}"), 1_000).unwrap();
        assert_eq!((alignment.n_gap_opens, alignment.n_columns), (1, 16));
        assert_eq!((alignment.query_range, alignment.target_range), ((4, 17), (3, 18)));
        assert_eq!(alignment.identity_percent, 100.0 * 14.0 / 16.0);
    }

    #[test]
    fn nothing_alike_gives_nothing_and_odd_letters_do_not_panic() {
        assert_eq!(align_locally("W", "G", 10), None);
        assert!(align_locally("MUOBZX*J", "MCXBZXXX", 10).is_some());
    }
}
