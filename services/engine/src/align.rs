//! Local alignment of a query with a hit, for the columns of m8: identity, ranges, bit score, E-value.
//!
//! Smith-Waterman with BLOSUM62, gap existence 11 and extension 1, as blastp. Bit scores and E-values use the gapped
//! Karlin-Altschul parameters of that scoring system. Source: NCBI BLAST (`blast_stat.c`, BLOSUM62 11/1:
//! lambda 0.267, K 0.041). Only what was aligned is reported; nothing is derived from a cosine.
//!
//! The table of scores is filled by `block_aligner`'s vector instructions, in one block that holds it whole, so that
//! nothing is left out; what sixteen bits cannot score, and processors without AVX2, go to `bio`, one cell at a time.
//! Both find the best score (a test holds them to each other); of paths with equal scores each may take its own.

use bio::alignment::AlignmentOperation;
use bio::alignment::pairwise::Aligner;
use bio::scores::blosum62;
use block_aligner::cigar::{Cigar, Operation};
use block_aligner::scan_block::{Block, PaddedBytes};
use block_aligner::scores::{AAMatrix, BLOSUM62, Gaps};

/// Karlin-Altschul lambda for BLOSUM62 with gaps 11/1.
const LAMBDA: f64 = 0.267;
/// Karlin-Altschul K for BLOSUM62 with gaps 11/1.
const K: f64 = 0.041;

/// What a gap's first column costs: blastp counts existence and one extension, both libraries count columns.
const GAP_FIRST: i8 = -12;
/// What each further column of a gap costs.
const GAP_NEXT: i8 = -1;

/// Longest sequence that a block holds, in residues: a block's side is a power of two, 16,384 at most.
const LONGEST_IN_BLOCK: usize = (1 << 14) - 1;
/// Scores from here on may have run into the end of sixteen bits.
const HIGHEST_IN_BLOCK: i32 = 16_000;
/// Most pairs of residues that are scored one by one: two bytes each are kept for the way back.
const MOST_PAIRS_ONE_BY_ONE: usize = 1 << 26;

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

/// Aligns two sequences; `None` if no pair of residues scores above zero, or if they are too long together.
///
/// `database_residues` is the size of what was searched, for the E-value. Time and memory grow with the product of
/// the lengths; too long are two of which one has over 16,383 residues, or whose score passes 16,000, with over
/// 67 million pairs of residues. An alignment takes 200 MB at most.
#[must_use]
pub fn align_locally(query: &str, target: &str, database_residues: u64) -> Option<LocalAlignment> {
    let path = best_path(query, target)?;
    let (mut n_matches, mut n_mismatches, mut n_gap_opens, mut n_columns) = (0, 0, 0, 0);
    let (mut query_end, mut target_end) = path.start;
    for &(column, length) in &path.runs {
        match column {
            Column::Identical => n_matches += length,
            Column::Different => n_mismatches += length,
            Column::QueryOnly | Column::TargetOnly => n_gap_opens += 1,
        }
        n_columns += length;
        query_end += column.query_residues() * length;
        target_end += column.target_residues() * length;
    }
    let bit_score = (LAMBDA * f64::from(path.score) - K.ln()) / std::f64::consts::LN_2;
    let search_space = query.len() as f64 * database_residues as f64;
    Some(LocalAlignment {
        identity_percent: 100.0 * n_matches as f64 / n_columns as f64,
        n_columns,
        n_mismatches,
        n_gap_opens,
        query_range: (path.start.0 + 1, query_end),
        target_range: (path.start.1 + 1, target_end),
        score: path.score,
        bit_score,
        e_value: search_space * (-bit_score * std::f64::consts::LN_2).exp(),
    })
}

/// Positions that the best local alignment puts side by side, 0-based, query first; gaps are left out. None without an
/// alignment.
#[must_use]
pub fn aligned_positions(query: &str, target: &str) -> Vec<(usize, usize)> {
    let Some(path) = best_path(query, target) else { return Vec::new() };
    let (mut at_query, mut at_target) = path.start;
    let mut pairs = Vec::new();
    for (column, length) in path.runs {
        if matches!(column, Column::Identical | Column::Different) {
            pairs.extend((0..length).map(|step| (at_query + step, at_target + step)));
        }
        at_query += column.query_residues() * length;
        at_target += column.target_residues() * length;
    }
    pairs
}

/// A local alignment: its score, its first pair of residues (0-based, query first), and its columns in runs.
#[derive(Debug)]
struct Path {
    score: i32,
    start: (usize, usize),
    runs: Vec<(Column, usize)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Column {
    Identical,
    Different,
    /// A residue of the query beside a gap.
    QueryOnly,
    /// A residue of the target beside a gap.
    TargetOnly,
}

impl Column {
    fn query_residues(self) -> usize {
        usize::from(self != Self::TargetOnly)
    }

