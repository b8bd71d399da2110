//! The batch use case: a stream of records becomes a stream of rows, in order, each failure kept by record.
//!
//! Records are validated, submitted to the batcher, and handed out in input order as they finish, so memory is
//! bounded by what is in flight, whatever the size of the input. Callers are `protext embed`, `index build`,
//! `search` and the evaluations; they decide what a failure means.

use std::collections::VecDeque;
use std::fmt;

use protext_core::{
    EncodeError, Encoded, EncoderInput, JointVector, Modality, Packing, ParseError, ProteinSequence,
    ResidueNotes, ResiduePolicy, Text,
};

use crate::embedder::{EmbedOptions, Embedder, Pending};
use crate::error::EngineError;
use crate::input::{InputRecord, RecordError};

/// Records in flight at most, unless the encoder takes more in its batches.
const MAX_RECORDS_IN_FLIGHT: usize = 256;
/// Residues (or characters of text) in flight at most; bounds the memory of per-residue rows.
const MAX_RESIDUES_IN_FLIGHT: usize = 1 << 16;
/// Residues of a shorter record, by which more residues in flight are more records.
const RESIDUES_OF_A_RECORD: usize = 256;
/// Records projected together.
const PROJECT_TOGETHER: usize = 16;

/// What to make of each record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EmbedRecordsSettings {
    /// Long inputs and per-residue rows.
    pub options: EmbedOptions,
    /// Odd residues.
    pub residues: ResiduePolicy,
    /// Also project into every joint space of the embedder.
    pub joint: bool,
}

/// One record and its rows.
#[derive(Debug, Clone, PartialEq)]
pub struct EmbeddedRecord {
    /// The record, its payload as it was written.
    pub record: InputRecord,
    /// The validated residues, or the tidied text.
    pub content: String,
    /// Its rows.
    pub encoded: Encoded,
    /// Its vectors, one a joint space of the embedder, the main one first; empty unless asked for.
    pub joint: Vec<JointVector>,
    /// What the residue rules did, for proteins.
    pub notes: Option<ResidueNotes>,
}

/// Why a record has no rows.
#[derive(Debug)]
pub struct FailedRecord {
    /// The input's name.
    pub file: String,
    /// 1-based number in its file.
    pub record: u64,
    /// Its id, if it was read.
    pub id: Option<String>,
    /// True if nothing of the input could be read after it.
    pub is_fatal: bool,
    /// The rule it broke, or what failed.
    pub reason: FailureReason,
}

/// The rule that a record broke, or what failed.
#[derive(Debug, thiserror::Error)]
pub enum FailureReason {
    /// It could not be read.
    #[error(transparent)]
    Input(RecordError),
    /// Its residues or text were refused.
    #[error(transparent)]
    Parse(ParseError),
    /// It could not be encoded.
    #[error(transparent)]
    Engine(EngineError),
}

impl fmt::Display for FailedRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.reason, &self.id) {
            // A RecordError names file, record and line itself.
            (FailureReason::Input(error), _) => error.fmt(f),
            (reason, Some(id)) => write!(f, "{}: record {} (id {id:?}): {reason}", self.file, self.record),
            (reason, None) => write!(f, "{}: record {}: {reason}", self.file, self.record),
        }
    }
}

impl FailedRecord {
    /// True if the encoder is at fault, not the record: every further record would fail alike.
    #[must_use]
    pub fn concerns_all(&self) -> bool {
        let error = match &self.reason {
            FailureReason::Engine(EngineError::Worker(error)) => &**error,
            FailureReason::Engine(EngineError::Encode(error)) => error,
            _ => return false,
        };
        matches!(error, EncodeError::Unavailable { .. })
    }
}

impl std::error::Error for FailedRecord {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        std::error::Error::source(&self.reason)
    }
}

/// Counts over one input.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct RecordsSummary {
    /// Records with rows.
    pub n_embedded: u64,
    /// Records without.
    pub n_failed: u64,
    /// Residues (or characters) of the embedded records.
    pub n_residues: u64,
    /// Tokens that were run.
    pub n_tokens: u64,
}

/// A record on its way, or its failure, kept in input order.
enum Slot {
    Pending { record: InputRecord, content: String, notes: Option<ResidueNotes>, pending: Pending },
    Failed(FailedRecord),
}

/// A record that was encoded but not yet projected and handed out.
type Encodings = Vec<EmbeddedRecord>;

/// Embeds `records` in order; `handle` gets each outcome and ends the run by returning an error.
///
/// Blocks; not for async threads.
///
/// # Errors
/// The first error of `handle`, or an [`EngineError`] that concerns no single record.
pub fn embed_records<E: From<EngineError>>(
    embedder: &Embedder,
    file: &str,
    records: impl Iterator<Item = Result<InputRecord, RecordError>>,
    settings: &EmbedRecordsSettings,
    mut handle: impl FnMut(Result<EmbeddedRecord, FailedRecord>) -> Result<(), E>,
) -> Result<RecordsSummary, E> {
    let mut run = Run {
        embedder,
        file,
        settings,
        most_in_flight: most_in_flight(embedder),
        slots: VecDeque::new(),
        n_residues_in_flight: 0,
        done: Vec::new(),
    };
    let mut summary = RecordsSummary::default();
    for record in records {
        let slot = run.submit(record);
        run.n_residues_in_flight += slot.n_residues();
        run.slots.push_back(slot);
        while run.is_full() {
            run.finish_oldest(&mut summary, &mut handle)?;
        }
    }
    while !run.slots.is_empty() {
        run.finish_oldest(&mut summary, &mut handle)?;
    }
    run.hand_out(&mut summary, &mut handle)?;
    Ok(summary)
}

