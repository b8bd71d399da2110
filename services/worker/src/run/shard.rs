//! One shard: its contents become answers, in order, in a file that appears whole.
//!
//! The same shard gives the same bytes on the same kind of machine: batches depend on its contents alone. A content that
//! cannot be encoded has its reason in place of an answer; what concerns every content alike ends the try.

use std::sync::atomic::Ordering;

use protext_core::{EncodeError, EncoderInput, Modality, ProteinSequence, ResiduePolicy, Text};
use protext_engine::{EmbedOptions, Embedder, Engine, EngineError, ShardRow, ShardSettings, embed_shard};

use super::answers::Answers;
use super::{OpenJob, Stage, Watch, check_cancelled};
use crate::blobs::{Blob, BlobFile, BlobWriter};
use crate::error::JobError;
use crate::plan::shard_name;
use crate::spec::{JobSpec, SpaceChoice, Task};

/// Contents between two looks at whether the job was cancelled.
const LOOK_EVERY: usize = 64;

/// Does a shard and puts its file in place.
pub(crate) fn run_shard(job: &OpenJob, shard: u64, watch: &Watch) -> Result<(), JobError> {
    let folder = &job.folder;
    let scratch = folder.scratch()?;
    let (input_name, output_name) = (shard_name("plan/in", shard), shard_name(Stage::Contents.out(), shard));
    let input = folder.fetch(&input_name, scratch.path())?;
    let unreadable = |error| folder.read_failed(&input_name, error);
    let entry = job.shards[shard as usize];
    if BlobFile::verify(&input).map_err(unreadable)? != entry.sha256 {
        return Err(folder.damaged(&input_name, "its checksum is not the plan's"));
    }
    let input = BlobFile::open(&input).map_err(unreadable)?;
    let written = |error| folder.write_failed(&output_name, error);
    let mut output = BlobWriter::new(folder.stage()?).map_err(written)?;
    let mut contents = Vec::with_capacity(input.len() as usize);
    for index in 0..input.len() {
        contents.push(content_of(input.get(index).map_err(unreadable)?, job.plan.modality)?);
    }
    let mut answers = Answers::new(job);
    let mut n_seen = 0;
    let inputs = contents.iter().cloned();
    let embedder = job.embedder()?;
    let settings = settings(&job.spec, job.plan.modality, embedder);
    embed_shard(embedder, inputs, &settings, |outcome| {
        watch.check()?;
        if n_seen % LOOK_EVERY == 0 {
            check_cancelled(folder)?;
        }
        let content = characters(&contents[n_seen]);
        watch.n_residues.fetch_add(content.len() as u64, Ordering::Relaxed);
        n_seen += 1;
        let outcome = match outcome {
            Err(error) if concerns_all(&error) => return Err(error.into()),
            outcome => outcome,
        };
        answers.push(content, outcome, &mut |blob: &Blob| output.push(blob).map_err(written))
    })?;
    answers.finish(&mut |blob: &Blob| output.push(blob).map_err(written))?;
    let (file, _) = output.finish().map_err(written)?;
    folder.put_file(&output_name, file)
}

/// True where every further content would fail alike.
fn concerns_all(error: &EngineError) -> bool {
    let encode = match error {
        EngineError::Worker(error) => &**error,
        EngineError::Encode(error) => error,
        EngineError::WorkerLost => return true,
        _ => return false,
    };
    matches!(encode, EncodeError::Unavailable { .. })
}

fn settings(spec: &JobSpec, modality: Modality, embedder: &Embedder) -> ShardSettings {
    let long = spec.records.long.unwrap_or_else(|| Engine::default_long(modality));
    let (per_residue, by_sentence) = match &spec.task {
        Task::Embed { space, per_residue, .. } => (*per_residue, *space == SpaceChoice::Joint),
        Task::Index { .. } => (false, true),
        Task::SearchAll { .. } | Task::Annotate { .. } | Task::Ppi { .. } => (false, false),
    };
    ShardSettings {
        options: EmbedOptions { long, per_residue, by_sentence },
        // A search projects into the space of its collection itself.
        joint: spec.needs_joint() && !matches!(spec.task, Task::SearchAll { .. } | Task::Annotate { .. }),
        max_batch_tokens: spec.cutting.batch_tokens.unwrap_or(embedder.batcher().settings().max_batch_tokens),
    }
}

/// What one content gave, as it is kept in the shard's file.
pub(super) fn values_of(spec: &JobSpec, row: &ShardRow) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut keep =
        |values: &[f32]| values.iter().for_each(|value| bytes.extend_from_slice(&value.to_le_bytes()));
    match &spec.task {
        Task::Embed { per_residue: true, .. } => keep(row.encoded.residues.as_deref().unwrap_or_default()),
        Task::Embed { space: SpaceChoice::Encoder, .. } => keep(row.encoded.pooled.as_slice()),
        // A file of vectors holds those of the main space, a collection those of all.
        Task::Embed { .. } => row.joint.iter().take(1).for_each(|vector| keep(vector.as_slice())),
        _ => row.joint.iter().for_each(|vector| keep(vector.as_slice())),
    }
    bytes
}

/// A content as it was judged when the job was planned.
pub(crate) fn content_of(blob: Blob, modality: Modality) -> Result<EncoderInput, JobError> {
    let Blob::Done(bytes) = blob else {
        return Err(JobError::Damaged {
            file: "plan/in".to_owned(),
            reason: "a failure among contents".to_owned(),
        });
    };
    let text = String::from_utf8_lossy(&bytes);
    let parsed = match modality {
        Modality::Protein => ProteinSequence::parse(&text, ResiduePolicy::default())
            .map(|(sequence, _)| EncoderInput::Protein(sequence)),
        Modality::Text => Text::parse(&text).map(EncoderInput::Text),
    };
    parsed.map_err(|error| JobError::Engine(error.into()))
}

pub(super) fn characters(content: &EncoderInput) -> &str {
    match content {
        EncoderInput::Protein(sequence) => sequence.as_str(),
        EncoderInput::Text(text) => text.as_str(),
    }
}
