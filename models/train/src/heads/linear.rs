//! Ridge and logistic regression by their normal equations, in double precision on one thread: the same rows give the same
//! numbers.

use faer::Side;
use faer::linalg::solvers::{Llt, Solve as _};
use ndarray::{Array1, Array2, ArrayView2, Axis};

use super::error::HeadTrainError;
use super::model::LinearLayer;
use super::{Examples, Targets};

/// Steps of logistic regression at most.
const MAX_STEPS: usize = 500;
/// Logistic regression ends where no weight moves by more than this.
const TOLERANCE: f64 = 1e-5;

/// Weights that minimise `sum w (x b + c - y)^2 + penalty |b|^2` over standardised rows; each target by the rows for which
/// it is known. Source: Hoerl and Kennard 1970, "Ridge regression".
pub(super) fn ridge(examples: Examples<'_>, penalty: f64) -> Result<LinearLayer, HeadTrainError> {
    check_penalty(penalty)?;
    let targets = examples.targets.to_matrix().mapv(f64::from);
    let weights = weights(&examples);
    let singular = || HeadTrainError::Singular { what: "ridge regression", penalty };
    let rows = examples.rows.mapv(f64::from);
    let (n_inputs, n_outputs) = (rows.ncols(), targets.ncols());
    let mut layer =
        LinearLayer { weight: Array2::zeros((n_inputs, n_outputs)), bias: Array1::zeros(n_outputs) };
    // Targets that are known for the same rows share one factorisation.
    for columns in by_known_rows(&targets) {
        let known: Vec<usize> =
            (0..rows.nrows()).filter(|&row| targets[[row, columns[0]]].is_finite()).collect();
        if known.len() < 2 {
            continue;
        }
        let x = rows.select(Axis(0), &known);
        let y = targets.select(Axis(0), &known).select(Axis(1), &columns);
        let w = Array1::from_iter(known.iter().map(|&row| weights[row]));
        let (found, bias) = solve_ridge(x, y, &w, penalty).ok_or_else(singular)?;
        for (at, &column) in columns.iter().enumerate() {
            layer.weight.column_mut(column).assign(&found.column(at).mapv(|value| value as f32));
            layer.bias[column] = bias[at] as f32;
        }
    }
    Ok(layer)
}

/// Columns of targets, those with the same known rows together.
fn by_known_rows(targets: &Array2<f64>) -> Vec<Vec<usize>> {
    let known = |column: usize| targets.column(column).mapv(f64::is_finite);
    let mut groups: Vec<(Array1<bool>, Vec<usize>)> = Vec::new();
    for column in 0..targets.ncols() {
        let known = known(column);
        match groups.iter_mut().find(|(other, _)| *other == known) {
            Some((_, columns)) => columns.push(column),
            None => groups.push((known, vec![column])),
        }
    }
    groups.into_iter().map(|(_, columns)| columns).collect()
}

/// Weights `[inputs, outputs]` and bias; by rows or by components, whichever are fewer.
fn solve_ridge(
    mut x: Array2<f64>,
    mut y: Array2<f64>,
    w: &Array1<f64>,
    penalty: f64,
) -> Option<(Array2<f64>, Array1<f64>)> {
    let total = w.sum();
    let mean_x = w.dot(&x) / total;
    let mean_y = w.dot(&y) / total;
    x -= &mean_x;
    y -= &mean_y;
    let root = w.mapv(f64::sqrt).insert_axis(Axis(1));
    x *= &root;
    y *= &root;
    let found = if x.nrows() < x.ncols() {
        // Source: the push-through identity, X' (X X' + pI)^-1 = (X' X + pI)^-1 X'.
        let factor = factorize(&x.dot(&x.t()), penalty)?;
        x.t().dot(&solve(&factor, &y))
    } else {
        let factor = factorize(&x.t().dot(&x), penalty)?;
        solve(&factor, &x.t().dot(&y))
    };
    let bias = &mean_y - &mean_x.dot(&found);
    Some((found, bias))
}

