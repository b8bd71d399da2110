//! Clusters by MMseqs2, as published splits use them.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::error::SplitError;
use super::union_find::UnionFind;
use crate::program::run_bounded;

const PROGRAM: &str = "mmseqs";
const TIMEOUT: Duration = Duration::from_secs(3600);
/// 30% identity over 80% of both sequences, every member with its nearest representative.
const CRITERIA: [&str; 8] =
    ["--min-seq-id", "0.3", "-c", "0.8", "--cov-mode", "0", "--cluster-reassign", "1"];
pub(super) const DESCRIPTION: &str =
    "MMseqs2 easy-cluster --min-seq-id 0.3 -c 0.8 --cov-mode 0 --cluster-reassign 1";

/// True if MMseqs2 can be started.
#[must_use]
pub fn mmseqs_is_here() -> bool {
    let silent = |command: &mut Command| {
        command.arg("version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status()
    };
    silent(&mut Command::new(PROGRAM)).is_ok_and(|status| status.success())
}

pub(super) fn mmseqs_clusters(sequences: &[&str]) -> Result<Vec<u32>, SplitError> {
    let io = |source| SplitError::Io { program: PROGRAM, source };
    let folder = tempfile::tempdir().map_err(io)?;
    let (fasta, prefix) = (folder.path().join("all.fasta"), folder.path().join("clusters"));
    // Equal sequences go in once, in an order of their own, so that the order of rows does not matter; names are
    // numbers, so that no header can confuse the program.
    let mut different = sequences.to_vec();
    different.sort_unstable();
    different.dedup();
    let mut text = String::new();
    for (number, sequence) in different.iter().enumerate() {
        // Writing to a String cannot fail.
        let _ = writeln!(text, ">{number}\n{sequence}");
    }
    std::fs::write(&fasta, text).map_err(io)?;
    let mut command = Command::new(PROGRAM);
    command.arg("easy-cluster").args([&fasta, &prefix]).arg(folder.path().join("tmp"));
    command.args(CRITERIA).args(["-v", "1"]);
    run_bounded(command, TIMEOUT).map_err(|reason| SplitError::Program { program: PROGRAM, reason })?;
    let table = std::fs::read_to_string(folder.path().join("clusters_cluster.tsv")).map_err(io)?;
    let clusters = clusters(&table, different.len())?;
    let numbers: HashMap<&str, usize> = different.iter().enumerate().map(|(at, &text)| (text, at)).collect();
    Ok(sequences.iter().map(|sequence| clusters[numbers[sequence]]).collect())
}

/// Lines of representative and member.
fn clusters(table: &str, n: usize) -> Result<Vec<u32>, SplitError> {
    let mut sets = UnionFind::new(n);
    for line in table.lines() {
        let number = |field: Option<&str>| field?.trim().parse().ok().filter(|&number: &usize| number < n);
        let mut fields = line.split('\t');
        let (Some(representative), Some(member)) = (number(fields.next()), number(fields.next())) else {
            let reason = format!("its table of clusters holds the line {line:?}");
            return Err(SplitError::Program { program: PROGRAM, reason });
        };
        sets.join(representative, member);
    }
    Ok(sets.roots())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_of_clusters_is_read_and_a_broken_one_refused() {
        assert_eq!(clusters("2\t2\n2\t0\n1\t1\n", 4).unwrap(), [0, 1, 0, 3]);
        for broken in ["0\n", "x\t1\n", "0\t9\n"] {
            assert!(clusters(broken, 4).is_err());
        }
    }
}
