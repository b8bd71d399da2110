//! Blocks whose operands are bfloat16 or bytes in tiles of one kilobyte, on AMX or AVX-512.

mod attention;
mod packed;
mod rows;
mod tile;

use std::arch::x86_64::*;
use std::ops::Range;

use attention::{AttentionScratch, Mixed, Projected, attend};
use packed::{PackedBytes, PackedWeights};
use rows::{gelu, normalize, store_words, tile_row, to_bytes};
pub(crate) use tile::Numbers;
use tile::{BYTES_STEP, Product, SIDE, STEP, TILE, Tiles, left_place};

use crate::aligned::Aligned;
use crate::isa::Kind;
use crate::parts::{Norm, Parts, rows_together, slice_width};
use crate::shape::{BlockShape, BlockWeights, Input, InputMeans, Pair, Rotary};

/// Most rows that go through the layers together: their operands stay in the second cache.
const ROWS_TOGETHER: usize = 384;
/// Words of a line of the caches.
const LINE: usize = 32;

/// Room for what is computed on the way.
#[derive(Default)]
pub(crate) struct TiledScratch {
    normed: Aligned<u16>,
    projected: Aligned<f32>,
    /// Tiles of the left operand, as `normed` and `wide` are.
    mixed: Aligned<u16>,
    wide: Aligned<u16>,
    /// What goes into a layer of bytes: of `normed` or `mixed`, and of `wide`.
    bytes: [Bytes; 2],
    /// What goes into the layers, where it is recorded.
    means: Option<InputMeans>,
    /// Sums of products on their way.
    sums: Aligned<f32>,
    attention: AttentionScratch,
}

/// Rows in bytes, in tiles of the left operand, with their ranges ([`to_bytes`]).
#[derive(Default)]
struct Bytes {
    bytes: Aligned<u8>,
    ranges: Aligned<[f32; 2]>,
}

struct Layer {
    weights: Weights,
    bias: Vec<f32>,
}

enum Weights {
    Words(PackedWeights),
    Bytes(PackedBytes),
}

/// The left operand of a layer: tiles of words, or of bytes with a range for each row.
#[derive(Clone, Copy)]
struct Left {
    tiles: *const u16,
    ranges: *const [f32; 2],
}

/// A block with its weights packed.
pub(crate) struct TiledBlock {
    kind: Kind,
    numbers: Numbers,
    shape: BlockShape,
    parts: Parts<Layer>,
}

impl TiledBlock {
    /// Of weights whose sizes are those of the shape.
    pub(crate) fn new(
        kind: Kind,
        numbers: Numbers,
        shape: BlockShape,
        weights: &BlockWeights<'_>,
        means: &InputMeans,
    ) -> Self {
        let layer = |depth: usize, parts: &[Pair<'_>], (input, first): (Input, usize)| {
            let matrices: Vec<&[f32]> = parts.iter().map(|(weight, _)| *weight).collect();
            let mut bias: Vec<f32> = parts.iter().flat_map(|(_, bias)| bias.iter().copied()).collect();
            let weights = match numbers {
                Numbers::Words => Weights::Words(PackedWeights::pack(depth, 1, &matrices)),
                Numbers::Twofold => Weights::Words(PackedWeights::pack(depth, 2, &matrices)),
                Numbers::Bytes => {
                    let means: Vec<f32> = means.of(input, first).take(depth).collect();
                    Weights::Bytes(PackedBytes::pack(depth, &matrices, &means, &mut bias))
                }
            };
            Layer { weights, bias }
        };
        Self { kind, numbers, shape, parts: Parts::new(&shape, weights, layer) }
    }

