//! The NCBI taxonomy from `nodes.dmp`, plain or gzip.

use std::fs::File;
use std::path::Path;

use protext_index::Taxonomy;

use super::detect::{DetectError, decompress};
use super::error::InputError;

/// Reads `nodes.dmp` of NCBI's taxdump archive.
///
/// # Errors
/// [`InputError`] naming the file, and the line where it is not such a file.
pub fn read_taxonomy(path: &Path) -> Result<Taxonomy, InputError> {
    let named = || path.display().to_string();
    let file = File::open(path).map_err(|source| InputError::Open { path: path.to_owned(), source })?;
    let opened = decompress(Box::new(file)).map_err(|error| match error {
        DetectError::Read(source) => InputError::Read { file: named(), source },
        DetectError::Codec(codec) => InputError::Compression { file: named(), codec },
    })?;
    Taxonomy::read(opened.stream).map_err(|source| InputError::Taxonomy { file: named(), source })
}
