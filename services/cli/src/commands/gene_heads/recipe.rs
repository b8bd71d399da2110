//! How each kind of data is learnt. What was tried is in docs/results/perturbation_method.md.

use ndarray::{Array2, ArrayView2};
use protext_train::genes::{
    GeneHead, GeneHeadError, GeneMlpSettings, GenePairHead, GeneSettings, PairSettings, RidgeSettings,
    fit_genes, fit_pairs, fit_ridge,
};
use protext_train::heads::{HeadEpoch, MlpSettings};

use super::design::GeneRows;

/// Weights of the parts of a row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Blocks {
    /// Of the GO terms.
    pub(crate) terms: f32,
    /// Of the text vector.
    pub(crate) text: f32,
    /// Of the proteins' vector.
    pub(crate) protein: f32,
    /// Of the vector of responses: of which knock-downs raise the gene.
    pub(crate) response: f32,
}

impl Blocks {
    /// In the order of a row.
    pub(crate) fn weights(self) -> [f32; 4] {
        [self.terms, self.text, self.protein, self.response]
    }

    /// GO terms, and text at a fifth of their variance.
    pub(crate) const BOTH: Self = Self { terms: 1.0, text: 0.45, protein: 0.0, response: 0.0 };
    /// GO terms, text and protein, alike.
    pub(crate) const ALL: Self = Self { terms: 1.0, text: 1.0, protein: 1.0, response: 0.0 };
    /// The text vector alone, as in GenePert.
    pub(crate) const TEXT: Self = Self { terms: 0.0, text: 1.0, protein: 0.0, response: 0.0 };
}

/// How changes of many genes are learnt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub(crate) enum ResponseMethod {
    /// Ridge regression and an MLP; their mean answers.
    #[default]
    Auto,
    /// Ridge regression.
    Ridge,
    /// An MLP.
    Mlp,
}

/// Ridge regression and an MLP for changes of many genes, of which there are few hundred examples.
const RESPONSES: GeneSettings = GeneSettings {
    penalty: Some(1.0),
    mlp: Some(GeneMlpSettings {
        n_components: 256,
        mlp: MlpSettings {
            hidden_dim: 256,
            n_hidden: 2,
            dropout: 0.5,
            input_dropout: 0.3,
            batch_size: 64,
            learning_rate: 1e-3,
            weight_decay: 0.05,
            n_epochs: 100,
            patience: 100,
            n_members: 3,
            seed: 0,
        },
    }),
    max_rank: 64,
};

/// Ranked responses, and changes of expression.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct RankedRecipe {
    pub(crate) blocks: Blocks,
    pub(crate) settings: GeneSettings,
    /// Scores are raised to this power before they are learnt, so that the head of a ranking weighs more.
    pub(crate) power: f32,
}

impl RankedRecipe {
    pub(crate) const OURS: Self = Self { blocks: Blocks::BOTH, settings: RESPONSES, power: 1.5 };
    pub(crate) const TEXT: Self =
        Self { blocks: Blocks::TEXT, settings: GeneSettings { mlp: None, ..RESPONSES }, power: 1.0 };

    /// Learns by one method alone.
    pub(crate) fn by(mut self, method: ResponseMethod) -> Self {
        match method {
            ResponseMethod::Auto => {}
            ResponseMethod::Ridge => self.settings.mlp = None,
            ResponseMethod::Mlp => self.settings.penalty = None,
        }
        self
    }

    /// What it is, in words; of `targets`, such as changes.
    pub(crate) fn in_words(&self, targets: &str) -> String {
        let GeneSettings { penalty, mlp, max_rank } = self.settings;
        let ridge = penalty.map(|penalty| format!("ridge regression, penalty {penalty}"));
        let mlp = mlp.map(|GeneMlpSettings { n_components, mlp }| {
            format!(
                "an MLP of {n_components} components of the rows, {} hidden values and {} members",
                mlp.hidden_dim, mlp.n_members
            )
        });
        let method = match (ridge, mlp) {
            (Some(ridge), Some(mlp)) => format!("mean of {ridge}, and {mlp}"),
            (ridge, mlp) => ridge.or(mlp).unwrap_or_default(),
        };
        format!(
            "{method}; through {max_rank} components of the {targets}, on GO terms (weight {}) and text (weight {})",
            self.blocks.terms, self.blocks.text
        )
    }

