//! The output of each kind of job, record by record.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;

use protext_core::{EncoderInput, JointVector, VectorError};
use protext_engine::Target;
use protext_engine::output::{OutputError, OutputOptions, OutputRow, VectorMetadata, VectorWriter, create};
use protext_index::{CollectionBuilder, HnswParams, IndexError, IndexKind, Record};
use tempfile::TempPath;

use super::assemble::{ContentAt, ShardFiles};
use super::pair_lines::{PAIR_COLUMNS, PairLines};
use super::place::{Destination, Staged, vector_format};
use crate::error::JobError;
use crate::plan::PlannedRecord;
use crate::run::{ANNOTATION_COLUMNS, HIT_COLUMNS, OpenJob, content_of};
use crate::spec::{HitFormat, IndexChoice, SpaceChoice, Task};
use crate::store::local::failed;

/// Takes what became of each record, in order.
pub(super) struct ResultWriter<'a> {
    job: &'a OpenJob,
    inner: Inner,
}

enum Inner {
    Vectors { writer: VectorWriter, path: TempPath, per_residue: bool },
    Collection { builder: Box<CollectionBuilder>, contents: ShardFiles },
    Lines { file: BufWriter<File>, path: TempPath, is_json: bool },
    Pairs { file: BufWriter<File>, path: TempPath, pairs: Box<PairLines> },
}

impl<'a> ResultWriter<'a> {
    pub(super) fn create(job: &'a OpenJob, to: &Destination, scratch: &Path) -> Result<Self, JobError> {
        let staging = to.staging(&job.folder, scratch);
        let inner = match &job.spec.task {
            Task::Embed { per_residue, .. } => vectors(job, &staging, *per_residue)?,
            Task::Index { target, index } => {
                let builder = Box::new(collection(job, *target, *index)?);
                Inner::Collection { builder, contents: ShardFiles::new("plan/in", scratch) }
            }
            Task::SearchAll { format, .. } => lines(&staging, *format, HIT_COLUMNS)?,
            Task::Annotate { format, .. } => lines(&staging, *format, ANNOTATION_COLUMNS)?,
            Task::Ppi { format, .. } => {
                let (file, path) = line_file(&staging)?;
                let pairs = Box::new(PairLines::new(job, *format == HitFormat::Json, scratch)?);
                let mut inner = Inner::Pairs { file, path, pairs };
                if let (HitFormat::Tsv, Inner::Pairs { file, .. }) = (format, &mut inner) {
                    writeln!(file, "{PAIR_COLUMNS}").map_err(|error| failed("write", &staging, error))?;
                }
                inner
            }
        };
        Ok(Self { job, inner })
    }

    /// Why the record cannot be in the output, if it cannot.
    pub(super) fn push(
        &mut self,
        record: &PlannedRecord,
        content: ContentAt,
        bytes: &[u8],
    ) -> Result<Option<String>, JobError> {
        match &mut self.inner {
            Inner::Vectors { writer, per_residue, .. } => {
                let values = floats(bytes);
                let row = match per_residue {
                    true => OutputRow { id: &record.id, vector: &[], residues: Some(&values) },
                    false => OutputRow { id: &record.id, vector: &values, residues: None },
                };
                told_of_record(writer.push(&row), OutputError::is_row_error)
            }
            Inner::Collection { builder, contents } => {
                let content = contents.get(self.job, content)?;
                let content =
                    content.ok_or_else(|| self.job.folder.damaged("plan/in", "a shard is missing"))?;
                let content = content_of(content, self.job.plan.modality)?;
                let vectors =
                    joint_vectors(self.job, bytes).map_err(|error| JobError::Engine(error.into()))?;
                let vectors: Vec<&JointVector> = vectors.iter().collect();
                let pushed = builder.push_in_all(record_of(self.job, record, content), &vectors);
                let is_of_record = |error: &IndexError| {
                    matches!(
                        error,
                        IndexError::EmptyId { .. }
                            | IndexError::LongId { .. }
                            | IndexError::DuplicateId { .. }
                            | IndexError::RecordField { .. }
                    )
                };
                told_of_record(pushed.map(|_| ()), is_of_record)
            }
            Inner::Pairs { file, path, pairs } => {
                let lines = pairs.lines(self.job, &record.id, content, bytes)?;
                file.write_all(lines.as_bytes()).map_err(|error| failed("write", path, error))?;
                Ok(None)
            }
            Inner::Lines { file, path, is_json } => {
                let written = write_lines(file, &record.id, bytes, *is_json);
                written.map_err(|error| failed("write", path, error))?;
                Ok(None)
            }
        }
    }

    pub(super) fn finish(self) -> Result<Staged, JobError> {
        match self.inner {
            Inner::Vectors { writer, path, .. } => {
                writer.finish()?;
                Ok(Staged::File(path))
            }
            Inner::Collection { builder, .. } => {
                // One thread inserts the rows in one order, so that the same rows make the same graph.
                let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build();
                let pool = pool.map_err(|error| JobError::Models(Box::new(error)))?;
                Ok(Staged::Collection(Box::new(pool.install(|| builder.build(&mut |_| ()))?)))
            }
            Inner::Lines { mut file, path, .. } | Inner::Pairs { mut file, path, .. } => {
                let flushed = file.flush().and_then(|()| file.get_ref().sync_all());
                flushed.map_err(|error| failed("write", &path, error))?;
                Ok(Staged::File(path))
            }
        }
    }
}

