//! Ridge regression in closed form, cross-validated by group: small heads where there are few measurements.
//!
//! Sums of products are kept by fold, so that any set of folds is fitted by adding them up and solving once: the penalty is
//! chosen on inner folds of the training part and never sees the fold that is predicted.

use faer::Side;
use faer::prelude::{Mat, Solve as _};
use ndarray::{Array1, ArrayView2, Axis};

/// Penalties tried, as shares of the mean of the diagonal. Source: a grid of half decades around 1 that covers what small
/// and large assays chose.
const PENALTIES: [f64; 6] = [0.1, 0.3, 1.0, 3.0, 10.0, 30.0];

/// A fit cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum RidgeError {
    /// Too few folds have rows.
    #[error(
        "only {n_folds} folds have rows; at least 3 are needed, so that one is held out and one chooses the penalty"
    )]
    TooFewFolds {
        /// Folds with rows.
        n_folds: usize,
    },
    /// A value that is not a number.
    #[error("row {row} has a feature or target that is not a finite number")]
    NotFinite {
        /// From 0.
        row: usize,
    },
}

/// Predictions for rows that were held out.
#[derive(Debug, Clone, PartialEq)]
pub struct CrossValidated {
    /// One a row, by a fit that saw no row of its fold.
    pub predictions: Vec<f64>,
    /// The penalty chosen for each fold that has rows.
    pub penalties: Vec<f64>,
}

/// Sums of products of one fold or several.
#[derive(Clone)]
struct Moments {
    /// Features by features.
    products: Mat<f64>,
    /// Features by the target.
    targets: Vec<f64>,
    /// Sums of features and of the target, and rows.
    sums: Vec<f64>,
    target_sum: f64,
    n_rows: f64,
}

/// A linear fit.
struct Fit {
    weights: Array1<f32>,
    intercept: f64,
}

/// Predicts each row by a ridge that was fitted on the other folds. `score` says how good predictions are (predicted,
/// measured; higher is better) and chooses the penalty on inner folds. `fold_of` counts folds from 0.
///
/// # Errors
/// [`RidgeError`].
pub fn cross_validate(
    features: &ArrayView2<'_, f32>,
    targets: &[f64],
    fold_of: &[usize],
    score: impl Fn(&[f64], &[f64]) -> f64,
) -> Result<CrossValidated, RidgeError> {
    let is_bad =
        |row: usize| !targets[row].is_finite() || features.row(row).iter().any(|value| !value.is_finite());
    if let Some(row) = (0..targets.len()).find(|&row| is_bad(row)) {
        return Err(RidgeError::NotFinite { row });
    }
    let n_folds = fold_of.iter().max().map_or(0, |last| last + 1);
    let rows_of: Vec<Vec<usize>> =
        (0..n_folds).map(|fold| (0..targets.len()).filter(|&row| fold_of[row] == fold).collect()).collect();
    let rows_of: Vec<Vec<usize>> = rows_of.into_iter().filter(|rows| !rows.is_empty()).collect();
    if rows_of.len() < 3 {
        return Err(RidgeError::TooFewFolds { n_folds: rows_of.len() });
    }
    let moments: Vec<Moments> = rows_of.iter().map(|rows| Moments::of(features, targets, rows)).collect();
    let all = Moments::sum(&moments, &[]);
    let mut predictions = vec![0.0; targets.len()];
    let mut penalties = Vec::new();
    for held_out in 0..rows_of.len() {
        let mut totals = [0.0; PENALTIES.len()];
        for inner in (0..rows_of.len()).filter(|&fold| fold != held_out) {
            let training = all.less(&moments[held_out]).less(&moments[inner]);
            let measured: Vec<f64> = rows_of[inner].iter().map(|&row| targets[row]).collect();
            for (total, fit) in totals.iter_mut().zip(training.fits(&PENALTIES)) {
                *total += score(&fit.predict(features, &rows_of[inner]), &measured) * measured.len() as f64;
            }
        }
        let best = (0..PENALTIES.len()).max_by(|&a, &b| totals[a].total_cmp(&totals[b])).unwrap_or(0);
        let penalty = PENALTIES[best];
        let training = all.less(&moments[held_out]);
        for fit in training.fits(&[penalty]) {
            let predicted = fit.predict(features, &rows_of[held_out]);
            rows_of[held_out].iter().zip(predicted).for_each(|(&row, value)| predictions[row] = value);
        }
        penalties.push(penalty);
    }
    Ok(CrossValidated { predictions, penalties })
}

impl Moments {
    fn of(features: &ArrayView2<'_, f32>, targets: &[f64], rows: &[usize]) -> Self {
        let part = features.select(Axis(0), rows);
        let measured: Array1<f32> = rows.iter().map(|&row| targets[row] as f32).collect();
        let products = part.t().dot(&part);
        let d = features.ncols();
        Self {
            products: Mat::from_fn(d, d, |row, column| f64::from(products[[row, column]])),
            targets: part.t().dot(&measured).iter().map(|&value| f64::from(value)).collect(),
            sums: part.sum_axis(Axis(0)).iter().map(|&value| f64::from(value)).collect(),
            target_sum: measured.iter().map(|&value| f64::from(value)).sum(),
            n_rows: rows.len() as f64,
        }
    }