    /// Takes `sequences`, whose rows lie one behind the other in `hidden`, through the block. There is room for a multiple of 32 rows.
    pub(crate) fn run(
        &self,
        scratch: &mut TiledScratch,
        hidden: &mut [f32],
        n_tokens: usize,
        sequences: &[Range<usize>],
        rotary: Option<&Rotary<'_>>,
    ) {
        let n_words = if matches!(self.numbers, Numbers::Twofold) { 2 } else { 1 };
        scratch.make_room(n_tokens.next_multiple_of(SIDE), n_words, &self.shape);
        if let Some(means) = &mut scratch.means {
            means.count(n_tokens);
        }
        let hidden = hidden.as_mut_ptr();
        // SAFETY: a kind exists only where the processor has the instructions; all room is made.
        unsafe {
            match n_words {
                2 => self.run_packed::<2>(scratch, hidden, n_tokens, sequences, rotary),
                _ => self.run_packed::<1>(scratch, hidden, n_tokens, sequences, rotary),
            }
        }
    }

    /// The same, with so many words of bfloat16 a number.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,fma")]
    unsafe fn run_packed<const WORDS: usize>(
        &self,
        scratch: &mut TiledScratch,
        hidden: *mut f32,
        n_tokens: usize,
        sequences: &[Range<usize>],
        rotary: Option<&Rotary<'_>>,
    ) {
        let BlockShape { dim, n_heads, feed_forward_dim, .. } = self.shape;
        let width = slice_width(feed_forward_dim);
        let tiles = Tiles::ready(self.kind);
        let n_rows = n_tokens.next_multiple_of(SIDE);
        let together = rows_together(n_rows, ROWS_TOGETHER, SIDE);
        let chunks = || (0..n_tokens).step_by(together).map(|start| start..(start + together).min(n_tokens));
        for rows in chunks() {
            // SAFETY: the room is made for all rows, rounded up to 32.
            unsafe {
                match self.shape.norm_first {
                    true => self.normalize::<WORDS, false>(
                        &self.parts.attention_norm,
                        hidden,
                        scratch,
                        rows.clone(),
                    ),
                    false => self.tile_rows::<WORDS>(hidden, scratch, rows.clone()),
                }
                let (normed, projected) = (scratch.normed.as_ptr(), scratch.projected.as_mut_ptr());
                scratch.record((Input::Projections, 0), normed, rows.len(), dim);
                let normed = self.left(normed, rows.len(), dim, &mut scratch.bytes[0]);
                multiply(
                    &tiles,
                    normed,
                    rows.len(),
                    &self.parts.projections,
                    &mut scratch.sums,
                    |row, column, sums| {
                        store(sums, projected.add(column * n_rows + (rows.start + row) * SIDE));
                    },
                );
            }
        }
        let mut first = 0;
        for sequence in sequences {
            let projected = Projected {
                panels: &scratch.projected[..n_rows * 3 * dim],
                n_rows,
                first,
                n_tokens: sequence.len(),
                n_heads,
                head_dim: dim / n_heads,
            };
            if !sequence.is_empty() {
                // SAFETY: the processor has the instructions, and the room is made.
                unsafe {
                    let mixed = Mixed { words: scratch.mixed.as_mut_ptr(), first };
                    attend::<WORDS>(&tiles, &mut scratch.attention, &projected, rotary, &mixed);
                }
            }
            first += sequence.len();
        }
        for rows in chunks() {
            // SAFETY: as above.
            unsafe {
                let mixed = scratch.mixed.as_ptr().add(rows.start * dim * WORDS);
                scratch.record((Input::Output, 0), mixed, rows.len(), dim);
                let mixed = self.left(mixed, rows.len(), dim, &mut scratch.bytes[0]);
                multiply(
                    &tiles,
                    mixed,
                    rows.len(),
                    &self.parts.output,
                    &mut scratch.sums,
                    |row, column, sums| {
                        add(sums, hidden.add((rows.start + row) * dim + column));
                    },
                );
                match self.shape.norm_first {
                    true => self.normalize::<WORDS, false>(
                        &self.parts.feed_forward_norm,
                        hidden,
                        scratch,
                        rows.clone(),
                    ),
                    false => self.normalize::<WORDS, true>(
                        &self.parts.attention_norm,
                        hidden,
                        scratch,
                        rows.clone(),
                    ),
                }
                let (normed, wide) = (scratch.normed.as_ptr(), scratch.wide.as_mut_ptr());
                scratch.record((Input::Widen, 0), normed, rows.len(), dim);
                let normed = self.left(normed, rows.len(), dim, &mut scratch.bytes[0]);
                for (number, slice) in self.parts.slices.iter().enumerate() {
                    multiply(
                        &tiles,
                        normed,
                        rows.len(),
                        &slice.widen,
                        &mut scratch.sums,
                        |row, column, sums| {
                            let out = wide.add(left_place::<WORDS>(row, column, width / STEP));
                            store_words::<WORDS>(out, gelu::<WORDS>(sums[0]));
                            store_words::<WORDS>(out.add(16), gelu::<WORDS>(sums[1]));
                        },
                    );
                    scratch.record((Input::Narrow, number * width), wide, rows.len(), width);
                    let wide = self.left(wide, rows.len(), width, &mut scratch.bytes[1]);
                    multiply(
                        &tiles,
                        wide,
                        rows.len(),
                        &slice.narrow,
                        &mut scratch.sums,
                        |row, column, sums| {
                            add(sums, hidden.add((rows.start + row) * dim + column));
                        },
                    );
                }
                if !self.shape.norm_first {
                    self.normalize::<WORDS, true>(
                        &self.parts.feed_forward_norm,
                        hidden,
                        scratch,
                        rows.clone(),
                    );
                }
            }
        }
    }

