//! What became of every record, in the order of the inputs: its answer from the shard that has it, or why there is none.
//!
//! Answers are read one by one where they lie, so memory does not grow with the job; a bounded number of shards is open.

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};

use protext_engine::input::Rule;

use crate::blobs::{Blob, BlobFile};
use crate::error::JobError;
use crate::failures::Failure;
use crate::folder::JobFolder;
use crate::plan::{NO_CONTENT, PlannedRecord, shard_name};
use crate::run::{OpenJob, Stage};

/// Shards open at once.
const MAX_OPEN: usize = 256;

/// What became of a record.
pub(super) enum Assembled {
    /// Its answer, and where its content is.
    Done { record: PlannedRecord, content: ContentAt, bytes: Vec<u8> },
    /// Why it has none.
    Failed(Failure),
}

/// A content by its shard and its number in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ContentAt {
    pub(super) shard: u64,
    pub(super) index: u32,
}

/// A file of the plan, to be read from its beginning.
pub(super) fn open_plan_file(
    folder: &JobFolder,
    name: &str,
    scratch: &Path,
) -> Result<BufReader<File>, JobError> {
    let path = folder.fetch(name, scratch)?;
    let file = File::open(&path).map_err(|error| folder.read_failed(name, error))?;
    Ok(BufReader::with_capacity(1 << 16, file))
}

/// Hands out the records of the plan, in order.
pub(super) fn read_records(
    folder: &JobFolder,
    scratch: &Path,
    handle: &mut dyn FnMut(PlannedRecord) -> Result<(), JobError>,
) -> Result<(), JobError> {
    let mut records = open_plan_file(folder, RECORDS, scratch)?;
    let mut line = String::new();
    while let Some(record) = next_record(folder, &mut records, &mut line)? {
        handle(record)?;
    }
    Ok(())
}

const RECORDS: &str = "plan/records.jsonl";

fn next_record(
    folder: &JobFolder,
    records: &mut BufReader<File>,
    line: &mut String,
) -> Result<Option<PlannedRecord>, JobError> {
    line.clear();
    match records.read_line(line).map_err(|error| folder.read_failed(RECORDS, error))? {
        0 => Ok(None),
        _ => {
            serde_json::from_str(line).map(Some).map_err(|error| folder.damaged(RECORDS, &error.to_string()))
        }
    }
}

pub(super) struct Assembly<'a> {
    job: &'a OpenJob,
    records: BufReader<File>,
    map: BufReader<File>,
    refused: std::iter::Peekable<Refused>,
    answers: ShardFiles,
}

type Refused = Box<dyn Iterator<Item = Result<(u32, Failure), JobError>>>;

impl<'a> Assembly<'a> {
    pub(super) fn open(job: &'a OpenJob, scratch: &Path) -> Result<Self, JobError> {
        let folder = job.folder.clone();
        let open = |name: &str| open_plan_file(&folder, name, scratch);
        let (records, map, refused) = (open(RECORDS)?, open("plan/map.bin")?, open("plan/failures.jsonl")?);
        let refused: Refused = Box::new(refused.lines().map(move |line| {
            let name = "plan/failures.jsonl";
            let line = line.map_err(|error| folder.read_failed(name, error))?;
            serde_json::from_str(&line).map_err(|error| folder.damaged(name, &error.to_string()))
        }));
        Ok(Self {
            job,
            records,
            map,
            refused: refused.peekable(),
            answers: ShardFiles::new(Stage::last(&job.spec).out(), scratch),
        })
    }

    /// Hands every record out.
    pub(super) fn each(
        mut self,
        handle: &mut dyn FnMut(Assembled) -> Result<(), JobError>,
    ) -> Result<(), JobError> {
        let mut line = String::new();
        loop {
            let record = next_record(&self.job.folder, &mut self.records, &mut line)?;
            self.refused_before(record.as_ref(), handle)?;
            let Some(record) = record else { return Ok(()) };
            if let Some(assembled) = self.assemble(record)? {
                handle(assembled)?;
            }
        }
    }

