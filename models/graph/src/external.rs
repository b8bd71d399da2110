//! Reads where a written model's external weights lie, so that a program can map them once for all that run the model.

use std::path::{Path, PathBuf};

use prost::Message as _;

use crate::error::GraphError;
use crate::proto::{DataLocation, ModelProto, TensorProto};
use crate::value::ElementType;

/// A weight of 32-bit floats in a file beside its model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExternalWeight {
    /// Name.
    pub name: String,
    /// Dimensions.
    pub dims: Vec<usize>,
    /// The file that holds it, row-major and little-endian.
    pub file: PathBuf,
    /// Where it begins there, in bytes.
    pub offset: usize,
}

impl ExternalWeight {
    /// How many bytes it has.
    #[must_use]
    pub fn n_bytes(&self) -> usize {
        self.dims.iter().product::<usize>() * size_of::<f32>()
    }
}

/// The weights of 32-bit floats that `model` keeps in files beside it, in its order; none if all are within.
///
/// # Errors
/// [`GraphError::Read`] if the file cannot be read, [`GraphError::Malformed`] if it is no model, or does not say where a weight is.
pub fn external_weights(model: &Path) -> Result<Vec<ExternalWeight>, GraphError> {
    let bytes = std::fs::read(model).map_err(|source| GraphError::Read { path: model.to_owned(), source })?;
    let malformed = |reason: String| GraphError::Malformed { path: model.to_owned(), reason };
    let parsed = ModelProto::decode(bytes.as_slice()).map_err(|error| malformed(error.to_string()))?;
    let weights = parsed.graph.unwrap_or_default().initializer;
    let is_wanted = |weight: &&TensorProto| {
        weight.data_location == Some(DataLocation::External.into())
            && weight.data_type == Some(ElementType::Float32.number())
    };
    weights
        .iter()
        .filter(is_wanted)
        .map(|weight| {
            let name = weight.name.clone().unwrap_or_default();
            let said = |wanted: &str| {
                let entry = weight.external_data.iter().find(|entry| entry.key.as_deref() == Some(wanted));
                entry.and_then(|entry| entry.value.clone())
            };
            let number = |wanted: &str| said(wanted).and_then(|value| value.parse::<usize>().ok());
            let location = said("location").filter(|location| is_beside(location));
            let dims = weight.dims.iter().map(|&dim| usize::try_from(dim).ok()).collect::<Option<Vec<_>>>();
            let found = location.zip(dims).map(|(location, dims)| ExternalWeight {
                name: name.clone(),
                dims,
                file: model.with_file_name(location),
                offset: number("offset").unwrap_or(0),
            });
            let has_length =
                |weight: &ExternalWeight| number("length").is_none_or(|n_bytes| n_bytes == weight.n_bytes());
            found.filter(has_length).ok_or_else(|| {
                malformed(format!("weight {name:?} does not say where its {:?} numbers are", weight.dims))
            })
        })
        .collect()
}

/// A file in the model's own folder.
fn is_beside(location: &str) -> bool {
    Path::new(location).file_name().is_some_and(|name| name == location)
}
