//! HDF5: a `[dim]` dataset for each id, all in the root group.

use std::collections::HashMap;
use std::path::Path;

use hdf5_pure::{AttrValue, File};

use super::{Rows, damaged, layout};
use crate::output::error::VectorFileError;
use crate::output::{OutputFormat, VectorFile, VectorMetadata};

pub(super) fn read(path: &Path) -> Result<VectorFile, VectorFileError> {
    let failed = |error: hdf5_pure::Error| damaged(path, OutputFormat::Hdf5, error);
    let root = File::open_streaming(path).map_err(failed)?.root();
    let mut rows = Rows::new(path);
    for (id, dataset) in root.iter_datasets().map_err(failed)? {
        match dataset.shape().map_err(failed)?.len() {
            1 => rows.push(&id, &dataset.read_f32().map_err(failed)?)?,
            2 => {
                return Err(VectorFileError::PerResidue {
                    path: path.to_owned(),
                    place: format!("dataset {id:?}"),
                });
            }
            n => {
                let place = format!("dataset {id:?}");
                return Err(layout(
                    path,
                    &place,
                    format!("{n} dimensions"),
                    "one vector, that is 1 dimension",
                ));
            }
        }
    }
    // Attributes are extra: a file of another program may have ones that are not understood here.
    let attributes: HashMap<String, AttrValue> = root.attrs().unwrap_or_default();
    rows.finish(VectorMetadata::from_entries(|key| attributes.get(key)?.as_str().map(str::to_owned)))
}
