//! The first pass of planning: every record is read once, judged, and handed to the sorters.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use protext_core::{Modality, ProteinSequence, ResiduePolicy, Text};
use protext_engine::input::{Duplicates, InputOptions, InputRecord, RecordError, Source, open};
use protext_engine::records::free_fields;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tempfile::NamedTempFile;

use super::sorter::{Merge, Sorter};
use super::{Lines, LocalInput, NO_CONTENT, PlanCounts};
use crate::error::JobError;
use crate::failures::Failure;
use crate::folder::JobFolder;
use crate::spec::{JobSpec, Task};
use crate::store::local::failed;

/// Length (largest first) and half a sha256: enough to bring equal contents together.
const KEY_BYTES: usize = 4 + 16;
/// Records between two looks at the caller.
const TELL_EVERY: u64 = 1 << 12;

/// A record that may be worked on, as the plan keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PlannedRecord {
    /// Number of its input, from 0.
    #[serde(rename = "f", default, skip_serializing_if = "is_zero")]
    pub(crate) input: u32,
    /// 1-based number in its input.
    #[serde(rename = "n")]
    pub(crate) number: u64,
    pub(crate) id: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) description: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) organism: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) taxon_id: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) gene: Option<String>,
    /// Where it comes from, if it says so itself; for collections.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) source: Option<String>,
    /// What else is known of it, by name; for collections.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) fields: BTreeMap<String, String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// What the first pass gives.
pub(super) struct Gathered {
    /// One [`PlannedRecord`] a line, in the order of the inputs.
    pub(super) records: NamedTempFile,
    /// Number of the input and [`Failure`], one pair a line, in the order of the inputs.
    pub(super) failures: NamedTempFile,
    /// Key, number among the records, content; sorted.
    pub(super) contents: Merge,
    /// Records whose id an earlier one has.
    pub(super) duplicates: Marks,
    pub(super) counts: PlanCounts,
}

pub(super) fn gather(
    folder: &JobFolder,
    spec: &JobSpec,
    modality: Modality,
    inputs: &[LocalInput],
    scratch: &Path,
    progress: &mut dyn FnMut(u64) -> Result<(), JobError>,
) -> Result<Gathered, JobError> {
    let in_scratch = |error| JobError::Store(failed("write in", scratch, error));
    let written = |error| folder.write_failed("plan", error);
    let (mut records, mut failures) = (Lines::new(folder)?, Lines::new(folder)?);
    let (mut contents, mut ids) = (Sorter::new(scratch), Sorter::new(scratch));
    let mut counts = PlanCounts::default();
    let mut n_kept: u64 = 0;
    let keeps_fields = matches!(spec.task, Task::Index { .. });
    let policy = ResiduePolicy { strict: spec.records.strict, ..ResiduePolicy::default() };
    let options = InputOptions {
        duplicates: Duplicates::KeepAll,
        keep_all: keeps_fields,
        ..InputOptions::new(modality)
    };
    for (number, input) in (0_u32..).zip(inputs) {
        for record in open(&Source::Path(input.path.clone()), &options)? {
            counts.n_records += 1;
            if counts.n_records % TELL_EVERY == 0 {
                progress(counts.n_records)?;
            }
            let (record, content) = match judge(record, modality, policy) {
                Ok(judged) => judged,
                Err(Refused::Fatal(error)) => return Err(error.into()),
                Err(Refused::Record { record, id, reason }) => {
                    counts.n_refused += 1;
                    let failure = Failure { file: input.name.clone(), record, id, reason };
                    failures.push(&(number, failure)).map_err(written)?;
                    continue;
                }
            };
            ids.push(&[&digest(record.id.as_bytes()), &n_kept.to_be_bytes()]).map_err(in_scratch)?;
            let length = u32::MAX - u32::try_from(content.len()).unwrap_or(u32::MAX);
            let key = [
                &length.to_be_bytes()[..],
                &digest(content.as_bytes()),
                &n_kept.to_be_bytes(),
                content.as_bytes(),
            ];
            contents.push(&key).map_err(in_scratch)?;
            records.push(&planned(number, record, keeps_fields)).map_err(written)?;
            n_kept += 1;
        }
    }
    progress(counts.n_records)?;
    let mut duplicates = Marks::new(n_kept);
    let n_duplicates = mark_duplicates(ids, &mut duplicates).map_err(in_scratch)?;
    match spec.records.keep_first {
        true => counts.n_passed_over = n_duplicates,
        false => counts.n_refused += n_duplicates,
    }
    Ok(Gathered {
        records: records.finish().map_err(written)?,
        failures: failures.finish().map_err(written)?,
        contents: contents.finish().map_err(in_scratch)?,
        duplicates,
        counts,
    })
}

