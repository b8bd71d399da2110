//! `protext eval perturbation`: what does perturbing a gene do, for genes that were not trained on?
//!
//! Three kinds of data, told by their columns: ranked responses, screens, pairs of genes. With `--cv` heads are trained and
//! tested by gene within the file; without it the head that ships (or `--head`) answers, and genes that it was trained on are
//! left out by number. Baselines: the training mean, and ridge regression on text vectors (GenePert).

mod found;
mod page;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use ndarray::{Array2, Axis};
use protext_engine::eval::perturbation::{GenePairs, PerturbationData, RankedResponses, Screens};
use protext_engine::genes::GeneTable;

use super::{bar_plot, write_json, write_text};
use crate::commands::gene_heads::{
    Folds, GeneRows, GeneTableArgs, PairRecipe, RankedRecipe, ResponseMethod, ScreenChoices, ScreenRecipe,
    changes_by_gene, pairs_by_gene, places, screens_by_gene,
};
use crate::commands::perturb::{self, HeadArgs};
use crate::fault::UsageError;
use found::{Found, Report, pairs_found, ranked_found, screens_found};
use page::{bars, markdown};

#[derive(clap::Args)]
#[command(after_help = "Examples:\n  \
    protext eval perturbation --data replogle_k562_up1000.tsv.gz --cv 5 --json k562.json\n  \
    protext eval perturbation --data crispr_screens.tsv.gz --cv 5 --markdown screens.md --plot screens.svg\n  \
    protext eval perturbation --data new_knock_downs.tsv --head protext-replogle-rpe1\n\n\
    Columns: pert, up_ranked (ranked responses); screen, gene, score; or gene_a, gene_b, gi_score.")]
pub(crate) struct Args {
    /// Labelled table, tab-separated, plain or gzip.
    #[arg(long, value_name = "FILE")]
    data: PathBuf,
    /// Rows that count, where the table has a column split.
    #[arg(long, default_value = "test")]
    split: String,
    /// Train and test by gene within the file, in so many folds, instead of asking a head.
    #[arg(long, value_name = "FOLDS", conflicts_with = "head", value_parser = clap::value_parser!(u8).range(2..=20))]
    cv: Option<u8>,
    /// How ranked responses are learnt with --cv.
    #[arg(long, value_enum, default_value_t, requires = "cv")]
    method: ResponseMethod,
    #[command(flatten)]
    head: HeadArgs,
    #[command(flatten)]
    genes: GeneTableArgs,
    /// Where the figures go as JSON; - for standard output.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Where the figures go as tables in Markdown.
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
    /// Where a plot of ours beside the baselines goes, as SVG.
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
}

pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let data = PerturbationData::read(&args.data, Some(&args.split))?;
    let table = args.genes.open()?;
    let (by, found, counts) = match args.cv {
        Some(n_folds) => {
            let (found, n_unknown) = cross_validated(&args, &table, &data, usize::from(n_folds))?;
            (format!("{n_folds}-fold cross-validation by gene"), found, (n_unknown, 0))
        }
        None => asked(&args, &data)?,
    };
    let data = args.data.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let (n_unknown_genes, n_left_out) = counts;
    let report = Report { task: "perturbation", data, by, n_unknown_genes, n_left_out, found };
    let page = markdown(&report);
    if args.json.as_deref() != Some(Path::new("-")) {
        print!("{page}");
    }
    write_json(args.json.as_deref(), &report)?;
    let plot = args.plot.as_deref().and_then(Path::file_name);
    let plot =
        plot.map_or(String::new(), |plot| format!("\n![The same as bars]({})\n", plot.to_string_lossy()));
    let heading =
        "How the heads are made and what was tried: [perturbation_method.md](perturbation_method.md).";
    write_text(args.markdown.as_deref(), &format!("# Perturbations\n\n{heading}\n\n{page}{plot}"))?;
    if let Some(path) = &args.plot {
        write_text(Some(path), &bar_plot::draw(&bars(&report))?)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn cross_validated(
    args: &Args,
    table: &GeneTable,
    data: &PerturbationData,
    n_folds: usize,
) -> anyhow::Result<(Found, usize)> {
    let genes = match data {
        PerturbationData::Ranked(data) => &data.perturbed,
        PerturbationData::Screens(data) => &data.genes,
        PerturbationData::Pairs(data) => &data.genes,
    };
    if genes.len() < 2 * n_folds {
        let (path, n) = (args.data.display(), genes.len());
        return Err(
            UsageError(format!("{path}: {n} genes are too few for {n_folds} folds; take fewer")).into()
        );
    }
    let (places, n_unknown) = places(table, genes, &args.data);
    let folds = Folds::new(table, genes, &places, n_folds);
    let rows = |blocks| GeneRows::new(table, &places, blocks);
    let found = match data {
        PerturbationData::Ranked(data) => {
            let (ours, text) = (RankedRecipe::OURS.by(args.method), RankedRecipe::TEXT);
            let predicted = changes_by_gene(&rows(ours.blocks), &data.scores, &ours, &folds)?;
            let text = changes_by_gene(&rows(text.blocks), &data.scores, &text, &folds)?;
            ranked_found(data, &predicted.predicted, &text.predicted, &predicted.mean)
        }
        PerturbationData::Screens(data) => {
            let by = |recipes: &[ScreenRecipe]| {
                screens_by_gene(&ScreenChoices::new(table, &places, recipes), data, &folds)
            };
            screens_found(data, &by(&ScreenRecipe::CHOICES)?, &by(&[ScreenRecipe::TEXT])?)
        }
        PerturbationData::Pairs(data) => {
            let [ours, text] = [PairRecipe::OURS, PairRecipe::TEXT];
            let predicted = pairs_by_gene(&rows(ours.blocks), data, &ours, &folds)?;
            let text = pairs_by_gene(&rows(text.blocks), data, &text, &folds)?;
            pairs_found(data, &predicted.predicted, &text.predicted, &predicted.both_unseen)
        }
    };
    Ok((found, n_unknown))
}

/// Asks the head; data that it was trained on is left out.
fn asked(args: &Args, data: &PerturbationData) -> anyhow::Result<(String, Found, (usize, usize))> {
    let nothing = |n: usize, head: &str| {
        UsageError(format!(
            "{}: head {head} was trained on all {n} rows, so nothing is left to measure; train and test within the file by --cv 5",
            args.data.display()
        ))
    };
    let files = args.head.files(args.data.as_path(), data)?;
    if let PerturbationData::Pairs(data) = data {
        let head = perturb::open_pairs(&files, &args.genes)?;
        let (places, n_unknown) = places(head.table(), &data.genes, &args.data);
        let kept: Vec<(usize, usize, f32)> = data
            .pairs
            .iter()
            .filter(|(a, b, _)| !(head.knows(places[*a]) && head.knows(places[*b])))
            .copied()
            .collect();
        let n_left_out = data.pairs.len() - kept.len();
        if kept.is_empty() {
            return Err(nothing(data.pairs.len(), head.id()).into());
        }
        let unseen = kept
            .iter()
            .map(|(a, b, _)| !head.knows(places[*a]) && !head.knows(places[*b]))
            .collect::<Vec<_>>();
        let [ours, text] = head.scores(&places, &kept)?;
        let data = GenePairs { genes: data.genes.clone(), pairs: kept };
        return Ok((
            head.id().to_owned(),
            pairs_found(&data, &ours, &text, &unseen),
            (n_unknown, n_left_out),
        ));
    }
    let predictor = perturb::open(&files, &args.genes)?;
    let genes = match data {
        PerturbationData::Ranked(data) => &data.perturbed,
        PerturbationData::Screens(data) => &data.genes,
        PerturbationData::Pairs(data) => &data.genes,
    };
    let (places, n_unknown) = places(predictor.table(), genes, &args.data);
    let is_new = |&row: &usize| {
        places[row].is_none_or(|gene| !predictor.knows(gene)) && !predictor.trained_on(&genes[row])
    };
    let kept: Vec<usize> = (0..genes.len()).filter(is_new).collect();
    let n_left_out = genes.len() - kept.len();
    if kept.is_empty() {
        return Err(nothing(genes.len(), predictor.id()).into());
    }
    let asked: Vec<Option<usize>> = kept.iter().map(|&row| places[row]).collect();
    let [ours, text] = predictor.matrices(&asked)?;
    let id = predictor.id().to_owned();
    let found = match data {
        PerturbationData::Ranked(data) => {
            let data =
                data.over(&predictor.outputs().iter().map(|output| output.name.clone()).collect::<Vec<_>>());
            let n_outputs = data.outputs.len();
            let mean = Array2::from_shape_fn((kept.len(), n_outputs), |(_, at)| {
                predictor
                    .outputs()
                    .get(at)
                    .map_or(0.0, |output| output.measured_mean.unwrap_or(output.training_mean))
            });
            let data = RankedResponses {
                perturbed: kept.iter().map(|&row| data.perturbed[row].clone()).collect(),
                scores: data.scores.select(Axis(0), &kept),
                rankings: kept.iter().map(|&row| data.rankings[row].clone()).collect(),
                outputs: data.outputs,
            };
            ranked_found(&data, &widened(&ours, n_outputs), &widened(&text, n_outputs), &mean)
        }
        PerturbationData::Screens(data) => {
            let columns = data.screens.iter().map(|screen| {
                let at = predictor.outputs().iter().position(|output| output.name == *screen);
                at.ok_or_else(|| {
                    UsageError(format!(
                        "head {id} does not know screen {screen}; it knows {}",
                        predictor.output_names()
                    ))
                })
            });
            let columns = columns.collect::<Result<Vec<_>, _>>()?;
            let chosen = Screens {
                screens: data.screens.clone(),
                genes: kept.iter().map(|&row| data.genes[row].clone()).collect(),
                scores: data.scores.select(Axis(0), &kept),
            };
            screens_found(&chosen, &ours.select(Axis(1), &columns), &text.select(Axis(1), &columns))
        }
        PerturbationData::Pairs(_) => unreachable!("pairs were asked above"),
    };
    Ok((id, found, (n_unknown, n_left_out)))
}

/// Zeros for outputs that the head does not have.
fn widened(predicted: &Array2<f32>, n_outputs: usize) -> Array2<f32> {
    Array2::from_shape_fn((predicted.nrows(), n_outputs), |(row, at)| {
        predicted.get((row, at)).copied().unwrap_or(0.0)
    })
}
