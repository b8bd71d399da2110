//! One tower: blocks of Linear, GELU, LayerNorm and dropout, then a Linear, then unit norm.
//!
//! Source of the shape: Wu et al., "ProteinCLIP", 2024 (one hidden block). Weights live in candle variables while they
//! are trained; [`super::TowerWeights`] is what is kept.

use candle_core::{D, DType, Device, Result, Tensor, Var};
use rand::Rng;
use rand::rngs::StdRng;

/// Epsilon of the layer norms; the ONNX file uses the same.
pub(super) const NORM_EPSILON: f64 = 1e-5;

/// Shape of a tower.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct TowerShape {
    pub(super) n_inputs: usize,
    pub(super) hidden_dim: usize,
    /// Hidden blocks, 1 or more.
    pub(super) n_hidden: usize,
    pub(super) shared_dim: usize,
}

/// A tower that is being trained.
pub(super) struct Tower {
    shape: TowerShape,
    /// Weight `[in, out]`, bias, and for hidden blocks scale and shift of the norm, in order of use.
    vars: Vec<Var>,
}

impl Tower {
    /// Weights uniform within `1 / sqrt(inputs)`, as PyTorch's `Linear` starts; norms at one and zero.
    pub(super) fn new(shape: TowerShape, rng: &mut StdRng, device: &Device) -> Result<Self> {
        let mut vars = Vec::new();
        let mut width = shape.n_inputs;
        for layer in 0..=shape.n_hidden {
            let out = if layer < shape.n_hidden { shape.hidden_dim } else { shape.shared_dim };
            let bound = 1.0 / (width as f32).sqrt();
            let mut uniform = |n: usize| (0..n).map(|_| rng.random_range(-bound..bound)).collect::<Vec<_>>();
            vars.push(Var::from_vec(uniform(width * out), (width, out), device)?);
            vars.push(Var::from_vec(uniform(out), out, device)?);
            if layer < shape.n_hidden {
                vars.push(Var::ones(out, DType::F32, device)?);
                vars.push(Var::zeros(out, DType::F32, device)?);
            }
            width = out;
        }
        Ok(Self { shape, vars })
    }

    pub(super) fn shape(&self) -> TowerShape {
        self.shape
    }

    pub(super) fn vars(&self) -> &[Var] {
        &self.vars
    }

    /// `[batch, inputs]` to unit rows `[batch, shared_dim]`. With `dropout`, a share of the hidden values is
    /// dropped, drawn from the generator given.
    pub(super) fn forward(&self, rows: &Tensor, mut dropout: Option<(f32, &mut StdRng)>) -> Result<Tensor> {
        let mut x = rows.clone();
        for block in self.vars[..4 * self.shape.n_hidden].chunks_exact(4) {
            x = x.matmul(block[0].as_tensor())?.broadcast_add(block[1].as_tensor())?.gelu_erf()?;
            x = layer_norm(&x, block[2].as_tensor(), block[3].as_tensor())?;
            if let Some((share, rng)) = &mut dropout {
                x = drop_values(&x, *share, rng)?;
            }
        }
        let last = &self.vars[4 * self.shape.n_hidden..];
        unit_rows(&x.matmul(last[0].as_tensor())?.broadcast_add(last[1].as_tensor())?)
    }
}

/// Written out, since the fused operator has no gradient.
fn layer_norm(x: &Tensor, scale: &Tensor, shift: &Tensor) -> Result<Tensor> {
    let centred = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
    let variance = centred.sqr()?.mean_keepdim(D::Minus1)?;
    centred.broadcast_div(&(variance + NORM_EPSILON)?.sqrt()?)?.broadcast_mul(scale)?.broadcast_add(shift)
}

/// Inverted dropout: what stays is scaled up, so that nothing changes when rows are projected later.
fn drop_values(x: &Tensor, share: f32, rng: &mut StdRng) -> Result<Tensor> {
    if share <= 0.0 {
        return Ok(x.clone());
    }
    let kept = 1.0 / (1.0 - share);
    let mask: Vec<f32> =
        (0..x.elem_count()).map(|_| if rng.random::<f32>() < share { 0.0 } else { kept }).collect();
    x.mul(&Tensor::from_vec(mask, x.shape(), x.device())?)
}

fn unit_rows(x: &Tensor) -> Result<Tensor> {
    x.broadcast_div(&(x.sqr()?.sum_keepdim(D::Minus1)? + 1e-12)?.sqrt()?)
}
