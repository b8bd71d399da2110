//! AdamW whose state can be saved: candle's own keeps its moments to itself, and a run that was killed must go on as if it
//! had not been.
//!
//! Source: Loshchilov and Hutter, "Decoupled weight decay regularization", 2019; moments and epsilon as PyTorch's defaults.

use candle_core::backprop::GradStore;
use candle_core::{Result, Tensor, Var};

const BETA_1: f64 = 0.9;
const BETA_2: f64 = 0.999;
const EPSILON: f64 = 1e-8;

/// The optimizer of a fixed list of variables.
pub(crate) struct AdamW {
    vars: Vec<Var>,
    /// Decay of each variable; biases, norms and the temperature have none.
    decays: Vec<f64>,
    /// First and second moments.
    moments: Vec<(Tensor, Tensor)>,
    n_steps: usize,
}

impl AdamW {
    /// Matrices are decayed by `weight_decay`, everything else is not.
    pub(crate) fn new(vars: Vec<Var>, weight_decay: f64) -> Result<Self> {
        let decays = vars.iter().map(|var| if var.rank() == 2 { weight_decay } else { 0.0 }).collect();
        let zeros = |var: &Var| Ok((var.zeros_like()?, var.zeros_like()?));
        let moments = vars.iter().map(zeros).collect::<Result<_>>()?;
        Ok(Self { vars, decays, moments, n_steps: 0 })
    }

    pub(crate) fn step(&mut self, gradients: &GradStore, learning_rate: f64) -> Result<()> {
        self.n_steps += 1;
        let correct = |beta: f64| 1.0 - beta.powi(i32::try_from(self.n_steps).unwrap_or(i32::MAX));
        let (correct_1, correct_2) = (correct(BETA_1), correct(BETA_2));
        for ((var, decay), (first, second)) in self.vars.iter().zip(&self.decays).zip(&mut self.moments) {
            let Some(gradient) = gradients.get(var) else { continue };
            *first = ((&*first * BETA_1)? + (gradient * (1.0 - BETA_1))?)?.detach();
            *second = ((&*second * BETA_2)? + (gradient.sqr()? * (1.0 - BETA_2))?)?.detach();
            let scale = ((&*second / correct_2)?.sqrt()? + EPSILON)?;
            let update = ((&*first / correct_1)? / scale)?;
            let decayed = (var.as_tensor() * (1.0 - learning_rate * decay))?;
            var.set(&(decayed - (update * learning_rate)?)?.detach())?;
        }
        Ok(())
    }

    pub(crate) fn n_steps(&self) -> usize {
        self.n_steps
    }

    pub(super) fn moments(&self) -> &[(Tensor, Tensor)] {
        &self.moments
    }

    /// Goes on where another run stopped.
    pub(super) fn restore(&mut self, moments: Vec<(Tensor, Tensor)>, n_steps: usize) {
        self.moments = moments;
        self.n_steps = n_steps;
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    #[test]
    fn the_first_steps_are_those_of_the_paper() {
        let var = Var::new(&[[1.0_f64, -2.0]], &Device::Cpu).unwrap();
        let mut optimizer = AdamW::new(vec![var.clone()], 0.1).unwrap();
        let (mut expected, mut first, mut second) = ([1.0, -2.0], [0.0; 2], [0.0; 2]);
        for step in 1..=3 {
            let loss = var.as_tensor().sqr().unwrap().sum_all().unwrap();
            optimizer.step(&loss.backward().unwrap(), 0.01).unwrap();
            for i in 0..2 {
                let gradient = 2.0 * expected[i];
                first[i] = 0.9 * first[i] + 0.1 * gradient;
                second[i] = 0.999 * second[i] + 0.001 * gradient * gradient;
                let (m, v) =
                    (first[i] / (1.0 - 0.9_f64.powi(step)), second[i] / (1.0 - 0.999_f64.powi(step)));
                expected[i] = expected[i] * (1.0 - 0.01 * 0.1) - 0.01 * m / (v.sqrt() + 1e-8);
            }
        }
        let found = var.to_vec2::<f64>().unwrap();
        for i in 0..2 {
            assert!((found[0][i] - expected[i]).abs() < 1e-9, "{found:?} {expected:?}");
        }
    }
}
