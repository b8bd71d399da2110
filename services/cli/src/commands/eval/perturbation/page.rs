//! The report as tables in Markdown, and as bars of a plot.

use std::fmt::Write as _;

use protext_engine::eval::Interval;
use protext_engine::eval::perturbation::RankedFigures;

use super::found::{Found, RankedBaselines, Report};
use crate::commands::eval::{bar_plot, table_row};

pub(super) fn markdown(report: &Report) -> String {
    let Report { data, by, n_unknown_genes, n_left_out, .. } = report;
    let mut page = format!(
        "`{data}`, {by}; {n_unknown_genes} genes unknown to the table of genes, {n_left_out} rows left out because the head was \
         trained on their genes. 95% intervals by gene.\n\n"
    );
    match &report.found {
        Found::Ranked(found) => {
            page += "| | n | recall@100 | Pearson | Pearson delta |\n|---|---|---|---|---|\n";
            let RankedBaselines { training_mean, text_ridge } = &found.baselines;
            for (name, figures) in
                [("ours", &found.ours), ("training mean", training_mean), ("ridge on text", text_ridge)]
            {
                let cell = |key: &str| figures.intervals[key].to_string();
                let cells = [
                    name.to_owned(),
                    figures.n.to_string(),
                    cell("recall_at_100"),
                    cell("pearson"),
                    cell("pearson_delta"),
                ];
                page += &table_row(&cells);
            }
            let _ = writeln!(page, "\nRecall above ridge on text: {}.", found.recall_above_text_ridge);
        }
        Found::Screens { screens } => {
            page += "| screen | genes | Spearman | ridge on text | difference | top-5% recall | ridge on text |\n|---|---|---|---|---|---|---|\n";
            for (name, found) in screens {
                page += &table_row(&[
                    name.clone(),
                    found.ours.n_genes.to_string(),
                    found.ours.spearman_interval.to_string(),
                    found.text_ridge.spearman_interval.to_string(),
                    found.above_text_ridge.difference.to_string(),
                    format!("{:.3}", found.ours.top5_recall),
                    format!("{:.3}", found.text_ridge.top5_recall),
                ]);
            }
        }
        Found::Pairs(found) => {
            page += "| pairs | n | Spearman | ridge on text | difference |\n|---|---|---|---|---|\n";
            page += &table_row(&[
                "a gene unseen".to_owned(),
                found.n.to_string(),
                found.spearman_interval.to_string(),
                found.text_ridge.to_string(),
                found.above_text_ridge.difference.to_string(),
            ]);
            if let Some(unseen) = &found.both_unseen {
                let cells = ["both unseen".to_owned(), unseen.n.to_string(), unseen.spearman.to_string()];
                page += &table_row(&[&cells[..], &[unseen.text_ridge.to_string(), String::new()]].concat());
            }
        }
    }
    page
}

/// Ours and the baselines, a group each.
pub(super) fn bars(report: &Report) -> Vec<bar_plot::Group> {
    let group =
        |name: &str, bars: Vec<(&'static str, Interval)>| bar_plot::Group { name: name.to_owned(), bars };
    match &report.found {
        Found::Ranked(found) => ["recall_at_100", "pearson", "pearson_delta"]
            .into_iter()
            .map(|key| {
                let RankedBaselines { training_mean, text_ridge } = &found.baselines;
                let bar = |figures: &RankedFigures| figures.intervals[key];
                let bars = vec![
                    ("ours", bar(&found.ours)),
                    ("ridge on text", bar(text_ridge)),
                    ("training mean", bar(training_mean)),
                ];
                group(&key.replace('_', " "), bars)
            })
            .collect(),
        Found::Screens { screens } => screens
            .iter()
            .map(|(name, found)| {
                let bars = [("ours", &found.ours), ("ridge on text", &found.text_ridge)];
                group(name, bars.map(|(name, figures)| (name, figures.spearman_interval)).to_vec())
            })
            .collect(),
        Found::Pairs(found) => {
            vec![group(
                "Spearman",
                vec![("ours", found.spearman_interval), ("ridge on text", found.text_ridge)],
            )]
        }
    }
}
