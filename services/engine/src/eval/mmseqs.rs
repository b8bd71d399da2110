//! MMseqs2 as a baseline: all queries against all domains at its highest sensitivity.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::cath::CathDomain;
use super::error::EvalError;
use super::homology::HomologyQueries;
use crate::program::run_bounded;

/// What to type where the program is missing.
pub const MMSEQS_HINT: &str = "mmseqs is not installed; `apt-get install mmseqs2` puts it beside our figures";

const PROGRAM: &str = "mmseqs";
const TIMEOUT: Duration = Duration::from_secs(1800);

/// For each query the rows that MMseqs2 found, best first; `None` if the program is not installed.
///
/// Sensitivity 7.5, every hit up to E = 10,000 kept, ranked by E-value, then bit score.
///
/// # Errors
/// [`EvalError::Program`] or [`EvalError::Io`].
pub fn mmseqs_ranked_lists(
    domains: &[CathDomain],
    queries: &HomologyQueries,
) -> Result<Option<Vec<Vec<usize>>>, EvalError> {
    let found = Command::new(PROGRAM).arg("version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if found.is_err() {
        return Ok(None);
    }
    let io = |source| EvalError::Io { program: PROGRAM, source };
    let folder = tempfile::tempdir().map_err(io)?;
    let (asking, all) = (folder.path().join("queries.fasta"), folder.path().join("all.fasta"));
    write_fasta(&asking, domains, queries.rows.iter().copied()).map_err(io)?;
    write_fasta(&all, domains, 0..domains.len()).map_err(io)?;
    let output = folder.path().join("hits.m8");
    let mut command = Command::new(PROGRAM);
    command.arg("easy-search").args([&asking, &all, &output]).arg(folder.path().join("tmp"));
    command.args(["-s", "7.5", "-e", "10000", "--max-seqs", "4000", "-v", "1"]);
    command.args(["--format-output", "query,target,evalue,bits"]);
    run_bounded(command, TIMEOUT).map_err(|reason| EvalError::Program { program: PROGRAM, reason })?;
    let hits = std::fs::read_to_string(&output).map_err(io)?;
    Ok(Some(ranked(&hits, queries)))
}

/// Names are row numbers, so that no header can confuse the program.
fn write_fasta(
    path: &Path,
    domains: &[CathDomain],
    rows: impl Iterator<Item = usize>,
) -> std::io::Result<()> {
    let mut fasta = String::new();
    for row in rows {
        // Writing to a String cannot fail.
        let _ = writeln!(fasta, ">{row}\n{}", domains[row].sequence);
    }
    std::fs::write(path, fasta)
}

fn ranked(hits: &str, queries: &HomologyQueries) -> Vec<Vec<usize>> {
    let mut lists: HashMap<usize, Vec<(f64, f64, usize)>> = HashMap::new();
    for line in hits.lines() {
        let fields: Vec<&str> = line.split('\t').collect();
        let [query, target, e_value, bits] = fields[..] else { continue };
        let (Ok(query), Ok(target)) = (query.parse::<usize>(), target.parse::<usize>()) else { continue };
        let (Ok(e_value), Ok(bits)) = (e_value.parse(), bits.parse()) else { continue };
        if query != target {
            lists.entry(query).or_default().push((e_value, bits, target));
        }
    }
    let order = |a: &(f64, f64, usize), b: &(f64, f64, usize)| {
        a.0.total_cmp(&b.0).then(b.1.total_cmp(&a.1)).then(a.2.cmp(&b.2))
    };
    let mut list = |row: &usize| {
        let mut hits = lists.remove(row).unwrap_or_default();
        hits.sort_by(order);
        hits.dedup_by_key(|hit| hit.2);
        hits.into_iter().map(|hit| hit.2).collect()
    };
    queries.rows.iter().map(&mut list).collect()
}
