//! The figures of `protext bench search` to read: a table for the terminal, a page, and a plot.

use std::fmt::Write as _;
use std::path::Path;

use plotters::coord::Shift;
use plotters::coord::combinators::IntoLogRange as _;
use plotters::prelude::{
    ChartBuilder, Circle, Color as _, DrawingArea, IntoDrawingArea, LineSeries, PathElement, RGBColor,
    SVGBackend, SeriesLabelPosition, WHITE,
};

use super::curve::Point;
use super::process::{Measured, Variant};
use super::report::{Report, SystemReport, TARGETS, VariantReport};
use crate::commands::eval::table_row;

/// Width and height, in pixels.
const PLOT: (u32, u32) = (720, 960);
/// Colours of the curves, ours first; told apart also by those who do not see red and green.
const COLOURS: [RGBColor; 5] = [
    RGBColor(11, 110, 110),
    RGBColor(90, 180, 172),
    RGBColor(216, 150, 40),
    RGBColor(120, 94, 170),
    RGBColor(90, 90, 90),
];

/// Ratios and costs.
pub(super) fn table(report: &Report) -> String {
    let mut text = format!(
        "{} vectors of {} dimensions, {} queries, top {}, {} threads build, one searches\n\n",
        report.n, report.dim, report.n_queries, report.k, report.threads
    );
    text += &systems(report);
    text.push('\n');
    text += &ratios(report);
    for name in &report.not_installed {
        let _ = writeln!(text, "\n{name} was not installed.");
    }
    text
}

fn systems(report: &Report) -> String {
    let mut table = String::from(
        "| | queries/s at 0.98 | at 0.99 | at 0.999 | p50, p99 of one query at 0.98, µs | at 0.99 | at 0.999 | times one thread | build, processor s | bytes/vector |\n|---|---|---|---|---|---|---|---|---|---|\n",
    );
    for system in &report.systems {
        for variant in &system.variants {
            table += &table_row(&system_row(system, variant));
        }
    }
    table
}

fn system_row(system: &SystemReport, variant: &VariantReport) -> Vec<String> {
    let or_dash = |value: Option<String>| value.unwrap_or_else(|| "–".to_owned());
    let mut cells = vec![format!("{}, {}", system.version, variant.name)];
    if variant.name == "exact" {
        let rate = variant.points.first().map(|point| format!("{:.0} (all found)", point.queries_per_s));
        cells.extend([or_dash(rate.clone()), or_dash(rate.clone()), or_dash(rate)]);
    } else {
        let rates = TARGETS.map(|(_, ending)| {
            or_dash(variant.queries_per_s_at.get(ending).map(|rate| format!("{rate:.0}")))
        });
        cells.extend(rates);
    }
    cells.extend(TARGETS.map(|(_, ending)| {
        let latency = variant.latency_at.get(ending);
        or_dash(latency.map(|one| format!("{:.0}, {:.0}", one.p50_us, one.p99_us)))
    }));
    cells.push(or_dash(variant.speed_up_by_threads.map(|times| format!("{times:.2}"))));
    cells.push(format!("{:.1}", system.build_processor_s));
    cells.push(format!("{:.0}", system.bytes_per_vector));
    cells
}

fn ratios(report: &Report) -> String {
    let mut table =
        String::from("| ours over | recall 0.98 | 0.99 | 0.999 | build time |\n|---|---|---|---|---|\n");
    let peers = report.systems.iter().skip(1).map(|system| system.name);
    for peer in peers {
        for (start, what) in [("", "f32"), ("quantized_", "codes")] {
            let mut cells = vec![format!("{peer}, {what}")];
            for (_, ending) in TARGETS {
                let ratio = report.ratios.get(&format!("{start}ratio_to_{peer}_at_{ending}"));
                cells.push(ratio.map_or_else(|| "–".to_owned(), |ratio| format!("{ratio:.2}")));
            }
            let build = report.ratios.get(&format!("build_ratio_to_{peer}"));
            cells.push(build.map_or_else(|| "–".to_owned(), |ratio| format!("{ratio:.2}")));
            table += &table_row(&cells);
        }
    }
    table
}

