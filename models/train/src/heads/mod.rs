//! Heads: predictors on rows of any space, and their ONNX files.
//!
//! [`fit`] is the whole of it: rows are standardised with the training part's mean and deviation, then a [`Spec`] is fitted:
//! ridge or logistic regression in closed form, or an MLP with early stopping by a score that the caller brings. The
//! outcome, a [`HeadModel`], gives the same numbers as the graph that it writes. [`search`] takes the best of several specs
//! on validation rows; [`calibrate`](fit_temperature) turns scores into probabilities. Called by `protext train head`.

mod calibrate;
mod error;
mod linear;
mod mlp;
mod model;
mod pair;
mod search;
mod standardize;

use ndarray::{Array2, ArrayView2};

use mlp::Scaling;

pub use calibrate::{Scored, fit_isotonic, fit_temperature, fit_temperature_of_classes};
pub use error::HeadTrainError;
pub use mlp::{HeadEpoch, MlpSettings};
pub use model::HeadModel;
pub(crate) use model::mean;
pub use pair::{PairExamples, PairModel, PairScore, PairSettings, train_pairs};
pub use search::{Found, search};
pub use standardize::Standardizer;

/// What rows are to be turned into.
#[derive(Debug, Clone, PartialEq)]
pub enum Targets {
    /// Numbers `[n, outputs]`, by squared error; NaN where one is not known.
    Numbers(Array2<f32>),
    /// A class of each row, by cross-entropy; outputs are one score (logit) a class.
    Classes {
        /// `[n]`, each below `n_classes`.
        of_row: Vec<u32>,
        /// At least 2.
        n_classes: usize,
    },
    /// Zeros and ones `[n, outputs]` that do not exclude one another, each by its own cross-entropy; NaN where one is not
    /// known.
    Labels(Array2<f32>),
}

impl Targets {
    /// Rows.
    #[must_use]
    pub fn n_rows(&self) -> usize {
        match self {
            Self::Numbers(values) | Self::Labels(values) => values.nrows(),
            Self::Classes { of_row, .. } => of_row.len(),
        }
    }

    /// Outputs of a row.
    #[must_use]
    pub fn n_outputs(&self) -> usize {
        match self {
            Self::Numbers(values) | Self::Labels(values) => values.ncols(),
            Self::Classes { n_classes, .. } => *n_classes,
        }
    }

    /// Targets `[n, outputs]` as numbers: of classes a one in the column of the class.
    #[must_use]
    pub fn to_matrix(&self) -> Array2<f32> {
        match self {
            Self::Numbers(values) | Self::Labels(values) => values.clone(),
            Self::Classes { of_row, n_classes } => {
                let mut matrix = Array2::zeros((of_row.len(), *n_classes));
                of_row.iter().enumerate().for_each(|(row, &class)| matrix[[row, class as usize]] = 1.0);
                matrix
            }
        }
    }

    /// The targets of some rows, in their order.
    #[must_use]
    pub fn select(&self, rows: &[usize]) -> Self {
        let chosen = |values: &Array2<f32>| values.select(ndarray::Axis(0), rows);
        match self {
            Self::Numbers(values) => Self::Numbers(chosen(values)),
            Self::Labels(values) => Self::Labels(chosen(values)),
            Self::Classes { of_row, n_classes } => {
                Self::Classes { of_row: rows.iter().map(|&row| of_row[row]).collect(), n_classes: *n_classes }
            }
        }
    }
}

/// Rows to learn from.
#[derive(Debug, Clone, Copy)]
pub struct Examples<'a> {
    /// `[n, inputs]`.
    pub rows: ArrayView2<'a, f32>,
    /// As many.
    pub targets: &'a Targets,
    /// Weight of each row in the loss, such as one over the share of its class; 1 where there are none.
    pub weights: Option<&'a [f32]>,
}

/// Weights under which all classes count alike; their mean over the rows is 1.
#[must_use]
pub fn balanced_weights(of_row: &[u32], n_classes: usize) -> Vec<f32> {
    let mut counts = vec![0_usize; n_classes];
    of_row.iter().for_each(|&class| counts[class as usize] += 1);
    let n_present = counts.iter().filter(|count| **count > 0).count();
    let share = of_row.len() as f32 / n_present as f32;
    of_row.iter().map(|&class| share / counts[class as usize] as f32).collect()
}

