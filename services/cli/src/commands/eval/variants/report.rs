//! The figures of `protext eval variants`: per assay, their means, and how they are shown.

use plotters::prelude::{
    ChartBuilder, Circle, Color as _, IntoDrawingArea, LineSeries, RGBColor, SVGBackend, SeriesLabelPosition,
    WHITE,
};
use protext_engine::eval::{DmsAssay, Interval, mean_correlation};
use protext_engine::variants::{MASK_STRIDE, Masking, VariantModel};
use serde::Serialize;

use super::super::table_row;
use super::{LONGEST, is_short};

/// Spearman correlations of one assay; absent where a score was not asked for or is constant.
#[derive(Debug, Clone, Serialize)]
pub(super) struct AssayReport {
    pub(super) dms_id: String,
    /// Mutants.
    pub(super) n: usize,
    /// Residues.
    pub(super) length: usize,
    /// Of the mean of both marginals: our zero-shot figure.
    pub(super) spearman: Option<f64>,
    pub(super) masked_marginal: Option<f64>,
    pub(super) wild_type_marginal: Option<f64>,
    /// Of the supervised head, five folds by position.
    pub(super) supervised: Option<f64>,
    /// Of a sample of mutants.
    pub(super) embedding_shift: Option<f64>,
    pub(super) blosum62: Option<f64>,
    pub(super) hydropathy: Option<f64>,
    pub(super) volume: Option<f64>,
}

/// Means over assays, with intervals.
#[derive(Serialize)]
struct Means {
    n_assays: usize,
    zero_shot: Option<Interval>,
    masked_marginal: Option<Interval>,
    wild_type_marginal: Option<Interval>,
    supervised: Option<Interval>,
    embedding_shift: Option<Interval>,
    blosum62: Option<Interval>,
    hydropathy: Option<Interval>,
    volume: Option<Interval>,
}

#[derive(Serialize)]
pub(super) struct Report<'a> {
    task: &'static str,
    data: String,
    encoder: &'a str,
    lm_head: Option<&'a str>,
    masking: Masking,
    shift_mutants: usize,
    /// Assays of at most [`LONGEST`] residues.
    n_assays: usize,
    /// Mutants of these.
    n: usize,
    /// Mean over these of the mean of both marginals: zero-shot.
    spearman: Option<f64>,
    /// Mean of the supervised head over these, five folds by position.
    spearman_supervised: Option<f64>,
    means: Means,
    /// Over all assays, longer proteins too.
    means_of_all: Means,
    assays: Vec<AssayReport>,
}

