//! What is known of a job: its state as it was written down, and what its folder shows.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::error::JobError;
use crate::folder::JobFolder;
use crate::manifest::Manifest;
use crate::plan::{Plan, read_plan, shards};
use crate::run::Stage;
use crate::spec::JobSpec;

/// What a job is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// Nobody has begun it.
    Submitted,
    /// Its inputs are being read.
    Planning,
    /// Its shards wait for workers.
    Queued,
    /// Its shards are being worked on.
    Running,
    /// Its results are being put together.
    Committing,
    /// Its worker ended before it did; resume it.
    Interrupted,
    /// Its results are there.
    Done,
    /// It cannot go on by itself; the error says why.
    Failed,
    /// Someone cancelled it.
    Cancelled,
}

impl JobState {
    /// True if nothing more happens unless someone resumes it.
    #[must_use]
    pub fn is_final(self) -> bool {
        matches!(self, Self::Done | Self::Failed | Self::Cancelled)
    }

    fn is_active(self) -> bool {
        matches!(self, Self::Planning | Self::Running | Self::Committing)
    }
}

impl fmt::Display for JobState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Submitted => "submitted",
            Self::Planning => "planning",
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Committing => "committing",
            Self::Interrupted => "interrupted",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        })
    }
}

/// Why a job failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobFault {
    /// A short word for programs, such as `no_space`.
    pub kind: String,
    /// For people.
    pub message: String,
}

impl JobFault {
    pub(crate) fn of(error: &JobError) -> Self {
        Self { kind: error.kind().to_owned(), message: error.to_string() }
    }
}

/// `state.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StateFile {
    pub(crate) state: JobState,
    /// Seconds since 1970, as all times here.
    pub(crate) submitted_unix_s: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) started_unix_s: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) finished_unix_s: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<JobFault>,
    /// Commit although shards failed, their records among the failures.
    #[serde(default)]
    pub(crate) leave_out_failed: bool,
    /// Shards go through the queue at this address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) queue: Option<String>,
    /// How often its shards were handed to the queue.
    #[serde(default)]
    pub(crate) n_rounds: u64,
}

/// Something that was refused, or went wrong and was tried again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// Seconds since 1970.
    pub at_unix_s: u64,
    /// A short word for programs.
    pub kind: String,
    /// For people.
    pub message: String,
}

/// Shards by what became of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardCounts {
    /// All of them.
    pub n: u64,
    /// Done.
    pub n_done: u64,
    /// Given up.
    pub n_failed: u64,
    /// Tries beyond the first, over all shards.
    pub n_retries: u64,
}

/// What is known of a job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JobStatus {
    /// Its id.
    pub id: String,
    /// `embed`, `index`, `search_all`, `annotate` or `ppi`.
    pub kind: String,
    /// What it is doing.
    pub state: JobState,
    /// When it was submitted.
    pub submitted_unix_s: u64,
    /// When a worker first began it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_unix_s: Option<u64>,
    /// When it was done, failed or was cancelled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_unix_s: Option<u64>,
    /// When its folder will be removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_unix_s: Option<u64>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<JobFault>,
    /// Shards.
    pub shards: ShardCounts,
    /// Residues (or characters) of the distinct contents.
    pub n_residues: u64,
    /// Of these, of the shards that are done.
    pub n_residues_done: u64,
    /// The queue that its shards go through, without credentials; nobody takes them from the folder then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<String>,
    /// What was submitted.
    pub spec: JobSpec,
    /// What it works on, once that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<Plan>,
    /// What came of it, once it is done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest: Option<Manifest>,
    /// The last things that were refused, or went wrong and were tried again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<Note>,
}

/// Notes that a status holds.
const MAX_NOTES: usize = 20;

pub(crate) fn now_unix_s() -> u64 {
    // A clock set before 1970 is not worth failing for.
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs())
}

