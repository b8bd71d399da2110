//! Heads for perturbations: ranked responses, screens and pairs of genes, by ridge regression on rows of the table of genes.
//!
//! Beside `head.onnx` lie ridge regression on text alone (`text.onnx`), and `details.json`: the training mean of each output,
//! how wide its interval is, and the training genes.

mod matrix;
mod method;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use ndarray::{Array1, Array2};
use protext_core::card::CardData;
use protext_core::{FeatureCard, FeatureKind, HeadCard, HeadFigure, HeadTask, Modality, Space};
use protext_engine::eval::perturbation::{
    GenePairs, PerturbationData, RankedResponses, Screens, ranked_figures,
};
use protext_engine::eval::{EvalError, spearman};
use protext_engine::expression::{Expression, ResponseOptions, Responses};
use protext_engine::genes::GeneTable;
use protext_engine::perturbation::{DETAILS_FILE, HeadDetails, OutputDetails, own_columns};
use protext_registry::Cache;
use protext_registry::cache::sha256_of;
use protext_train::genes::{GeneHead, GenePairHead};
use rayon::prelude::*;

use super::{Args, output, with_bar};
use crate::commands::gene_heads::{
    Blocks, Folds, GeneRows, PairRecipe, RankedRecipe, ScreenChoices, ScreenHead, ScreenRecipe,
    changes_by_gene, normal_scores, pairs_by_gene, places, screens_by_gene,
};
use crate::fault::UsageError;
use matrix::MatrixResponses;

/// Folds of the cross-validation that gives intervals and figures.
const N_FOLDS: usize = 5;
/// Share of residuals within the interval.
const WITHIN: f64 = 0.95;

/// How a matrix of conditions and genes is read.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct MatrixArgs {
    /// Of a matrix (TSV, CSV, Parquet, .h5ad): the column of the condition, such as TP53 or TP53+KLF1.
    #[arg(long, value_name = "COLUMN")]
    condition: Option<String>,
    /// Of a matrix: the condition of the controls; by default the usual names are looked for.
    #[arg(long, value_name = "NAME")]
    control: Option<String>,
    /// Of a matrix: genes that are learnt, those whose change differs most between conditions; 0 takes all.
    #[arg(long, value_name = "N", default_value_t = 5_000)]
    top_genes: usize,
}

/// What a head is trained on.
struct Training<'a> {
    args: &'a Args,
    table: &'a GeneTable,
    places: Vec<Option<usize>>,
    folds: Folds,
    genes: &'a [String],
    /// How changes of many genes are learnt.
    recipe: RankedRecipe,
}

/// What goes into card and details.
struct Made {
    task: HeadTask,
    method: String,
    unit: &'static str,
    outputs: Vec<OutputDetails>,
    files: Vec<&'static str>,
    metrics: BTreeMap<String, HeadFigure>,
    own: Option<Space>,
    weights: Blocks,
    n_rows: usize,
}

/// Any kind of data.
enum Data {
    Labelled(PerturbationData),
    /// Responses of single genes, and of sets of them.
    Matrix(MatrixResponses),
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let data = read(args)?;
    let table = args.genes.open()?;
    match &data {
        Data::Labelled(PerturbationData::Screens(_)) => method::ensure_ridge(args, "screens")?,
        Data::Labelled(PerturbationData::Pairs(_)) => method::ensure_ridge(args, "pairs of genes")?,
        Data::Labelled(PerturbationData::Ranked(_)) | Data::Matrix(_) => {}
    }
    let recipe = method::recipe(args)?;
    let genes = match &data {
        Data::Labelled(PerturbationData::Ranked(data)) => &data.perturbed,
        Data::Labelled(PerturbationData::Screens(data)) => &data.genes,
        Data::Labelled(PerturbationData::Pairs(data)) => &data.genes,
        Data::Matrix(data) => &data.genes,
    };
    if genes.len() < 2 * N_FOLDS {
        let said = format!(
            "{}: {} genes are too few; at least {} are needed",
            args.data.display(),
            genes.len(),
            2 * N_FOLDS
        );
        return Err(UsageError(said).into());
    }
    let (places, _) = places(&table, genes, &args.data);
    let folds = Folds::new(&table, genes, &places, N_FOLDS);
    let training = Training { args, table: &table, places, folds, genes, recipe };
    output::make_folder(&args.output)?;
    let made = match &data {
        Data::Labelled(PerturbationData::Ranked(data)) => training.ranked(data)?,
        Data::Labelled(PerturbationData::Screens(data)) => training.screens(data)?,
        Data::Labelled(PerturbationData::Pairs(data)) => training.pairs(data)?,
        Data::Matrix(data) => training.matrix(data)?,
    };
    let card = training.write(made)?;
    output::print(&HeadCard { outputs: Vec::new(), ..card });
    println!("ask it with protext perturb GENE --head {}", args.output.display());
    Ok(ExitCode::SUCCESS)
}

