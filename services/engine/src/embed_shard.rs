//! One shard of a job: validated contents become rows, in order, and the same contents give the same bytes.
//!
//! Contents are submitted in groups to the batcher's lane for jobs, where they share batches with nothing else, and are
//! projected in chunks of a fixed size. Caller is `services/worker`; files of records that a person waits for go through
//! [`crate::embed_records`].

use std::collections::VecDeque;

use protext_core::{Encoded, EncoderInput, JointVector, Packing};

use crate::embedder::{EmbedOptions, Embedder, Pending};
use crate::error::EngineError;

/// Residues (or characters) that are submitted together; batches do not reach over the end of a group.
const GROUP_RESIDUES: usize = 4_096;
/// Records projected together.
const PROJECT_TOGETHER: usize = 16;

/// What to make of each content. All of it decides about the bytes that come out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShardSettings {
    /// Long inputs and per-residue rows.
    pub options: EmbedOptions,
    /// Also project into every joint space of the embedder.
    pub joint: bool,
    /// Padded tokens of one batch at most.
    pub max_batch_tokens: usize,
}

/// What came of one content.
#[derive(Debug, Clone, PartialEq)]
pub struct ShardRow {
    /// Its rows.
    pub encoded: Encoded,
    /// Its vectors, one a joint space of the embedder, the main one first; empty unless asked for.
    pub joint: Vec<JointVector>,
}

/// Embeds `contents`; `handle` gets each outcome in order, and ends the run by returning an error.
///
/// Blocks; not for async threads.
///
/// # Errors
/// The first error of `handle`, or an [`EngineError`] that concerns no single content.
pub fn embed_shard<E: From<EngineError>>(
    embedder: &Embedder,
    contents: impl Iterator<Item = EncoderInput>,
    settings: &ShardSettings,
    mut handle: impl FnMut(Result<ShardRow, EngineError>) -> Result<(), E>,
) -> Result<(), E> {
    // Enough to keep every worker busy while the oldest group is waited for.
    let max_groups = embedder.batcher().settings().n_workers.max(1) + 1;
    let group_residues = match embedder.encoder().packing() {
        // Several batches, so that what is left over of a group is little.
        Packing::Padded | Packing::Unpadded { .. } => GROUP_RESIDUES.max(4 * settings.max_batch_tokens),
        Packing::Listed { max_tokens, .. } => GROUP_RESIDUES.max(max_tokens),
    };
    let mut groups: VecDeque<Vec<Result<Pending, EngineError>>> = VecDeque::new();
    let mut contents = contents.peekable();
    while contents.peek().is_some() {
        let mut group = Vec::new();
        let mut n_residues = 0;
        while n_residues < group_residues
            && let Some(content) = contents.next()
        {
            n_residues += n_residues_of(&content);
            group.push(content);
        }
        groups.push_back(embedder.submit_packed(&group, settings.options, settings.max_batch_tokens));
        while groups.len() > max_groups {
            finish_oldest(embedder, settings, &mut groups, &mut handle)?;
        }
    }
    while !groups.is_empty() {
        finish_oldest(embedder, settings, &mut groups, &mut handle)?;
    }
    Ok(())
}

fn n_residues_of(content: &EncoderInput) -> usize {
    match content {
        EncoderInput::Protein(sequence) => sequence.len(),
        EncoderInput::Text(text) => text.as_str().len(),
    }
}

fn finish_oldest<E: From<EngineError>>(
    embedder: &Embedder,
    settings: &ShardSettings,
    groups: &mut VecDeque<Vec<Result<Pending, EngineError>>>,
    handle: &mut impl FnMut(Result<ShardRow, EngineError>) -> Result<(), E>,
) -> Result<(), E> {
    let Some(group) = groups.pop_front() else { return Ok(()) };
    let mut waiting = group.into_iter();
    loop {
        let chunk: Vec<Result<Encoded, EngineError>> =
            waiting.by_ref().take(PROJECT_TOGETHER).map(|pending| pending?.wait()).collect();
        if chunk.is_empty() {
            return Ok(());
        }
        let mut joint = project(embedder, settings, &chunk)?;
        let mut at = 0;
        for outcome in chunk {
            handle(outcome.map(|encoded| {
                let joint = joint.iter_mut().map(|vectors| vectors[at].take()).collect::<Option<_>>();
                at += 1;
                ShardRow { encoded, joint: joint.expect("each vector is taken once") }
            }))?;
        }
    }
}

/// One list a joint space, with a vector for each record that was encoded; none unless asked for.
fn project(
    embedder: &Embedder,
    settings: &ShardSettings,
    chunk: &[Result<Encoded, EngineError>],
) -> Result<Vec<Vec<Option<JointVector>>>, EngineError> {
    let encoded: Vec<&Encoded> = chunk.iter().flatten().collect();
    if !settings.joint || encoded.is_empty() {
        return Ok(Vec::new());
    }
    let spaces = embedder.joint_spaces();
    spaces.map(|space| Ok(embedder.project(&encoded, space)?.into_iter().map(Some).collect())).collect()
}
