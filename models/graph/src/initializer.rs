//! Weights: eager or deferred, checked against their dimensions, written little-endian.

use std::io::Write;

use half::f16;

use crate::error::{BoxError, GraphError};
use crate::value::ElementType;

/// Elements converted at a time when a weight is written.
const CHUNK_ELEMENTS: usize = 16 * 1024;

type Loader<'w> = Box<dyn FnOnce() -> Result<Vec<f32>, BoxError> + 'w>;

pub(crate) enum Payload<'w> {
    F32(Vec<f32>),
    F16(Vec<f16>),
    I64(Vec<i64>),
    DeferredF32(Loader<'w>),
    /// Loaded in 32 bits, written in 16.
    DeferredF16(Loader<'w>),
}

/// A named weight of a graph.
pub(crate) struct Initializer<'w> {
    pub(crate) name: String,
    pub(crate) dims: Vec<usize>,
    pub(crate) payload: Payload<'w>,
}

impl Initializer<'_> {
    pub(crate) fn element(&self) -> ElementType {
        match self.payload {
            Payload::F32(_) | Payload::DeferredF32(_) => ElementType::Float32,
            Payload::F16(_) | Payload::DeferredF16(_) => ElementType::Float16,
            Payload::I64(_) => ElementType::Int64,
        }
    }

    /// Bytes of all elements, by the dimensions.
    pub(crate) fn n_bytes(&self) -> Result<u64, GraphError> {
        self.dims
            .iter()
            .try_fold(self.element().n_bytes(), |product, &dim| product.checked_mul(dim))
            .and_then(|n_bytes| u64::try_from(n_bytes).ok())
            .ok_or_else(|| GraphError::TooLarge { name: self.name.clone(), dims: self.dims.clone() })
    }

    /// Refuses a weight whose elements are here and are not as many as its dimensions say.
    pub(crate) fn check(&self) -> Result<(), GraphError> {
        let expected = self.n_bytes()? / self.element().n_bytes() as u64;
        let found = match &self.payload {
            Payload::F32(values) => values.len(),
            Payload::F16(values) => values.len(),
            Payload::I64(values) => values.len(),
            Payload::DeferredF32(_) | Payload::DeferredF16(_) => return Ok(()),
        };
        self.check_length(expected, found)
    }

    fn check_length(&self, expected: u64, found: usize) -> Result<(), GraphError> {
        if found as u64 == expected {
            return Ok(());
        }
        Err(GraphError::WrongLength { name: self.name.clone(), dims: self.dims.clone(), found })
    }

    /// Loads a deferred weight and checks its length; others pass through.
    pub(crate) fn load(mut self) -> Result<Self, GraphError> {
        let name = self.name.clone();
        let loaded = |load: Loader<'_>| load().map_err(|source| GraphError::Load { name, source });
        self.payload = match self.payload {
            Payload::DeferredF32(load) => Payload::F32(loaded(load)?),
            Payload::DeferredF16(load) => {
                Payload::F16(loaded(load)?.into_iter().map(f16::from_f32).collect())
            }
            here => here,
        };
        self.check()?;
        Ok(self)
    }

    /// Writes the elements of a loaded weight.
    pub(crate) fn write_elements(&self, out: &mut dyn Write) -> std::io::Result<()> {
        match &self.payload {
            Payload::F32(values) => {
                write_chunks(out, values, |value, bytes| bytes.extend(value.to_le_bytes()))
            }
            Payload::F16(values) => {
                write_chunks(out, values, |value, bytes| bytes.extend(value.to_le_bytes()))
            }
            Payload::I64(values) => {
                write_chunks(out, values, |value, bytes| bytes.extend(value.to_le_bytes()))
            }
            Payload::DeferredF32(_) | Payload::DeferredF16(_) => {
                Err(std::io::Error::other("a deferred weight is loaded before it is written"))
            }
        }
    }
}

fn write_chunks<T: Copy>(
    out: &mut dyn Write,
    values: &[T],
    append: impl Fn(T, &mut Vec<u8>),
) -> std::io::Result<()> {
    let mut bytes = Vec::with_capacity(CHUNK_ELEMENTS.min(values.len()) * size_of::<T>());
    for chunk in values.chunks(CHUNK_ELEMENTS) {
        bytes.clear();
        chunk.iter().for_each(|&value| append(value, &mut bytes));
        out.write_all(&bytes)?;
    }
    Ok(())
}
