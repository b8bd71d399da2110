//! The product of 32 rows and 32 columns, the piece that everything larger is made of.
//!
//! Operands are bfloat16 as 16-bit words; sums are 32-bit floats. Both lie in tiles of one kilobyte, 16 lines of 64 bytes, so that a
//! product reads memory in order. A tile of the left operand is 16 rows by 32 of depth. One of the right is 32 of depth by 16
//! columns, with pairs of its rows side by side: a 32-bit word holds two neighbouring rows of one column.
//!
//! Or a number is two words of bfloat16, its nearest and what that leaves: of each step first the tiles of nearest words, then those of
//! the rest. Their product is three: nearest with nearest, and each with the other's rest.
//!
//! Or operands are bytes, unsigned on the left and signed on the right, and sums are 32-bit integers: then a tile is 64 deep, and four
//! neighbouring rows of a column are side by side.

use std::arch::asm;
use std::arch::x86_64::*;
use std::ops::Range;

use crate::isa::Kind;

/// Rows and columns of one product.
pub(crate) const SIDE: usize = 32;
/// Depth of one step.
pub(crate) const STEP: usize = 32;

/// Depth of one step of bytes.
pub(crate) const BYTES_STEP: usize = 64;

/// Steps of words whose right operand stays in the first cache beside what goes through it, and most that are taken in one slice; found
/// by `cargo bench -p protext-kernels --bench block`.
const STEPS_OF_SLICE: usize = 10;
const MOST_STEPS: usize = 20;

/// Words of one tile.
pub(crate) const TILE: usize = 16 * 32;

/// What operands are made of.
#[derive(Clone, Copy)]
pub(crate) enum Numbers {
    /// A word each.
    Words,
    /// Two words each.
    Twofold,
    /// A byte each.
    Bytes,
}

/// Where the operands of one product lie.
#[derive(Clone, Copy)]
pub(crate) struct Product {
    /// Left: the tiles of 16 rows, step by step.
    pub(crate) left: *const u16,
    /// Those of the next 16.
    pub(crate) lower: *const u16,
    /// Right: two tiles of 16 columns each; of two words a number, two and two.
    pub(crate) right: *const u16,
    /// Bytes from one step's tiles of the right to the next's.
    pub(crate) right_step: usize,
    /// Steps of 32 of depth, at least one; of bytes, steps of 64.
    pub(crate) n_steps: usize,
    /// Rows that count, at least one; of the others the sums are any.
    pub(crate) n_rows: usize,
    /// Sums, 32 rows of 32; of bytes, the bits of integers.
    pub(crate) sums: *mut f32,
    /// Bytes from row to row.
    pub(crate) sums_stride: usize,
}

/// The place of a number of the left operand, in words: tiles of 16 rows, step by step. Of two words a number the second lies one tile
/// behind.
pub(crate) fn left_place<const WORDS: usize>(row: usize, at: usize, n_steps: usize) -> usize {
    (row / 16 * n_steps + at / STEP) * WORDS * TILE + row % 16 * STEP + at % STEP
}

/// Makes the tiles ready on this thread, and gives them back when it goes.
pub(crate) struct Tiles(Kind);

#[repr(C, align(64))]
struct TileConfig([u8; 64]);

impl Tiles {
    pub(crate) fn ready(kind: Kind) -> Self {
        if kind == Kind::Amx {
            // Palette 1: eight tiles of 16 rows of 64 bytes.
            let mut config = TileConfig([0; 64]);
            config.0[0] = 1;
            for tile in 0..8 {
                config.0[16 + 2 * tile] = 64;
                config.0[48 + tile] = 16;
            }
            // SAFETY: the kind says that the processor has tiles and the system permits them; 64 bytes are read.
            unsafe { asm!("ldtilecfg [{}]", in(reg) config.0.as_ptr(), options(nostack, readonly)) };
        }
        Self(kind)
    }

    /// Computes one product.
    ///
    /// # Safety
    /// The pointers must be good for what [`Product`] says.
    #[inline]
    pub(crate) unsafe fn multiply(&self, product: &Product) {
        // SAFETY: by the caller.
        unsafe {
            self.begin(product, false);
            self.advance(product, Numbers::Words, 0..product.n_steps);
            self.finish(product, Numbers::Words, false);
        }
    }

