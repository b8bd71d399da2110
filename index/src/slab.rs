//! Long runs of numbers, in memory of their own or in a file mapped for reading.
//!
//! What an index reads at every search (vectors, links, codes) is kept in a [`Slab`], so that a collection can
//! be served from its files without taking them into memory first. A mapped file is never written in place:
//! snapshots are replaced by new ones, and a removed file lives as long as its map.

use std::ops::Deref;
use std::sync::Arc;

use memmap2::Mmap;
use rayon::prelude::*;

use crate::kernel::Lanes;
use crate::kernel::codes::Bytes;

/// Values that one core copies at once.
const COPY_TOGETHER: usize = 1 << 16;

/// Values that any bytes are, without padding.
///
/// # Safety
/// Every bit pattern is a value and the type has no padding.
pub(crate) unsafe trait Plain: Copy + Send + Sync + 'static {}

// SAFETY: numbers, and arrays of numbers as large as their alignment.
unsafe impl Plain for u8 {}
// SAFETY: as above.
unsafe impl Plain for u32 {}
// SAFETY: as above.
unsafe impl Plain for f32 {}
// SAFETY: as above.
unsafe impl Plain for Lanes {}
// SAFETY: as above.
unsafe impl Plain for Bytes {}

/// A slice that owns what it is a slice of.
#[derive(Debug, Clone)]
pub(crate) enum Slab<T: Plain> {
    Owned(Vec<T>),
    Mapped(Part<T>),
}

/// Part of a mapped file.
#[derive(Debug, Clone)]
pub(crate) struct Part<T: Plain> {
    map: Arc<Mmap>,
    start: usize,
    len: usize,
    kind: std::marker::PhantomData<T>,
}

impl<T: Plain> Slab<T> {
    /// `len` values from byte `start` of `map` on; `None` if they do not fit or are not aligned.
    pub(crate) fn mapped(map: &Arc<Mmap>, start: usize, len: usize) -> Option<Self> {
        let bytes = map.get(start..start.checked_add(len.checked_mul(size_of::<T>())?)?)?;
        let is_aligned = bytes.as_ptr().cast::<T>().is_aligned();
        let part = Part { map: Arc::clone(map), start, len, kind: std::marker::PhantomData };
        is_aligned.then_some(Self::Mapped(part))
    }

    /// A copy in memory of its own, made by all cores.
    pub(crate) fn taken_in(&self) -> Self {
        let mut values = Vec::with_capacity(self.len());
        let room = &mut values.spare_capacity_mut()[..self.len()];
        room.par_chunks_mut(COPY_TOGETHER).zip(self.par_chunks(COPY_TOGETHER)).for_each(|(to, from)| {
            to.write_copy_of_slice(from);
        });
        // SAFETY: each of them was written above.
        unsafe { values.set_len(self.len()) };
        Self::Owned(values)
    }

    /// The values for writing, copied into memory first if they are mapped.
    pub(crate) fn to_mut(&mut self) -> &mut Vec<T> {
        if let Self::Mapped(_) = self {
            *self = Self::Owned(self.to_vec());
        }
        match self {
            Self::Owned(values) => values,
            Self::Mapped(_) => unreachable!("copied above"),
        }
    }
}

impl<T: Plain> Deref for Slab<T> {
    type Target = [T];

    #[inline]
    fn deref(&self) -> &[T] {
        match self {
            Self::Owned(values) => values,
            Self::Mapped(part) => {
                // SAFETY: `mapped`, the only maker of a part, has seen that the values lie within the map and are
                // aligned; any bytes are values of a `Plain` type, and the map lives as long as the part.
                unsafe { std::slice::from_raw_parts(part.map.as_ptr().add(part.start).cast::<T>(), part.len) }
            }
        }
    }
}

impl<T: Plain> Default for Slab<T> {
    fn default() -> Self {
        Self::Owned(Vec::new())
    }
}

impl<T: Plain> From<Vec<T>> for Slab<T> {
    fn from(values: Vec<T>) -> Self {
        Self::Owned(values)
    }
}

/// The bytes of numbers as they lie in memory.
pub(crate) fn bytes_of<T: Plain>(values: &[T]) -> &[u8] {
    // SAFETY: `Plain` types have no padding, and any memory can be read as bytes.
    unsafe { std::slice::from_raw_parts(values.as_ptr().cast::<u8>(), size_of_val(values)) }
}

/// Moves `values` to pages of 2 MiB: a walk jumps about, and with small pages most jumps miss the processor's table of
/// pages. The kernel copies them, which takes a while. A wish: nothing depends on it.
pub(crate) fn ask_for_huge_pages<T: Plain>(values: &[T]) {
    #[cfg(target_os = "linux")]
    {
        const HUGE: usize = 2 << 20;
        let start = values.as_ptr() as usize;
        let end = (start + size_of_val(values)) / HUGE * HUGE;
        let start = start.next_multiple_of(HUGE);
        for advice in [libc::MADV_HUGEPAGE, libc::MADV_COLLAPSE] {
            if start < end {
                // SAFETY: the advice changes neither content nor access, and the range lies within the values.
                let _ = unsafe { libc::madvise(start as *mut libc::c_void, end - start, advice) };
            }
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = values;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_in_memory_is_the_same_whatever_its_length() {
        for n in [0, 1, COPY_TOGETHER - 1, COPY_TOGETHER, 3 * COPY_TOGETHER + 17] {
            let values: Slab<u32> =
                (0..n as u32).map(|at| at.wrapping_mul(2_654_435_761)).collect::<Vec<_>>().into();
            assert!(*values.taken_in() == *values, "{n} values");
        }
    }
}
