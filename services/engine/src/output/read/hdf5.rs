//! HDF5: a `[dim]` dataset for each id, all in the root group; float16 too, which UniProt's own files have.

use std::collections::HashMap;
use std::path::Path;

use half::f16;
use hdf5_pure::{AttrValue, Dataset, Datatype, DatatypeByteOrder, Error, File, FloatingPointLayout};

use super::{Rows, damaged, layout};
use crate::output::error::VectorFileError;
use crate::output::{MAX_DIM, OutputFormat, VectorFile, VectorMetadata};

const BINARY16: FloatingPointLayout = FloatingPointLayout {
    bit_offset: 0,
    bit_precision: 16,
    exponent_location: 10,
    exponent_size: 5,
    mantissa_location: 0,
    mantissa_size: 10,
    exponent_bias: 15,
};

pub(super) fn read(path: &Path) -> Result<VectorFile, VectorFileError> {
    let failed = |error: Error| damaged(path, OutputFormat::Hdf5, error);
    let root = File::open_streaming(path).map_err(failed)?.root();
    let mut rows = Rows::new(path);
    for (id, dataset) in root.iter_datasets().map_err(failed)? {
        let place = format!("dataset {id:?}");
        match dataset.shape().map_err(failed)?[..] {
            [dim] if dim <= MAX_DIM as u64 => rows.push(&id, &floats(&dataset).map_err(failed)?)?,
            [_, _] => return Err(VectorFileError::PerResidue { path: path.to_owned(), place }),
            ref shape => {
                let expected = "one vector of at most 1,048,576 components";
                return Err(layout(path, &place, format!("an array of shape {shape:?}"), expected));
            }
        }
    }
    // Attributes are extra: a file of another program may have ones that are not understood here.
    let attributes: HashMap<String, AttrValue> = root.attrs().unwrap_or_default();
    rows.finish(VectorMetadata::from_entries(|key| attributes.get(key)?.as_str().map(str::to_owned)))
}

fn floats(dataset: &Dataset) -> Result<Vec<f32>, Error> {
    let decode = match dataset.datatype()? {
        Datatype::FloatingPoint { layout: BINARY16, byte_order: DatatypeByteOrder::LittleEndian, .. } => {
            f16::from_le_bytes
        }
        Datatype::FloatingPoint { layout: BINARY16, byte_order: DatatypeByteOrder::BigEndian, .. } => {
            f16::from_be_bytes
        }
        _ => return dataset.read_f32(),
    };
    Ok(dataset.read_raw()?.as_chunks().0.iter().map(|&bytes| decode(bytes).to_f32()).collect())
}
