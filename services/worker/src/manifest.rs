//! `manifest.json`: what came of a job. It is written last; with it the job is done.
//!
//! It holds no times and nothing of the machine, so two runs of one job differ in it by the job's name and outputs alone.

use serde::{Deserialize, Serialize};

use crate::plan::Plan;
use crate::spec::JobSpec;
use crate::status::ShardCounts;

/// What came of a job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// The job.
    pub id: String,
    /// Model, spaces, inputs with their hashes, and what planning counted.
    pub plan: Plan,
    /// What was submitted.
    pub spec: JobSpec,
    /// Records with a result.
    pub n_done: u64,
    /// Records without; `failures.jsonl` has each with number and reason.
    pub n_failed: u64,
    /// Shards.
    pub shards: ShardCounts,
    /// What was written.
    pub results: Vec<ResultFile>,
}

/// A file that a job wrote, or the folder of a collection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResultFile {
    /// Path or address.
    pub place: String,
    /// True if it lies in the job's own folder and goes with it.
    pub in_job: bool,
    /// `parquet`, `hdf5`, `npz`, `jsonl`, `tsv`, `m8` or `collection`.
    pub format: String,
    /// Its size.
    pub n_bytes: u64,
    /// sha256 of its bytes; none for a folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
}