/// Softmax regression of classes, or one logistic regression a label, with a penalty on the weights.
///
/// Newton steps with a Hessian that bounds the true one everywhere, so that one factorisation serves all steps and each
/// step lowers the loss. Source: Boehning 1992, "Multinomial logistic regression algorithm".
pub(super) fn logistic(examples: Examples<'_>, penalty: f64) -> Result<LinearLayer, HeadTrainError> {
    check_penalty(penalty)?;
    let is_softmax = match examples.targets {
        Targets::Classes { .. } => true,
        Targets::Labels(_) => false,
        Targets::Numbers(_) => {
            let (name, value) = ("the task", "regress".to_owned());
            let rule = "classify for logistic regression; take ridge or an MLP for numbers";
            return Err(HeadTrainError::Setting { name, value, rule });
        }
    };
    let targets = examples.targets.to_matrix().mapv(f64::from);
    let w = weights(&examples).insert_axis(Axis(1));
    let rows = with_ones(&examples.rows);
    // The curvature of a score is at most a half (softmax) or a quarter (logistic) of the rows' second moments.
    let bound = if is_softmax { 0.5 } else { 0.25 };
    let mut hessian = (&rows * &w).t().dot(&rows) * bound;
    let last = rows.ncols() - 1;
    for at in 0..last {
        hessian[[at, at]] += penalty;
    }
    // The bias has no penalty; a trace of one keeps the equations solvable where all rows have weight zero.
    hessian[[last, last]] += 1e-9;
    let singular = || HeadTrainError::Singular { what: "logistic regression", penalty };
    let factor = factorize(&hessian, 0.0).ok_or_else(singular)?;
    let mut weight = Array2::<f64>::zeros((rows.ncols(), targets.ncols()));
    for _ in 0..MAX_STEPS {
        let mut error = rows.dot(&weight);
        if is_softmax {
            softmax(&mut error);
        } else {
            error.mapv_inplace(|score| 1.0 / (1.0 + (-score).exp()));
        }
        error.zip_mut_with(&targets, |p, y| *p = if y.is_finite() { *y - *p } else { 0.0 });
        error *= &w;
        let mut gradient = rows.t().dot(&error);
        let mut prior = &weight * penalty;
        prior.row_mut(last).fill(0.0);
        gradient -= &prior;
        let step = solve(&factor, &gradient);
        weight += &step;
        if step.iter().all(|value| value.abs() < TOLERANCE) {
            break;
        }
    }
    let bias = weight.row(last).mapv(|value| value as f32);
    let weight = weight.slice(ndarray::s![..last, ..]).mapv(|value| value as f32);
    Ok(LinearLayer { weight, bias })
}

fn softmax(scores: &mut Array2<f64>) {
    for mut row in scores.rows_mut() {
        let greatest = row.fold(f64::NEG_INFINITY, |most, &score| most.max(score));
        row.mapv_inplace(|score| (score - greatest).exp());
        let total = row.sum();
        row /= total;
    }
}

fn with_ones(rows: &ArrayView2<'_, f32>) -> Array2<f64> {
    let (n, width) = rows.dim();
    Array2::from_shape_fn((n, width + 1), |(i, j)| if j < width { f64::from(rows[[i, j]]) } else { 1.0 })
}

fn weights(examples: &Examples<'_>) -> Array1<f64> {
    match examples.weights {
        Some(weights) => weights.iter().map(|weight| f64::from(*weight)).collect(),
        None => Array1::ones(examples.rows.nrows()),
    }
}

fn check_penalty(penalty: f64) -> Result<(), HeadTrainError> {
    if penalty.is_finite() && penalty >= 0.0 {
        return Ok(());
    }
    Err(HeadTrainError::Setting { name: "penalty", value: penalty.to_string(), rule: "0 or more" })
}

/// Cholesky's factor of `symmetric + penalty I`; `None` if it is not positive definite.
fn factorize(symmetric: &Array2<f64>, penalty: f64) -> Option<Llt<f64>> {
    faer::set_global_parallelism(faer::Par::Seq);
    let n = symmetric.nrows();
    let at = |i: usize, j: usize| symmetric[[i, j]] + if i == j { penalty } else { 0.0 };
    faer::Mat::from_fn(n, n, at).llt(Side::Lower).ok()
}

