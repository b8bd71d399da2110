//! Numbers of pairs of genes, such as genetic interactions: ridge regression on both sides of the pair, symmetric by
//! construction.
//!
//! Each training gene also has a column of its own, so that what was measured with it weighs more than what its likes did;
//! a gene that was never seen has none. Source: two-step kernel ridge regression, Stock et al. 2018.

use faer::Side;
use ndarray::{Array1, Array2};

use super::solve::factorized;
use super::{Design, GeneHeadError};

/// How a head of pairs is fitted.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct PairSettings {
    /// Weight of the prior, in units of the mean squared length of a row.
    pub penalty: f64,
    /// Share of `penalty` that is a training gene's own column.
    pub own_share: f64,
    /// Components of a code at most.
    pub max_rank: usize,
}

/// `code(a) . (sign * code(b)) + mean`, where a code is `row * down + own`.
#[derive(Debug, Clone, PartialEq)]
pub struct GenePairHead {
    /// `[inputs, rank]`.
    pub down: Array2<f32>,
    /// What a training gene's own column adds to its code, `[training genes, rank]`.
    pub own: Array2<f32>,
    /// 1 or -1, `[rank]`.
    pub sign: Array1<f32>,
    /// Mean of the training pairs.
    pub mean: f32,
}

impl GenePairHead {
    /// Codes of rows, `[n, rank]`; `training[i]` is the place of gene `i` among the training genes, if it is one.
    #[must_use]
    pub fn codes(&self, design: &dyn Design, training: &[Option<usize>]) -> Array2<f32> {
        let mut codes = design.times(&self.down.view());
        for (mut code, training) in codes.rows_mut().into_iter().zip(training) {
            if let Some(place) = training {
                code += &self.own.row(*place);
            }
        }
        codes
    }

    /// The number of a pair.
    #[must_use]
    pub fn score(&self, a: &ndarray::ArrayView1<'_, f32>, b: &ndarray::ArrayView1<'_, f32>) -> f32 {
        self.mean + a.iter().zip(b).zip(&self.sign).map(|((a, b), sign)| a * b * sign).sum::<f32>()
    }

    /// The head on rows before each column was multiplied by `scale` `[inputs]`.
    #[must_use]
    pub fn on_unscaled(mut self, scale: &[f32]) -> Self {
        for (mut row, scale) in self.down.rows_mut().into_iter().zip(scale) {
            row *= *scale;
        }
        self
    }
}

/// Fits pairs `(a, b, value)` of the design's rows. A pair that was not measured is taken as the sum of what its genes do on
/// average.
///
/// # Errors
/// [`GeneHeadError`].
pub fn fit_pairs(
    design: &dyn Design,
    pairs: &[(usize, usize, f32)],
    settings: PairSettings,
) -> Result<GenePairHead, GeneHeadError> {
    let n = design.n_rows();
    if n < 3 || pairs.len() < 3 {
        return Err(GeneHeadError::TooFewRows { n_rows: n.min(pairs.len()), least: 3 });
    }
    if let Some(row) = pairs.iter().position(|pair| !pair.2.is_finite()) {
        return Err(GeneHeadError::NotFinite { row, target: 0 });
    }
    let PairSettings { penalty, own_share, max_rank } = settings;
    if !(penalty.is_finite() && penalty > 0.0) {
        return Err(GeneHeadError::Setting { name: "the penalty", value: penalty, rule: "a number above 0" });
    }
    if !(0.0..=1.0).contains(&own_share) {
        return Err(GeneHeadError::Setting { name: "the own share", value: own_share, rule: "from 0 to 1" });
    }
    let (measured, mean) = filled(n, pairs);
    let gram = design.gram();
    let ridge = penalty * design.mean_square();
    let singular = || GeneHeadError::Singular { penalty };
    // (G + p I)^-1 Y (G + p I)^-1, from both sides.
    let half = factorized(&gram, &measured, ridge).ok_or_else(singular)?;
    let both = factorized(&gram, &half.t().to_owned(), ridge).ok_or_else(singular)?;
    let (vectors, sign) = leading(&both, max_rank.min(n))?;
    Ok(GenePairHead {
        down: design.transposed_times(&vectors.view()),
        own: &vectors * ((own_share * ridge) as f32),
        sign,
        mean: mean as f32,
    })
}