    fn target_residues(self) -> usize {
        usize::from(self != Self::QueryOnly)
    }
}

fn best_path(query: &str, target: &str) -> Option<Path> {
    let (query, target) = (scored_letters(query), scored_letters(target));
    let path = if processor_has_vectors() { path_in_block(&query, &target) } else { None };
    path.or_else(|| path_one_by_one(&query, &target)).filter(|path| path.score > 0)
}

/// Whether this processor has the instructions that `block_aligner` was built with.
fn processor_has_vectors() -> bool {
    #[cfg(target_arch = "x86_64")]
    return std::arch::is_x86_feature_detected!("avx2");
    #[cfg(not(target_arch = "x86_64"))]
    true
}

/// `None` where a block cannot hold the two sequences or their score.
fn path_in_block(query: &[u8], target: &[u8]) -> Option<Path> {
    /// Steps are kept for the way back, and the alignment may end, and start, anywhere.
    type LocalBlock = Block<true, true, true>;
    let longest = query.len().max(target.len());
    if longest > LONGEST_IN_BLOCK {
        return None;
    }
    let side = (longest + 1).next_power_of_two().max(32);
    let padded = |residues| PaddedBytes::from_bytes::<AAMatrix>(residues, side);
    let (query, target) = (padded(query), padded(target));
    let mut block = LocalBlock::new(query.len(), target.len(), side);
    let gaps = Gaps { open: GAP_FIRST, extend: GAP_NEXT };
    // A fall so deep never happens: the block is filled to its end.
    let never = i32::MAX / 2;
    block.align(&query, &target, &BLOSUM62, gaps, side..=side, never);
    let end = block.res();
    if end.score > HIGHEST_IN_BLOCK {
        return None;
    }
    let mut steps = Cigar::new(end.query_idx, end.reference_idx);
    block.trace().cigar_eq(&query, &target, end.query_idx, end.reference_idx, &mut steps);
    let mut start = (end.query_idx, end.reference_idx);
    let mut runs = Vec::with_capacity(steps.len());
    for step in (0..steps.len()).map(|at| steps.get(at)) {
        let column = match step.op {
            Operation::Eq => Column::Identical,
            Operation::X => Column::Different,
            Operation::I => Column::QueryOnly,
            Operation::D => Column::TargetOnly,
            Operation::M | Operation::Sentinel => continue,
        };
        start.0 -= column.query_residues() * step.len;
        start.1 -= column.target_residues() * step.len;
        runs.push((column, step.len));
    }
    Some(Path { score: end.score, start, runs })
}

/// `None` if there are more pairs of residues than memory is given for.
fn path_one_by_one(query: &[u8], target: &[u8]) -> Option<Path> {
    if query.len().saturating_mul(target.len()) > MOST_PAIRS_ONE_BY_ONE {
        return None;
    }
    let (first, next) = (i32::from(GAP_FIRST), i32::from(GAP_NEXT));
    let mut aligner = Aligner::with_capacity(query.len(), target.len(), first, next, blosum62);
    let alignment = aligner.local(query, target);
    let mut runs: Vec<(Column, usize)> = Vec::new();
    for operation in &alignment.operations {
        let column = match operation {
            AlignmentOperation::Match => Column::Identical,
            AlignmentOperation::Subst => Column::Different,
            AlignmentOperation::Ins => Column::QueryOnly,
            // Of the target: what the query lacks is a deletion.
            AlignmentOperation::Del => Column::TargetOnly,
            AlignmentOperation::Xclip(_) | AlignmentOperation::Yclip(_) => continue,
        };
        match runs.last_mut() {
            Some((of, length)) if *of == column => *length += 1,
            _ => runs.push((column, 1)),
        }
    }
    Some(Path { score: alignment.score, start: (alignment.xstart, alignment.ystart), runs })
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
    use proptest::prelude::*;

    use super::*;

    const HBA_HUMAN: &str = "MVLSPADKTNVKAAWGKVGAHAGEYGAEALERMFLSFPTTKTYFPHFDLSHGSAQVKGHGKKVADALTNAVAHVDDMPNALSALSDLHAHKLR\
        VDPVNFKLLSHCLLVTLAAHLPAEFTPAVHASLDKFLASVSTVLTSKYR";
    const HBB_HUMAN: &str = "MVHLTPEEKSAVTALWGKVNVDEVGGEALGRLLVVYPWTQRFFESFGDLSTPDAVMGNPKVKAHGKKVLGAFSDGLAHLDNLKGTFATLSELH\
        CDKLHVDPENFRLLGNVLVCVLAHHFGKEFTPPVQAAYQKVVAGVANALAHKYH";

    const MYG_HUMAN: &str = "MGLSDGEWQLVLNVWGKVEADIPGHGQEVLIRLFKGHPETLEKFDKFKHLKSEDEMKASEDLKKHGATVLTALGGILKKKGHHEAEIKPLAQS\
        HATKHKIPVKYLEFISECIIQVLQSKHPGDFGADAQGAMNKALELFRKDMASNYKELGFQG";

    /// The score that a path's own columns have.
    fn scored_again(path: &Path, query: &str, target: &str) -> i32 {
        let (query, target) = (scored_letters(query), scored_letters(target));
        let (mut at_query, mut at_target) = path.start;
        let mut score = 0;
        for &(column, length) in &path.runs {
            let gap = i32::from(GAP_FIRST) + i32::from(GAP_NEXT) * (length as i32 - 1);
            score += match column {
                Column::QueryOnly | Column::TargetOnly => gap,
                _ => (0..length).map(|step| blosum62(query[at_query + step], target[at_target + step])).sum(),
            };
            at_query += column.query_residues() * length;
            at_target += column.target_residues() * length;
        }
        score
    }

    /// Both ways of filling the table, each with a path that has its score.
    fn held_together(query: &str, target: &str) {
        let (q, t) = (scored_letters(query), scored_letters(target));
        let one_by_one = path_one_by_one(&q, &t).unwrap();
        assert_eq!(scored_again(&one_by_one, query, target), one_by_one.score);
        if processor_has_vectors() {
            let in_block = path_in_block(&q, &t).unwrap();
            assert_eq!(in_block.score, one_by_one.score, "{query} {target}");
            assert_eq!(scored_again(&in_block, query, target), in_block.score, "{query} {target}");
        }
    }

    /// 285 is what parasail 2.6 says, and the 114 bits of blastp; more than one path has it. Against
    /// myoglobin parasail's path is the only one.
    #[test]
    fn globins_score_as_blastp_scores_them() {
        let alignment = align_locally(HBA_HUMAN, HBB_HUMAN, 1_000_000).unwrap();
        assert_eq!((alignment.score, alignment.n_columns), (285, 145));
        assert!((alignment.bit_score - 114.4).abs() < 0.05);
        assert_eq!((alignment.query_range, alignment.target_range), ((3, 141), (4, 146)));
        let alignment = align_locally(HBA_HUMAN, MYG_HUMAN, 1_000_000).unwrap();
        assert_eq!((alignment.score, alignment.n_columns, alignment.n_gap_opens), (123, 148, 1));
        assert_eq!(alignment.identity_percent, 100.0 * 39.0 / 148.0);
        assert_eq!(alignment.n_mismatches, 148 - 39 - 6);
        assert_eq!((alignment.query_range, alignment.target_range), ((1, 142), (1, 148)));
        held_together(HBA_HUMAN, HBB_HUMAN);
        held_together(HBA_HUMAN, MYG_HUMAN);
    }

    /// A protein, and what 60% identity, insertions and deletions leave of it.
    fn relatives() -> impl Strategy<Value = (String, String)> {
        let letters = "ACDEFGHIKLMNPQRSTVWYBZXUOJ";
        let residue = proptest::sample::select(letters.as_bytes()).prop_map(char::from);
        let edit = prop_oneof![
            12 => Just(0_usize), // kept
            6 => Just(1), // another residue
            1 => Just(2), // left out
            1 => 3..12_usize, // kept, and some put in behind it
        ];
        proptest::collection::vec((residue.clone(), residue, edit), 1..400).prop_map(|edits| {
            let original = edits.iter().map(|&(kept, _, _)| kept).collect();
            let changed = edits.iter().flat_map(|&(kept, other, edit)| match edit {
                0 => vec![kept],
                1 => vec![other],
                2 => vec![],
                n => std::iter::once(kept).chain(std::iter::repeat_n(other, n - 2)).collect(),
            });
            (original, changed.collect())
        })
    }

    proptest! {
        #[test]
        fn vectors_find_the_score_that_cells_one_by_one_have((query, target) in relatives()) {
            held_together(&query, &target);
            held_together(&target, &query);
        }
    }

    #[test]
    fn lengths_beside_a_power_of_two_are_whole() {
        for length in [1, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 255, 256, 257] {
            let query = HBA_HUMAN.repeat(2)[..length].to_owned();
            held_together(&query, &query);
            held_together(&query, &format!("{}{query}", &HBB_HUMAN[..9]));
        }
    }

    /// What sixteen bits cannot score is scored one by one, and what memory is not given for is not aligned.
    #[test]
    fn giants_are_scored_whole_or_not_at_all() {
        let giant = HBA_HUMAN.repeat(24);
        let alignment = align_locally(&giant, &giant, 1_000).unwrap();
        assert!(alignment.score > HIGHEST_IN_BLOCK);
        assert_eq!((alignment.identity_percent, alignment.n_columns), (100.0, giant.len()));
        let titin = HBA_HUMAN.repeat(240);
        assert_eq!(align_locally(&titin, &titin, 1_000), None);
        assert_eq!(align_locally(&titin, HBA_HUMAN, 1_000).unwrap().n_columns, HBA_HUMAN.len());
    }

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