/// How a head is fitted.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(tag = "method", rename_all = "snake_case")]
pub enum Spec {
    /// Ridge regression in closed form; of classes and labels, on zeros and ones.
    Ridge {
        /// Added to the diagonal, in units of rows: the weight of the prior against that of one standardised row.
        penalty: f64,
    },
    /// Logistic regression (softmax for classes).
    Logistic {
        /// As for ridge.
        penalty: f64,
    },
    /// Hidden blocks, trained with AdamW and early stopping; several members are averaged.
    Mlp(MlpSettings),
}

/// How good outputs `[n, outputs]` for the validation rows are; higher is better.
pub type Score<'a> = &'a (dyn Fn(&Array2<f32>) -> f64 + Sync);

/// Hears of every epoch of an MLP; false ends the run.
pub type OnEpoch<'a> = &'a mut dyn FnMut(&HeadEpoch) -> bool;

/// Rows that a run is stopped by.
#[derive(Clone, Copy)]
pub struct Validation<'a> {
    /// `[n, inputs]`; without rows an MLP runs through all its epochs.
    pub rows: ArrayView2<'a, f32>,
    /// How good outputs for them are.
    pub score: Score<'a>,
}

/// Fits a head.
///
/// # Errors
/// [`HeadTrainError`].
pub fn fit(
    examples: Examples<'_>,
    validation: Validation<'_>,
    spec: &Spec,
    on_epoch: OnEpoch<'_>,
) -> Result<HeadModel, HeadTrainError> {
    check(examples)?;
    let standardizer = Standardizer::fit(&examples.rows);
    let rows = standardizer.apply(&examples.rows);
    let examples = Examples { rows: rows.view(), ..examples };
    match spec {
        Spec::Ridge { penalty } => Ok(HeadModel::linear(standardizer, linear::ridge(examples, *penalty)?)),
        Spec::Logistic { penalty } => {
            Ok(HeadModel::linear(standardizer, linear::logistic(examples, *penalty)?))
        }
        Spec::Mlp(settings) => {
            let held_out = standardizer.apply(&validation.rows);
            let validation = Validation { rows: held_out.view(), ..validation };
            let members = mlp::train(examples, validation, (settings, Scaling::Each), on_epoch)?;
            Ok(HeadModel::ensemble(standardizer, members))
        }
    }
}

/// Fits an MLP from principal components to principal components: rows and targets are scaled by one factor each, so that
/// every component keeps its share of the variance. It runs through all its epochs.
///
/// # Errors
/// [`HeadTrainError`].
pub(crate) fn fit_components(
    rows: &ArrayView2<'_, f32>,
    targets: &Targets,
    settings: &MlpSettings,
    on_epoch: OnEpoch<'_>,
) -> Result<HeadModel, HeadTrainError> {
    let examples = Examples { rows: *rows, targets, weights: None };
    check(examples)?;
    let standardizer = Standardizer::fit_whole(rows);
    let rows = standardizer.apply(rows);
    let none = Validation { rows: rows.slice(ndarray::s![..0, ..]), score: &|_| f64::NAN };
    let examples = Examples { rows: rows.view(), ..examples };
    let members = mlp::train(examples, none, (settings, Scaling::Whole), on_epoch)?;
    Ok(HeadModel::ensemble(standardizer, members))
}

fn check(examples: Examples<'_>) -> Result<(), HeadTrainError> {
    let Examples { rows, targets, weights } = examples;
    let n_rows = rows.nrows();
    let lengths = [("targets", targets.n_rows()), ("weights", weights.map_or(n_rows, <[f32]>::len))];
    if let Some((what, n_targets)) = lengths.into_iter().find(|(_, n)| *n != n_rows) {
        return Err(HeadTrainError::Uneven { what, n_rows, n_targets });
    }
    if n_rows < 2 {
        return Err(HeadTrainError::TooFewRows { part: "training", n_rows, least: 2 });
    }
    if let Some(row) = crate::whitening::first_not_finite(&rows) {
        return Err(HeadTrainError::NotFinite { part: "training", row });
    }
    match targets {
        Targets::Classes { of_row, .. } if of_row.iter().all(|class| *class == of_row[0]) => {
            Err(HeadTrainError::OneClass { part: "training", n_rows, class: of_row[0].to_string() })
        }
        Targets::Numbers(values) | Targets::Labels(values) => {
            let is_constant = |column: &ndarray::ArrayView1<'_, f32>| {
                let mut known = column.iter().filter(|value| value.is_finite());
                let first = known.next();
                known.all(|value| Some(value) == first)
            };
            match values.columns().into_iter().position(|column| is_constant(&column)) {
                Some(target) if values.ncols() == 1 => Err(HeadTrainError::ConstantTarget { target }),
                _ => Ok(()),
            }
        }
        Targets::Classes { .. } => Ok(()),
    }
}
