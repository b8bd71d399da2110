//! What stands for a block on processors of other kinds: none can be made, as there is no [`Isa`] either.

use std::ops::Range;

use crate::isa::Isa;
use crate::shape::{BlockShape, BlockWeights, InputMeans, Operands, Rotary};

/// Never made.
pub struct Block(BlockShape);

/// Holds nothing.
#[derive(Default)]
pub struct Scratch;

impl Block {
    /// Refuses.
    ///
    /// # Errors
    /// Always.
    pub fn new(
        _isa: Isa,
        _operands: Operands,
        _shape: BlockShape,
        _weights: &BlockWeights<'_>,
        _means: &InputMeans,
    ) -> Result<Self, String> {
        Err("this processor has no AVX2".to_owned())
    }

    /// Its sizes.
    #[must_use]
    pub fn shape(&self) -> BlockShape {
        self.0
    }

    /// Does nothing: there is no block to run.
    pub fn run(
        &self,
        _scratch: &mut Scratch,
        _hidden: &[f32],
        _sequences: &[Range<usize>],
        _rotary: Option<&Rotary<'_>>,
        _out: &mut [f32],
    ) {
    }
}

impl Scratch {
    /// Records nothing.
    #[must_use]
    pub fn recording(_means: InputMeans) -> Self {
        Self
    }

    /// Nothing.
    #[must_use]
    pub fn recorded(self) -> InputMeans {
        InputMeans::default()
    }
}
