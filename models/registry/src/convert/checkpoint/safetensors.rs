//! The table of a safetensors file: its JSON header.

use std::io::{Read, Seek, SeekFrom};
use std::sync::Arc;

use safetensors::Dtype;
use safetensors::tensor::Metadata;

use super::stored::row_major;
use super::{ConvertError, OpenFile, StoredElement, StoredTensor, read_error};

/// Bytes before the header, which hold its length.
const LENGTH_BYTES: u64 = 8;
/// Source: the format's own limit.
const MAX_HEADER_BYTES: u64 = 100_000_000;

pub(super) fn read_table(file: &Arc<OpenFile>) -> Result<Vec<StoredTensor>, ConvertError> {
    let broken = |rule: String| ConvertError::Safetensors { path: file.path.clone(), rule };
    let header = read_header(file)?;
    let data_start = LENGTH_BYTES + header.len() as u64;
    let metadata: Metadata = serde_json::from_slice(&header).map_err(|error| broken(error.to_string()))?;
    if data_start.checked_add(metadata.data_len() as u64) != Some(file.n_bytes) {
        return Err(broken("the file does not end where its last tensor does".to_owned()));
    }
    let tensors = metadata.tensors().into_iter().map(|(name, info)| StoredTensor {
        name,
        file: Arc::clone(file),
        start: data_start + info.data_offsets.0 as u64,
        element: element(info.dtype),
        strides: row_major(&info.shape),
        shape: info.shape.clone(),
    });
    Ok(tensors.collect())
}

fn read_header(file: &OpenFile) -> Result<Vec<u8>, ConvertError> {
    let failed = |source| read_error(&file.path, source);
    let mut reader = &file.file;
    let mut length = [0; LENGTH_BYTES as usize];
    reader.seek(SeekFrom::Start(0)).map_err(failed)?;
    reader.read_exact(&mut length).map_err(failed)?;
    let length = u64::from_le_bytes(length);
    if length > MAX_HEADER_BYTES || length > file.n_bytes - LENGTH_BYTES {
        let rule =
            format!("its length of {length} bytes is past the end of the file or over {MAX_HEADER_BYTES}");
        return Err(ConvertError::Safetensors { path: file.path.clone(), rule });
    }
    let mut header = vec![0; length as usize];
    reader.read_exact(&mut header).map_err(failed)?;
    Ok(header)
}

fn element(dtype: Dtype) -> StoredElement {
    match dtype {
        Dtype::F32 => StoredElement::Float32,
        Dtype::F16 => StoredElement::Float16,
        Dtype::BF16 => StoredElement::Bfloat16,
        Dtype::F64 => StoredElement::Other("float64"),
        Dtype::I64 => StoredElement::Other("int64"),
        Dtype::BOOL => StoredElement::Other("bool"),
        _ => StoredElement::Other("another element type"),
    }
}
