//! JSON lines: `{"id": ..., "vector": [...]}` on each, or `"residues": [[...], ...]`.

use std::io::{BufWriter, Write};

use serde::Serialize;

use super::error::OutputError;
use super::partial::PartialFile;
use super::{CheckedRow, FormatWriter, Layout};

pub(super) struct JsonLinesWriter {
    file: BufWriter<PartialFile>,
    dim: usize,
    per_residue: bool,
}

#[derive(Serialize)]
struct VectorLine<'a> {
    id: &'a str,
    vector: &'a [f32],
}

#[derive(Serialize)]
struct ResiduesLine<'a> {
    id: &'a str,
    residues: Vec<&'a [f32]>,
}

impl JsonLinesWriter {
    pub(super) fn new(file: PartialFile, layout: &Layout<'_>) -> Self {
        Self { file: BufWriter::new(file), dim: layout.dim, per_residue: layout.per_residue }
    }
}

impl FormatWriter for JsonLinesWriter {
    fn push(&mut self, row: &CheckedRow<'_>) -> Result<(), OutputError> {
        let written = match self.per_residue {
            false => serde_json::to_writer(&mut self.file, &VectorLine { id: row.id, vector: row.values }),
            true => {
                let residues = row.values.chunks_exact(self.dim).collect();
                serde_json::to_writer(&mut self.file, &ResiduesLine { id: row.id, residues })
            }
        };
        let path = self.file.get_ref().path();
        written.map_err(|error| OutputError::write(path, std::io::Error::from(error)))?;
        self.file.write_all(b"\n").map_err(|error| OutputError::write(self.file.get_ref().path(), error))
    }

    fn finish(self: Box<Self>) -> Result<PartialFile, OutputError> {
        let path = self.file.get_ref().path().to_owned();
        self.file.into_inner().map_err(|error| OutputError::write(&path, error.into_error()))
    }
}
