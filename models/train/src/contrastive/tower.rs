//! One tower: blocks of Linear, GELU, LayerNorm and dropout, then a Linear, then unit norm.
//!
//! Source of the shape: Wu et al., "ProteinCLIP", 2024 (one hidden block). Weights live in candle variables while they
//! are trained; [`super::TowerWeights`] is what is kept.

use candle_core::{D, DType, Device, Result, Tensor, Var};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::block::HiddenBlock;
use super::products::FixedRows;

/// Epsilon of the layer norms; the ONNX file uses the same.
pub(crate) const NORM_EPSILON: f64 = 1e-5;

/// Shape of a tower.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct TowerShape {
    pub(crate) n_inputs: usize,
    pub(crate) hidden_dim: usize,
    /// Hidden blocks; towers of the joint space have 1 or more.
    pub(crate) n_hidden: usize,
    pub(crate) shared_dim: usize,
}

/// A tower that is being trained.
pub(crate) struct Tower {
    shape: TowerShape,
    /// Weight `[in, out]`, bias, and for hidden blocks scale and shift of the norm, in order of use.
    vars: Vec<Var>,
}

impl Tower {
    /// Weights uniform within `1 / sqrt(inputs)`, as PyTorch's `Linear` starts; norms at one and zero.
    pub(crate) fn new(shape: TowerShape, rng: &mut StdRng, device: &Device) -> Result<Self> {
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

    pub(crate) fn shape(&self) -> TowerShape {
        self.shape
    }

    pub(crate) fn vars(&self) -> &[Var] {
        &self.vars
    }

    /// `[batch, inputs]` to unit rows `[batch, shared_dim]`. With `dropout`, a share of the hidden values is
    /// dropped, drawn from the generator given.
    pub(super) fn forward(&self, rows: &Tensor, dropout: Option<(f32, &mut StdRng)>) -> Result<Tensor> {
        unit_rows(&self.outputs(rows, dropout)?)
    }

    /// As [`Tower::forward`], before rows are scaled to unit norm.
    pub(crate) fn outputs(&self, rows: &Tensor, dropout: Option<(f32, &mut StdRng)>) -> Result<Tensor> {
        self.run(rows, dropout, true)
    }

    /// As [`Tower::outputs`], for rows that have a gradient of their own.
    pub(crate) fn outputs_of_learned(
        &self,
        rows: &Tensor,
        dropout: Option<(f32, &mut StdRng)>,
    ) -> Result<Tensor> {
        self.run(rows, dropout, false)
    }

    fn run(&self, rows: &Tensor, mut dropout: Option<(f32, &mut StdRng)>, is_fixed: bool) -> Result<Tensor> {
        let mut x = rows.clone();
        for (layer, block) in self.vars[..4 * self.shape.n_hidden].chunks_exact(4).enumerate() {
            let weight = block[0].as_tensor();
            let products = if is_fixed && layer == 0 && x.device().is_cpu() {
                x.apply_op2(weight, FixedRows)?
            } else {
                x.matmul(weight)?
            };
            let parameters =
                Tensor::stack(&[block[1].as_tensor(), block[2].as_tensor(), block[3].as_tensor()], 0)?;
            let (dropout, seed) = dropout.as_mut().map_or((0.0, 0), |(share, rng)| (*share, rng.random()));
            x = if products.device().is_cpu() {
                products.apply_op2(&parameters, HiddenBlock { dropout, seed })?
            } else {
                by_autodiff(&products, &parameters, dropout, seed)?
            };
        }
        let last = &self.vars[4 * self.shape.n_hidden..];
        x.matmul(last[0].as_tensor())?.broadcast_add(last[1].as_tensor())
    }
}

/// The same as [`HiddenBlock`] but for what it drops, left to autodiff: for other devices than CPUs.
fn by_autodiff(products: &Tensor, parameters: &Tensor, dropout: f32, seed: u64) -> Result<Tensor> {
    let [bias, scale, shift] = [0, 1, 2].map(|row| parameters.get(row));
    let activated = products.broadcast_add(&bias?)?.gelu_erf()?;
    let centred = activated.broadcast_sub(&activated.mean_keepdim(D::Minus1)?)?;
    let variance = centred.sqr()?.mean_keepdim(D::Minus1)?;
    let normal = centred.broadcast_div(&(variance + NORM_EPSILON)?.sqrt()?)?;
    let x = normal.broadcast_mul(&scale?)?.broadcast_add(&shift?)?;
    if dropout <= 0.0 {
        return Ok(x);
    }
    let (mut rng, kept) = (StdRng::seed_from_u64(seed), 1.0 / (1.0 - dropout));
    let mask = (0..x.elem_count()).map(|_| if rng.random::<f32>() < dropout { 0.0 } else { kept });
    x.mul(&Tensor::from_vec(mask.collect(), x.shape(), x.device())?)
}

fn unit_rows(x: &Tensor) -> Result<Tensor> {
    x.broadcast_div(&(x.sqr()?.sum_keepdim(D::Minus1)? + 1e-12)?.sqrt()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: TowerShape = TowerShape { n_inputs: 5, hidden_dim: 37, n_hidden: 1, shared_dim: 3 };

    fn values(tensor: &Tensor) -> Vec<f32> {
        tensor.flatten_all().unwrap().to_vec1().unwrap()
    }

    fn random(n_rows: usize, n_columns: usize, seed: u64) -> Var {
        let mut rng = StdRng::seed_from_u64(seed);
        let values = (0..n_rows * n_columns).map(|_| rng.random_range(-2.0_f32..2.0)).collect();
        Var::from_vec(values, (n_rows, n_columns), &Device::Cpu).unwrap()
    }

    #[test]
    fn a_block_and_its_gradient_are_those_of_autodiff() {
        // More rows than a block takes at once.
        let (products, parameters) = (random(150, 37, 1), random(3, 37, 2));
        let weights = random(150, 37, 3);
        let expected = by_autodiff(&products, &parameters, 0.0, 0).unwrap();
        let found = products.apply_op2(&parameters, HiddenBlock { dropout: 0.0, seed: 0 }).unwrap();
        let near = |expected: &Tensor, found: &Tensor| {
            for (expected, found) in values(expected).into_iter().zip(values(found)) {
                assert!((expected - found).abs() < 1e-5 * expected.abs().max(1.0), "{expected} {found}");
            }
        };
        near(&expected, &found);
        let gradients =
            |x: &Tensor| (x * weights.as_tensor()).unwrap().sum_all().unwrap().backward().unwrap();
        let (expected, found) = (gradients(&expected), gradients(&found));
        for var in [&products, &parameters] {
            near(expected.get(var).unwrap(), found.get(var).unwrap());
        }
    }

    #[test]
    fn fixed_rows_give_the_weights_gradient_and_none_of_their_own() {
        let (rows, weights) = (random(70, 9, 1), random(9, 37, 2));
        let (expected, found) =
            (rows.matmul(&weights).unwrap(), rows.apply_op2(&weights, FixedRows).unwrap());
        let gradients = |x: &Tensor| x.sqr().unwrap().sum_all().unwrap().backward().unwrap();
        let near = |expected: &Tensor, found: &Tensor| {
            let pairs = values(expected).into_iter().zip(values(found));
            pairs.for_each(|(one, other)| assert!((one - other).abs() < 1e-3, "{one} {other}"));
        };
        near(&expected, &found);
        let (expected, found) = (gradients(&expected), gradients(&found));
        near(expected.get(&weights).unwrap(), found.get(&weights).unwrap());
        assert!(found.get(&rows).is_none());
    }

    #[test]
    fn what_is_dropped_has_no_gradient_and_repeats() {
        let (products, parameters) = (random(150, 37, 1), random(3, 37, 2));
        let run = |seed: u64| products.apply_op2(&parameters, HiddenBlock { dropout: 0.25, seed }).unwrap();
        let (whole, dropped) = (by_autodiff(&products, &parameters, 0.0, 0).unwrap(), run(7));
        assert_eq!(values(&dropped), values(&run(7)));
        assert_ne!(values(&dropped), values(&run(8)));
        let pairs: Vec<(f32, f32)> = values(&whole).into_iter().zip(values(&dropped)).collect();
        let n_dropped = pairs.iter().filter(|(_, value)| *value == 0.0).count();
        assert!((0.22..0.28).contains(&(n_dropped as f64 / pairs.len() as f64)), "{n_dropped}");
        assert!(pairs.iter().all(
            |(whole, value)| *value == 0.0 || (value * 0.75 - whole).abs() < 1e-5 * whole.abs().max(1.0)
        ));
        // A shift moves what is not dropped, and nothing else.
        let gradients = dropped.sum_all().unwrap().backward().unwrap();
        let shifts: f32 = values(&gradients.get(&parameters).unwrap().get(2).unwrap()).iter().sum();
        let kept = (pairs.len() - n_dropped) as f32 / 0.75;
        assert!((shifts / kept - 1.0).abs() < 1e-4, "{shifts} {kept}");
    }

    #[test]
    fn towers_give_unit_rows_on_any_number_of_cores() {
        let tower = Tower::new(SHAPE, &mut StdRng::seed_from_u64(4), &Device::Cpu).unwrap();
        let rows = random(200, 5, 5);
        let run = |n_threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(n_threads).build().unwrap();
            let mut rng = StdRng::seed_from_u64(6);
            pool.install(|| values(&tower.forward(&rows, Some((0.5, &mut rng))).unwrap()))
        };
        let found = run(1);
        assert!(found.chunks(3).all(|row| (row.iter().map(|x| x * x).sum::<f32>() - 1.0).abs() < 1e-5));
        assert_eq!(found, run(3));
    }
}