    /// Adds one product to the sums that are there.
    ///
    /// # Safety
    /// As for [`Tiles::multiply`].
    #[inline]
    pub(crate) unsafe fn add(&self, product: &Product) {
        // SAFETY: by the caller.
        unsafe {
            self.begin(product, true);
            self.advance(product, Numbers::Words, 0..product.n_steps);
            self.finish(product, Numbers::Words, true);
        }
    }

    /// The same for the first 16 columns; the second of the two tiles of the right is not read.
    ///
    /// # Safety
    /// As for [`Tiles::multiply`].
    #[inline]
    pub(crate) unsafe fn add_narrow(&self, product: &Product) {
        match self.0 {
            // SAFETY: by the caller; the processor has what the kind says.
            Kind::Amx => unsafe { add_narrow_amx(product) },
            // SAFETY: likewise.
            Kind::Avx512 => unsafe { multiply_avx512::<16, 1, 1, false>(product, true) },
        }
    }

    /// Begins a product, from nothing or from the sums that are there. Between here and [`Tiles::finish`] the thread takes its steps, and
    /// may do other work, but begin no other product: tiles compute beside what needs none.
    ///
    /// # Safety
    /// As for [`Tiles::multiply`].
    #[inline]
    pub(crate) unsafe fn begin(&self, product: &Product, from_sums: bool) {
        match (self.0, from_sums) {
            // SAFETY: by the caller; the processor has what the kind says.
            (Kind::Amx, true) => unsafe { load_sums(product) },
            // SAFETY: likewise.
            (Kind::Amx, false) => unsafe { clear_sums() },
            (Kind::Avx512, _) => {}
        }
    }

    /// Takes some of its steps; all are taken in their order.
    ///
    /// # Safety
    /// As for [`Tiles::multiply`]; the product was begun.
    #[inline]
    pub(crate) unsafe fn advance(&self, product: &Product, numbers: Numbers, steps: Range<usize>) {
        if self.0 == Kind::Amx && !steps.is_empty() {
            // SAFETY: by the caller; the processor has what the kind says.
            unsafe {
                match numbers {
                    Numbers::Words => take_steps(product, steps),
                    Numbers::Twofold => take_steps_twofold(product, steps),
                    Numbers::Bytes => take_steps_of_bytes(product, steps),
                }
            }
        }
    }

    /// Writes its sums. Without tiles this is where all is computed: registers are too few to be kept meanwhile.
    ///
    /// # Safety
    /// As for [`Tiles::multiply`]; all steps of the product were taken.
    #[inline]
    pub(crate) unsafe fn finish(&self, product: &Product, numbers: Numbers, from_sums: bool) {
        // SAFETY: by the caller; the processor has what the kind says.
        unsafe {
            match (self.0, numbers) {
                (Kind::Amx, _) => store_sums(product),
                (Kind::Avx512, Numbers::Words) => multiply_avx512::<8, 2, 1, false>(product, from_sums),
                (Kind::Avx512, Numbers::Twofold) => multiply_avx512::<8, 2, 2, false>(product, from_sums),
                (Kind::Avx512, Numbers::Bytes) => multiply_avx512::<8, 2, 1, true>(product, from_sums),
            }
        }
    }

    /// Slices of a depth of so many steps (of two words a number, twice as many), each of which goes through all rows.
    pub(crate) fn n_slices(&self, n_steps: usize) -> usize {
        match self.0 {
            Kind::Amx if n_steps > MOST_STEPS => n_steps.div_ceil(STEPS_OF_SLICE),
            Kind::Amx | Kind::Avx512 => 1,
        }
    }
}

impl Drop for Tiles {
    fn drop(&mut self) {
        if self.0 == Kind::Amx {
            // SAFETY: the kind says that the processor has tiles.
            unsafe { asm!("tilerelease", options(nostack, nomem)) };
        }
    }
}

// The compiler has no use for tiles, so what lies in them stays from one of these functions to the next.

/// Instructions over tiles; the first four hold sums.
macro_rules! on_tiles {
    ($($instruction:expr),+; $($operands:tt)*) => {
        asm!(
            $($instruction,)+
            $($operands)*
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack),
        )
    };
}

/// `$instruction` for each tile of sums and its place.
macro_rules! on_sums {
    ($p:ident: $($instruction:literal),+) => {
        on_tiles!($($instruction),+;
            sums = in(reg) $p.sums,
            low_sums = in(reg) $p.sums.byte_add(16 * $p.sums_stride),
            sums_stride = in(reg) $p.sums_stride,
        )
    };
}

