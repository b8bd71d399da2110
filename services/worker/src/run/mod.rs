//! Running a job: plan it if need be, work on its shards beside others who do, and commit.
//!
//! Step 2 of a job's life. Any number of processes may run one job in one folder: a shard is claimed by a lock that the
//! system gives back when a process ends, however it ends, so nothing has to be cleaned up after `kill -9`.

mod answers;
mod shard;
mod stage;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use protext_engine::{Embedder, Engine};

use crate::attempts::Attempts;
use crate::commit::commit;
use crate::error::JobError;
use crate::folder::JobFolder;
use crate::manifest::Manifest;
use crate::models::{Models, embedder, ensure_fits};
use crate::pairs::{Proteins, pair_shard};
use crate::plan::{LocalInput, Plan, ShardEntry, plan, read_plan, shard_name, shards};
use crate::spec::JobSpec;
use crate::status::{JobState, StateFile, note};

pub(crate) use answers::{ANNOTATION_COLUMNS, HIT_COLUMNS};
pub(crate) use shard::content_of;
use shard::run_shard;
pub(crate) use stage::Stage;

/// Between two looks at what others do.
const POLL: Duration = Duration::from_millis(200);
/// After a failure, doubled with each further one.
const FIRST_WAIT: Duration = Duration::from_millis(500);
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// What a caller hears of a run, and how it ends it.
#[derive(Debug, Default)]
pub struct Watch {
    /// Raised by the caller: the run ends after the records under way, and can be resumed.
    pub stop: AtomicBool,
    /// Records read by planning.
    pub n_records_read: AtomicU64,
    /// Residues (or characters) embedded by this process.
    pub n_residues: AtomicU64,
}

impl Watch {
    pub(crate) fn check(&self) -> Result<(), JobError> {
        if self.stop.load(Ordering::Relaxed) { Err(JobError::Stopped) } else { Ok(()) }
    }
}

/// A job with everything at hand to work on it.
pub(crate) struct OpenJob {
    pub(crate) folder: JobFolder,
    pub(crate) spec: JobSpec,
    pub(crate) plan: Plan,
    pub(crate) shards: Vec<ShardEntry>,
    pub(crate) engine: Arc<Engine>,
    /// Of a job over pairs, read when the second stage begins.
    proteins: Mutex<Option<Arc<Proteins>>>,
}

impl OpenJob {
    /// Opens a planned job; refuses, and notes it in the job, if this worker is not for it.
    pub(crate) fn open(folder: &JobFolder, models: &dyn Models) -> Result<Self, JobError> {
        let opened = Self::open_unnoted(folder, models);
        if let Err(error) = &opened
            && is_of_worker(error)
        {
            note(folder, error.kind(), format!("a worker was refused: {error}"));
        }
        opened
    }

    fn open_unnoted(folder: &JobFolder, models: &dyn Models) -> Result<Self, JobError> {
        let spec = read_spec(folder)?;
        let plan =
            read_plan(folder)?.ok_or_else(|| folder.damaged("plan/plan.json", "the job is not planned"))?;
        let engine = open_models(models, &spec)?;
        ensure_fits(&plan, &engine, &spec)?;
        let proteins = Mutex::default();
        Ok(Self { shards: shards(folder)?, folder: folder.clone(), spec, plan, engine, proteins })
    }

    pub(crate) fn embedder(&self) -> Result<&Embedder, JobError> {
        embedder(&self.engine, &self.spec)
    }

    /// The proteins of a job over pairs; the first stage must be over.
    pub(crate) fn proteins(&self) -> Result<Arc<Proteins>, JobError> {
        let mut known = self.proteins.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(proteins) = &*known {
            return Ok(Arc::clone(proteins));
        }
        let proteins = Arc::new(Proteins::read(self)?);
        *known = Some(Arc::clone(&proteins));
        Ok(proteins)
    }
}

/// True if a worker is not for the job, which is no fault of the job.
fn is_of_worker(error: &JobError) -> bool {
    use JobError::{OtherHead, OtherSpace, OtherVersion, Unfit};
    matches!(error, OtherSpace { .. } | OtherHead { .. } | OtherVersion { .. } | Unfit { .. })
}