/// Records and residues (or characters): enough to fill a batch of every worker.
fn most_in_flight(embedder: &Embedder) -> (usize, usize) {
    let settings = embedder.batcher().settings();
    let n_workers = settings.n_workers.max(1);
    match embedder.encoder().packing() {
        // One batch that runs and one that waits; those of CPUs are far smaller than what is in flight anyway.
        Packing::Padded | Packing::Unpadded { .. } => {
            let n_residues = MAX_RESIDUES_IN_FLIGHT.max(2 * n_workers * settings.max_batch_tokens);
            (MAX_RECORDS_IN_FLIGHT.max(n_residues / RESIDUES_OF_A_RECORD), n_residues)
        }
        Packing::Listed { max_pieces, max_tokens } => {
            // Text has at least a character a token.
            (
                MAX_RECORDS_IN_FLIGHT.max(n_workers * max_pieces),
                MAX_RESIDUES_IN_FLIGHT.max(n_workers * max_tokens),
            )
        }
    }
}

struct Run<'a> {
    embedder: &'a Embedder,
    file: &'a str,
    settings: &'a EmbedRecordsSettings,
    most_in_flight: (usize, usize),
    slots: VecDeque<Slot>,
    n_residues_in_flight: usize,
    done: Encodings,
}

impl Run<'_> {
    fn is_full(&self) -> bool {
        let (max_records, max_residues) = self.most_in_flight;
        self.slots.len() >= max_records || self.n_residues_in_flight > max_residues && !self.slots.is_empty()
    }

    fn submit(&self, record: Result<InputRecord, RecordError>) -> Slot {
        let record = match record {
            Ok(record) => record,
            Err(error) => {
                let (file, number, id) = (error.file.clone(), error.record, error.id.clone());
                let is_fatal = error.is_fatal();
                return Slot::Failed(FailedRecord {
                    file,
                    record: number,
                    id,
                    is_fatal,
                    reason: FailureReason::Input(error),
                });
            }
        };
        let (input, notes) = match self.parse(&record) {
            Ok(parsed) => parsed,
            Err(error) => return Slot::Failed(self.failed(&record, FailureReason::Parse(error))),
        };
        let content = match &input {
            EncoderInput::Protein(sequence) => sequence.as_str().to_owned(),
            EncoderInput::Text(text) => text.as_str().to_owned(),
        };
        match self.embedder.submit(&input, self.settings.options) {
            Ok(pending) => Slot::Pending { record, content, notes, pending },
            Err(error) => Slot::Failed(self.failed(&record, FailureReason::Engine(error))),
        }
    }

    fn parse(&self, record: &InputRecord) -> Result<(EncoderInput, Option<ResidueNotes>), ParseError> {
        let raw = record.payload.as_str();
        match self.embedder.encoder().modality() {
            Modality::Protein => ProteinSequence::parse(raw, self.settings.residues)
                .map(|(sequence, notes)| (EncoderInput::Protein(sequence), Some(notes))),
            Modality::Text => Text::parse(raw).map(|text| (EncoderInput::Text(text), None)),
        }
    }

    fn failed(&self, record: &InputRecord, reason: FailureReason) -> FailedRecord {
        let (file, id) = (self.file.to_owned(), Some(record.id.clone()));
        FailedRecord { file, record: record.number, id, is_fatal: false, reason }
    }

    fn finish_oldest<E: From<EngineError>>(
        &mut self,
        summary: &mut RecordsSummary,
        handle: &mut impl FnMut(Result<EmbeddedRecord, FailedRecord>) -> Result<(), E>,
    ) -> Result<(), E> {
        let Some(slot) = self.slots.pop_front() else { return Ok(()) };
        self.n_residues_in_flight -= slot.n_residues();
        let failed = match slot {
            Slot::Failed(failed) => failed,
            Slot::Pending { record, content, notes, pending } => match pending.wait() {
                Ok(encoded) => {
                    self.done.push(EmbeddedRecord { record, content, encoded, joint: Vec::new(), notes });
                    // Rows of every residue are large, so they are handed out at once.
                    if self.done.len() < PROJECT_TOGETHER && !self.settings.options.per_residue {
                        return Ok(());
                    }
                    return self.hand_out(summary, handle);
                }
                Err(error) => self.failed(&record, FailureReason::Engine(error)),
            },
        };
        self.hand_out(summary, handle)?;
        summary.n_failed += 1;
        handle(Err(failed))
    }

    /// Projects what is done, if asked to, and hands it out.
    fn hand_out<E: From<EngineError>>(
        &mut self,
        summary: &mut RecordsSummary,
        handle: &mut impl FnMut(Result<EmbeddedRecord, FailedRecord>) -> Result<(), E>,
    ) -> Result<(), E> {
        if self.settings.joint && !self.done.is_empty() {
            let encoded: Vec<&Encoded> = self.done.iter().map(|done| &done.encoded).collect();
            let spaces = self.embedder.joint_spaces();
            let by_space = spaces.map(|space| self.embedder.project(&encoded, space));
            for vectors in by_space.collect::<Result<Vec<_>, _>>()? {
                self.done.iter_mut().zip(vectors).for_each(|(done, vector)| done.joint.push(vector));
            }
        }
        for done in self.done.drain(..) {
            summary.n_embedded += 1;
            summary.n_residues += done.content.len() as u64;
            summary.n_tokens += done.encoded.n_tokens as u64;
            handle(Ok(done))?;
        }
        Ok(())
    }
}

impl Slot {
    fn n_residues(&self) -> usize {
        match self {
            Slot::Pending { content, .. } => content.len(),
            Slot::Failed(_) => 0,
        }
    }
}
