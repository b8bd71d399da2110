//! The commit: shards become the job's output, in the order of its records, and the manifest says that it is there.
//!
//! Step 3 of a job's life. The output is written beside its place, hashed, announced (`commit.json`), given its name, and
//! only then the manifest is written: whoever dies in between, the next one finds out what is his own and goes on. Done
//! again it gives the same bytes, so it may be done again. The inputs' and shards' files are removed at the end.

mod assemble;
mod pair_lines;
mod place;
mod write;

use serde::{Deserialize, Serialize};

use crate::attempts::Attempts;
use crate::blobs::BlobFile;
use crate::error::JobError;
use crate::failures::Failure;
use crate::folder::JobFolder;
use crate::manifest::{Manifest, ResultFile};
use crate::plan::{Lines, shard_name};
use crate::run::{OpenJob, Stage, Watch, check_cancelled};
use crate::status::{JobState, ShardCounts, StateFile, note};

use assemble::{Assembled, Assembly};
pub(crate) use place::ensure_free;
use place::{Destination, Staged};
use write::ResultWriter;

/// Records between two looks at whether the job was cancelled.
const LOOK_EVERY: u64 = 1 << 10;

/// `commit.json`: what is about to get the output's name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Announced {
    pub(crate) results: Vec<ResultFile>,
}

/// Puts the results together, unless that was done. One process commits; others wait for it.
pub(crate) fn commit(job: &OpenJob, watch: &Watch) -> Result<Manifest, JobError> {
    let folder = &job.folder;
    let _claim = loop {
        if let Some(manifest) = folder.get_json("manifest.json")? {
            return Ok(manifest);
        }
        watch.check()?;
        check_cancelled(folder)?;
        match folder.claim("committing")? {
            Some(claim) => break claim,
            None => std::thread::sleep(std::time::Duration::from_millis(100)),
        }
    };
    // The one before may have just finished.
    if let Some(manifest) = folder.get_json("manifest.json")? {
        return Ok(manifest);
    }
    StateFile::set(folder, JobState::Committing)?;
    let shards = check_shards(job)?;
    let scratch = folder.scratch()?;
    let destination = Destination::of(job)?;
    let mut failures = Lines::new(folder)?;
    let mut writer = ResultWriter::create(job, &destination, scratch.path())?;
    let (n_done, n_failed) = assemble(job, watch, scratch.path(), &mut writer, &mut failures)?;
    if n_done == 0 {
        return Err(JobError::NothingLeft { n_records: job.plan.counts.n_records });
    }
    let staged = writer.finish()?;
    let failures = failures.finish().map_err(|error| folder.write_failed("failures.jsonl", error))?;
    folder.put_file("failures.jsonl", failures)?;
    // The last moment at which it can be cancelled.
    watch.check()?;
    check_cancelled(folder)?;
    let results = publish(job, &destination, staged)?;
    let manifest = Manifest {
        id: folder.id.clone(),
        plan: job.plan.clone(),
        spec: job.spec.clone(),
        n_done,
        n_failed,
        shards,
        results,
    };
    folder.put_json("manifest.json", &manifest)?;
    StateFile::set(folder, JobState::Done)?;
    clean(folder);
    Ok(manifest)
}

/// Every shard is there and whole, or was given up and may be left out. One that is damaged is done again.
fn check_shards(job: &OpenJob) -> Result<ShardCounts, JobError> {
    let folder = &job.folder;
    let scratch = folder.scratch()?;
    let may_leave_out = StateFile::read(folder)?.leave_out_failed;
    let stages = Stage::all(&job.spec);
    let n_shards = job.shards.len() as u64;
    let mut counts = ShardCounts { n: n_shards * stages.len() as u64, ..ShardCounts::default() };
    let mut first: Option<(u64, String)> = None;
    for (&stage, shard) in stages.iter().flat_map(|stage| (0..n_shards).map(move |shard| (stage, shard))) {
        let tries = Attempts::read(folder, stage, shard)?.n_begun;
        counts.n_retries += u64::from(tries.saturating_sub(1));
        let name = shard_name(stage.out(), shard);
        if folder.has(&name)? {
            let path = folder.fetch(&name, scratch.path())?;
            if let Err(error) = BlobFile::verify(&path) {
                folder.remove(&name)?;
                note(folder, "damaged", format!("shard {shard}: {error}; it will be done again"));
                return Err(folder.read_failed(&name, error));
            }
            counts.n_done += 1;
            continue;
        }
        let reason: Option<String> = folder.get_json(&shard_name(stage.given_up(), shard))?;
        counts.n_failed += 1;
        first.get_or_insert((shard, reason.unwrap_or_else(|| "it is not done".to_owned())));
    }
    match first {
        Some((shard, reason)) if !may_leave_out => {
            Err(JobError::ShardsFailed { n_failed: counts.n_failed, n_shards: counts.n, shard, reason })
        }
        _ => Ok(counts),
    }
}

/// Writes what became of every record. Returns how many have a result, and how many have none.
fn assemble(
    job: &OpenJob,
    watch: &Watch,
    scratch: &std::path::Path,
    writer: &mut ResultWriter<'_>,
    failures: &mut Lines,
) -> Result<(u64, u64), JobError> {
    let (mut n_done, mut n_failed, mut n_seen) = (0, 0, 0_u64);
    let mut fail = |failure: &Failure| {
        n_failed += 1;
        failures.push(failure).map_err(|error| job.folder.write_failed("failures.jsonl", error))
    };
    Assembly::open(job, scratch)?.each(&mut |assembled| {
        n_seen += 1;
        if n_seen % LOOK_EVERY == 0 {
            watch.check()?;
            check_cancelled(&job.folder)?;
        }
        match assembled {
            Assembled::Failed(failure) => fail(&failure),
            Assembled::Done { record, content, bytes } => match writer.push(&record, content, &bytes)? {
                None => {
                    n_done += 1;
                    Ok(())
                }
                Some(reason) => {
                    let file = job.spec.inputs.get(record.input as usize).cloned().unwrap_or_default();
                    fail(&Failure { file, record: record.number, id: Some(record.id), reason })
                }
            },
        }
    })?;
    Ok((n_done, n_failed))
}

/// Gives the staged output its name.
fn publish(job: &OpenJob, destination: &Destination, staged: Staged) -> Result<Vec<ResultFile>, JobError> {
    let folder = &job.folder;
    let before: Option<Announced> = folder.get_json("commit.json")?;
    let result = destination.describe(&staged)?;
    let announced = Announced { results: vec![result.clone()] };
    folder.put_json("commit.json", &announced)?;
    // What has the name already is this job's own if an earlier commit announced it.
    let is_own = before.is_some_and(|before| before.results.contains(&result));
    destination.publish(job, staged, is_own)?;
    Ok(announced.results)
}

/// Removes what nobody needs once the manifest is there. Failing that, expiry removes it.
fn clean(folder: &JobFolder) {
    let shards = ["out", "attempts", "given-up", "pairs", "pairs-attempts", "pairs-given-up"];
    for name in ["plan", "uploads"].into_iter().chain(shards) {
        if let Err(error) = folder.remove_folder(name) {
            tracing::warn!(job = folder.id, name, %error, "could not be removed");
        }
    }
    for name in ["commit.json", "reserved"] {
        if let Err(error) = folder.remove(name) {
            tracing::warn!(job = folder.id, name, %error, "could not be removed");
        }
    }
}
