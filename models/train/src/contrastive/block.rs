//! One hidden block in one pass: bias, GELU, layer norm and dropout.
//!
//! Left to single operators, each of the dozen steps would read and write the whole batch; together they take the time of
//! one. The gradient is written out; `tower.rs` holds it against the one of candle's own operators.

use candle_core::{CpuStorage, CustomOp2, DType, Error, Layout, Result, Shape, Storage, Tensor};
use rand::rngs::StdRng;
use rand::{RngCore, SeedableRng};
use rayon::prelude::*;

use super::simd::{gelu, sum, widest};
use super::tower::NORM_EPSILON;

/// Rows that one core takes at once. Each such block draws from a stream of its own, and sums run block by block in order, so
/// that a run repeats bit for bit on any number of cores.
const BLOCK: usize = 64;

/// Of products `[batch, width]` and parameters `[3, width]` (bias, scale, shift):
/// `dropped(norm(gelu(product + bias)) * scale + shift)`.
pub(super) struct HiddenBlock {
    /// Share of the values that is dropped, what stays being scaled up; 0 drops none.
    pub(super) dropout: f32,
    /// Seed of what is dropped.
    pub(super) seed: u64,
}

impl CustomOp2 for HiddenBlock {
    fn name(&self) -> &'static str {
        "hidden-block"
    }

    fn cpu_fwd(
        &self,
        products: &CpuStorage,
        layout: &Layout,
        parameters: &CpuStorage,
        of_parameters: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let width = layout.shape().dims2()?.1;
        let products = values(products, layout)?;
        let parameters = Parameters::new(values(parameters, of_parameters)?, width);
        let mut output = vec![0.0; products.len()];
        let blocks = output.par_chunks_mut(BLOCK * width).zip(products.par_chunks(BLOCK * width));
        blocks.enumerate().for_each(|(block, (output, products))| {
            let mut dropper = Dropper::new(self, block, width);
            for (output, products) in output.chunks_exact_mut(width).zip(products.chunks_exact(width)) {
                dropper.draw();
                widest(|| parameters.forward(products, &dropper, output));
            }
        });
        Ok((CpuStorage::F32(output), layout.shape().clone()))
    }

    fn bwd(
        &self,
        products: &Tensor,
        parameters: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (n_rows, width) = products.dims2()?;
        let gradient = gradient.contiguous()?;
        let (products, of_products) = products.storage_and_layout();
        let (gradient, of_gradient) = gradient.storage_and_layout();
        let (storage, of_parameters) = parameters.storage_and_layout();
        let products = values(on_cpu(&products)?, of_products)?;
        let gradient = values(on_cpu(&gradient)?, of_gradient)?;
        let parameters = Parameters::new(values(on_cpu(&storage)?, of_parameters)?, width);
        let mut output = vec![0.0; products.len()];
        let blocks = output
            .par_chunks_mut(BLOCK * width)
            .zip(products.par_chunks(BLOCK * width))
            .zip(gradient.par_chunks(BLOCK * width));
        let sums: Vec<Vec<f32>> = blocks
            .enumerate()
            .map(|(block, ((output, products), gradient))| {
                let mut dropper = Dropper::new(self, block, width);
                let mut work = Work { normal: vec![0.0; width], sums: vec![0.0; 3 * width] };
                let rows = output.chunks_exact_mut(width).zip(products.chunks_exact(width));
                for ((output, products), gradient) in rows.zip(gradient.chunks_exact(width)) {
                    dropper.draw();
                    widest(|| parameters.backward(products, gradient, &dropper, output, &mut work));
                }
                work.sums
            })
            .collect();
        let mut total = vec![0.0; 3 * width];
        sums.iter().for_each(|sums| total.iter_mut().zip(sums).for_each(|(total, value)| *total += value));
        let device = &candle_core::Device::Cpu;
        let of_products = Tensor::from_vec(output, (n_rows, width), device)?;
        Ok((Some(of_products), Some(Tensor::from_vec(total, (3, width), device)?)))
    }
}

/// What one core drops of the rows of a block.
struct Dropper {
    rng: StdRng,
    /// A value is dropped where its draw is below this.
    threshold: u16,
    /// What a value that stays is multiplied by.
    kept: f32,
    draws: Vec<u16>,
    bytes: Vec<u8>,
}

impl Dropper {
    fn new(block: &HiddenBlock, index: usize, width: usize) -> Self {
        let threshold = (block.dropout * 65_536.0).round() as u16;
        let width = if threshold == 0 { 0 } else { width };
        Self {
            rng: StdRng::seed_from_u64(block.seed.wrapping_add(index as u64)),
            threshold,
            kept: 65_536.0 / (65_536.0 - f32::from(threshold)),
            draws: vec![0; width],
            bytes: vec![0; 2 * width],
        }
    }

