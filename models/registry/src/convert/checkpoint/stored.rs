//! One tensor as it lies in a file, and reading it as `f32`.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use half::{bf16, f16};

use super::{ConvertError, read_error};

/// Bytes read at a time.
const CHUNK_BYTES: usize = 1 << 20;

/// A file that tensors are read from, opened once.
#[derive(Debug)]
pub(super) struct OpenFile {
    pub(super) path: PathBuf,
    pub(super) file: File,
    pub(super) n_bytes: u64,
}

impl OpenFile {
    pub(super) fn open(path: &Path) -> Result<Arc<Self>, ConvertError> {
        let failed = |source| read_error(path, source);
        let file = File::open(path).map_err(failed)?;
        let n_bytes = file.metadata().map_err(failed)?.len();
        Ok(Arc::new(Self { path: path.to_owned(), file, n_bytes }))
    }
}

/// How elements are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StoredElement {
    Float32,
    Float16,
    Bfloat16,
    /// Known, but of no use to a graph: counters, masks, quantized weights.
    Other(&'static str),
}

impl StoredElement {
    pub(super) fn n_bytes(self) -> Option<u64> {
        match self {
            Self::Float32 => Some(4),
            Self::Float16 | Self::Bfloat16 => Some(2),
            Self::Other(_) => None,
        }
    }

    fn append(self, bytes: &[u8], values: &mut Vec<f32>) {
        match self {
            Self::Float32 => values.extend(pieces(bytes).map(f32::from_le_bytes)),
            Self::Float16 => values.extend(pieces(bytes).map(|piece| f16::from_le_bytes(piece).to_f32())),
            Self::Bfloat16 => values.extend(pieces(bytes).map(|piece| bf16::from_le_bytes(piece).to_f32())),
            Self::Other(_) => {}
        }
    }
}

fn pieces<const N: usize>(bytes: &[u8]) -> impl Iterator<Item = [u8; N]> + '_ {
    bytes.as_chunks::<N>().0.iter().copied()
}

/// A tensor in a file: `shape` elements, `strides` elements apart, the first at byte `start`.
#[derive(Debug)]
pub(crate) struct StoredTensor {
    pub(super) name: String,
    pub(super) file: Arc<OpenFile>,
    pub(super) start: u64,
    pub(super) element: StoredElement,
    pub(super) shape: Vec<usize>,
    pub(super) strides: Vec<usize>,
}

impl StoredTensor {
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn shape(&self) -> &[usize] {
        &self.shape
    }

    pub(super) fn path(&self) -> &Path {
        &self.file.path
    }

    /// All elements, row-major, as `f32`.
    pub(crate) fn load(&self) -> Result<Vec<f32>, ConvertError> {
        let outside = || ConvertError::OutOfStorage { name: self.name.clone(), path: self.path().to_owned() };
        let n_elements = checked_product(&self.shape).ok_or_else(outside)?;
        if n_elements == 0 {
            return Ok(Vec::new());
        }
        let span = checked_span(&self.shape, &self.strides).ok_or_else(outside)?;
        let stored = self.read_span(span)?;
        if self.strides == row_major(&self.shape) {
            return Ok(stored);
        }
        // A view may repeat what it shows (stride 0), but never beyond the size of real weights.
        if n_elements > span {
            return Err(outside());
        }
        Ok(gather(&stored, &self.shape, &self.strides))
    }

    /// The `span` elements from `start` on, whatever their order.
    fn read_span(&self, span: usize) -> Result<Vec<f32>, ConvertError> {
        let StoredElement::Other(found) = self.element else {
            let n_bytes = self.element.n_bytes().and_then(|size| size.checked_mul(span as u64));
            let end = n_bytes.and_then(|n_bytes| self.start.checked_add(n_bytes));
            return match (n_bytes, end) {
                (Some(n_bytes), Some(end)) if end <= self.file.n_bytes => {
                    self.read_bytes(n_bytes, span).map_err(|source| read_error(self.path(), source))
                }
                _ => {
                    Err(ConvertError::OutOfStorage { name: self.name.clone(), path: self.path().to_owned() })
                }
            };
        };
        Err(ConvertError::ElementType { name: self.name.clone(), found })
    }

    fn read_bytes(&self, n_bytes: u64, n_elements: usize) -> std::io::Result<Vec<f32>> {
        let mut file = &self.file.file;
        file.seek(SeekFrom::Start(self.start))?;
        let mut values = Vec::with_capacity(n_elements);
        let mut chunk = vec![0; CHUNK_BYTES.min(n_bytes as usize)];
        let mut left = n_bytes;
        while left > 0 {
            let part = &mut chunk[..(CHUNK_BYTES as u64).min(left) as usize];
            file.read_exact(part)?;
            self.element.append(part, &mut values);
            left -= part.len() as u64;
        }
        Ok(values)
    }
}

fn checked_product(shape: &[usize]) -> Option<usize> {
    shape.iter().try_fold(1_usize, |product, &dim| product.checked_mul(dim))
}

/// Elements from the first to the last that a tensor without empty dimensions touches.
fn checked_span(shape: &[usize], strides: &[usize]) -> Option<usize> {
    shape
        .iter()
        .zip(strides)
        .try_fold(1_usize, |span, (&dim, &stride)| span.checked_add((dim - 1).checked_mul(stride)?))
}

/// Strides of a tensor without gaps, outermost first.
pub(super) fn row_major(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1_usize; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis].saturating_mul(shape[axis]);
    }
    strides
}

/// Walks a strided tensor in row-major order; bounds were checked by the span.
fn gather(stored: &[f32], shape: &[usize], strides: &[usize]) -> Vec<f32> {
    let n_elements: usize = shape.iter().product();
    let mut values = Vec::with_capacity(n_elements);
    let mut position = vec![0_usize; shape.len()];
    for _ in 0..n_elements {
        let offset: usize = position.iter().zip(strides).map(|(index, stride)| index * stride).sum();
        values.push(stored[offset]);
        for axis in (0..shape.len()).rev() {
            position[axis] += 1;
            if position[axis] < shape[axis] {
                break;
            }
            position[axis] = 0;
        }
    }
    values
}

/// Whether `n_elements` from element `offset` on hold a tensor of this shape and strides.
pub(super) fn fits(shape: &[usize], strides: &[usize], offset: u64, n_elements: u64) -> bool {
    if shape.contains(&0) {
        return true;
    }
    let span = checked_product(shape).and_then(|_| checked_span(shape, strides));
    span.and_then(|span| offset.checked_add(span as u64)).is_some_and(|end| end <= n_elements)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transposed_view_is_gathered_in_row_major_order() {
        let stored = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0];
        assert_eq!(gather(&stored, &[3, 2], &[1, 3]), [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]);
        assert_eq!(row_major(&[2, 3, 4]), [12, 4, 1]);
        assert_eq!(row_major(&[]), Vec::<usize>::new());
    }

    #[test]
    fn views_outside_their_storage_are_seen_even_when_the_sizes_overflow() {
        assert!(fits(&[3, 2], &[1, 3], 0, 6));
        assert!(!fits(&[3, 2], &[1, 3], 1, 6));
        assert!(!fits(&[usize::MAX, usize::MAX], &[1, 1], 0, 6));
        assert!(!fits(&[3], &[usize::MAX], 0, 6));
        assert!(fits(&[0, 9], &[9, 1], 99, 0), "an empty tensor touches nothing");
    }
}
