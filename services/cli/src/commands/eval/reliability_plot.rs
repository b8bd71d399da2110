//! The reliability diagram: confidence against the share that was right, drawn as SVG.

use plotters::prelude::{
    ChartBuilder, Circle, Color as _, IntoDrawingArea, LineSeries, RGBColor, SVGBackend, WHITE,
};
use protext_engine::eval::Reliability;

/// Width and height, in pixels.
const PLOT: (u32, u32) = (480, 480);
/// Of the points: the accent of the pages.
const ACCENT: RGBColor = RGBColor(11, 110, 110);
/// Of the diagonal, on which a perfect confidence lies.
const DIAGONAL: RGBColor = RGBColor(160, 160, 160);
/// Radius of the point that holds most answers, in pixels.
const LARGEST: f64 = 16.0;

/// The diagram; the area of a point is its number of answers.
pub(super) fn draw(title: &str, found: &Reliability) -> anyhow::Result<String> {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, PLOT).into_drawing_area();
        area.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&area)
            .margin(16)
            .caption(title, ("sans-serif", 16))
            .x_label_area_size(40)
            .y_label_area_size(48)
            .build_cartesian_2d(0.0..1.0, 0.0..1.0)?;
        let mut mesh = chart.configure_mesh();
        mesh.x_desc("confidence").y_desc("share right").light_line_style(WHITE).draw()?;
        chart.draw_series(LineSeries::new([(0.0, 0.0), (1.0, 1.0)], DIAGONAL))?;
        let most = found.bins.iter().map(|bin| bin.n).max().unwrap_or(1) as f64;
        let points = found.bins.iter().map(|bin| {
            let radius = ((bin.n as f64 / most).sqrt() * LARGEST).max(2.0);
            Circle::new((bin.confidence, bin.share_right), radius as i32, ACCENT.mix(0.6).filled())
        });
        chart.draw_series(points)?;
        area.present()?;
    }
    Ok(svg)
}
