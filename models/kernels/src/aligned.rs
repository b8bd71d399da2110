//! Numbers that begin on a cache line, as tiles want, which are read and written a line at a time: `docs/decisions/blocks.md`.

use std::ops::{Deref, DerefMut};

/// One cache line.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([u8; 64]);

/// Numbers for which all bits are a value.
pub(crate) trait Plain: Copy {}
impl Plain for u8 {}
impl Plain for u16 {}
impl Plain for i16 {}
impl Plain for f32 {}
impl Plain for [f32; 2] {}

/// Numbers of one kind from the start of a line on.
pub(crate) struct Aligned<T> {
    lines: Vec<Line>,
    length: usize,
    kind: std::marker::PhantomData<T>,
}

impl<T: Plain> Aligned<T> {
    /// So many zeros.
    pub(crate) fn zeros(length: usize) -> Self {
        let mut made = Self::default();
        made.fill_zeros(length);
        made
    }

    /// Becomes so many zeros.
    pub(crate) fn fill_zeros(&mut self, length: usize) {
        self.lines.clear();
        self.length = 0;
        self.at_least(length);
    }

    /// Grows with zeros to `length` where it is shorter, and keeps what is in it.
    pub(crate) fn at_least(&mut self, length: usize) {
        if self.length < length {
            self.lines.resize((length * size_of::<T>()).div_ceil(64), Line([0; 64]));
            self.length = length;
        }
    }
}

impl<T> Default for Aligned<T> {
    fn default() -> Self {
        Self { lines: Vec::new(), length: 0, kind: std::marker::PhantomData }
    }
}

impl<T: Plain> Deref for Aligned<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: the lines hold so many numbers, and any bits are one.
        unsafe { std::slice::from_raw_parts(self.lines.as_ptr().cast(), self.length) }
    }
}

impl<T: Plain> DerefMut for Aligned<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: likewise.
        unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), self.length) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_begin_on_a_line_and_stay() {
        let mut numbers = Aligned::<f32>::zeros(3);
        numbers[2] = 1.5;
        numbers.at_least(100);
        assert_eq!((numbers.len(), numbers[2], numbers[99]), (100, 1.5, 0.0));
        numbers.at_least(20);
        assert_eq!(numbers.len(), 100);
        numbers.fill_zeros(40);
        assert!(numbers.len() == 40 && numbers.iter().all(|number| *number == 0.0));
        assert_eq!(numbers.as_ptr() as usize % 64, 0);
    }
}
