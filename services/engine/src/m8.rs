//! Search answers as m8, the twelve tab-separated columns of BLAST's and MMseqs2's tabular output.
//!
//! query, target, identity (percent), alignment columns, mismatches, gap openings, query start and end, target
//! start and end, E-value, bit score. All come from a real local alignment: a hit that could not be aligned has
//! no line here, and the cosine order is kept.

use std::fmt::Write as _;

use crate::search::SearchAnswer;

/// Names of the columns, in order.
pub const M8_COLUMNS: [&str; 12] = [
    "query", "target", "pident", "alnlen", "mismatch", "gapopen", "qstart", "qend", "tstart", "tend",
    "evalue", "bits",
];

/// One answer as m8 lines; empty if nothing aligned.
#[must_use]
pub fn m8_lines(query_id: &str, answer: &SearchAnswer) -> String {
    let mut lines = String::new();
    for hit in &answer.hits {
        let Some(alignment) = &hit.alignment else { continue };
        let ((query_start, query_end), (target_start, target_end)) =
            (alignment.query_range, alignment.target_range);
        // Writing to a String cannot fail.
        let _ = writeln!(
            lines,
            "{query_id}\t{}\t{:.1}\t{}\t{}\t{}\t{query_start}\t{query_end}\t{target_start}\t{target_end}\t{:.2e}\t{:.1}",
            hit.record.id,
            alignment.identity_percent,
            alignment.n_columns,
            alignment.n_mismatches,
            alignment.n_gap_opens,
            alignment.e_value,
            alignment.bit_score,
        );
    }
    lines
}
