//! The table of a PyTorch zip archive: `NAME/data.pkl`, and where each `NAME/data/KEY` lies in the file.
//!
//! Storages are kept uncompressed by PyTorch, so a tensor is read straight from its place in the file.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::sync::Arc;

use zip::{CompressionMethod, ZipArchive};

use super::pickle::{self, PickledTensor};
use super::stored::fits;
use super::{ConvertError, OpenFile, StoredTensor, read_error};

type Archive = ZipArchive<BufReader<File>>;

pub(super) fn read_table(file: &Arc<OpenFile>) -> Result<Vec<StoredTensor>, ConvertError> {
    let archive_error = |source| ConvertError::Archive { path: file.path.clone(), source };
    let reader = File::open(&file.path).map_err(|source| read_error(&file.path, source))?;
    let mut archive = ZipArchive::new(BufReader::new(reader)).map_err(archive_error)?;
    let root = root_folder(&archive)
        .ok_or_else(|| ConvertError::NotTorch { path: file.path.clone(), rule: "it has no data.pkl" })?;
    refuse_big_endian(&mut archive, &root, file)?;
    let table = read_entry(&mut archive, &format!("{root}data.pkl"), file)?;
    let tensors = pickle::read_tensors(&table)
        .map_err(|source| ConvertError::Pickle { path: file.path.clone(), source })?;
    let mut storages = HashMap::new();
    tensors
        .into_iter()
        .map(|(name, tensor)| {
            let key = tensor.storage.key.clone();
            let storage = match storages.get(&key) {
                Some(&storage) => storage,
                None => {
                    let storage = find_storage(&mut archive, &format!("{root}data/{key}"), file)?;
                    storages.insert(key, storage);
                    storage
                }
            };
            place(name, tensor, storage, file)
        })
        .collect()
}

/// Where a storage lies in the file, in bytes.
#[derive(Clone, Copy)]
struct Storage {
    start: u64,
    n_bytes: u64,
}

fn root_folder(archive: &Archive) -> Option<String> {
    let names = archive.file_names().filter_map(Result::ok);
    let roots = names.filter_map(|name| name.strip_suffix("data.pkl").map(str::to_owned));
    roots.filter(|root| root.is_empty() || root.ends_with('/')).min_by_key(String::len)
}

fn refuse_big_endian(archive: &mut Archive, root: &str, file: &OpenFile) -> Result<(), ConvertError> {
    let name = format!("{root}byteorder");
    if archive.index_for_name(&name).is_none() || read_entry(archive, &name, file)? == b"little" {
        return Ok(());
    }
    Err(ConvertError::NotTorch { path: file.path.clone(), rule: "its byte order is not little-endian" })
}

fn read_entry(archive: &mut Archive, name: &str, file: &OpenFile) -> Result<Vec<u8>, ConvertError> {
    let entry =
        archive.by_name(name).map_err(|source| ConvertError::Archive { path: file.path.clone(), source })?;
    let mut bytes = Vec::new();
    // One byte over the limit is enough for the pickle reader to refuse it.
    let limit = pickle::MAX_BYTES as u64 + 1;
    entry.take(limit).read_to_end(&mut bytes).map_err(|source| read_error(&file.path, source))?;
    Ok(bytes)
}

fn find_storage(archive: &mut Archive, name: &str, file: &OpenFile) -> Result<Storage, ConvertError> {
    let entry =
        archive.by_name(name).map_err(|source| ConvertError::Archive { path: file.path.clone(), source })?;
    match entry.data_start() {
        Some(start) if entry.compression() == CompressionMethod::Stored && !entry.encrypted() => {
            Ok(Storage { start, n_bytes: entry.size() })
        }
        _ => Err(ConvertError::NotTorch { path: file.path.clone(), rule: "a storage is compressed" }),
    }
}

fn place(
    name: String,
    tensor: PickledTensor,
    storage: Storage,
    file: &Arc<OpenFile>,
) -> Result<StoredTensor, ConvertError> {
    let element = tensor.storage.element;
    let element_bytes = element.n_bytes().unwrap_or(1);
    let stored_elements = tensor.storage.n_elements.min(storage.n_bytes / element_bytes);
    // Tensors that are no weights are listed unchecked: they are never read.
    let is_checked = element.n_bytes().is_some();
    if is_checked && !fits(&tensor.shape, &tensor.strides, tensor.offset, stored_elements) {
        return Err(ConvertError::OutOfStorage { name, path: file.path.clone() });
    }
    let start = tensor.offset.saturating_mul(element_bytes).saturating_add(storage.start);
    let PickledTensor { shape, strides, .. } = tensor;
    Ok(StoredTensor { name, file: Arc::clone(file), start, element, shape, strides })
}