/// The matrix of pairs less its mean, `[n, n]`, and the mean.
fn filled(n: usize, pairs: &[(usize, usize, f32)]) -> (Array2<f64>, f64) {
    let mean = pairs.iter().map(|pair| f64::from(pair.2)).sum::<f64>() / pairs.len() as f64;
    let (mut sums, mut counts) = (vec![0.0; n], vec![0.0; n]);
    for &(a, b, value) in pairs {
        for gene in [a, b] {
            sums[gene] += f64::from(value) - mean;
            counts[gene] += 1.0;
        }
    }
    // One further pair at the mean keeps genes with few pairs modest.
    let effect: Vec<f64> = sums.iter().zip(&counts).map(|(sum, count)| sum / (count + 1.0)).collect();
    let mut matrix = Array2::from_shape_fn((n, n), |(a, b)| effect[a] + effect[b]);
    for &(a, b, value) in pairs {
        matrix[[a, b]] = f64::from(value) - mean;
        matrix[[b, a]] = f64::from(value) - mean;
    }
    (matrix, mean)
}

/// The eigenvectors of the greatest eigenvalues by size, each times the root of that size, `[n, rank]`; and their signs.
fn leading(matrix: &Array2<f64>, rank: usize) -> Result<(Array2<f32>, Array1<f32>), GeneHeadError> {
    faer::set_global_parallelism(faer::Par::Seq);
    let n = matrix.nrows();
    let symmetric = faer::Mat::from_fn(n, n, |i, j| (matrix[[i, j]] + matrix[[j, i]]) / 2.0);
    let found = symmetric.self_adjoint_eigen(Side::Lower).map_err(|_| GeneHeadError::NoConvergence)?;
    let value = |i: usize| found.S().column_vector()[i];
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_by(|a, b| value(*b).abs().total_cmp(&value(*a).abs()));
    order.truncate(rank);
    let vectors = Array2::from_shape_fn((n, rank), |(i, j)| {
        (found.U()[(i, order[j])] * value(order[j]).abs().sqrt()) as f32
    });
    let sign = Array1::from_iter(order.iter().map(|&at| if value(at) < 0.0 { -1.0 } else { 1.0 }));
    Ok((vectors, sign))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Dense, wave};
    use super::*;

    #[test]
    fn pairs_are_symmetric_and_a_bilinear_truth_is_found() {
        let rows = wave(60, 6, 0.4);
        let core = wave(6, 6, 1.1);
        let core = &core + &core.t();
        let truth = rows.dot(&core).dot(&rows.t());
        let pairs: Vec<_> =
            (0..50).flat_map(|a| (0..a).map(move |b| (a, b))).map(|(a, b)| (a, b, truth[[a, b]])).collect();
        let design = Dense(rows.slice(ndarray::s![..50, ..]).to_owned());
        let settings = PairSettings { penalty: 1e-3, own_share: 0.0, max_rank: 50 };
        let head = fit_pairs(&design, &pairs, settings).unwrap();
        let codes = head.codes(&Dense(rows.slice(ndarray::s![50.., ..]).to_owned()), &[None; 10]);
        let (mut wrong, mut total) = (0.0, 0.0);
        for a in 0..10 {
            for b in 0..a {
                let found = head.score(&codes.row(a), &codes.row(b));
                assert!((found - head.score(&codes.row(b), &codes.row(a))).abs() < 1e-4);
                wrong += (found - truth[[50 + a, 50 + b]]).powi(2);
                total += truth[[50 + a, 50 + b]].powi(2);
            }
        }
        assert!(wrong < 0.1 * total, "{wrong} of {total}");
    }
}
