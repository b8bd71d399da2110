//! JSON lines: an object with an id and a vector on each.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use serde::Deserialize;

use super::{Rows, damaged, layout};
use crate::output::error::VectorFileError;
use crate::output::{OutputFormat, VectorFile, VectorMetadata};

#[derive(Deserialize)]
struct VectorLine {
    #[serde(alias = "accession")]
    id: String,
    #[serde(alias = "embedding", default)]
    vector: Option<Vec<f32>>,
    residues: Option<serde::de::IgnoredAny>,
}

pub(super) fn read(path: &Path) -> Result<VectorFile, VectorFileError> {
    let failed = |source| VectorFileError::Read { path: path.to_owned(), source };
    let mut stream = BufReader::new(File::open(path).map_err(failed)?);
    let mut rows = Rows::new(path);
    let (mut line, mut number) = (Vec::new(), 0);
    loop {
        line.clear();
        if stream.read_until(b'\n', &mut line).map_err(failed)? == 0 {
            return rows.finish(VectorMetadata::default());
        }
        number += 1;
        let text = line.strip_prefix(b"\xef\xbb\xbf").filter(|_| number == 1).unwrap_or(&line);
        if text.trim_ascii().is_empty() {
            continue;
        }
        let place = || format!("line {number}");
        let parsed: VectorLine = serde_json::from_slice(text).map_err(|error| match error.is_data() {
            true => layout(path, &place(), error.to_string(), "an object with an id and a vector of numbers"),
            false => damaged(path, OutputFormat::JsonLines, format!("{}: {error}", place())),
        })?;
        match (parsed.vector, parsed.residues) {
            (Some(vector), _) => rows.push(&parsed.id, &vector)?,
            (None, Some(_)) => {
                return Err(VectorFileError::PerResidue { path: path.to_owned(), place: place() });
            }
            (None, None) => {
                return Err(layout(
                    path,
                    &place(),
                    "no key \"vector\"",
                    "an object with an id and a vector of numbers",
                ));
            }
        }
    }
}
