//! What was found: figures of ours beside those of the baselines, as the report holds them.

use std::collections::BTreeMap;

use ndarray::Array2;
use protext_engine::eval::Interval;
use protext_engine::eval::perturbation::{
    Advantage, GenePairs, RankedFigures, RankedResponses, ScreenFigures, Screens, against, pair_spearman,
    ranked_figures, screen,
};
use serde::Serialize;

#[derive(Serialize)]
pub(super) struct Report {
    pub(super) task: &'static str,
    pub(super) data: String,
    /// `5-fold by gene`, or the head that answered.
    pub(super) by: String,
    /// Genes of the data that the table of genes does not have.
    pub(super) n_unknown_genes: usize,
    /// Rows left out, because the head was trained on their genes.
    pub(super) n_left_out: usize,
    #[serde(flatten)]
    pub(super) found: Found,
}

#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum Found {
    Ranked(Box<RankedFound>),
    Screens { screens: BTreeMap<String, ScreenFound> },
    Pairs(PairsFound),
}

#[derive(Serialize)]
pub(super) struct RankedFound {
    #[serde(flatten)]
    pub(super) ours: RankedFigures,
    pub(super) baselines: RankedBaselines,
    pub(super) recall_above_text_ridge: Interval,
}

#[derive(Serialize)]
pub(super) struct RankedBaselines {
    pub(super) training_mean: RankedFigures,
    pub(super) text_ridge: RankedFigures,
}

#[derive(Serialize)]
pub(super) struct ScreenFound {
    #[serde(flatten)]
    pub(super) ours: ScreenFigures,
    pub(super) text_ridge: ScreenFigures,
    pub(super) above_text_ridge: Advantage,
}

#[derive(Serialize)]
pub(super) struct PairsFound {
    pub(super) n: usize,
    pub(super) spearman: f64,
    pub(super) spearman_interval: Interval,
    pub(super) text_ridge: Interval,
    pub(super) above_text_ridge: Advantage,
    /// Of the pairs neither of whose genes was seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) both_unseen: Option<UnseenPairs>,
}

#[derive(Serialize)]
pub(super) struct UnseenPairs {
    pub(super) n: usize,
    pub(super) spearman: Interval,
    pub(super) text_ridge: Interval,
}

pub(super) fn ranked_found(
    data: &RankedResponses,
    ours: &Array2<f32>,
    text: &Array2<f32>,
    mean: &Array2<f32>,
) -> Found {
    let figures = |predicted: &Array2<f32>| ranked_figures(data, predicted, mean);
    let (ours, text_ridge) = (figures(ours), figures(text));
    let recall_above_text_ridge = ours.recall_advantage(&text_ridge);
    let baselines = RankedBaselines { training_mean: figures(mean), text_ridge };
    Found::Ranked(Box::new(RankedFound { ours, baselines, recall_above_text_ridge }))
}

pub(super) fn screens_found(data: &Screens, ours: &Array2<f32>, text: &Array2<f32>) -> Found {
    let mut screens = BTreeMap::new();
    for (at, name) in data.screens.iter().enumerate() {
        let rows: Vec<usize> =
            (0..data.genes.len()).filter(|&row| data.scores[[row, at]].is_finite()).collect();
        if rows.len() < 3 {
            continue;
        }
        let column = |values: &Array2<f32>| -> Vec<f64> {
            rows.iter().map(|&row| f64::from(values[[row, at]])).collect()
        };
        let (measured, ours, text) = (column(&data.scores), column(ours), column(text));
        let found = ScreenFound {
            ours: screen(&ours, &measured),
            text_ridge: screen(&text, &measured),
            above_text_ridge: against(&ours, &text, &measured, None),
        };
        screens.insert(name.clone(), found);
    }
    Found::Screens { screens }
}

pub(super) fn pairs_found(data: &GenePairs, ours: &[f64], text: &[f64], both_unseen: &[bool]) -> Found {
    let measured: Vec<f64> = data.pairs.iter().map(|pair| f64::from(pair.2)).collect();
    let members: Vec<(usize, usize)> = data.pairs.iter().map(|&(a, b, _)| (a, b)).collect();
    let interval = pair_spearman(ours, &measured, &members);
    let unseen: Vec<usize> = (0..measured.len()).filter(|&at| both_unseen[at]).collect();
    let chosen = |values: &[f64]| -> Vec<f64> { unseen.iter().map(|&at| values[at]).collect() };
    let unseen_members: Vec<(usize, usize)> = unseen.iter().map(|&at| members[at]).collect();
    Found::Pairs(PairsFound {
        n: measured.len(),
        spearman: interval.mean,
        spearman_interval: interval,
        text_ridge: pair_spearman(text, &measured, &members),
        above_text_ridge: against(ours, text, &measured, Some(&members)),
        both_unseen: (unseen.len() > 2).then(|| UnseenPairs {
            n: unseen.len(),
            spearman: pair_spearman(&chosen(ours), &chosen(&measured), &unseen_members),
            text_ridge: pair_spearman(&chosen(text), &chosen(&measured), &unseen_members),
        }),
    })
}