/// What a collection keeps of a record.
fn record_of(job: &OpenJob, planned: &PlannedRecord, content: EncoderInput) -> Record {
    let (length, sequence, text) = match content {
        EncoderInput::Protein(sequence) => {
            (u32::try_from(sequence.len()).unwrap_or(u32::MAX), Some(sequence.as_str().to_owned()), None)
        }
        EncoderInput::Text(text) => (0, None, Some(text.as_str().to_owned())),
    };
    let input = job.spec.inputs.get(planned.input as usize);
    let source = input.and_then(|input| Path::new(input).file_name());
    Record {
        id: planned.id.clone(),
        description: planned.description.clone(),
        organism: planned.organism.clone(),
        taxon_id: planned.taxon_id,
        gene: planned.gene.clone(),
        length,
        sequence,
        text,
        source: planned.source.clone().or_else(|| source.map(|name| name.to_string_lossy().into_owned())),
        fields: planned.fields.clone(),
    }
}

/// An error that concerns the record alone is its reason.
fn told_of_record<E: std::fmt::Display + Into<JobError>>(
    pushed: Result<(), E>,
    is_of_record: impl Fn(&E) -> bool,
) -> Result<Option<String>, JobError> {
    match pushed {
        Ok(()) => Ok(None),
        Err(error) if is_of_record(&error) => Ok(Some(error.to_string())),
        Err(error) => Err(error.into()),
    }
}

fn vectors(job: &OpenJob, staging: &Path, per_residue: bool) -> Result<Inner, JobError> {
    let space =
        job.plan.spaces.first().ok_or_else(|| job.folder.damaged("plan/plan.json", "it has no space"))?;
    let is_joint = matches!(job.spec.task, Task::Embed { space: SpaceChoice::Joint, .. });
    let pooling = match (per_residue, is_joint, job.plan.modality) {
        (true, _, _) => "one row a residue, last layer",
        (_, true, _) => "projection of layer statistics, unit norm",
        (_, _, protext_core::Modality::Text) => "one row a text, as the encoder gives it",
        _ => "mean over residues of the last layer",
    };
    let options = OutputOptions {
        format: Some(vector_format(&job.spec)),
        dim: space.dim,
        per_residue,
        // The staging name is this job's own.
        overwrite: true,
        metadata: VectorMetadata {
            encoder: Some(job.plan.encoder.clone()),
            space: Some(space.name.clone()),
            fingerprint: Some(space.fingerprint.to_string()),
            pooling: Some(pooling.to_owned()),
            protext_version: Some(job.plan.protext_version.clone()),
        },
    };
    let writer = create(staging, &options)?;
    let path = TempPath::try_from_path(staging).map_err(|error| failed("write", staging, error))?;
    Ok(Inner::Vectors { writer, path, per_residue })
}

fn collection(job: &OpenJob, target: Target, index: IndexChoice) -> Result<CollectionBuilder, JobError> {
    let kind = match index {
        IndexChoice::Auto => IndexKind::Auto,
        IndexChoice::Exact => IndexKind::Exact,
        IndexChoice::Hnsw => IndexKind::Hnsw(HnswParams::default()),
    };
    let mut spaces = job.plan.spaces.iter().cloned();
    let main = spaces.next().ok_or_else(|| job.folder.damaged("plan/plan.json", "it has no space"))?;
    let mut builder = CollectionBuilder::new(main, kind)?;
    for space in spaces {
        builder.add_space(space)?;
    }
    builder.set_metadata("encoder", &job.plan.encoder);
    // Neither the time nor the job's name: the same input gives the same bytes.
    builder.set_created(0);
    target.mark(&mut builder);
    Ok(builder)
}

fn lines(staging: &Path, format: HitFormat, columns: &str) -> Result<Inner, JobError> {
    let (mut file, path) = line_file(staging)?;
    if format == HitFormat::Tsv {
        writeln!(file, "query\t{columns}").map_err(|error| failed("write", staging, error))?;
    }
    Ok(Inner::Lines { file, path, is_json: format == HitFormat::Json })
}

fn line_file(staging: &Path) -> Result<(BufWriter<File>, TempPath), JobError> {
    let written = |error| failed("write", staging, error);
    let file = BufWriter::with_capacity(1 << 16, File::create(staging).map_err(written)?);
    let path = TempPath::try_from_path(staging).map_err(written)?;
    Ok((file, path))
}

/// Lines are kept without the query, because one content may have many: its id is put before each.
fn write_lines(file: &mut impl std::io::Write, id: &str, bytes: &[u8], is_json: bool) -> std::io::Result<()> {
    if is_json {
        let id = serde_json::to_string(id)?;
        write!(file, "{{\"query\":{id},")?;
        file.write_all(bytes.get(1..).unwrap_or_default())?;
        return file.write_all(b"\n");
    }
    for line in bytes.split_inclusive(|&byte| byte == b'\n') {
        file.write_all(id.as_bytes())?;
        file.write_all(line)?;
    }
    Ok(())
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks().0.iter().map(|&value| f32::from_le_bytes(value)).collect()
}

/// The vectors of all spaces, as a shard keeps them one after the other.
fn joint_vectors(job: &OpenJob, bytes: &[u8]) -> Result<Vec<JointVector>, VectorError> {
    let values = floats(bytes);
    let mut rest = &values[..];
    let mut vectors = Vec::with_capacity(job.plan.spaces.len());
    for space in &job.plan.spaces {
        let (own, others) = rest
            .split_at_checked(space.dim)
            .ok_or(VectorError::WrongDim { expected: space.dim, found: rest.len() })?;
        vectors.push(JointVector::normalized(own.to_vec())?);
        rest = others;
    }
    Ok(vectors)
}