    /// Rows of words as the layers want them: as they are, or in bytes, for which `room` is.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,fma")]
    unsafe fn left(&self, words: *const u16, n_rows: usize, depth: usize, room: &mut Bytes) -> Left {
        match self.numbers {
            Numbers::Words | Numbers::Twofold => Left { tiles: words, ranges: std::ptr::null() },
            Numbers::Bytes => {
                room.bytes.at_least(n_rows.next_multiple_of(SIDE) * depth.next_multiple_of(BYTES_STEP));
                room.ranges.at_least(n_rows);
                let (bytes, ranges) = (room.bytes.as_mut_ptr(), room.ranges.as_mut_ptr());
                // SAFETY: by the caller; the room is made.
                unsafe { to_bytes(words, n_rows, depth, bytes, ranges) };
                Left { tiles: bytes.cast(), ranges }
            }
        }
    }

    /// Writes a chunk's rows, normalized, to the start of `scratch.normed`.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16,fma")]
    unsafe fn normalize<const WORDS: usize, const KEEP: bool>(
        &self,
        norm: &Norm,
        hidden: *mut f32,
        scratch: &mut TiledScratch,
        rows: Range<usize>,
    ) {
        let BlockShape { dim, norm_epsilon, .. } = self.shape;
        for (at, row) in rows.enumerate() {
            // SAFETY: the room is made for the rows of a chunk.
            unsafe {
                normalize::<WORDS, KEEP>(
                    hidden.add(row * dim),
                    dim,
                    (norm.scale.as_ptr(), norm.shift.as_ptr()),
                    norm_epsilon,
                    scratch.normed.as_mut_ptr().add(left_place::<WORDS>(at, 0, dim / STEP)),
                );
            }
        }
    }

    /// Writes a chunk's rows as they are to the start of `scratch.normed`.
    #[target_feature(enable = "avx512f,avx512vl,avx512bf16")]
    unsafe fn tile_rows<const WORDS: usize>(
        &self,
        hidden: *const f32,
        scratch: &mut TiledScratch,
        rows: Range<usize>,
    ) {
        let dim = self.shape.dim;
        for (at, row) in rows.enumerate() {
            // SAFETY: the room is made for the rows of a chunk.
            unsafe {
                let out = scratch.normed.as_mut_ptr().add(left_place::<WORDS>(at, 0, dim / STEP));
                tile_row::<WORDS>(hidden.add(row * dim), dim, out);
            }
        }
    }
}

impl TiledScratch {
    /// One with which a block adds what goes into its layers to `means`.
    pub(crate) fn recording(means: InputMeans) -> Self {
        Self { means: Some(means), ..Self::default() }
    }

    /// What was recorded with it.
    pub(crate) fn recorded(self) -> InputMeans {
        self.means.unwrap_or_default()
    }

