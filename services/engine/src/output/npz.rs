//! NPZ: a zip archive of NumPy arrays, not compressed (embeddings hardly shrink), opened without pickle.
//!
//! The header of `vectors` tells the number of rows, which is known last: rows wait in an unnamed temporary file
//! on the same disk and are copied in at the end. Per-residue matrices go straight into the archive.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Seek, Write};
use std::path::{Path, PathBuf};

use zip::result::ZipError;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, DateTime, ZipWriter};

use super::error::OutputError;
use super::npy;
use super::partial::{PartialFile, folder_of};
use super::{CheckedRow, FormatWriter, Layout, VectorMetadata};

type Archive = ZipWriter<BufWriter<PartialFile>>;

pub(super) fn writer(file: PartialFile, layout: &Layout<'_>) -> Result<Box<dyn FormatWriter>, OutputError> {
    let path = file.path().to_owned();
    let comment = comment(layout.metadata);
    if layout.per_residue {
        let archive = archive(file, comment)?;
        return Ok(Box::new(MatricesWriter { archive, path, dim: layout.dim }));
    }
    let waiting = tempfile::tempfile_in(folder_of(&path))
        .map_err(|source| OutputError::Create { path: path.clone(), source })?;
    let rows = BufWriter::with_capacity(1 << 16, waiting);
    Ok(Box::new(RowsWriter { file, comment, path, dim: layout.dim, rows, ids: Vec::new() }))
}

/// JSON of what is known; nothing if nothing is.
fn comment(metadata: &VectorMetadata) -> Box<[u8]> {
    match metadata.entries().next() {
        Some(_) => {
            serde_json::to_vec(metadata).expect("a struct of strings is always JSON").into_boxed_slice()
        }
        None => Box::default(),
    }
}

fn archive(file: PartialFile, comment: Box<[u8]>) -> Result<Archive, OutputError> {
    let path = file.path().to_owned();
    let mut archive = ZipWriter::new(BufWriter::with_capacity(1 << 16, file));
    archive.set_raw_comment(comment).map_err(|error| OutputError::write(&path, error))?;
    Ok(archive)
}

/// Begins the member `name`, which will have `n_bytes`. The fixed time keeps bytes the same from run to run.
fn start(archive: &mut Archive, name: &str, n_bytes: u64) -> Result<(), ZipError> {
    let options = SimpleFileOptions::default()
        .compression_method(CompressionMethod::Stored)
        .last_modified_time(DateTime::default())
        .unix_permissions(0o644)
        .large_file(n_bytes >= u64::from(u32::MAX));
    archive.start_file(format!("{name}.npy"), options)
}

fn finish(archive: Archive, path: &Path) -> Result<PartialFile, OutputError> {
    let file = archive.finish().map_err(|error| OutputError::write(path, error))?;
    file.into_inner().map_err(|error| OutputError::write(path, error.into_error()))
}

fn write_values(sink: &mut impl Write, values: &[f32]) -> io::Result<()> {
    let mut bytes = Vec::with_capacity(values.len() * 4);
    values.iter().for_each(|value| bytes.extend_from_slice(&value.to_le_bytes()));
    sink.write_all(&bytes)
}

/// A matrix per id.
struct MatricesWriter {
    archive: Archive,
    path: PathBuf,
    dim: usize,
}

impl FormatWriter for MatricesWriter {
    fn push(&mut self, row: &CheckedRow<'_>) -> Result<(), OutputError> {
        let header = npy::header("<f4", &[row.values.len() / self.dim, self.dim]);
        let n_bytes = (header.len() + row.values.len() * 4) as u64;
        start(&mut self.archive, row.id, n_bytes).map_err(|error| OutputError::write(&self.path, error))?;
        let written =
            self.archive.write_all(&header).and_then(|()| write_values(&mut self.archive, row.values));
        written.map_err(|error| OutputError::write(&self.path, error))
    }

    fn finish(self: Box<Self>) -> Result<PartialFile, OutputError> {
        finish(self.archive, &self.path)
    }
}

/// `ids` and `vectors`.
struct RowsWriter {
    file: PartialFile,
    comment: Box<[u8]>,
    path: PathBuf,
    dim: usize,
    /// Values of all rows so far.
    rows: BufWriter<File>,
    ids: Vec<Box<str>>,
}

impl FormatWriter for RowsWriter {
    fn push(&mut self, row: &CheckedRow<'_>) -> Result<(), OutputError> {
        write_values(&mut self.rows, row.values).map_err(|error| OutputError::write(&self.path, error))?;
        self.ids.push(row.id.into());
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<PartialFile, OutputError> {
        let Self { file, comment, path, dim, rows, ids } = *self;
        let failed = |error: ZipError| OutputError::write(&path, error);
        let rows = rows.into_inner().map_err(|error| failed(error.into_error().into()))?;
        let mut archive = archive(file, comment)?;
        write_ids(&mut archive, &ids).map_err(failed)?;
        write_vectors(&mut archive, &[ids.len(), dim], rows).map_err(failed)?;
        finish(archive, &path)
    }
}

fn write_ids(archive: &mut Archive, ids: &[Box<str>]) -> Result<(), ZipError> {
    let width = ids.iter().map(|id| id.chars().count()).max().unwrap_or(0).max(1);
    let header = npy::header(&format!("<U{width}"), &[ids.len()]);
    start(archive, "ids", (header.len() + ids.len() * width * 4) as u64)?;
    archive.write_all(&header)?;
    let mut item = Vec::with_capacity(width * 4);
    for id in ids {
        item.clear();
        id.chars().for_each(|character| item.extend_from_slice(&u32::from(character).to_le_bytes()));
        item.resize(width * 4, 0);
        archive.write_all(&item)?;
    }
    Ok(())
}

fn write_vectors(archive: &mut Archive, shape: &[usize; 2], mut rows: File) -> Result<(), ZipError> {
    let header = npy::header("<f4", shape);
    let n_bytes = rows.stream_position()?;
    rows.rewind()?;
    start(archive, "vectors", header.len() as u64 + n_bytes)?;
    archive.write_all(&header)?;
    io::copy(&mut BufReader::with_capacity(1 << 16, rows), archive)?;
    Ok(())
}