    /// All but those left out.
    fn sum(moments: &[Self], left_out: &[usize]) -> Self {
        let mut kept = moments.iter().enumerate().filter(|(index, _)| !left_out.contains(index));
        let first =
            kept.next().map(|(_, first)| first.clone()).expect("there are three folds, checked above");
        kept.fold(first, |mut sum, (_, other)| {
            sum.add(other, 1.0);
            sum
        })
    }

    fn less(&self, other: &Self) -> Self {
        let mut rest = self.clone();
        rest.add(other, -1.0);
        rest
    }

    fn add(&mut self, other: &Self, sign: f64) {
        for column in 0..self.products.ncols() {
            for row in 0..self.products.nrows() {
                self.products[(row, column)] += sign * other.products[(row, column)];
            }
        }
        self.targets.iter_mut().zip(&other.targets).for_each(|(a, b)| *a += sign * b);
        self.sums.iter_mut().zip(&other.sums).for_each(|(a, b)| *a += sign * b);
        self.target_sum += sign * other.target_sum;
        self.n_rows += sign * other.n_rows;
    }

    /// One fit a penalty; the intercept is not penalised.
    fn fits(&self, penalties: &[f64]) -> Vec<Fit> {
        let (d, n) = (self.sums.len(), self.n_rows.max(1.0));
        let mean = |column: usize| self.sums[column] / n;
        let centred =
            Mat::from_fn(d, d, |row, column| self.products[(row, column)] - self.sums[row] * mean(column));
        let right = Mat::from_fn(d, 1, |row, _| self.targets[row] - mean(row) * self.target_sum);
        let scale = ((0..d).map(|column| centred[(column, column)]).sum::<f64>() / d as f64).max(1e-9);
        let solve = |&penalty: &f64| {
            let mut ridged = centred.clone();
            (0..d).for_each(|column| ridged[(column, column)] += penalty * scale);
            let weights = match ridged.llt(Side::Lower) {
                Ok(factor) => factor.solve(&right),
                Err(_) => Mat::zeros(d, 1),
            };
            let at_mean: f64 = (0..d).map(|column| weights[(column, 0)] * mean(column)).sum();
            Fit {
                weights: (0..d).map(|column| weights[(column, 0)] as f32).collect(),
                intercept: self.target_sum / n - at_mean,
            }
        };
        penalties.iter().map(solve).collect()
    }
}

impl Fit {
    fn predict(&self, features: &ArrayView2<'_, f32>, rows: &[usize]) -> Vec<f64> {
        rows.iter().map(|&row| f64::from(features.row(row).dot(&self.weights)) + self.intercept).collect()
    }
}

#[cfg(test)]
mod tests {
    use ndarray::Array2;
    use rand::rngs::StdRng;
    use rand::{Rng as _, SeedableRng as _};

    use super::*;

    fn less_squared_error(predicted: &[f64], measured: &[f64]) -> f64 {
        let pairs = predicted.iter().zip(measured);
        -pairs.map(|(a, b)| (a - b).powi(2)).sum::<f64>() / measured.len() as f64
    }

    #[test]
    fn what_is_linear_is_predicted_where_it_was_not_seen() {
        let mut random = StdRng::seed_from_u64(1);
        let features = Array2::from_shape_fn((300, 6), |_| random.random_range(-1.0_f32..1.0));
        let targets: Vec<f64> =
            features.rows().into_iter().map(|row| f64::from(3.0 * row[0] - 2.0 * row[4]) + 7.0).collect();
        let folds: Vec<usize> = (0..300).map(|row| row % 5).collect();
        let found = cross_validate(&features.view(), &targets, &folds, less_squared_error).unwrap();
        assert_eq!(found.penalties, [0.1; 5]);
        let error = -less_squared_error(&found.predictions, &targets);
        assert!(error < 0.1, "{error}");
    }

    #[test]
    fn noise_is_not_predicted() {
        let mut random = StdRng::seed_from_u64(2);
        let features = Array2::from_shape_fn((120, 60), |_| random.random_range(-1.0_f32..1.0));
        let targets: Vec<f64> = (0..120).map(|_| random.random_range(-1.0..1.0)).collect();
        let folds: Vec<usize> = (0..120).map(|row| row % 5).collect();
        let found = cross_validate(&features.view(), &targets, &folds, less_squared_error).unwrap();
        let error = -less_squared_error(&found.predictions, &targets);
        assert!(error > 0.25, "held-out noise would be known: {error}");
    }

    #[test]
    fn too_few_folds_and_bad_numbers_are_refused() {
        let mut features = Array2::zeros((4, 2));
        let score = less_squared_error;
        let refused = cross_validate(&features.view(), &[1.0; 4], &[0, 0, 4, 4], score);
        assert!(matches!(refused, Err(RidgeError::TooFewFolds { n_folds: 2 })));
        features[[2, 1]] = f32::NAN;
        let refused = cross_validate(&features.view(), &[1.0; 4], &[0, 1, 2, 3], score);
        assert!(matches!(refused, Err(RidgeError::NotFinite { row: 2 })));
    }
}