    /// Goes on to the next row.
    fn draw(&mut self) {
        self.rng.fill_bytes(&mut self.bytes);
        let pairs = self.bytes.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]]));
        self.draws.iter_mut().zip(pairs).for_each(|(draw, pair)| *draw = pair);
    }

    /// Multiplies a row by what is dropped and what stays.
    #[inline(always)]
    fn apply(&self, row: &mut [f32]) {
        if self.threshold > 0 {
            for (value, draw) in row.iter_mut().zip(&self.draws) {
                *value *= if *draw < self.threshold { 0.0 } else { self.kept };
            }
        }
    }
}

/// What a core holds on its way back through a block's rows.
struct Work {
    /// The normed values of a row.
    normal: Vec<f32>,
    /// Derivatives by bias, scale and shift, over the rows so far.
    sums: Vec<f32>,
}

/// Each `[width]`.
struct Parameters<'a> {
    bias: &'a [f32],
    scale: &'a [f32],
    shift: &'a [f32],
}

impl<'a> Parameters<'a> {
    fn new(values: &'a [f32], width: usize) -> Self {
        Self {
            bias: &values[..width],
            scale: &values[width..2 * width],
            shift: &values[2 * width..3 * width],
        }
    }

    /// One row forward.
    #[inline(always)]
    fn forward(&self, products: &[f32], dropper: &Dropper, output: &mut [f32]) {
        let n = output.len();
        let (products, bias, scale, shift) =
            (&products[..n], &self.bias[..n], &self.scale[..n], &self.shift[..n]);
        for i in 0..n {
            output[i] = gelu(products[i] + bias[i]).0;
        }
        let (mean, inverse) = moments(output);
        for i in 0..n {
            output[i] = (output[i] - mean) * inverse * scale[i] + shift[i];
        }
        dropper.apply(output);
    }

    /// One row backward: `output` becomes the derivative by the products, and the sums take those by the parameters.
    #[inline(always)]
    fn backward(
        &self,
        products: &[f32],
        gradient: &[f32],
        dropper: &Dropper,
        output: &mut [f32],
        work: &mut Work,
    ) {
        let n = output.len();
        let (products, gradient, normal) = (&products[..n], &gradient[..n], &mut work.normal[..n]);
        let (bias, scale) = (&self.bias[..n], &self.scale[..n]);
        let (of_bias, rest) = work.sums.split_at_mut(n);
        let (of_scale, of_shift) = rest.split_at_mut(n);
        for i in 0..n {
            normal[i] = gelu(products[i] + bias[i]).0;
        }
        let (mean, inverse) = moments(normal);
        output.copy_from_slice(gradient);
        dropper.apply(output);
        for i in 0..n {
            normal[i] = (normal[i] - mean) * inverse;
            of_shift[i] += output[i];
            of_scale[i] += output[i] * normal[i];
            output[i] *= scale[i];
        }
        let share = 1.0 / n as f32;
        let along_mean = sum(n, |i| output[i]) * share;
        let along_normal = sum(n, |i| output[i] * normal[i]) * share;
        for i in 0..n {
            let of_activated = (output[i] - along_mean - normal[i] * along_normal) * inverse;
            output[i] = of_activated * gelu(products[i] + bias[i]).1;
            of_bias[i] += output[i];
        }
    }
}

/// Mean, and one over the standard deviation.
#[inline(always)]
fn moments(row: &[f32]) -> (f32, f32) {
    let share = 1.0 / row.len() as f32;
    let mean = sum(row.len(), |i| row[i]) * share;
    let variance = sum(row.len(), |i| (row[i] - mean) * (row[i] - mean)) * share;
    (mean, 1.0 / (variance + NORM_EPSILON as f32).sqrt())
}

/// The numbers of a contiguous tensor.
pub(super) fn values<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    let (start, end) =
        layout.contiguous_offsets().ok_or(Error::RequiresContiguous { op: "hidden-block" }.bt())?;
    match storage {
        CpuStorage::F32(values) => Ok(&values[start..end]),
        other => Err(Error::UnexpectedDType {
            msg: "hidden-block",
            expected: DType::F32,
            got: candle_core::backend::BackendStorage::dtype(other),
        }
        .bt()),
    }
}

fn on_cpu(storage: &Storage) -> Result<&CpuStorage> {
    match storage {
        Storage::Cpu(storage) => Ok(storage),
        _ => candle_core::bail!("hidden-block runs on the CPU alone"),
    }
}
