//! Figures of predicted changes of expression, as the field reports them. Source: GEARS, Roohani et al. 2023.

use ndarray::{Array2, ArrayView1};
use serde::Serialize;

use crate::eval::correlation::pearson;

/// Genes of a condition that count as most changed.
const TOP: usize = 20;

/// Means over conditions.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ResponseFigures {
    /// Pearson's coefficient of the changes against the control.
    pub pearson_delta: f64,
    /// Mean squared error in the 20 genes that change most.
    pub top20_mse: f64,
    /// Share of these whose direction is right.
    pub direction: f64,
}

impl ResponseFigures {
    /// By name.
    #[must_use]
    pub fn named(&self) -> [(&'static str, f64); 3] {
        [("pearson_delta", self.pearson_delta), ("top20_mse", self.top20_mse), ("direction", self.direction)]
    }
}

/// Measures predicted changes `[conditions, genes]`; there is at least one condition.
#[must_use]
pub fn response_figures(predicted: &Array2<f32>, measured: &Array2<f32>) -> ResponseFigures {
    let n = measured.nrows() as f64;
    let each = predicted
        .rows()
        .into_iter()
        .zip(measured.rows())
        .map(|(predicted, measured)| one(&predicted, &measured));
    let sum = each.fold([0.0; 3], |sum, one| [sum[0] + one[0], sum[1] + one[1], sum[2] + one[2]]);
    ResponseFigures { pearson_delta: sum[0] / n, top20_mse: sum[1] / n, direction: sum[2] / n }
}

fn one(predicted: &ArrayView1<'_, f32>, measured: &ArrayView1<'_, f32>) -> [f64; 3] {
    let mut order: Vec<usize> = (0..measured.len()).collect();
    order.sort_by(|&a, &b| measured[b].abs().total_cmp(&measured[a].abs()));
    order.truncate(TOP);
    let n = order.len() as f64;
    let wide =
        |values: &ArrayView1<'_, f32>| values.iter().map(|&value| f64::from(value)).collect::<Vec<f64>>();
    let error: f64 = order.iter().map(|&gene| f64::from(predicted[gene] - measured[gene]).powi(2)).sum();
    let right = order.iter().filter(|&&gene| predicted[gene] * measured[gene] > 0.0).count();
    [pearson(&wide(predicted), &wide(measured)), error / n, right as f64 / n]
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;

    #[test]
    fn figures_are_those_of_the_definition() {
        let measured = array![[1.0_f32, -2.0, 0.5]];
        let same = response_figures(&measured, &measured);
        assert!((same.pearson_delta - 1.0).abs() < 1e-12 && same.top20_mse == 0.0 && same.direction == 1.0);
        let turned = response_figures(&array![[1.0_f32, 2.0, 0.5]], &measured);
        assert!((turned.direction - 2.0 / 3.0).abs() < 1e-12 && (turned.top20_mse - 16.0 / 3.0).abs() < 1e-9);
    }
}
