//! One block of a transformer: attention and a feed-forward part, each with its residual, normalized before (as in ESM-2) or after
//! (as in BERT).

use std::ops::Range;

use crate::aligned::Aligned;
use crate::int16::{Int16Block, Int16Scratch};
use crate::isa::Isa;
use crate::shape::{BlockShape, BlockWeights, InputMeans, Operands, Rotary};
use crate::tiled::{Numbers, TiledBlock, TiledScratch};

/// Rows of room are a multiple of it.
const ROWS: usize = 32;

/// A block with its weights packed.
pub struct Block {
    shape: BlockShape,
    kernels: Kernels,
}

enum Kernels {
    Tiled(TiledBlock),
    Int16(Int16Block),
}

/// Room for what is computed on the way; grows to the largest batch and stays.
#[derive(Default)]
pub struct Scratch {
    hidden: Aligned<f32>,
    tiled: TiledScratch,
    int16: Int16Scratch,
}

impl Block {
    /// Packs the weights. `means` are those of a block of the same weights in bfloat16 ([`Scratch::recording`]): bytes are better with
    /// them, and empty ones will do.
    ///
    /// # Errors
    /// What is wrong with the shape, which part has another size, or that the processor has no instructions for such operands.
    pub fn new(
        isa: Isa,
        operands: Operands,
        shape: BlockShape,
        weights: &BlockWeights<'_>,
        means: &InputMeans,
    ) -> Result<Self, String> {
        shape.check()?;
        let BlockShape { dim, feed_forward_dim: wide, .. } = shape;
        for (name, (first, second), n_weights, n_outputs) in [
            ("attention norm", weights.attention_norm, dim, dim),
            ("query", weights.query, dim * dim, dim),
            ("key", weights.key, dim * dim, dim),
            ("value", weights.value, dim * dim, dim),
            ("output", weights.output, dim * dim, dim),
            ("feed-forward norm", weights.feed_forward_norm, dim, dim),
            ("widen", weights.widen, dim * wide, wide),
            ("narrow", weights.narrow, wide * dim, dim),
        ] {
            if (first.len(), second.len()) != (n_weights, n_outputs) {
                let found = (first.len(), second.len());
                return Err(format!("{name} has {found:?} numbers, not {:?}", (n_weights, n_outputs)));
            }
        }
        let numbers = match operands {
            Operands::Bf16 => Numbers::Words,
            Operands::TwiceBf16 => Numbers::Twofold,
            Operands::Int8 => Numbers::Bytes,
            Operands::Int16 => {
                return Ok(Self {
                    shape,
                    kernels: Kernels::Int16(Int16Block::new(isa.is_wide(), shape, weights)),
                });
            }
        };
        let Some(kind) = isa.kind() else {
            return Err(format!("{} has no instructions for products of {operands:?}", isa.name()));
        };
        Ok(Self { shape, kernels: Kernels::Tiled(TiledBlock::new(kind, numbers, shape, weights, means)) })
    }

    /// Its sizes.
    #[must_use]
    pub fn shape(&self) -> BlockShape {
        self.shape
    }

    /// Takes `sequences` (ranges of rows of `hidden`, each `[tokens, dim]`) through the block. Rows of no sequence become zero in
    /// `out`, which is as large as `hidden`.
    ///
    /// # Panics
    /// If a range lies outside `hidden`, if `out` has another size, or if a table is too short for the longest sequence.
    pub fn run(
        &self,
        scratch: &mut Scratch,
        hidden: &[f32],
        sequences: &[Range<usize>],
        rotary: Option<&Rotary<'_>>,
        out: &mut [f32],
    ) {
        let dim = self.shape.dim;
        let half = dim / self.shape.n_heads / 2;
        let longest = sequences.iter().map(Range::len).max().unwrap_or(0);
        assert_eq!(hidden.len(), out.len());
        for table in rotary.iter().flat_map(|rotary| [rotary.cos, rotary.sin]) {
            assert!(table.len() >= longest * half, "a table of rotary positions is too short");
        }
        let n_tokens: usize = sequences.iter().map(Range::len).sum();
        let n_values = n_tokens.next_multiple_of(ROWS) * dim;
        scratch.hidden.at_least(n_values);
        let mut at = 0;
        for rows in sequences {
            let from = &hidden[rows.start * dim..rows.end * dim];
            scratch.hidden[at..at + from.len()].copy_from_slice(from);
            at += from.len();
        }
        // One behind the other.
        let packed = &mut scratch.hidden[..n_values];
        match &self.kernels {
            Kernels::Tiled(block) => block.run(&mut scratch.tiled, packed, n_tokens, sequences, rotary),
            Kernels::Int16(block) => block.run(&mut scratch.int16, packed, n_tokens, sequences, rotary),
        }
        out.fill(0.0);
        let mut at = 0;
        for rows in sequences {
            let n_values = rows.len() * dim;
            out[rows.start * dim..rows.end * dim].copy_from_slice(&scratch.hidden[at..at + n_values]);
            at += n_values;
        }
    }
}

impl Scratch {
    /// One with which a block adds what goes into its layers to `means`, unless they are of words of 16 bits.
    #[must_use]
    pub fn recording(means: InputMeans) -> Self {
        Self { tiled: TiledScratch::recording(means), ..Self::default() }
    }

    /// What was recorded with it.
    #[must_use]
    pub fn recorded(self) -> InputMeans {
        self.tiled.recorded()
    }
}