/// A labelled table, told by its columns; anything else is a matrix.
fn read(args: &Args) -> anyhow::Result<Data> {
    let name = args.data.to_string_lossy().to_lowercase();
    let is_table = !name.ends_with(".h5ad") && !name.ends_with(".parquet") && args.matrix.condition.is_none();
    if is_table {
        match PerturbationData::read(&args.data, Some("train")) {
            Ok(data) => return Ok(Data::Labelled(data)),
            Err(EvalError::MissingColumn { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let expression = Expression::read(&args.data, args.matrix.condition.as_deref())?;
    let options = ResponseOptions { control: args.matrix.control.clone(), n_genes: args.matrix.top_genes };
    Ok(Data::Matrix(MatrixResponses::new(Responses::of(&expression, &options, &args.data)?)))
}

impl Training<'_> {
    fn rows(&self, blocks: Blocks) -> GeneRows {
        GeneRows::new(self.table, &self.places, blocks)
    }

    fn write_head(&self, head: GeneHead, blocks: Blocks, name: &str) -> anyhow::Result<()> {
        head.on_unscaled(&self.table.block_scale(blocks.weights())).write(&self.args.output.join(name))?;
        Ok(())
    }

    fn ranked(&self, data: &RankedResponses) -> anyhow::Result<Made> {
        let (ours, text) = (self.recipe, RankedRecipe::TEXT);
        let rows = self.rows(ours.blocks);
        let validated = changes_by_gene(&rows, &data.scores, &ours, &self.folds)?;
        let learnt = data.scores.mapv(|score| score.powf(ours.power));
        let mean_of = |scores: &Array2<f32>| scores.mean_axis(ndarray::Axis(0)).unwrap_or_default();
        let mut outputs = details(&data.outputs, &mean_of(&learnt), &(&validated.predicted - &learnt));
        for (output, mean) in outputs.iter_mut().zip(mean_of(&data.scores)) {
            output.measured_mean = Some(mean);
        }
        let found = ranked_figures(data, &validated.predicted, &validated.mean);
        let metrics =
            found.intervals.iter().map(|(name, interval)| (format!("cv_{name}"), output::figure(*interval)));
        let head = with_bar(|on_epoch| ours.fit(&rows, &data.scores.view(), on_epoch))?;
        self.write_head(head, ours.blocks, "head.onnx")?;
        let text_head = text.fit(&self.rows(text.blocks), &data.scores.view(), &mut |_| true)?;
        self.write_head(text_head, text.blocks, "text.onnx")?;
        Ok(Made {
            task: HeadTask::Perturbation,
            method: format!("{}; scores to the power {}", ours.in_words("responses"), ours.power),
            unit: "score of being among the genes that the knock-down raises, to the power 1.5: 1 the strongest, 0 beyond the \
                   first 1,000",
            outputs,
            files: vec!["head.onnx", "text.onnx"],
            metrics: metrics.collect(),
            own: None,
            weights: ours.blocks,
            n_rows: data.perturbed.len(),
        })
    }

    /// A head over all screens; each screen is learnt on the genes that it has.
    fn screens(&self, data: &Screens) -> anyhow::Result<Made> {
        let ours = ScreenRecipe::OURS;
        let choices = ScreenChoices::new(self.table, &self.places, &ScreenRecipe::CHOICES);
        let text = ScreenChoices::new(self.table, &self.places, &[ScreenRecipe::TEXT]);
        let validated = screens_by_gene(&choices, data, &self.folds)?;
        let mut residuals = Array2::from_elem(data.scores.dim(), f32::NAN);
        let mut metrics = BTreeMap::new();
        for (screen, name) in data.screens.iter().enumerate() {
            let measured: Vec<usize> =
                (0..data.genes.len()).filter(|&gene| data.scores[[gene, screen]].is_finite()).collect();
            let targets =
                normal_scores(&measured.iter().map(|&gene| data.scores[[gene, screen]]).collect::<Vec<_>>());
            let wide = |of: &dyn Fn(usize) -> f32| {
                measured.iter().map(|&gene| f64::from(of(gene))).collect::<Vec<f64>>()
            };
            let value = spearman(
                &wide(&|gene| validated[[gene, screen]]),
                &wide(&|gene| data.scores[[gene, screen]]),
            );
            metrics.insert(format!("cv_spearman_{name}"), HeadFigure { value, low: None, high: None });
            for (&gene, target) in measured.iter().zip(targets) {
                residuals[[gene, screen]] = validated[[gene, screen]] - target;
            }
        }
        let by_text = self.write_screens(data, &choices, "head.onnx")?;
        self.write_screens(data, &text, "text.onnx")?;
        let by_text = if by_text.is_empty() { "none".to_owned() } else { by_text.join(", ") };
        Ok(Made {
            task: HeadTask::Perturbation,
            method: format!(
                "ridge regression of normal scores of the ranks, penalty {}, on GO terms (weight 1), text ({}), protein ({}) \
                 and responses ({}); screens that all this orders no better than text does in cross-validation ({by_text}) on text, penalty {}",
                ours.settings.penalty,
                ours.blocks.text,
                ours.blocks.protein,
                ours.blocks.response,
                ScreenRecipe::TEXT.settings.penalty
            ),
            unit: "normal score of the gene's rank in the screen: 0 the middle, 1.64 the upper 5%",
            outputs: details(&data.screens, &Array1::zeros(data.screens.len()), &residuals),
            files: vec!["head.onnx", "text.onnx"],
            metrics,
            own: None,
            weights: ours.blocks,
            n_rows: data.genes.len(),
        })
    }

    /// One head over all screens; gives the names of those that were learnt from text alone.
    fn write_screens(
        &self,
        data: &Screens,
        choices: &ScreenChoices,
        name: &str,
    ) -> anyhow::Result<Vec<String>> {
        let fitted = (0..data.screens.len()).into_par_iter().map(|screen| {
            let ScreenHead { recipe, head, .. } =
                choices.fit(&data.scores.column(screen), &self.folds, None)?;
            Ok((recipe, head.on_unscaled(&self.table.block_scale(recipe.blocks.weights()))))
        });
        let fitted: Vec<(ScreenRecipe, GeneHead)> = fitted.collect::<anyhow::Result<_>>()?;
        let down = fitted.iter().map(|(_, head)| head.down.as_ref().map(|down| down.view()));
        let down: Option<Vec<_>> = down.collect();
        let down = down.context("screens are learnt by ridge regression")?;
        let mean: Vec<_> = fitted.iter().map(|(_, head)| head.mean.view()).collect();
        let joined = GeneHead {
            down: Some(ndarray::concatenate(ndarray::Axis(1), &down)?),
            mlp: None,
            up: None,
            mean: ndarray::concatenate(ndarray::Axis(0), &mean)?,
        };
        joined.write(&self.args.output.join(name))?;
        let is_by_text =
            |(_, (recipe, _)): &(&String, &(ScreenRecipe, GeneHead))| *recipe == ScreenRecipe::TEXT;
        Ok(data.screens.iter().zip(&fitted).filter(is_by_text).map(|(name, _)| name.clone()).collect())
    }

    fn pairs(&self, data: &GenePairs) -> anyhow::Result<Made> {
        let [ours, text] = [PairRecipe::OURS, PairRecipe::TEXT];
        let rows = self.rows(ours.blocks);
        let validated = pairs_by_gene(&rows, data, &ours, &self.folds)?;
        let measured: Vec<f64> = data.pairs.iter().map(|pair| f64::from(pair.2)).collect();
        let value = spearman(&validated.predicted, &measured);
        let residuals = validated
            .predicted
            .iter()
            .zip(&measured)
            .map(|(predicted, measured)| (predicted - measured) as f32);
        let residuals = Array2::from_shape_vec((measured.len(), 1), residuals.collect())?;
        let mean = measured.iter().sum::<f64>() / measured.len() as f64;
        let write = |recipe: &PairRecipe, names: [&str; 2]| -> anyhow::Result<()> {
            let head: GenePairHead = recipe.fit(&self.rows(recipe.blocks), &data.pairs)?;
            let head = head.on_unscaled(&self.table.block_scale(recipe.blocks.weights()));
            let [head_path, pair_path] = names.map(|name| self.args.output.join(name));
            Ok(head.write(&head_path, &pair_path)?)
        };
        write(&ours, ["head.onnx", "pair.onnx"])?;
        write(&text, ["text.onnx", "text_pair.onnx"])?;
        Ok(Made {
            task: HeadTask::Pair,
            method: format!(
                "ridge regression on both genes of a pair, penalty {}, {} of it a training gene's own column; GO terms (weight \
                 1) and text (weight {})",
                ours.settings.penalty, ours.settings.own_share, ours.blocks.text
            ),
            unit: "genetic interaction score",
            outputs: details(&["gi_score".to_owned()], &Array1::from_elem(1, mean as f32), &residuals),
            files: vec!["head.onnx", "pair.onnx", "text.onnx", "text_pair.onnx"],
            metrics: BTreeMap::from([(
                "cv_spearman".to_owned(),
                HeadFigure { value, low: None, high: None },
            )]),
            own: Some(own_columns(&self.training_names())),
            weights: ours.blocks,
            n_rows: data.pairs.len(),
        })
    }

    /// Symbols of the table where it knows the gene, in the data's order.
    fn training_names(&self) -> Vec<String> {
        let name = |(gene, place): (&String, &Option<usize>)| {
            place.map_or_else(|| gene.clone(), |place| self.table.genes()[place].symbol.clone())
        };
        self.genes.iter().zip(&self.places).map(name).collect()
    }

    fn write(&self, made: Made) -> anyhow::Result<HeadCard> {
        let (args, origin) = (self.args, self.table.origin());
        let details = HeadDetails {
            outputs: made.outputs,
            training: self.training_names(),
            weights: made.weights.weights(),
            unit: made.unit.to_owned(),
        };
        Cache::put(&args.output.join(DETAILS_FILE), &serde_json::to_vec(&details)?)?;
        let feature = |space: Space| FeatureCard {
            kind: FeatureKind::File,
            modality: Modality::Text,
            encoder: origin.text_encoder.clone(),
            space,
        };
        let features = std::iter::once(self.table.space().clone()).chain(made.own).map(feature).collect();
        let id = output::name(args.id.as_deref(), &args.output);
        let file = args.data.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let card = HeadCard {
            id,
            task: made.task,
            method: made.method,
            measured_by: "protext train head --task perturbation: 5-fold cross-validation by gene".to_owned(),
            features,
            outputs: details.outputs.iter().map(|output| output.name.clone()).collect(),
            files: BTreeMap::new(),
            data: data_card(&args.data, file, made.n_rows)?,
            validation: None,
            calibration: None,
            metrics: made.metrics,
            notes: vec![format!(
                "reads rows of the table of genes {}; text.onnx is ridge regression on its text vectors alone",
                origin.id
            )],
        };
        output::write_card(&args.output, card, &[&made.files[..], &[DETAILS_FILE]].concat())
    }
}

fn data_card(path: &Path, source: String, n_rows: usize) -> anyhow::Result<CardData> {
    Ok(CardData {
        source,
        split: "all rows".to_owned(),
        split_rule: "folds of genes".to_owned(),
        n_rows,
        sha256: sha256_of(path)?,
    })
}

/// Name, mean, and the quantile of the absolute residuals of each output.
fn details(names: &[String], means: &Array1<f32>, residuals: &Array2<f32>) -> Vec<OutputDetails> {
    let output = |(at, name): (usize, &String)| {
        let mut sizes: Vec<f32> =
            residuals.column(at).iter().filter(|value| value.is_finite()).map(|value| value.abs()).collect();
        sizes.sort_by(f32::total_cmp);
        let place = ((sizes.len() as f64 * WITHIN).ceil() as usize).clamp(1, sizes.len().max(1)) - 1;
        let half_width = sizes.get(place).copied().unwrap_or(f32::INFINITY);
        OutputDetails { name: name.clone(), training_mean: means[at], measured_mean: None, half_width }
    };
    names.iter().enumerate().map(output).collect()
}