    /// Adds rows of words, in tiles, to the sums of a layer's inputs where they are recorded.
    ///
    /// # Safety
    /// `words` are `n_rows` rows of `depth`, a word a number.
    unsafe fn record(
        &mut self,
        (input, first): (Input, usize),
        words: *const u16,
        n_rows: usize,
        depth: usize,
    ) {
        let Some(means) = &mut self.means else { return };
        for row in 0..n_rows {
            // SAFETY: by the caller.
            let word = |at: usize| unsafe { *words.add(left_place::<1>(row, at, depth / STEP)) };
            means.add(input, first, (0..depth).map(|at| f32::from_bits(u32::from(word(at)) << 16)));
        }
    }

    fn make_room(&mut self, n_rows: usize, n_words: usize, shape: &BlockShape) {
        let together = rows_together(n_rows, ROWS_TOGETHER, SIDE);
        self.normed.at_least(together * shape.dim * n_words);
        self.projected.at_least(n_rows * 3 * shape.dim);
        self.mixed.at_least(n_rows * shape.dim * n_words);
        self.wide.at_least(together * slice_width(shape.feed_forward_dim) * n_words);
    }
}

/// `rows x layer + bias`, handed out 32 numbers of one row at a time: row, first column, sums.
///
/// Products go panel by panel of the weights, and in each, where it is deep, slice by slice of its depth, for all rows. While tiles
/// compute one, the sums of the last are handed out, and lines of the next panel are sent for.
///
/// # Safety
/// `left` holds `n_rows` rows of the layer's depth, of its kind of operands, and room for as many as make a multiple of 32.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,fma")]
unsafe fn multiply(
    tiles: &Tiles,
    left: Left,
    n_rows: usize,
    layer: &Layer,
    room: &mut Aligned<f32>,
    mut take: impl FnMut(usize, usize, [__m512; 2]),
) {
    let (n_steps, n_words, numbers) = match &layer.weights {
        Weights::Words(words) if words.n_words == 2 => (words.depth / STEP, 2, Numbers::Twofold),
        Weights::Words(words) => (words.depth / STEP, 1, Numbers::Words),
        Weights::Bytes(bytes) => (bytes.n_steps, 1, Numbers::Bytes),
    };
    let panel_of = |panel: usize| -> *const u16 {
        match &layer.weights {
            Weights::Words(words) => words.panel(panel).as_ptr(),
            Weights::Bytes(bytes) => bytes.panel(panel).as_ptr().cast(),
        }
    };
    let (per_panel, n_panels) = (n_rows.div_ceil(SIDE), layer.bias.len() / SIDE);
    let n_slices = tiles.n_slices(n_steps * n_words);
    // Sums of one slice are there for the next; else those of two products in turns.
    let n_rooms = if n_slices == 1 { 2 } else { per_panel + 1 };
    room.at_least(n_rooms * SIDE * SIDE);
    let room = room.as_mut_ptr();
    let n_products = n_panels * n_slices * per_panel;
    // Rows, first column and sums of the product whose sums are to be handed out.
    let mut done: Option<(usize, usize, *const f32)> = None;
    for number in 0..=n_products {
        let (panel, slice, of_panel) =
            (number / per_panel / n_slices, number / per_panel % n_slices, number % per_panel);
        let steps = slice * n_steps / n_slices..(slice + 1) * n_steps / n_slices;
        let n_parts = steps.len().min(SIDE / 2);
        // SAFETY: by the caller; panels are packed so, and there is room for the sums.
        let product = (number < n_products).then(|| unsafe {
            let left = left.tiles.add(of_panel * 2 * n_steps * n_words * TILE);
            let right_step = 2 * TILE * 2 * n_words;
            let product = Product {
                left: left.add(steps.start * n_words * TILE),
                lower: left.add((n_steps + steps.start) * n_words * TILE),
                right: panel_of(panel).byte_add(steps.start * right_step),
                right_step,
                n_steps: steps.len(),
                n_rows: (n_rows - of_panel * SIDE).min(SIDE),
                sums: room.add((panel * per_panel + of_panel) % n_rooms * SIDE * SIDE),
                sums_stride: SIDE * 4,
            };
            tiles.begin(&product, slice > 0);
            product
        });
        let next = NextPanel::share(
            (panel + 1 < n_panels).then(|| panel_of(panel + 1)),
            n_steps * 2 * TILE * n_words,
            (number % (n_slices * per_panel), n_slices * per_panel),
        );
        for part in 0..n_parts {
            let of_parts = |whole: usize| whole * part / n_parts..whole * (part + 1) / n_parts;
            if let Some(product) = &product {
                // SAFETY: as above.
                unsafe { tiles.advance(product, numbers, of_parts(product.n_steps)) };
                next.send_for(of_parts(next.n_lines));
            }
            let Some((first, column, sums)) = done else { continue };
            // SAFETY: one bias a column; there are 32 rows of 32 sums.
            unsafe {
                let of_columns = |of: &[f32]| {
                    let at = of.as_ptr().add(column);
                    [_mm512_loadu_ps(at), _mm512_loadu_ps(at.add(16))]
                };
                let bias = of_columns(&layer.bias);
                for row in of_parts((n_rows - first).min(SIDE)) {
                    let at = sums.add(row * SIDE);
                    let sums = [_mm512_load_ps(at), _mm512_load_ps(at.add(16))];
                    let sums = match &layer.weights {
                        Weights::Words(_) => {
                            [_mm512_add_ps(sums[0], bias[0]), _mm512_add_ps(sums[1], bias[1])]
                        }
                        Weights::Bytes(bytes) => {
                            let (scales, weight_sums) = (of_columns(&bytes.scales), of_columns(&bytes.sums));
                            let [least, step] =
                                (*left.ranges.add(first + row)).map(|value| _mm512_set1_ps(value));
                            // Weights times the row's least number, and times what its bytes add.
                            let stands_for = |half: usize| {
                                let products = _mm512_cvtepi32_ps(_mm512_castps_si512(sums[half]));
                                let base = _mm512_fmadd_ps(least, weight_sums[half], bias[half]);
                                _mm512_fmadd_ps(products, _mm512_mul_ps(step, scales[half]), base)
                            };
                            [stands_for(0), stands_for(1)]
                        }
                    };
                    take(first + row, column, sums);
                }
            }
        }
        done = product.and_then(|product| {
            // SAFETY: as above.
            unsafe { tiles.finish(&product, numbers, slice > 0) };
            (slice + 1 == n_slices).then_some((of_panel * SIDE, panel * SIDE, product.sums.cast_const()))
        });
    }
}