/// Half a sha256: 128 bits tell billions of contents apart.
fn digest(bytes: &[u8]) -> [u8; 16] {
    let whole: [u8; 32] = Sha256::digest(bytes).into();
    let mut half = [0; 16];
    half.copy_from_slice(&whole[..16]);
    half
}

/// Key, record and content of an item of [`Gathered::contents`].
pub(super) fn split_item(item: &[u8]) -> (&[u8], u64, &[u8]) {
    let (key, rest) = item.split_at(KEY_BYTES);
    let (record, content) = rest.split_at(8);
    let record = u64::from_be_bytes(record.try_into().expect("eight bytes were split off"));
    (key, record, content)
}

enum Refused {
    /// Nothing of the input can be read after it.
    Fatal(RecordError),
    Record {
        record: u64,
        id: Option<String>,
        reason: String,
    },
}

fn judge(
    record: Result<InputRecord, RecordError>,
    modality: Modality,
    policy: ResiduePolicy,
) -> Result<(InputRecord, String), Refused> {
    let record = record.map_err(|error| match error.is_fatal() {
        true => Refused::Fatal(error),
        false => {
            Refused::Record { record: error.record, id: error.id.clone(), reason: error.rule.to_string() }
        }
    })?;
    let raw = record.payload.as_str();
    let parsed = match modality {
        Modality::Protein => {
            ProteinSequence::parse(raw, policy).map(|(sequence, _)| sequence.as_str().to_owned())
        }
        Modality::Text => Text::parse(raw).map(|text| text.as_str().to_owned()),
    };
    match parsed {
        Ok(content) => Ok((record, content)),
        Err(error) => {
            Err(Refused::Record { record: record.number, id: Some(record.id), reason: error.to_string() })
        }
    }
}

fn planned(input: u32, record: InputRecord, keeps_fields: bool) -> PlannedRecord {
    let InputRecord { number, id, description, organism, taxon_id, gene, metadata, .. } = record;
    let (fields, source) = if keeps_fields { free_fields(metadata) } else { Default::default() };
    PlannedRecord { input, number, id, description, organism, taxon_id, gene, source, fields }
}

/// Marks all but the first record of each id. Returns how many.
fn mark_duplicates(ids: Sorter, marks: &mut Marks) -> io::Result<u64> {
    let mut sorted = ids.finish()?;
    let mut last: Option<Vec<u8>> = None;
    let mut n = 0;
    while let Some(item) = sorted.next_item()? {
        let (id, record) = item.split_at(16);
        if last.as_deref() == Some(id) {
            marks.set(u64::from_be_bytes(record.try_into().expect("eight bytes follow the digest")));
            n += 1;
        } else {
            last = Some(id.to_vec());
        }
    }
    Ok(n)
}

/// A bit a record: 30 MB for 250 million.
pub(super) struct Marks(Vec<u64>);

impl Marks {
    fn new(n: u64) -> Self {
        Self(vec![0; usize::try_from(n.div_ceil(64)).unwrap_or(usize::MAX)])
    }

    fn set(&mut self, at: u64) {
        if let Some(word) = self.0.get_mut((at / 64) as usize) {
            *word |= 1 << (at % 64);
        }
    }

    pub(super) fn has(&self, at: u64) -> bool {
        self.0.get((at / 64) as usize).is_some_and(|word| word & 1 << (at % 64) != 0)
    }
}

/// The content of each record, eight bytes a record, on disk.
pub(super) struct ContentMap {
    file: File,
}

impl ContentMap {
    /// No record has a content yet.
    pub(super) fn create(scratch: &Path, counts: &PlanCounts) -> io::Result<Self> {
        // Refused duplicates are among the records that have a place, so this is enough for all.
        let mut file = BufWriter::with_capacity(1 << 16, tempfile::tempfile_in(scratch)?);
        for _ in 0..counts.n_records {
            file.write_all(&NO_CONTENT.to_le_bytes())?;
        }
        Ok(Self { file: file.into_inner().map_err(io::IntoInnerError::into_error)? })
    }

    pub(super) fn set(&self, record: u64, content: u64) -> io::Result<()> {
        self.file.write_all_at(&content.to_le_bytes(), record * 8)
    }

    pub(super) fn into_file(mut self, folder: &JobFolder) -> Result<NamedTempFile, JobError> {
        use std::io::Seek as _;
        let mut staged = folder.stage()?;
        let copied = self.file.rewind().and_then(|()| io::copy(&mut self.file, &mut staged));
        copied.map_err(|error| folder.write_failed("plan/map.bin", error))?;
        Ok(staged)
    }
}