#[inline]
unsafe fn clear_sums() {
    // SAFETY: by the caller.
    unsafe { on_tiles!("tilezero tmm0", "tilezero tmm1", "tilezero tmm2", "tilezero tmm3";) }
}

#[inline]
unsafe fn load_sums(p: &Product) {
    // SAFETY: by the caller.
    unsafe {
        on_sums!(p:
            "tileloadd tmm0, [{sums} + {sums_stride}*1]",
            "tileloadd tmm1, [{sums} + {sums_stride}*1 + 64]",
            "tileloadd tmm2, [{low_sums} + {sums_stride}*1]",
            "tileloadd tmm3, [{low_sums} + {sums_stride}*1 + 64]"
        );
    }
}

#[inline]
unsafe fn store_sums(p: &Product) {
    // SAFETY: by the caller.
    unsafe {
        on_sums!(p:
            "tilestored [{sums} + {sums_stride}*1], tmm0",
            "tilestored [{sums} + {sums_stride}*1 + 64], tmm1",
            "tilestored [{low_sums} + {sums_stride}*1], tmm2",
            "tilestored [{low_sums} + {sums_stride}*1 + 64], tmm3"
        );
    }
}

/// Instructions for each of some steps over the operands of a product, of so many words a number: `left`, `lower`, `right`, and `line`
/// (bytes from line to line of a tile).
macro_rules! on_steps {
    ($p:ident, $steps:ident, $words:literal: $($instruction:expr),+ $(,)?) => {
        on_tiles!(
            "2:",
            $($instruction),+,
            "add {left}, {left_step}",
            "add {lower}, {left_step}",
            "add {right}, {step}",
            "dec {n}",
            "jnz 2b";
            left = inout(reg) $p.left.add($steps.start * $words * TILE) => _,
            lower = inout(reg) $p.lower.add($steps.start * $words * TILE) => _,
            right = inout(reg) $p.right.byte_add($steps.start * $p.right_step) => _,
            line = in(reg) 64_usize,
            left_step = const $words * 1024,
            step = in(reg) $p.right_step,
            n = inout(reg) $steps.len() => _,
        )
    };
}

/// Two by two tiles of sums by the instruction `dot`, loaded operands used twice each.
macro_rules! two_by_two {
    ($p:ident, $steps:ident, $dot:literal) => {
        on_steps!($p, $steps, 1:
            "tileloadd tmm4, [{left} + {line}*1]",
            "tileloadd tmm6, [{right} + {line}*1]",
            concat!($dot, " tmm0, tmm4, tmm6"),
            "tileloadd tmm7, [{right} + {line}*1 + 1024]",
            concat!($dot, " tmm1, tmm4, tmm7"),
            "tileloadd tmm5, [{lower} + {line}*1]",
            concat!($dot, " tmm2, tmm5, tmm6"),
            concat!($dot, " tmm3, tmm5, tmm7"),
        )
    };
}

#[inline]
unsafe fn take_steps(p: &Product, steps: Range<usize>) {
    // SAFETY: by the caller.
    unsafe { two_by_two!(p, steps, "tdpbf16ps") }
}

#[inline]
unsafe fn take_steps_of_bytes(p: &Product, steps: Range<usize>) {
    // SAFETY: by the caller.
    unsafe { two_by_two!(p, steps, "tdpbusd") }
}

/// Three products each; every operand is loaded once.
#[inline]
unsafe fn take_steps_twofold(p: &Product, steps: Range<usize>) {
    // SAFETY: by the caller.
    unsafe {
        on_steps!(p, steps, 2:
            "tileloadd tmm4, [{left} + {line}*1]",
            "tileloadd tmm6, [{right} + {line}*1 + 2048]",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tileloadd tmm7, [{right} + {line}*1 + 3072]",
            "tdpbf16ps tmm1, tmm4, tmm7",
            "tileloadd tmm5, [{lower} + {line}*1]",
            "tdpbf16ps tmm2, tmm5, tmm6",
            "tdpbf16ps tmm3, tmm5, tmm7",
            "tileloadd tmm6, [{right} + {line}*1]",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tileloadd tmm7, [{right} + {line}*1 + 1024]",
            "tdpbf16ps tmm1, tmm4, tmm7",
            "tdpbf16ps tmm2, tmm5, tmm6",
            "tdpbf16ps tmm3, tmm5, tmm7",
            "tileloadd tmm4, [{left} + {line}*1 + 1024]",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tdpbf16ps tmm1, tmm4, tmm7",
            "tileloadd tmm5, [{lower} + {line}*1 + 1024]",
            "tdpbf16ps tmm2, tmm5, tmm6",
            "tdpbf16ps tmm3, tmm5, tmm7",
        );
    }
}

