//! NPZ: the members `ids` and `vectors`, as NumPy saves them with or without compression.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use zip::ZipArchive;

use super::{ID_NAMES, Rows, VECTOR_NAMES, damaged, layout, position_of};
use crate::output::error::VectorFileError;
use crate::output::npy::ArrayHeader;
use crate::output::{MAX_DIM, OutputFormat, VectorFile, VectorMetadata};

const LAYOUT: &str =
    "an array of ids and an array of vectors, such as numpy.savez(f, ids=..., vectors=...) writes";

type Archive = ZipArchive<BufReader<File>>;

pub(super) fn read(path: &Path) -> Result<VectorFile, VectorFileError> {
    let failed = |source| VectorFileError::Read { path: path.to_owned(), source };
    let stream = BufReader::new(File::open(path).map_err(failed)?);
    let mut archive = ZipArchive::new(stream).map_err(|error| damaged(path, OutputFormat::Npz, error))?;
    let members = archive.file_names().map(|name| name.map(|name| name.into_owned()));
    let members: Vec<String> =
        members.collect::<Result<_, _>>().map_err(|error| damaged(path, OutputFormat::Npz, error))?;
    let names: Vec<&str> = members.iter().map(|name| name.strip_suffix(".npy").unwrap_or(name)).collect();
    let found = (position_of(&names, ID_NAMES), position_of(&names, VECTOR_NAMES));
    let (Some(ids_at), Some(vectors_at)) = found else {
        let listed = names.iter().take(8).copied().collect::<Vec<_>>().join(", ");
        return Err(layout(path, "archive", format!("members {listed}"), LAYOUT));
    };
    let metadata: VectorMetadata = serde_json::from_slice(archive.comment()).unwrap_or_default();
    let ids = ids(path, &mut archive, &members[ids_at])?;
    let mut rows = Rows::new(path);
    push_vectors(path, &mut archive, &members[vectors_at], &ids, &mut rows)?;
    rows.finish(metadata)
}

fn ids(path: &Path, archive: &mut Archive, member: &str) -> Result<Vec<String>, VectorFileError> {
    let mut entry = archive.by_name(member).map_err(|error| damaged(path, OutputFormat::Npz, error))?;
    let header = header(path, member, &mut entry)?;
    let mut bytes = Vec::new();
    entry.read_to_end(&mut bytes).map_err(|error| damaged(path, OutputFormat::Npz, error))?;
    let ids = header.strings(&bytes).filter(|ids| header.shape == [ids.len()]);
    ids.ok_or_else(|| {
        layout(path, member, header.to_string(), "a list of strings, saved as str and not as object")
    })
}

/// Reads the matrix row by row, so that only one copy of it is ever in memory.
fn push_vectors(
    path: &Path,
    archive: &mut Archive,
    member: &str,
    ids: &[String],
    rows: &mut Rows,
) -> Result<(), VectorFileError> {
    let failed = |error: std::io::Error| damaged(path, OutputFormat::Npz, error);
    let entry = archive.by_name(member).map_err(|error| failed(error.into()))?;
    let mut entry = BufReader::with_capacity(1 << 16, entry);
    let header = header(path, member, &mut entry)?;
    let (&[n_rows, dim], Some(item_bytes)) = (&header.shape[..], header.float_bytes()) else {
        return Err(layout(path, member, header.to_string(), "floating-point numbers of shape [n, dim]"));
    };
    if n_rows != ids.len() {
        let found = format!("{n_rows} vectors for {} ids", ids.len());
        return Err(layout(path, member, found, "as many vectors as ids"));
    }
    if dim > MAX_DIM {
        return Err(layout(path, member, header.to_string(), "vectors of at most 1,048,576 components"));
    }
    let mut bytes = vec![0; dim * item_bytes];
    for id in ids {
        entry.read_exact(&mut bytes).map_err(failed)?;
        rows.push(id, &header.floats(&bytes).unwrap_or_default())?;
    }
    Ok(())
}

fn header(path: &Path, member: &str, stream: &mut impl Read) -> Result<ArrayHeader, VectorFileError> {
    ArrayHeader::read(stream).map_err(|error| damaged(path, OutputFormat::Npz, format!("{member}: {error}")))
}
