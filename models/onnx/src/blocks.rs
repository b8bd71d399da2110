//! Transformer blocks of our own as an operator of ONNX Runtime's CPU provider.
//!
//! `protext::EncoderBlock` takes `hidden [batch, tokens, dim]`, `lengths [batch]`, the block's sixteen weights, and for rotary positions
//! `cos` and `sin [tokens, head_dim / 2]`; rows past a sequence's length are neither read nor computed, and zero in the answer. The
//! graph comes from the converter (`Dialect::Blocks`), the arithmetic from `protext-kernels`.

use std::cell::RefCell;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use ort::operator::{
    ComputeContext, Kernel, KernelContext, Operator, OperatorDomain, OperatorInput, OperatorOutput,
    ShapeInferenceContext,
};
use ort::value::{DynTensorValueType, TensorElementType, ValueRef};
use protext_kernels::{Block, BlockShape, BlockWeights, InputMeans, Isa, Operands, Pair, Rotary, Scratch};

/// The operator's domain.
const DOMAIN: &str = "protext";
/// Input after the hidden state and the lengths.
const FIRST_WEIGHT: usize = 2;
/// Weights and biases of a block.
const N_WEIGHTS: usize = 16;
/// Inputs behind the weights.
const COS: usize = FIRST_WEIGHT + N_WEIGHTS;
const SIN: usize = COS + 1;

/// What goes into each block's layers on average, by the node's name.
pub(crate) type MeansOfBlocks = HashMap<String, InputMeans>;

/// Packed weights of one graph's blocks, which all its sessions share.
pub(crate) struct PackedBlocks {
    isa: Isa,
    operands: Operands,
    means: MeansOfBlocks,
    /// Where blocks record what goes into them.
    recorded: Option<Mutex<MeansOfBlocks>>,
    /// By the node's name.
    blocks: Mutex<HashMap<String, Arc<Block>>>,
}

impl PackedBlocks {
    /// `means` are what blocks of bytes are packed with.
    pub(crate) fn new(isa: Isa, operands: Operands, means: MeansOfBlocks) -> Arc<Self> {
        Arc::new(Self { isa, operands, means, recorded: None, blocks: Mutex::default() })
    }

    /// Blocks in bfloat16 that record what goes into them.
    pub(crate) fn recording(isa: Isa) -> Arc<Self> {
        let (operands, recorded) = (Operands::Bf16, Some(Mutex::default()));
        Arc::new(Self { isa, operands, means: HashMap::new(), recorded, blocks: Mutex::default() })
    }

    /// What was recorded until now; the next begin anew.
    pub(crate) fn take_recorded(&self) -> MeansOfBlocks {
        let recorded =
            self.recorded.as_ref().map(|recorded| recorded.lock().unwrap_or_else(PoisonError::into_inner));
        recorded.map(|mut recorded| std::mem::take(&mut *recorded)).unwrap_or_default()
    }

    /// Lets go of the weights that no session uses.
    pub(crate) fn release(&self) {
        self.blocks.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// The operator for one session.
    pub(crate) fn operators(self: &Arc<Self>) -> ort::Result<OperatorDomain> {
        OperatorDomain::new(DOMAIN)?.add(EncoderBlock(Arc::clone(self)))
    }
}

struct EncoderBlock(Arc<PackedBlocks>);

impl Operator for EncoderBlock {
    type Kernel<'attr> = BlockKernel;

    fn name(&self) -> &'static str {
        "EncoderBlock"
    }

    fn inputs(&self) -> impl IntoIterator<Item = OperatorInput> {
        let floats = || OperatorInput::required(TensorElementType::Float32);
        let mut inputs = vec![floats(), OperatorInput::required(TensorElementType::Int64)];
        inputs.extend((0..N_WEIGHTS).map(|_| floats()));
        inputs.extend([COS, SIN].map(|_| OperatorInput::optional(TensorElementType::Float32)));
        inputs
    }

    fn outputs(&self) -> impl IntoIterator<Item = OperatorOutput> {
        [OperatorOutput::required(TensorElementType::Float32)]
    }

    fn infer_shape(&self, context: &mut ShapeInferenceContext) -> ort::Result<()> {
        let inputs = context.inputs();
        context.set_output(0, &inputs[0])
    }