/// What a worker lacks is no fault of the job.
pub(crate) fn open_models(models: &dyn Models, spec: &JobSpec) -> Result<Arc<Engine>, JobError> {
    let opened = models.open(spec).and_then(|engine| embedder(&engine, spec).map(|_| ()).map(|()| engine));
    opened.map_err(|error| JobError::Unfit { source: Box::new(error) })
}

pub(crate) fn read_spec(folder: &JobFolder) -> Result<JobSpec, JobError> {
    let unknown = || JobError::Unknown { id: folder.id.clone(), place: folder.store.place() };
    folder.get_json("spec.json")?.ok_or_else(unknown)
}

/// Ends in [`JobError::Cancelled`] if someone asked for it.
pub(crate) fn check_cancelled(folder: &JobFolder) -> Result<(), JobError> {
    if folder.has("cancel")? { Err(JobError::Cancelled) } else { Ok(()) }
}

/// Plans the job unless that is done. One process plans; others wait for it.
pub(crate) fn prepare(folder: &JobFolder, models: &dyn Models, watch: &Watch) -> Result<Plan, JobError> {
    let _claim = loop {
        if let Some(plan) = read_plan(folder)? {
            return Ok(plan);
        }
        watch.check()?;
        check_cancelled(folder)?;
        match folder.claim("planning")? {
            Some(claim) => break claim,
            None => std::thread::sleep(POLL),
        }
    };
    if let Some(plan) = read_plan(folder)? {
        return Ok(plan);
    }
    let spec = read_spec(folder)?;
    let engine = open_models(models, &spec).inspect_err(|error| {
        note(folder, error.kind(), format!("a worker was refused: {error}"));
    })?;
    StateFile::set(folder, JobState::Planning)?;
    let scratch = folder.scratch()?;
    let inputs = spec.inputs.iter().map(|name| locate(folder, name, scratch.path()));
    let inputs: Vec<LocalInput> = inputs.collect::<Result<_, _>>()?;
    let plan = plan(folder, &spec, &engine, &inputs, &mut |n_records| {
        watch.n_records_read.store(n_records, Ordering::Relaxed);
        watch.check()?;
        check_cancelled(folder)
    })?;
    StateFile::set(folder, JobState::Queued)?;
    Ok(plan)
}

/// An input where this process can read it.
fn locate(folder: &JobFolder, name: &str, scratch: &std::path::Path) -> Result<LocalInput, JobError> {
    let path = match name.strip_prefix(UPLOAD) {
        Some(upload) => folder.fetch(&format!("uploads/{upload}"), scratch)?,
        None => crate::store::fetch_object(name, scratch)?,
    };
    Ok(LocalInput { name: name.to_owned(), path })
}

/// Before the name of an input that was sent with the job.
pub const UPLOAD: &str = "upload:";

/// Runs a job to its end, beside other processes that may do so. Whatever ends it is written down.
pub(crate) fn run(folder: &JobFolder, models: &dyn Models, watch: &Watch) -> Result<Manifest, JobError> {
    let ran = run_unrecorded(folder, models, watch);
    if let Err(error) = &ran {
        record_end(folder, error);
    }
    ran
}

/// Writes down why a run ended, where it concerns the job.
pub(crate) fn record_end(folder: &JobFolder, error: &JobError) {
    match error {
        // The job goes on elsewhere, or later; a worker that does not fit is in the notes.
        JobError::Stopped | JobError::InUse { .. } => {}
        error if is_of_worker(error) => {}
        JobError::Cancelled => {
            if let Err(error) = StateFile::set(folder, JobState::Cancelled) {
                tracing::error!(job = folder.id, %error, "that the job was cancelled could not be written down");
            }
        }
        error => StateFile::fail(folder, error),
    }
}

fn run_unrecorded(folder: &JobFolder, models: &dyn Models, watch: &Watch) -> Result<Manifest, JobError> {
    if let Some(manifest) = folder.get_json("manifest.json")? {
        return Ok(manifest);
    }
    let _held = folder.store.hold(&format!("{}/lock", folder.id))?;
    check_cancelled(folder)?;
    prepare(folder, models, watch)?;
    let job = OpenJob::open(folder, models)?;
    StateFile::set(folder, JobState::Running)?;
    for &stage in Stage::all(&job.spec) {
        work(&job, stage, watch)?;
    }
    commit(&job, watch)
}