/// The lines of the next panel of weights that are sent for beside one product.
struct NextPanel {
    from: *const u16,
    n_lines: usize,
}

impl NextPanel {
    /// One product's share of a panel of so many words.
    fn share(panel: Option<*const u16>, n_words: usize, (number, n_products): (usize, usize)) -> Self {
        let Some(panel) = panel else { return Self { from: std::ptr::null(), n_lines: 0 } };
        let n_lines = n_words / LINE;
        let (first, end) = (n_lines * number / n_products, n_lines * (number + 1) / n_products);
        Self { from: panel.wrapping_add(first * LINE), n_lines: end - first }
    }

    /// Some of them, to the second cache.
    #[inline]
    fn send_for(&self, lines: Range<usize>) {
        for line in lines {
            // SAFETY: an address that is only sent for may be any.
            unsafe { _mm_prefetch::<_MM_HINT_T1>(self.from.wrapping_add(line * LINE).cast()) };
        }
    }
}

/// Writes 32 numbers.
///
/// # Safety
/// `out` takes them.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn store(sums: [__m512; 2], out: *mut f32) {
    // SAFETY: by the caller.
    unsafe {
        _mm512_storeu_ps(out, sums[0]);
        _mm512_storeu_ps(out.add(16), sums[1]);
    }
}

/// Adds 32 numbers to what is there.
///
/// # Safety
/// `out` holds them.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn add(sums: [__m512; 2], out: *mut f32) {
    // SAFETY: by the caller.
    unsafe {
        let there = [_mm512_loadu_ps(out), _mm512_loadu_ps(out.add(16))];
        store([_mm512_add_ps(there[0], sums[0]), _mm512_add_ps(there[1], sums[1])], out);
    }
}
