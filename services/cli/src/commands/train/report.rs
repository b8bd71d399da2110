//! The training report: loss and validation MRR by epoch, drawn as SVG, on a page that says how the towers were made.

use std::path::Path;

use plotters::prelude::{ChartBuilder, IntoDrawingArea, LineSeries, RGBColor, SVGBackend, WHITE};
use protext_core::card::{CardData, JointCard};
use protext_registry::Cache;
use protext_train::contrastive::Epoch;

/// Width and height of one plot, in pixels.
const PLOT: (u32, u32) = (720, 300);
/// Of the lines: the accent of the page.
const ACCENT: RGBColor = RGBColor(11, 110, 110);

/// Writes `report.html` into `folder`; it needs no other file.
pub(super) fn write(folder: &Path, card: &JointCard, epochs: &[Epoch]) -> anyhow::Result<()> {
    let loss = plot("loss (nats)", epochs, |epoch| epoch.loss)?;
    let mrr = plot("validation MRR, mean of both directions", epochs, |epoch| epoch.validation_mrr)?;
    let figures = card.metrics.iter().map(|(name, value)| format!("<tr><td>{name}<td>{value:.3}"));
    let page = format!(
        "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><title>{id}</title>\n\
         <style>body{{font:16px/1.5 system-ui,sans-serif;max-width:46rem;margin:2rem auto;padding:0 1rem}}\
         td{{padding-right:2rem}}svg{{max-width:100%;height:auto}}</style>\n\
         <h1>{id}</h1>\n{data}<p>{method}</p>\n\
         <h2>Loss</h2>\n{loss}\n<h2>Validation</h2>\n{mrr}\n<h2>Figures</h2>\n<table>{figures}</table>\n</html>\n",
        id = escape(&card.id),
        data = std::iter::once(&card.data).chain(&card.extra).map(source).collect::<String>(),
        method = escape(&card.method),
        figures = figures.collect::<String>(),
    );
    Ok(Cache::put(&folder.join("report.html"), page.as_bytes())?)
}

/// A paragraph about one file of pairs.
fn source(data: &CardData) -> String {
    let CardData { n_rows, source, split, split_rule, .. } = data;
    format!("<p>{n_rows} pairs of {}, part {}; {}.</p>\n", escape(source), escape(split), escape(split_rule))
}

/// One line a pair of towers.
fn plot(title: &str, epochs: &[Epoch], value: impl Fn(&Epoch) -> f64) -> anyhow::Result<String> {
    let mut svg = String::new();
    {
        let last = epochs.iter().map(|epoch| epoch.number).max().unwrap_or(1);
        let values = epochs.iter().map(&value);
        let (low, high) = values.fold((f64::MAX, f64::MIN), |(low, high), v| (low.min(v), high.max(v)));
        let margin = ((high - low) * 0.05).max(1e-6);
        let area = SVGBackend::with_string(&mut svg, PLOT).into_drawing_area();
        area.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&area)
            .margin(8)
            .x_label_area_size(36)
            .y_label_area_size(56)
            .build_cartesian_2d(1..last.max(2), low - margin..high + margin)?;
        chart.configure_mesh().x_desc("epoch").y_desc(title).light_line_style(WHITE).draw()?;
        let n_members = epochs.iter().map(|epoch| epoch.member).max().unwrap_or(1);
        for member in 1..=n_members {
            let points = epochs.iter().filter(|epoch| epoch.member == member);
            chart.draw_series(LineSeries::new(points.map(|epoch| (epoch.number, value(epoch))), ACCENT))?;
        }
        area.present()?;
    }
    Ok(svg)
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
