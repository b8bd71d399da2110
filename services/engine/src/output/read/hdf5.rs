//! HDF5: a `[dim]` dataset for each id, in the root group or in groups; float16 too, which UniProt's own files have.
//!
//! A dataset is named by its id; one called `embedding` or `vector` takes the name of its group instead.

use std::collections::HashMap;
use std::path::Path;

use half::f16;
use hdf5_pure::{AttrValue, Dataset, Datatype, DatatypeByteOrder, Error, File, FloatingPointLayout, Group};

use super::{Rows, VECTOR_NAMES, damaged, layout, position_of};
use crate::output::error::VectorFileError;
use crate::output::{MAX_DIM, OutputFormat, VectorFile, VectorMetadata};

/// Groups within groups that are looked into.
const MAX_DEPTH: usize = 3;

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
    read_group(&mut rows, path, &root, "", MAX_DEPTH)?;
    // Attributes are extra: a file of another program may have ones that are not understood here.
    let attributes: HashMap<String, AttrValue> = root.attrs().unwrap_or_default();
    rows.finish(VectorMetadata::from_entries(|key| attributes.get(key)?.as_str().map(str::to_owned)))
}

/// Reads the datasets of `group`, then those of the groups in it, `depth` levels down.
fn read_group(
    rows: &mut Rows,
    path: &Path,
    group: &Group,
    name: &str,
    depth: usize,
) -> Result<(), VectorFileError> {
    let failed = |error: Error| damaged(path, OutputFormat::Hdf5, error);
    for (dataset_name, dataset) in group.iter_datasets().map_err(failed)? {
        let place = format!("dataset {:?}", format!("{name}/{dataset_name}"));
        let is_unnamed = !name.is_empty() && position_of(&[&dataset_name], VECTOR_NAMES).is_some();
        let id = if is_unnamed { name } else { &dataset_name };
        match dataset.shape().map_err(failed)?[..] {
            [dim] if dim <= MAX_DIM as u64 => rows.push(id, &floats(&dataset).map_err(failed)?)?,
            [_, _] => return Err(VectorFileError::PerResidue { path: path.to_owned(), place }),
            ref shape => {
                let expected = "one vector of at most 1,048,576 components";
                return Err(layout(path, &place, format!("an array of shape {shape:?}"), expected));
            }
        }
    }
    for (child_name, child) in group.iter_groups().map_err(failed)? {
        // A link may lead back to where it came from.
        let Some(depth) = depth.checked_sub(1) else {
            let place = format!("group {child_name:?}");
            return Err(layout(path, &place, "groups within groups", "datasets at most three groups down"));
        };
        read_group(rows, path, &child, &child_name, depth)?;
    }
    Ok(())
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
