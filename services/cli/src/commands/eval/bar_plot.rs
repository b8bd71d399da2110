//! Figures of several predictors side by side with their intervals, drawn as SVG.

use plotters::prelude::{
    ChartBuilder, Color as _, IntoDrawingArea, PathElement, RGBColor, Rectangle, SVGBackend, WHITE,
};
use protext_engine::eval::Interval;

/// Height, and width a group, in pixels.
const HEIGHT: u32 = 420;
const GROUP_WIDTH: u32 = 150;
/// Ours first, in the accent of the pages.
const COLOURS: [RGBColor; 3] = [RGBColor(11, 110, 110), RGBColor(214, 158, 46), RGBColor(160, 160, 160)];

/// Bars that belong together.
pub(in crate::commands::eval) struct Group {
    /// Under the bars.
    pub(in crate::commands::eval) name: String,
    /// Name and figure of each.
    pub(in crate::commands::eval) bars: Vec<(&'static str, Interval)>,
}

/// The plot as SVG.
pub(super) fn draw(groups: &[Group]) -> anyhow::Result<String> {
    let mut svg = String::new();
    let all = || groups.iter().flat_map(|group| &group.bars);
    let low = all().map(|bar| bar.1.low).fold(0.0_f64, f64::min);
    let high = all().map(|bar| bar.1.high).fold(0.1_f64, f64::max);
    let size = (GROUP_WIDTH * groups.len().max(2) as u32 + 120, HEIGHT);
    {
        let area = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        area.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&area)
            .margin(16)
            .x_label_area_size(40)
            .y_label_area_size(48)
            .build_cartesian_2d(0.0..groups.len().max(1) as f64, low * 1.05..high * 1.05)?;
        let name = |at: &f64| groups.get(*at as usize).map(|group| group.name.clone()).unwrap_or_default();
        chart
            .configure_mesh()
            .disable_x_mesh()
            .light_line_style(WHITE)
            .x_labels(groups.len())
            .x_label_formatter(&name)
            .draw()?;
        let n_bars = groups.iter().map(|group| group.bars.len()).max().unwrap_or(1);
        let width = 0.8 / n_bars as f64;
        for bar in 0..n_bars {
            let colour = COLOURS[bar % COLOURS.len()];
            let place = |group: usize| group as f64 + 0.1 + bar as f64 * width;
            let figure = |(at, group): (usize, &Group)| Some((place(at), group.bars.get(bar)?.1));
            let found: Vec<(f64, Interval)> = groups.iter().enumerate().filter_map(figure).collect();
            let bars = found.iter().map(|(left, figure)| {
                Rectangle::new([(*left, 0.0), (left + width * 0.9, figure.mean)], colour.filled())
            });
            let title = groups.iter().find_map(|group| group.bars.get(bar)).map_or("", |bar| bar.0);
            chart
                .draw_series(bars)?
                .label(title)
                .legend(move |(x, y)| Rectangle::new([(x, y - 5), (x + 12, y + 5)], colour.filled()));
            let whiskers = found.iter().map(|(left, figure)| {
                let middle = left + width * 0.45;
                PathElement::new(vec![(middle, figure.low), (middle, figure.high)], RGBColor(40, 40, 40))
            });
            chart.draw_series(whiskers)?;
        }
        chart.configure_series_labels().background_style(WHITE).border_style(COLOURS[2]).draw()?;
        area.present()?;
    }
    Ok(svg)
}