    /// Records that planning refused and that stand before `record` in the inputs.
    fn refused_before(
        &mut self,
        record: Option<&PlannedRecord>,
        handle: &mut dyn FnMut(Assembled) -> Result<(), JobError>,
    ) -> Result<(), JobError> {
        let is_before = |refused: &Result<(u32, Failure), JobError>| match (refused, record) {
            (Ok((input, failure)), Some(record)) => (*input, failure.record) < (record.input, record.number),
            _ => true,
        };
        while let Some(refused) = self.refused.next_if(is_before) {
            handle(Assembled::Failed(refused?.1))?;
        }
        Ok(())
    }

    /// `None` for a further record of an id where those are passed over.
    fn assemble(&mut self, record: PlannedRecord) -> Result<Option<Assembled>, JobError> {
        let mut content = [0; 8];
        let name = "plan/map.bin";
        self.map.read_exact(&mut content).map_err(|error| self.job.folder.read_failed(name, error))?;
        let content = u64::from_le_bytes(content);
        let failed = |record: PlannedRecord, reason: String| {
            let file = self.job.spec.inputs.get(record.input as usize).cloned().unwrap_or_default();
            Assembled::Failed(Failure { file, record: record.number, id: Some(record.id), reason })
        };
        if content == NO_CONTENT {
            let is_passed_over = self.job.spec.records.keep_first;
            return Ok((!is_passed_over).then(|| failed(record, Rule::DuplicateId.to_string())));
        }
        let content = locate(self.job, content)?;
        Ok(Some(match self.answers.get(self.job, content)? {
            Some(Blob::Done(bytes)) => Assembled::Done { record, content, bytes },
            Some(Blob::Failed(reason)) => failed(record, reason),
            None => {
                let mut reason: Option<String> = None;
                for stage in Stage::all(&self.job.spec) {
                    let name = shard_name(stage.given_up(), content.shard);
                    reason = reason.or(self.job.folder.get_json(&name)?);
                }
                let reason = reason.unwrap_or_else(|| "it is not done".to_owned());
                failed(record, format!("its shard ({}) was given up: {reason}", content.shard))
            }
        }))
    }
}

/// The shard of a content.
fn locate(job: &OpenJob, content: u64) -> Result<ContentAt, JobError> {
    let after = job.shards.partition_point(|shard| shard.first <= content);
    let found = after.checked_sub(1).map(|shard| (shard, &job.shards[shard]));
    match found {
        Some((shard, entry)) if content - entry.first < u64::from(entry.n) => {
            Ok(ContentAt { shard: shard as u64, index: (content - entry.first) as u32 })
        }
        _ => Err(job.folder.damaged("plan/map.bin", "it points to a content that is not there")),
    }
}

/// Shards' files of one kind, opened as they are needed; the one opened longest ago is closed for a further one.
pub(super) struct ShardFiles {
    kind: &'static str,
    scratch: PathBuf,
    /// `None` where there is no such file.
    open: HashMap<u64, Option<BlobFile>>,
    order: VecDeque<u64>,
}

impl ShardFiles {
    /// `kind` is the folder: `out` or `plan/in`.
    pub(super) fn new(kind: &'static str, scratch: &Path) -> Self {
        Self { kind, scratch: scratch.to_owned(), open: HashMap::new(), order: VecDeque::new() }
    }

    /// What a shard has for a content; `None` if there is no such shard.
    pub(super) fn get(&mut self, job: &OpenJob, content: ContentAt) -> Result<Option<Blob>, JobError> {
        let name = shard_name(self.kind, content.shard);
        let unreadable = |error| job.folder.read_failed(&name, error);
        if !self.open.contains_key(&content.shard) {
            if self.order.len() >= MAX_OPEN
                && let Some(oldest) = self.order.pop_front()
            {
                self.open.remove(&oldest);
            }
            let file = match job.folder.has(&name)? {
                true => Some(BlobFile::open(&job.folder.fetch(&name, &self.scratch)?).map_err(unreadable)?),
                false => None,
            };
            self.open.insert(content.shard, file);
            self.order.push_back(content.shard);
        }
        let file = self.open.get(&content.shard).and_then(Option::as_ref);
        file.map(|file| file.get(content.index).map_err(unreadable)).transpose()
    }
}
