//! `(G + p I) x = y` for the inner products `G` of rows: by factorisation for few rows, by conjugate gradients for many; and
//! the leading eigenvectors of `G`.

use faer::Side;
use faer::linalg::solvers::Solve as _;
use ndarray::{Array2, ArrayView2, Axis};

use super::{Design, GeneHeadError};

/// Rows above which inner products are not written out: the factorisation takes `n^3 / 3` steps.
const MAX_FACTORIZED: usize = 2_500;
/// Steps of conjugate gradients at most, and the share of the first residual at which they end.
const MAX_STEPS: usize = 60;
const TOLERANCE: f64 = 1e-3;
/// Share of the first eigenvalue below which a component is rounding in single precision.
const LEAST_VARIANCE: f64 = 1e-5;

/// The coefficients of the rows `[n, outputs]`; `penalty` is in units of the mean squared length of a row.
pub(super) fn coefficients(
    design: &dyn Design,
    targets: &Array2<f32>,
    penalty: f64,
) -> Result<Array2<f32>, GeneHeadError> {
    let ridge = penalty * design.mean_square().max(f64::MIN_POSITIVE);
    if design.n_rows() <= MAX_FACTORIZED {
        let found = factorized(&design.gram(), &targets.mapv(f64::from), ridge);
        return found
            .map(|found| found.mapv(|value| value as f32))
            .ok_or(GeneHeadError::Singular { penalty });
    }
    Ok(conjugate_gradients(design, targets, ridge))
}

/// Solves by Cholesky; `None` if the matrix is not positive definite.
pub(super) fn factorized(gram: &Array2<f64>, targets: &Array2<f64>, ridge: f64) -> Option<Array2<f64>> {
    faer::set_global_parallelism(faer::Par::Seq);
    let n = gram.nrows();
    let matrix = faer::Mat::from_fn(n, n, |i, j| gram[[i, j]] + if i == j { ridge } else { 0.0 });
    let factor = matrix.llt(Side::Lower).ok()?;
    let right = faer::Mat::from_fn(n, targets.ncols(), |i, j| targets[[i, j]]);
    let found = factor.solve(&right);
    Some(Array2::from_shape_fn(targets.dim(), |(i, j)| found[(i, j)]))
}

/// Leading eigenvectors of inner products, and what they hold.
pub(super) struct Leading {
    /// `[n, rank]`, at least one, each of unit length.
    pub(super) vectors: Array2<f32>,
    /// Falling, as many.
    pub(super) values: Vec<f64>,
}

/// At most `rank` of them: directions in which nothing varies are rounding, and not at right angles to the others.
pub(super) fn leading(gram: &Array2<f64>, rank: usize) -> Result<Leading, GeneHeadError> {
    faer::set_global_parallelism(faer::Par::Seq);
    let n = gram.nrows();
    let matrix = faer::Mat::from_fn(n, n, |i, j| gram[[i.max(j), i.min(j)]]);
    let found = matrix.self_adjoint_eigen(Side::Lower).map_err(|_| GeneHeadError::NoConvergence)?;
    let value = |i: usize| found.S().column_vector()[n - 1 - i];
    let varies = |&i: &usize| value(i) > value(0) * LEAST_VARIANCE;
    let rank = (0..rank.min(n)).take_while(varies).count().max(1);
    let vectors = found.U();
    Ok(Leading {
        vectors: Array2::from_shape_fn((n, rank), |(i, j)| vectors[(i, n - 1 - j)] as f32),
        values: (0..rank).map(|i| value(i).max(f64::MIN_POSITIVE)).collect(),
    })
}

/// All outputs side by side, each with its own steps. Source: Hestenes and Stiefel 1952.
fn conjugate_gradients(design: &dyn Design, targets: &Array2<f32>, ridge: f64) -> Array2<f32> {
    let ridge = ridge as f32;
    let apply = |values: &ArrayView2<'_, f32>| {
        let weight = design.transposed_times(values);
        design.times(&weight.view()) + &(values.to_owned() * ridge)
    };
    let squares = |values: &Array2<f32>| -> Vec<f64> {
        let square =
            |column: ndarray::ArrayView1<'_, f32>| column.iter().map(|v| f64::from(*v).powi(2)).sum();
        values.columns().into_iter().map(square).collect()
    };
    let mut found = Array2::zeros(targets.dim());
    let mut residual = targets.clone();
    let mut direction = residual.clone();
    let first = squares(&residual);
    let mut current = first.clone();
    for _ in 0..MAX_STEPS {
        if current.iter().zip(&first).all(|(now, first)| *now <= first * TOLERANCE * TOLERANCE) {
            break;
        }
        let applied = apply(&direction.view());
        for output in 0..targets.ncols() {
            if current[output] <= first[output] * TOLERANCE * TOLERANCE {
                continue;
            }
            let (along, curve) = (direction.column(output), applied.column(output));
            let curvature: f64 = along.iter().zip(curve).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
            let step = (current[output] / curvature.max(f64::MIN_POSITIVE)) as f32;
            found.column_mut(output).scaled_add(step, &along);
            residual.column_mut(output).scaled_add(-step, &curve);
        }
        let next = squares(&residual);
        for (output, mut column) in direction.axis_iter_mut(Axis(1)).enumerate() {
            let keep = (next[output] / current[output].max(f64::MIN_POSITIVE)) as f32;
            column.zip_mut_with(&residual.column(output), |d, r| *d = r + keep * *d);
        }
        current = next;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Dense, wave};
    use super::*;

    #[test]
    fn conjugate_gradients_agree_with_the_factorisation() {
        let design = Dense(wave(40, 12, 0.1));
        let targets = wave(40, 3, 0.7);
        let ridge = design.mean_square();
        let exact = factorized(&design.gram(), &targets.mapv(f64::from), ridge).unwrap();
        let found = conjugate_gradients(&design, &targets, ridge);
        let distance = (&found.mapv(f64::from) - &exact).mapv(|v| v * v).sum().sqrt();
        assert!(distance < 5e-3 * exact.mapv(|v| v * v).sum().sqrt(), "{distance}");
    }
}
