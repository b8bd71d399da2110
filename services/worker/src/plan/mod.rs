//! Planning: the inputs of a job become shards of distinct contents, longest first, and a list of what each record has.
//!
//! Step 1 of a job's life, by whoever submits or first runs it. Memory does not grow with the input: contents and ids are
//! brought together on disk ([`sorter`]). What is wrong with a record is written down with its number and reason, and the
//! planning goes on. `plan/plan.json` is written last: without it there is no plan.

mod read;
mod sorter;

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use protext_core::{Modality, Space};
use protext_engine::Engine;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::blobs::{BlobWriter, hash_into};
use crate::error::{JobError, StoreError};
use crate::folder::JobFolder;
use crate::models::{embedder, head_name};
use crate::spec::{JobSpec, MAX_SHARD_CONTENTS};
use crate::store::local::failed;

pub(crate) use read::PlannedRecord;
use read::{Gathered, gather};

/// Version of the files of a job.
pub(crate) const FORMAT: u32 = 1;
/// In the map of a record whose id an earlier record has.
pub(crate) const NO_CONTENT: u64 = u64::MAX;
const SHARD_ENTRY_BYTES: usize = 8 + 4 + 8 + 32;

/// What a job will work on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// Version of the files of a job.
    pub format: u32,
    /// The version of Protext that planned it; workers of another refuse it.
    pub protext_version: String,
    /// Encoder id.
    pub encoder: String,
    /// What records hold.
    pub modality: Modality,
    /// The spaces whose vectors are made, the main one first.
    pub spaces: Vec<Space>,
    /// The head for pairs, with the beginning of its hash.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head: Option<String>,
    /// The inputs as they were read.
    pub inputs: Vec<PlannedInput>,
    /// What was counted.
    pub counts: PlanCounts,
}

/// An input as it was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedInput {
    /// Its name, as submitted.
    pub name: String,
    /// sha256 of its bytes.
    pub sha256: String,
    /// Its size.
    pub n_bytes: u64,
}

/// What planning counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanCounts {
    /// Records of all inputs.
    pub n_records: u64,
    /// Records that were refused: unreadable, against a rule, or with the id of an earlier one.
    pub n_refused: u64,
    /// Further records of an id, passed over because the job says so.
    pub n_passed_over: u64,
    /// Residues (or characters) of the records that are left.
    pub n_residues: u64,
    /// Distinct contents.
    pub n_contents: u64,
    /// Residues (or characters) of the distinct contents.
    pub n_content_residues: u64,
    /// Shards.
    pub n_shards: u64,
}

/// One shard of the plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ShardEntry {
    /// Number of its first content.
    pub(crate) first: u64,
    /// Contents.
    pub(crate) n: u32,
    /// Residues (or characters).
    pub(crate) n_residues: u64,
    /// Of its contents' file.
    pub(crate) sha256: [u8; 32],
}

/// An input that can be read here.
#[derive(Debug, Clone)]
pub(crate) struct LocalInput {
    /// As submitted.
    pub(crate) name: String,
    pub(crate) path: PathBuf,
}