/// Works on shards until none is left that anyone could do.
pub(crate) fn work(job: &OpenJob, stage: Stage, watch: &Watch) -> Result<(), JobError> {
    let mut wait = FIRST_WAIT;
    loop {
        let pass = pass(job, stage, watch)?;
        if !pass.is_any_left {
            return Ok(());
        }
        if pass.n_failed > 0 {
            nap(job, watch, wait)?;
            wait = (wait * 2).min(LONGEST_WAIT);
        } else if pass.n_done == 0 {
            nap(job, watch, POLL)?;
        }
    }
}

/// Sleeps, unless asked to stop.
fn nap(job: &OpenJob, watch: &Watch, wait: Duration) -> Result<(), JobError> {
    let mut left = wait;
    while !left.is_zero() {
        watch.check()?;
        check_cancelled(&job.folder)?;
        let part = left.min(POLL);
        std::thread::sleep(part);
        left -= part;
    }
    Ok(())
}

#[derive(Default)]
struct Pass {
    n_done: u64,
    n_failed: u64,
    /// Shards that others work on, or that failed and will be tried again.
    is_any_left: bool,
}

/// Looks at every shard once, and does those that nobody does.
fn pass(job: &OpenJob, stage: Stage, watch: &Watch) -> Result<Pass, JobError> {
    let mut pass = Pass::default();
    for shard in 0..job.shards.len() as u64 {
        if is_settled(job, stage, shard)? {
            continue;
        }
        watch.check()?;
        check_cancelled(&job.folder)?;
        let Some(_claim) = job.folder.claim(&shard_name("plan/in", shard))? else {
            pass.is_any_left = true;
            continue;
        };
        if is_settled(job, stage, shard)? {
            continue;
        }
        match attempt(job, stage, shard, watch)? {
            Attempted::Done => pass.n_done += 1,
            Attempted::GivenUp => {}
            Attempted::Failed => {
                pass.n_failed += 1;
                pass.is_any_left = true;
            }
        }
    }
    Ok(pass)
}

/// True if a shard is done or given up, or the job as a whole is done.
pub(crate) fn is_settled(job: &OpenJob, stage: Stage, shard: u64) -> Result<bool, JobError> {
    let has = |folder: &str| job.folder.has(&shard_name(folder, shard));
    Ok(has(stage.out())?
        || has(stage.given_up())?
        // What was given up by the first stage has nothing for the second.
        || (stage == Stage::Pairs && has(Stage::Contents.given_up())?)
        || job.folder.has("manifest.json")?)
}

/// What one try of a shard came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Attempted {
    /// It is done.
    Done,
    /// It has failed too often.
    GivenUp,
    /// It failed and may be tried again.
    Failed,
}

/// One try of a shard, counted. Errors are those of the machine or the caller, not of the shard.
pub(crate) fn attempt(job: &OpenJob, stage: Stage, shard: u64, watch: &Watch) -> Result<Attempted, JobError> {
    let folder = &job.folder;
    let mut attempts = Attempts::read(folder, stage, shard)?;
    if let Some(reason) = attempts.exhausted(&job.spec.cutting) {
        folder.put_json(&shard_name(stage.given_up(), shard), &reason)?;
        note(folder, "shard_given_up", format!("shard {shard}: {reason}"));
        return Ok(Attempted::GivenUp);
    }
    attempts.n_begun += 1;
    attempts.write(folder, stage, shard)?;
    let ran = match stage {
        Stage::Contents => run_shard(job, shard, watch),
        Stage::Pairs => pair_shard(job, shard, watch),
    };
    let error = match ran {
        Ok(()) => return Ok(Attempted::Done),
        Err(error) => error,
    };
    if matches!(error, JobError::Cancelled | JobError::Stopped) || error.is_of_machine() {
        // It did not fail: the try is taken back. If that cannot be written, it counts as a death, of which many are allowed.
        attempts.n_begun -= 1;
        if let Err(error) = attempts.write(folder, stage, shard) {
            tracing::warn!(job = folder.id, shard, %error, "a try could not be taken back");
        }
        return Err(error);
    }
    attempts.failures.push(error.to_string());
    attempts.write(folder, stage, shard)?;
    note(folder, "shard_failed", format!("shard {shard}, try {}: {error}", attempts.n_begun));
    Ok(Attempted::Failed)
}