type Column = (&'static str, fn(&AssayReport) -> Option<f64>);

/// What is shown, ours first.
const COLUMNS: [Column; 8] = [
    ("zero-shot: mean of both marginals", |assay| assay.spearman),
    ("masked marginal (zero-shot)", |assay| assay.masked_marginal),
    ("wild-type marginal (zero-shot)", |assay| assay.wild_type_marginal),
    ("supervised head, 5 folds by position", |assay| assay.supervised),
    ("embedding shift", |assay| assay.embedding_shift),
    ("BLOSUM62", |assay| assay.blosum62),
    ("change of hydropathy", |assay| assay.hydropathy),
    ("change of volume", |assay| assay.volume),
];

/// A figure of assays: its name, where it is read, and its colour.
type Series = (&'static str, fn(&AssayReport) -> Option<f64>, RGBColor);

impl Means {
    fn new(assays: &[DmsAssay], reports: &[AssayReport], counts: impl Fn(&AssayReport) -> bool) -> Self {
        let chosen = reports.iter().zip(assays).filter(|(report, _)| counts(report));
        let (reports, assays): (Vec<&AssayReport>, Vec<&DmsAssay>) = chosen.unzip();
        let mean = |(_, of): Column| {
            mean_correlation(&assays, &reports.iter().map(|report| of(report)).collect::<Vec<_>>())
        };
        let [
            zero_shot,
            masked_marginal,
            wild_type_marginal,
            supervised,
            embedding_shift,
            blosum62,
            hydropathy,
            volume,
        ] = COLUMNS.map(mean);
        Self {
            n_assays: reports.len(),
            zero_shot,
            masked_marginal,
            wild_type_marginal,
            supervised,
            embedding_shift,
            blosum62,
            hydropathy,
            volume,
        }
    }

    /// In the order of [`COLUMNS`].
    fn listed(&self) -> [Option<Interval>; 8] {
        [
            self.zero_shot,
            self.masked_marginal,
            self.wild_type_marginal,
            self.supervised,
            self.embedding_shift,
            self.blosum62,
            self.hydropathy,
            self.volume,
        ]
    }
}

impl<'a> Report<'a> {
    pub(super) fn new(
        assays: &[DmsAssay],
        reports: Vec<AssayReport>,
        data: String,
        (model, masking, shift_mutants): (&VariantModel<'a>, Masking, usize),
    ) -> Self {
        let means = Means::new(assays, &reports, is_short);
        let short = reports.iter().filter(|assay| is_short(assay));
        Self {
            task: "variants",
            data,
            encoder: model.encoder(),
            lm_head: model.head(),
            masking,
            shift_mutants,
            n_assays: means.n_assays,
            n: short.map(|assay| assay.n).sum(),
            spearman: means.zero_shot.map(|it| it.mean),
            spearman_supervised: means.supervised.map(|it| it.mean),
            means,
            means_of_all: Means::new(assays, &reports, |_| true),
            assays: reports,
        }
    }

    pub(super) fn print(&self) {
        println!(
            "{} assays of at most {LONGEST} residues, {} mutants; mean Spearman [95% interval]",
            self.n_assays, self.n
        );
        for ((name, _), mean) in COLUMNS.iter().zip(self.means.listed()) {
            println!("{name:<38} {}", shown(mean));
        }
    }

    pub(super) fn markdown(&self) -> String {
        let masking = match self.masking {
            Masking::Each => "one position at a time".to_owned(),
            Masking::Spread => format!("every {MASK_STRIDE}th position at once"),
        };
        let mut page = format!(
            "{} assays of `{}` with at most {LONGEST} residues, {} mutants. Encoder `{}`, language head `{}`, {masking} \
             masked. Means of Spearman's correlation over assays, 95% intervals by protein. The embedding shift is that \
             of {} mutants an assay, drawn at random.\n\n| score | mean, at most {LONGEST} residues | mean, all {} \
             assays |\n|---|---|---|\n",
            self.n_assays,
            self.data,
            self.n,
            self.encoder,
            self.lm_head.unwrap_or("none"),
            self.shift_mutants,
            self.means_of_all.n_assays,
        );
        let means = self.means.listed().into_iter().zip(self.means_of_all.listed());
        for ((name, _), (short, all)) in COLUMNS.iter().zip(means) {
            page += &table_row(&[(*name).to_owned(), shown(short), shown(all)]);
        }
        page += "\nPublished, for scale: ProteinGym (Notin et al. 2023) gives zero-shot means near 0.2 for the original \
                 ESM-2 of 8M parameters and 0.41 for that of 650M, over its own, larger set of assays.\n\n| assay | \
                 mutants | residues | zero-shot | masked | wild type | supervised | shift | BLOSUM62 |\n|---|---|---|---|---|---|---|---|---|\n";
        for assay in &self.assays {
            let values = [
                assay.spearman,
                assay.masked_marginal,
                assay.wild_type_marginal,
                assay.supervised,
                assay.embedding_shift,
                assay.blosum62,
            ];
            let values = values.map(|value| value.map_or(String::new(), |value| format!("{value:.3}")));
            let facts = [assay.dms_id.clone(), assay.n.to_string(), assay.length.to_string()];
            page += &table_row(&[&facts[..], &values[..]].concat());
        }
        page
    }

    /// All assays, from the least supervised figure to the greatest.
    pub(super) fn plot(&self) -> anyhow::Result<String> {
        const SIZE: (u32, u32) = (900, 420);
        let series: [Series; 3] = [
            ("supervised, 5 folds by position", |assay| assay.supervised, RGBColor(11, 110, 110)),
            ("zero-shot, both marginals", |assay| assay.spearman, RGBColor(200, 90, 20)),
            ("BLOSUM62", |assay| assay.blosum62, RGBColor(150, 150, 150)),
        ];
        let mut assays: Vec<&AssayReport> = self.assays.iter().filter(|assay| is_short(assay)).collect();
        let key = |assay: &AssayReport| assay.supervised.or(assay.spearman).unwrap_or(-1.0);
        assays.sort_by(|a, b| key(a).total_cmp(&key(b)));
        let mut svg = String::new();
        {
            let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
            area.fill(&WHITE)?;
            let mut chart = ChartBuilder::on(&area)
                .margin(16)
                .caption("Spearman correlation, one point an assay", ("sans-serif", 16))
                .x_label_area_size(36)
                .y_label_area_size(48)
                .build_cartesian_2d(-1.0..assays.len() as f64, -0.3..1.0)?;
            let mut mesh = chart.configure_mesh();
            mesh.x_desc("assays, in order of the supervised figure")
                .y_desc("Spearman")
                .light_line_style(WHITE);
            mesh.draw()?;
            chart.draw_series(LineSeries::new(
                [(-1.0, 0.0), (assays.len() as f64, 0.0)],
                RGBColor(160, 160, 160),
            ))?;
            for (name, of, color) in series {
                let points = assays.iter().enumerate().filter_map(|(place, assay)| {
                    Some(Circle::new((place as f64, of(assay)?), 4, color.mix(0.8).filled()))
                });
                let drawn = chart.draw_series(points)?;
                drawn.label(name).legend(move |(x, y)| Circle::new((x + 8, y), 4, color.filled()));
            }
            chart
                .configure_series_labels()
                .position(SeriesLabelPosition::UpperLeft)
                .border_style(WHITE)
                .draw()?;
            area.present()?;
        }
        Ok(svg)
    }
}

fn shown(mean: Option<Interval>) -> String {
    mean.map_or("not measured".to_owned(), |mean| mean.to_string())
}