/// The page.
pub(super) fn markdown(report: &Report, plot: Option<&Path>) -> String {
    let mut page = format!(
        "# Search: queries per second, building, memory\n\n\
         Made by `protext bench search` (`make bench-search` runs it with more sizes). {} vectors of {} dimensions derived from the proteins of `{}`: mixes of \
         neighbouring proteins in the space of their 128 principal components, with noise (services/cli/src/commands/bench/search/vectors.rs). \
         Graphs with M 16 and ef_construction 200. Queries per second are of one thread's processor time, the best of {} rounds in which the \
         systems took turns; between points measured, rates are read off the curve. Latency and \
         threads are by the clock, each at the fewest candidates that reach the recall, threads at 0.99. Memory is that of vectors, links and codes. \
         `f32` ranks by full vectors alone: codes of eight bits a component only lead to the lowest layer and pass over vectors that cannot be \
         candidates. `codes` walk over the codes and compare the hits again with their full vectors; `exact` compares with every vector. \
         Everybody is called once for all queries, which lets ours take turns between them; a single query of a peer pays for its call from \
         Python.\n\n",
        report.n, report.dim, report.data, report.rounds
    );
    page += &systems(report);
    if let Some(name) = plot.and_then(Path::file_name) {
        let _ =
            write!(page, "\n![Queries per second and latency against recall]({})\n", name.to_string_lossy());
    }
    page += "\n## Ratios\n\n";
    page += &ratios(report);
    for name in &report.not_installed {
        let _ = writeln!(page, "\n{name} was not installed.");
    }
    if !report.growth.is_empty() {
        page += "\n## Growth\n\nQueries per second at a recall of 0.99, ours over codes; one round.\n\n\
                 | vectors | | queries/s | build, processor s | bytes/vector |\n|---|---|---|---|---|\n";
        for growth in &report.growth {
            let rate = growth.queries_per_s.map_or_else(|| "–".to_owned(), |rate| format!("{rate:.0}"));
            let (build, bytes) = (growth.build_processor_s, growth.bytes_per_vector);
            let cells = [
                growth.n.to_string(),
                growth.name.to_owned(),
                rate,
                format!("{build:.1}"),
                format!("{bytes:.0}"),
            ];
            page += &table_row(&cells);
        }
    }
    if let Some(opening) = &report.opening {
        let _ = write!(
            page,
            "\n## Opening\n\nA collection of {} records ({:.0} MB of files, in the system's cache) is opened by a new process in {:.3} s and takes {:.0} MB \
             beside the mapped files; the first search takes {:.1} ms.\n",
            opening.n,
            opening.file_bytes as f64 / 1e6,
            opening.open_s,
            opening.opened_bytes as f64 / 1e6,
            opening.first_search_ms
        );
    }
    page
}

/// Queries per second, and the 99th percentile of single queries, against the share missed; all logarithmic.
pub(super) fn plot(systems: &[Measured]) -> anyhow::Result<String> {
    let variants = || {
        let variants = systems.iter().flat_map(|system| system.variants.iter().map(move |of| (system, of)));
        variants.filter(|(_, variant)| variant.name != "exact")
    };
    let curves = |value: &dyn Fn(&Variant, usize, Point) -> Option<f64>| -> Vec<NamedCurve> {
        let curve = |(system, variant): (&Measured, &Variant)| {
            let points = variant.curve.points();
            let points =
                points.filter_map(|(ef, point)| Some((nines(point.recall), value(variant, ef, point)?)));
            (format!("{}, {}", system.name, variant.name), points.collect())
        };
        variants().map(curve).collect()
    };
    let rates = curves(&|_, _, point| Some(point.queries_per_s));
    let latencies = curves(&|variant, ef, _| Some(variant.latencies.get(&ef)?.p99_us));
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, PLOT).into_drawing_area();
        area.fill(&WHITE)?;
        let (above, below) = area.split_vertically(PLOT.1 / 2);
        let (up, down) = (SeriesLabelPosition::LowerLeft, SeriesLabelPosition::UpperLeft);
        draw(&above, "Queries per second of one thread against recall@10", "queries/s", &rates, up)?;
        draw(&below, "99th percentile of one query against recall@10", "µs", &latencies, down)?;
        area.present()?;
    }
    Ok(svg)
}

/// A name, and points of a recall in [`nines`] and a value.
type NamedCurve = (String, Vec<(f64, f64)>);

fn draw(
    area: &DrawingArea<SVGBackend<'_>, Shift>,
    caption: &str,
    unit: &str,
    curves: &[NamedCurve],
    labels: SeriesLabelPosition,
) -> anyhow::Result<()> {
    let values = || curves.iter().flat_map(|(_, points)| points.iter().map(|&(_, value)| value));
    let (least, most) = (values().fold(f64::INFINITY, f64::min), values().fold(1.0, f64::max));
    let mut chart = ChartBuilder::on(area)
        .margin(16)
        .caption(caption, ("sans-serif", 16))
        .x_label_area_size(40)
        .y_label_area_size(64)
        .build_cartesian_2d(1.0..4.0, (least * 0.8..most * 1.2).log_scale())?;
    let recall = |nines: &f64| format!("{}", 1.0 - 10f64.powf(-nines));
    let mut mesh = chart.configure_mesh();
    mesh.x_labels(4)
        .x_label_formatter(&recall)
        .x_desc("recall@10")
        .y_desc(unit)
        .y_label_formatter(&|value| format!("{value:.0}"))
        .light_line_style(WHITE)
        .draw()?;
    for ((name, points), colour) in curves.iter().zip(COLOURS.iter().cycle()) {
        let line = LineSeries::new(points.iter().copied(), colour.stroke_width(2));
        let key = move |(x, y)| PathElement::new([(x, y), (x + 16, y)], colour.stroke_width(2));
        chart.draw_series(line)?.label(name).legend(key);
        chart.draw_series(points.iter().map(|&point| Circle::new(point, 3, colour.filled())))?;
    }
    chart.configure_series_labels().position(labels).background_style(WHITE.mix(0.8)).draw()?;
    Ok(())
}

/// 1 for a recall of 0.9, 2 for 0.99.
fn nines(recall: f64) -> f64 {
    -(1.0 - recall).max(1e-4).log10()
}