fn solve(factor: &Llt<f64>, right: &Array2<f64>) -> Array2<f64> {
    let (n, k) = right.dim();
    let right = faer::Mat::from_fn(n, k, |i, j| right[[i, j]]);
    let found = factor.solve(&right);
    Array2::from_shape_fn((n, k), |(i, j)| found[(i, j)])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(n: usize) -> Array2<f32> {
        Array2::from_shape_fn((n, 3), |(i, j)| ((i * (j + 2)) as f32 * 0.37).sin())
    }

    #[test]
    fn ridge_finds_a_line_and_unknown_targets_do_not_count() {
        let rows = rows(60);
        let line = |row: &ndarray::ArrayView1<'_, f32>| 2.0 * row[0] - row[2] + 0.5;
        let mut targets = Array2::from_shape_fn((60, 2), |(i, j)| line(&rows.row(i)) * (j as f32 + 1.0));
        targets.column_mut(1).slice_mut(ndarray::s![..20]).fill(f32::NAN);
        let targets = Targets::Numbers(targets);
        let examples = Examples { rows: rows.view(), targets: &targets, weights: None };
        let found = ridge(examples, 1e-6).unwrap();
        for (column, factor) in [(0, 1.0), (1, 2.0)] {
            for (at, expected) in [(0, 2.0), (1, 0.0), (2, -1.0)] {
                assert!((found.weight[[at, column]] - expected * factor).abs() < 1e-3);
            }
            assert!((found.bias[column] - 0.5 * factor).abs() < 1e-3);
        }
    }

    #[test]
    fn ridge_by_rows_and_by_components_agree() {
        let (x, y) = (rows(8).mapv(f64::from), Array2::from_shape_fn((8, 1), |(i, _)| (i as f64).cos()));
        let w = Array1::from_shape_fn(8, |i| 1.0 + i as f64 * 0.1);
        let tall = solve_ridge(x.clone(), y.clone(), &w, 0.3).unwrap();
        // Columns of zeros make it wide without changing what is found.
        let wide = ndarray::concatenate![Axis(1), x, Array2::zeros((8, 9))];
        let wide = solve_ridge(wide, y, &w, 0.3).unwrap();
        for at in 0..3 {
            assert!((tall.0[[at, 0]] - wide.0[[at, 0]]).abs() < 1e-9);
        }
        assert!((tall.1[0] - wide.1[0]).abs() < 1e-9);
    }

    #[test]
    fn logistic_regression_of_one_indicator_gives_the_log_odds() {
        // Of 4 rows with x = 1 three are of class 1, of 4 rows with x = -1 one is: slope and bias follow.
        let rows = Array2::from_shape_fn((8, 1), |(i, _)| if i < 4 { 1.0 } else { -1.0 });
        let of_row = vec![1, 1, 1, 0, 0, 0, 0, 1];
        let targets = Targets::Classes { of_row, n_classes: 2 };
        let found = logistic(Examples { rows: rows.view(), targets: &targets, weights: None }, 0.0).unwrap();
        let slope = found.weight[[0, 1]] - found.weight[[0, 0]];
        assert!((slope - 3.0_f32.ln()).abs() < 1e-3, "{slope}");
        assert!((found.bias[1] - found.bias[0]).abs() < 1e-3);
        let labels =
            Targets::Labels(Array2::from_shape_fn((8, 1), |(i, _)| [1., 1., 1., 0., 0., 0., 0., 1.][i]));
        let found = logistic(Examples { rows: rows.view(), targets: &labels, weights: None }, 0.0).unwrap();
        assert!((found.weight[[0, 0]] - 3.0_f32.ln()).abs() < 1e-3);
    }

    #[test]
    fn faults_are_named() {
        let (rows, targets) = (rows(4), Targets::Numbers(Array2::zeros((4, 1))));
        let examples = Examples { rows: rows.view(), targets: &targets, weights: None };
        assert!(matches!(ridge(examples, -1.0), Err(HeadTrainError::Setting { .. })));
        assert!(matches!(logistic(examples, 1.0), Err(HeadTrainError::Setting { .. })));
    }
}