/// Plans a job and writes the plan into its folder. `progress` hears how many records were read.
pub(crate) fn plan(
    folder: &JobFolder,
    spec: &JobSpec,
    engine: &Engine,
    inputs: &[LocalInput],
    progress: &mut dyn FnMut(u64) -> Result<(), JobError>,
) -> Result<Plan, JobError> {
    let embedder = embedder(engine, spec)?;
    let head = spec.is_of_pairs().then(|| head_name(engine)).transpose()?;
    // Runs of the sort and other files in between lie beside the job, where there is room for it.
    let scratch = folder.scratch()?;
    let mut hashed = Vec::with_capacity(inputs.len());
    for input in inputs {
        hashed.push(hash(input)?);
    }
    let modality = spec.modality(embedder.encoder().modality());
    let Gathered { records, failures, contents, duplicates, mut counts } =
        gather(folder, spec, modality, inputs, scratch.path(), progress)?;
    folder.put_file("plan/records.jsonl", records)?;
    folder.put_file("plan/failures.jsonl", failures)?;
    cut(folder, spec, contents, &duplicates, scratch.path(), &mut counts)?;
    let spaces = if spec.needs_joint() {
        embedder.joint_spaces().cloned().collect()
    } else {
        vec![embedder.encoder_space().clone()]
    };
    let plan = Plan {
        format: FORMAT,
        protext_version: env!("CARGO_PKG_VERSION").to_owned(),
        encoder: embedder.encoder().id().to_owned(),
        modality,
        spaces,
        head,
        inputs: hashed,
        counts,
    };
    folder.put_json("plan/plan.json", &plan)?;
    Ok(plan)
}

fn hash(input: &LocalInput) -> Result<PlannedInput, JobError> {
    let unreadable = |error| JobError::Store(failed("read", &input.path, error));
    let mut file = File::open(&input.path).map_err(unreadable)?;
    let mut hasher = Sha256::new();
    let n_bytes = hash_into(&mut hasher, &mut file).map_err(unreadable)?;
    Ok(PlannedInput { name: input.name.clone(), sha256: hex::encode(hasher.finalize()), n_bytes })
}

/// Writes the shards, their table and the map from records to contents.
fn cut(
    folder: &JobFolder,
    spec: &JobSpec,
    mut contents: sorter::Merge,
    duplicates: &read::Marks,
    scratch: &Path,
    counts: &mut PlanCounts,
) -> Result<(), JobError> {
    let in_scratch = |error| JobError::Store(failed("write in", scratch, error));
    let map = read::ContentMap::create(scratch, counts).map_err(in_scratch)?;
    let mut cutter = Cutter::new(folder, spec.cutting.shard_residues);
    let mut last: Option<Vec<u8>> = None;
    while let Some(item) = contents.next_item().map_err(in_scratch)? {
        let (key, record, content) = read::split_item(&item);
        if duplicates.has(record) {
            continue;
        }
        counts.n_residues += content.len() as u64;
        if last.as_deref() != Some(key) {
            cutter.push(content)?;
            last = Some(key.to_vec());
        }
        map.set(record, cutter.n_contents - 1).map_err(in_scratch)?;
    }
    cutter.close()?;
    counts.n_contents = cutter.n_contents;
    counts.n_content_residues = cutter.n_residues;
    counts.n_shards = cutter.n_shards;
    folder.put("plan/shards.bin", &cutter.table)?;
    folder.put_file("plan/map.bin", map.into_file(folder)?)
}

/// Fills shards up to their size.
struct Cutter<'a> {
    folder: &'a JobFolder,
    max_residues: u64,
    open: Option<(BlobWriter, ShardEntry)>,
    table: Vec<u8>,
    n_contents: u64,
    n_residues: u64,
    n_shards: u64,
}

impl<'a> Cutter<'a> {
    fn new(folder: &'a JobFolder, max_residues: u64) -> Self {
        Self {
            folder,
            max_residues,
            open: None,
            table: Vec::new(),
            n_contents: 0,
            n_residues: 0,
            n_shards: 0,
        }
    }

    fn push(&mut self, content: &[u8]) -> Result<(), JobError> {
        let n_bytes = content.len() as u64;
        let is_full = self.open.as_ref().is_some_and(|(_, shard)| {
            shard.n_residues + n_bytes > self.max_residues || u64::from(shard.n) >= MAX_SHARD_CONTENTS
        });
        if is_full {
            self.close()?;
        }
        let written = |error| self.folder.write_failed("plan/in", error);
        let (writer, shard) = match &mut self.open {
            Some(open) => open,
            None => {
                let writer = BlobWriter::new(self.folder.stage()?).map_err(written)?;
                let shard = ShardEntry { first: self.n_contents, n: 0, n_residues: 0, sha256: [0; 32] };
                self.open.insert((writer, shard))
            }
        };
        writer.push_bytes(content, 0).map_err(written)?;
        shard.n += 1;
        shard.n_residues += n_bytes;
        self.n_contents += 1;
        self.n_residues += n_bytes;
        Ok(())
    }