    fn create_kernel<'attr>(&self, context: &KernelContext<'attr>) -> ort::Result<BlockKernel> {
        let mut blocks = self.0.blocks.lock().unwrap_or_else(PoisonError::into_inner);
        let name = context.node_name()?;
        let block = if let Some(block) = blocks.get(&name) {
            Arc::clone(block)
        } else {
            let block = Arc::new(pack(&self.0, &name, context)?);
            blocks.insert(name.clone(), Arc::clone(&block));
            block
        };
        Ok(BlockKernel { block, packed: Arc::clone(&self.0), name })
    }
}

fn pack(packed: &PackedBlocks, name: &str, context: &KernelContext<'_>) -> ort::Result<Block> {
    let values = (0..N_WEIGHTS)
        .map(|at| context.constant_input::<DynTensorValueType>(FIRST_WEIGHT + at))
        .collect::<ort::Result<Vec<ValueRef<'_, DynTensorValueType>>>>()?;
    let weights = values
        .iter()
        .map(|value| Ok(value.try_extract_tensor::<f32>()?.1))
        .collect::<ort::Result<Vec<_>>>()?;
    let pair = |at: usize| -> Pair<'_> { (weights[2 * at], weights[2 * at + 1]) };
    let missing = |name| move || ort::Error::new(format!("the operator has no attribute {name:?}"));
    let shape = BlockShape {
        dim: weights[0].len(),
        n_heads: context.get::<i64>("num_heads").ok_or_else(missing("num_heads"))? as usize,
        feed_forward_dim: pair(6).1.len(),
        norm_epsilon: context.get("epsilon").ok_or_else(missing("epsilon"))?,
        norm_first: context.get::<i64>("norm_first").ok_or_else(missing("norm_first"))? != 0,
    };
    let weights = BlockWeights {
        attention_norm: pair(0),
        query: pair(1),
        key: pair(2),
        value: pair(3),
        output: pair(4),
        feed_forward_norm: pair(5),
        widen: pair(6),
        narrow: pair(7),
    };
    let none = InputMeans::default();
    let means = packed.means.get(name).unwrap_or(&none);
    Block::new(packed.isa, packed.operands, shape, &weights, means).map_err(ort::Error::new)
}

struct BlockKernel {
    block: Arc<Block>,
    packed: Arc<PackedBlocks>,
    name: String,
}

thread_local! {
    /// One room for all blocks that run on a thread.
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

impl Kernel for BlockKernel {
    fn compute(&mut self, context: &ComputeContext) -> ort::Result<()> {
        let missing = || ort::Error::new("an input is missing");
        let hidden = context.input(0)?.ok_or_else(missing)?;
        let lengths = context.input(1)?.ok_or_else(missing)?;
        let (shape, hidden) = hidden.try_extract_tensor::<f32>()?;
        let (_, lengths) = lengths.try_extract_tensor::<i64>()?;
        let dim = self.block.shape().dim;
        let &[batch, n_tokens, width] = &shape[..] else {
            return Err(ort::Error::new(format!("the hidden state has dimensions {shape:?}, not three")));
        };
        if width as usize != dim || lengths.len() != batch as usize {
            return Err(ort::Error::new(format!(
                "{shape:?} does not fit {} lengths of width {dim}",
                lengths.len()
            )));
        }
        let n_tokens = n_tokens as usize;
        let sequences: Vec<Range<usize>> = lengths
            .iter()
            .enumerate()
            .map(|(row, &length)| row * n_tokens..row * n_tokens + (length.max(0) as usize).min(n_tokens))
            .collect();
        let (cos, sin) = (context.input(COS)?, context.input(SIN)?);
        let tables = match (&cos, &sin) {
            (Some(cos), Some(sin)) => Some(Rotary {
                cos: cos.try_extract_tensor::<f32>()?.1,
                sin: sin.try_extract_tensor::<f32>()?.1,
            }),
            _ => None,
        };
        let mut out = context.output(0, shape.to_vec())?.ok_or_else(missing)?;
        let (_, out) = out.try_extract_tensor_mut::<f32>()?;
        let mut run = |scratch: &mut Scratch| {
            self.block.run(scratch, hidden, &sequences, tables.as_ref(), out);
        };
        match &self.packed.recorded {
            None => SCRATCH.with_borrow_mut(run),
            Some(recorded) => {
                let mut recorded = recorded.lock().unwrap_or_else(PoisonError::into_inner);
                let means = recorded.entry(self.name.clone()).or_default();
                let mut scratch = Scratch::recording(std::mem::take(means));
                run(&mut scratch);
                *means = scratch.recorded();
            }
        }
        Ok(())
    }
}