/// Two tiles of sums, one below the other.
#[inline]
unsafe fn add_narrow_amx(p: &Product) {
    let steps = 0..p.n_steps;
    // SAFETY: by the caller.
    unsafe {
        on_sums!(p: "tileloadd tmm0, [{sums} + {sums_stride}*1]", "tileloadd tmm2, [{low_sums} + {sums_stride}*1]");
        on_steps!(p, steps, 1:
            "tileloadd tmm6, [{right} + {line}*1]",
            "tileloadd tmm4, [{left} + {line}*1]",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tileloadd tmm5, [{lower} + {line}*1]",
            "tdpbf16ps tmm2, tmm5, tmm6",
        );
        on_sums!(p: "tilestored [{sums} + {sums_stride}*1], tmm0", "tilestored [{low_sums} + {sums_stride}*1], tmm2");
    }
}

/// Some rows at a time and 16 columns or twice as many: sixteen registers of sums, so many that none is waited for.
#[target_feature(enable = "avx512f,avx512bf16,avx512vnni")]
unsafe fn multiply_avx512<const ROWS: usize, const TILES: usize, const WORDS: usize, const BYTES: bool>(
    p: &Product,
    from_sums: bool,
) {
    for first in (0..p.n_rows).step_by(ROWS) {
        let place = |row: usize, tile: usize| {
            p.sums.wrapping_byte_add((first + row) * p.sums_stride).wrapping_add(16 * tile)
        };
        let mut sums = [[_mm512_setzero_ps(); TILES]; ROWS];
        if from_sums {
            for (row, sums) in sums.iter_mut().enumerate() {
                for (tile, sum) in sums.iter_mut().enumerate() {
                    // SAFETY: by the caller of `Tiles::begin`.
                    *sum = unsafe { _mm512_loadu_ps(place(row, tile)) };
                }
            }
        }
        for step in 0..p.n_steps {
            // SAFETY: by the caller of `Tiles::multiply`; these rows are of one tile.
            let (lefts, right) = unsafe {
                let rows = if first < 16 { p.left } else { p.lower };
                let lefts = rows.add(step * WORDS * TILE + first % 16 * STEP);
                (lefts, p.right.byte_add(step * p.right_step))
            };
            for pair in 0..STEP / 2 {
                // SAFETY: likewise; both types are 512 bits.
                unsafe {
                    let mut columns = [[_mm512_setzero_si512(); TILES]; WORDS];
                    for (at, columns) in columns.as_flattened_mut().iter_mut().enumerate() {
                        *columns = _mm512_loadu_si512(right.add(at * TILE + pair * 32).cast());
                    }
                    for (row, sums) in sums.iter_mut().enumerate() {
                        for word in 0..WORDS {
                            let left = lefts.add(word * TILE + row * STEP + pair * 2);
                            let left = _mm512_set1_epi32(left.cast::<i32>().read_unaligned());
                            // Of two rests the product is too small to count.
                            for columns in &columns[..WORDS - word] {
                                for (sum, &columns) in sums.iter_mut().zip(columns) {
                                    *sum = if BYTES {
                                        let known = _mm512_castps_si512(*sum);
                                        _mm512_castsi512_ps(_mm512_dpbusd_epi32(known, left, columns))
                                    } else {
                                        let words = |words| std::mem::transmute::<__m512i, __m512bh>(words);
                                        _mm512_dpbf16_ps(*sum, words(left), words(columns))
                                    };
                                }
                            }
                        }
                    }
                }
            }
        }
        for (row, sums) in sums.iter().enumerate() {
            for (tile, sum) in sums.iter().enumerate() {
                // SAFETY: likewise.
                unsafe { _mm512_storeu_ps(place(row, tile), *sum) };
            }
        }
    }
}
