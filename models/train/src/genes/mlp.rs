//! An MLP from the leading components of rows to components of the targets.
//!
//! Rows of genes are wide and sparse, and there are few of them: their principal components hold all that inner products of
//! training rows do, and the leading ones most of it. No component is blown up to the size of the others, nor is one of the
//! targets: what varies more counts for more.

use ndarray::{Array2, Axis};
use protext_graph::{GraphBuilder, Value};

use super::solve::leading;
use super::write::used_times;
use super::{Design, GeneHeadError};
use crate::heads::{HeadModel, MlpSettings, OnEpoch, Targets, fit_components};

/// How an MLP over rows of genes is fitted.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct GeneMlpSettings {
    /// Leading components of the rows that it reads; fewer where there are fewer rows.
    pub n_components: usize,
    /// Its shape and training; it runs through all epochs.
    pub mlp: MlpSettings,
}

/// A fitted MLP.
#[derive(Debug, Clone, PartialEq)]
pub struct GeneMlp {
    /// Rows to their components, `[inputs, components]`.
    pub(super) components: Array2<f32>,
    /// Components of a row to components of the targets.
    model: HeadModel,
}

impl GeneMlp {
    /// Fits `targets` `[n, rank]`.
    pub(super) fn fit(
        design: &dyn Design,
        targets: Array2<f32>,
        settings: &GeneMlpSettings,
        on_epoch: OnEpoch<'_>,
    ) -> Result<Self, GeneHeadError> {
        let gram = centred(design.gram());
        let found = leading(&gram, settings.n_components)?;
        // An eigenvector sums to zero, so that rows need not be centred before they are weighed by it.
        let lengths = found.values.iter().map(|value| value.sqrt().recip() as f32);
        let mut vectors = found.vectors;
        vectors.columns_mut().into_iter().zip(lengths).for_each(|(mut column, length)| column *= length);
        let components = design.transposed_times(&vectors.view());
        let rows = design.times(&components.view());
        let model = fit_components(&rows.view(), &Targets::Numbers(targets), &settings.mlp, on_epoch)?;
        Ok(Self { components, model })
    }

    /// Components of the targets, `[n, rank]`.
    pub(super) fn outputs(&self, design: &dyn Design) -> Result<Array2<f32>, GeneHeadError> {
        Ok(self.model.apply(&design.times(&self.components.view()).view())?)
    }

    /// Adds its nodes over rows `[batch, inputs]`.
    pub(super) fn build(&self, graph: &mut GraphBuilder<'_>, rows: &Value) -> Value {
        graph.set_scope("mlp");
        let rows = used_times(graph, "components", rows, &self.components);
        self.model.build(graph, &rows)
    }
}

/// Inner products of rows, less those with the rows' mean.
fn centred(mut gram: Array2<f64>) -> Array2<f64> {
    let means = gram.mean_axis(Axis(0)).unwrap_or_default();
    let mean = means.mean().unwrap_or_default();
    for (mut row, of_row) in gram.rows_mut().into_iter().zip(&means) {
        row -= &means;
        row += mean - of_row;
    }
    gram
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Dense, wave};
    use super::super::{GeneSettings, fit_genes};
    use super::*;

    /// Rows whose first two components say which of two directions of the targets is taken: only their product tells.
    fn examples(n: usize, seed: f64) -> (Array2<f32>, Array2<f32>) {
        let mut rows = wave(n, 8, seed) * 0.1;
        let signs = wave(n, 2, seed + 0.5).mapv(f32::signum);
        rows.slice_mut(ndarray::s![.., ..2]).assign(&signs);
        let directions = wave(2, 40, 1.7);
        let targets = Array2::from_shape_fn((n, 40), |(row, output)| {
            directions[[usize::from(signs[[row, 0]] * signs[[row, 1]] > 0.0), output]]
        });
        (rows, targets)
    }

    #[test]
    fn what_no_line_tells_is_learnt_and_the_file_says_the_same_of_unscaled_rows() {
        let ((rows, targets), (unseen, truth)) = (examples(160, 0.3), examples(60, 2.3));
        let mlp = MlpSettings {
            hidden_dim: 64,
            batch_size: 32,
            n_epochs: 120,
            learning_rate: 5e-3,
            n_members: 1,
            ..MlpSettings::default()
        };
        let mlp = Some(GeneMlpSettings { n_components: 8, mlp });
        let errors = |penalty, mlp| {
            let settings = GeneSettings { penalty, mlp, max_rank: 4 };
            let head = fit_genes(&Dense(rows.clone()), &targets.view(), &settings, &mut |_| true).unwrap();
            let wrong = head.predict(&Dense(unseen.clone())).unwrap() - &truth;
            (wrong.mapv(|v| v * v).sum() / (&truth - &head.mean).mapv(|v| v * v).sum(), head)
        };
        let ((line, _), (curve, head), (mean, both)) =
            (errors(Some(0.1), None), errors(None, mlp), errors(Some(0.1), mlp));
        assert!(line > 0.6 && curve < 0.1 && mean < line, "{line} {curve} {mean}");
        let scale = [2.0, 0.5, 1.0, 1.0, 3.0, 1.0, 1.0, 0.25];
        let unscaled = Dense(&unseen / &ndarray::ArrayView1::from(&scale[..]));
        for head in [head, both] {
            let expected = head.predict(&Dense(unseen.clone())).unwrap();
            let found = head.on_unscaled(&scale).predict(&unscaled).unwrap();
            assert!(found.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-3));
        }
    }

    #[test]
    fn centred_products_are_those_of_centred_rows() {
        let rows = wave(7, 3, 0.2).mapv(f64::from);
        let expected = &rows - &rows.mean_axis(Axis(0)).unwrap();
        let found = centred(rows.dot(&rows.t()));
        assert!((&found - &expected.dot(&expected.t())).iter().all(|wrong| wrong.abs() < 1e-12));
    }
}