/// Reads a job's status from its folder.
pub(crate) fn read_status(folder: &JobFolder, with_notes: bool) -> Result<JobStatus, JobError> {
    let unknown = || JobError::Unknown { id: folder.id.clone(), place: folder.store.place() };
    let spec: JobSpec = folder.get_json("spec.json")?.ok_or_else(unknown)?;
    let state: StateFile = folder.get_json("state.json")?.ok_or_else(unknown)?;
    let manifest: Option<Manifest> = folder.get_json("manifest.json")?;
    let plan = match &manifest {
        Some(manifest) => Some(manifest.plan.clone()),
        // A plan of another version is still worth showing.
        None => read_plan(folder).unwrap_or(None),
    };
    let (shards, n_residues_done) = match (&manifest, &plan) {
        (Some(manifest), _) => (manifest.shards, manifest.plan.counts.n_content_residues),
        (None, Some(plan)) => progress(folder, &spec, plan)?,
        (None, None) => Default::default(),
    };
    let is_over = manifest.is_some();
    let mut shown = if is_over { JobState::Done } else { state.state };
    if shown.is_active() && state.queue.is_none() && !folder.store.is_held(&format!("{}/lock", folder.id))? {
        shown = JobState::Interrupted;
    }
    let finished_unix_s = state.finished_unix_s;
    Ok(JobStatus {
        id: folder.id.clone(),
        kind: spec.task.kind().to_owned(),
        state: shown,
        submitted_unix_s: state.submitted_unix_s,
        started_unix_s: state.started_unix_s,
        finished_unix_s,
        expires_unix_s: finished_unix_s.map(|at| at + spec.keep_hours.saturating_mul(3600)),
        error: state.error.filter(|_| !is_over),
        queue: state.queue,
        shards,
        n_residues: plan.as_ref().map_or(0, |plan| plan.counts.n_content_residues),
        n_residues_done,
        notes: if with_notes { notes(folder)? } else { Vec::new() },
        spec,
        plan,
        manifest,
    })
}

/// Counted from the files that are there.
fn progress(folder: &JobFolder, spec: &JobSpec, plan: &Plan) -> Result<(ShardCounts, u64), JobError> {
    let done = folder.list(Stage::Contents.out())?;
    let mut counts = ShardCounts::default();
    for stage in Stage::all(spec) {
        counts.n += plan.counts.n_shards;
        counts.n_done +=
            if *stage == Stage::Contents { done.len() } else { folder.list(stage.out())?.len() } as u64;
        counts.n_failed += folder.list(stage.given_up())?.len() as u64;
    }
    let mut n_residues = 0;
    if done.len() as u64 >= plan.counts.n_shards {
        n_residues = plan.counts.n_content_residues;
    } else if !done.is_empty() {
        let entries = shards(folder)?;
        let of = |name: &String| entries.get(name.parse::<usize>().ok()?).map(|entry| entry.n_residues);
        n_residues = done.iter().filter_map(of).sum();
    }
    Ok((counts, n_residues))
}

fn notes(folder: &JobFolder) -> Result<Vec<Note>, JobError> {
    let names = folder.list("notes")?;
    let last = names.iter().skip(names.len().saturating_sub(MAX_NOTES));
    let mut notes = Vec::new();
    for name in last {
        notes.extend(folder.get_json(&format!("notes/{name}"))?);
    }
    Ok(notes)
}

/// Writes a note, if it can be written: what it tells of has gone wrong already.
pub(crate) fn note(folder: &JobFolder, kind: &str, message: String) {
    let at_unix_s = now_unix_s();
    let name = format!("notes/{at_unix_s:012}-{:08x}.json", rand::random::<u32>());
    let note = Note { at_unix_s, kind: kind.to_owned(), message };
    if let Err(error) = folder.put_json(&name, &note) {
        tracing::warn!(job = folder.id, %error, "a note could not be written");
    }
}

impl StateFile {
    pub(crate) fn read(folder: &JobFolder) -> Result<Self, JobError> {
        let unknown = || JobError::Unknown { id: folder.id.clone(), place: folder.store.place() };
        folder.get_json("state.json")?.ok_or_else(unknown)
    }

    /// Goes on to a state.
    pub(crate) fn set(folder: &JobFolder, state: JobState) -> Result<(), JobError> {
        let mut file = Self::read(folder)?;
        file.state = state;
        if state.is_active() {
            file.started_unix_s.get_or_insert_with(now_unix_s);
            file.error = None;
        }
        file.finished_unix_s = state.is_final().then(now_unix_s);
        folder.put_json("state.json", &file)
    }

    /// Writes down why the job cannot go on; what was reserved makes room for it on a full disk.
    pub(crate) fn fail(folder: &JobFolder, error: &JobError) {
        let written = Self::read(folder).and_then(|mut file| {
            file.state = JobState::Failed;
            file.finished_unix_s = Some(now_unix_s());
            file.error = Some(JobFault::of(error));
            folder.put_json("state.json", &file).or_else(|_| {
                folder.remove("reserved")?;
                folder.put_json("state.json", &file)
            })
        });
        if let Err(error) = written {
            tracing::error!(job = folder.id, %error, "why the job failed could not be written down");
        }
    }
}