    /// Fits `scores` `[n, outputs]`, which are not below 0 unless the power is 1.
    pub(crate) fn fit(
        &self,
        rows: &GeneRows,
        scores: &ArrayView2<'_, f32>,
        on_epoch: &mut dyn FnMut(&HeadEpoch) -> bool,
    ) -> Result<GeneHead, GeneHeadError> {
        fit_genes(rows, &scores.mapv(|score| score.powf(self.power)).view(), &self.settings, on_epoch)
    }
}

/// One screen, of which ranks are learnt, spread as a normal distribution.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct ScreenRecipe {
    pub(crate) blocks: Blocks,
    pub(crate) settings: RidgeSettings,
}

impl ScreenRecipe {
    pub(crate) const OURS: Self = Self {
        blocks: Blocks { terms: 1.0, text: 0.55, protein: 0.5, response: 0.6 },
        settings: RidgeSettings { penalty: 35.0, max_rank: 64 },
    };
    pub(crate) const TEXT: Self =
        Self { blocks: Blocks::TEXT, settings: RidgeSettings { penalty: 8.0, max_rank: 64 } };

    /// What a screen may be learnt by: text alone, unless all parts order genes clearly better that were held out.
    pub(crate) const CHOICES: [Self; 2] = [Self::TEXT, Self::OURS];

    /// Fits one column of scores.
    pub(crate) fn fit(&self, rows: &GeneRows, scores: &[f32]) -> Result<GeneHead, GeneHeadError> {
        let targets = normal_scores(scores);
        let targets = Array2::from_shape_fn((targets.len(), 1), |(row, _)| targets[row]);
        fit_ridge(rows, &targets.view(), self.settings)
    }
}

/// Pairs of genes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct PairRecipe {
    pub(crate) blocks: Blocks,
    pub(crate) settings: PairSettings,
}

impl PairRecipe {
    pub(crate) const OURS: Self =
        Self { blocks: Blocks::BOTH, settings: PairSettings { penalty: 2.0, own_share: 0.9, max_rank: 96 } };
    pub(crate) const TEXT: Self =
        Self { blocks: Blocks::TEXT, settings: PairSettings { penalty: 2.0, own_share: 0.0, max_rank: 96 } };

    pub(crate) fn fit(
        &self,
        rows: &GeneRows,
        pairs: &[(usize, usize, f32)],
    ) -> Result<GenePairHead, GeneHeadError> {
        fit_pairs(rows, pairs, self.settings)
    }
}

/// Normal scores of the ranks: the quantile of each value's mid-rank share.
pub(crate) fn normal_scores(values: &[f32]) -> Vec<f32> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[a].total_cmp(&values[b]));
    let mut scores = vec![0.0; values.len()];
    let mut first = 0;
    for tied in order.chunk_by(|&a, &b| values[a] == values[b]) {
        let share = (first as f64 + tied.len() as f64 / 2.0) / values.len() as f64;
        tied.iter().for_each(|&at| scores[at] = normal_quantile(share) as f32);
        first += tied.len();
    }
    scores
}

/// Quantile of the standard normal distribution for a share between 0 and 1, to 4.5e-4. Source: Abramowitz and Stegun
/// 26.2.23.
fn normal_quantile(share: f64) -> f64 {
    let tail = share.min(1.0 - share);
    let t = (-2.0 * tail.ln()).sqrt();
    let above = 2.515_517 + t * (0.802_853 + t * 0.010_328);
    let below = 1.0 + t * (1.432_788 + t * (0.189_269 + t * 0.001_308));
    let size = t - above / below;
    if share < 0.5 { -size } else { size }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normal_scores_follow_the_ranks() {
        let scores = normal_scores(&[5.0, -100.0, 7.0, 5.0]);
        assert!(scores[1] < scores[0] && scores[0] == scores[3] && scores[3] < scores[2], "{scores:?}");
        assert!((normal_quantile(0.975) - 1.96).abs() < 1e-3 && (normal_quantile(0.5)).abs() < 1e-3);
    }
}