    fn close(&mut self) -> Result<(), JobError> {
        let Some((writer, mut shard)) = self.open.take() else { return Ok(()) };
        let (file, sha256) = writer.finish().map_err(|error| self.folder.write_failed("plan/in", error))?;
        shard.sha256 = sha256;
        self.folder.put_file(&shard_name("plan/in", self.n_shards), file)?;
        self.table.extend_from_slice(&shard.to_bytes());
        self.n_shards += 1;
        Ok(())
    }
}

/// The file of a shard in a folder of the job.
pub(crate) fn shard_name(folder: &str, shard: u64) -> String {
    format!("{folder}/{shard:07}")
}

impl ShardEntry {
    fn to_bytes(self) -> [u8; SHARD_ENTRY_BYTES] {
        let mut bytes = [0; SHARD_ENTRY_BYTES];
        bytes[..8].copy_from_slice(&self.first.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.n.to_le_bytes());
        bytes[12..20].copy_from_slice(&self.n_residues.to_le_bytes());
        bytes[20..].copy_from_slice(&self.sha256);
        bytes
    }

    fn from_bytes(bytes: &[u8; SHARD_ENTRY_BYTES]) -> Self {
        let mut sha256 = [0; 32];
        sha256.copy_from_slice(&bytes[20..]);
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s, t, ..] = *bytes;
        Self {
            first: u64::from_le_bytes([a, b, c, d, e, f, g, h]),
            n: u32::from_le_bytes([i, j, k, l]),
            n_residues: u64::from_le_bytes([m, n, o, p, q, r, s, t]),
            sha256,
        }
    }
}

/// The shards of a plan.
pub(crate) fn shards(folder: &JobFolder) -> Result<Vec<ShardEntry>, JobError> {
    let bytes =
        folder.get("plan/shards.bin")?.ok_or_else(|| folder.damaged("plan/shards.bin", "it is missing"))?;
    let (entries, rest) = bytes.as_chunks::<SHARD_ENTRY_BYTES>();
    if !rest.is_empty() {
        return Err(folder.damaged("plan/shards.bin", "it is cut short"));
    }
    Ok(entries.iter().map(ShardEntry::from_bytes).collect())
}

/// The plan of a job, if it is planned.
///
/// # Errors
/// [`JobError::Damaged`] or [`StoreError`].
pub(crate) fn read_plan(folder: &JobFolder) -> Result<Option<Plan>, JobError> {
    let plan: Option<Plan> = folder.get_json("plan/plan.json")?;
    match plan {
        Some(plan) if plan.format != FORMAT => {
            let (of_job, of_worker) = (plan.protext_version, env!("CARGO_PKG_VERSION").to_owned());
            Err(JobError::OtherVersion { of_job, of_worker })
        }
        other => Ok(other),
    }
}

/// Writes JSON lines to a staged file.
pub(crate) struct Lines {
    file: io::BufWriter<tempfile::NamedTempFile>,
}

impl Lines {
    pub(crate) fn new(folder: &JobFolder) -> Result<Self, StoreError> {
        Ok(Self { file: io::BufWriter::with_capacity(1 << 16, folder.stage()?) })
    }

    pub(crate) fn push(&mut self, line: &impl Serialize) -> io::Result<()> {
        serde_json::to_writer(&mut self.file, line)?;
        self.file.write_all(b"\n")
    }

    pub(crate) fn finish(self) -> io::Result<tempfile::NamedTempFile> {
        self.file.into_inner().map_err(io::IntoInnerError::into_error)
    }
}
