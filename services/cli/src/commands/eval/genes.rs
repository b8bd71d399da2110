//! `protext eval genes`: gene properties by cross-validation, as GenePT tests them.
//!
//! Labelled genes (`symbol`, `label`: dosage sensitivity), a list of genes (essential ones; all others of the table of genes
//! are the negatives), or labelled pairs (`gene_a`, `gene_b`, `label`).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use ndarray::Array2;
use protext_engine::eval::{BinaryMetrics, GeneTask, LabelledPairs, Resampling, binary, read_gene_labels};
use protext_engine::genes::GeneTable;
use protext_train::genes::{RidgeSettings, fit_ridge};
use serde::Serialize;

use super::{gene_pairs, table_row, write_json, write_text};
use crate::commands::gene_heads::{Blocks, Folds, GeneRows, GeneTableArgs, places};
use crate::fault::UsageError;

/// What others report, for the page.
const PUBLISHED: &str = "Published, with ada-002 embeddings of NCBI summaries: dosage-sensitive transcription factors AUROC 0.899, Gene2vec's test \
    pairs 0.83 (Chen and Zou 2024, GenePT).\n";

#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  protext eval genes --data dosage_sensitive_tfs.tsv --json dosage.json\n  \
    protext eval genes --data core_essential_genes_cegv2.tsv"
)]
pub(crate) struct Args {
    /// Table with symbol and label, or a list of symbols; tab-separated, plain or gzip. Several files are several tasks.
    #[arg(long, value_name = "FILE", num_args = 1.., required = true)]
    data: Vec<PathBuf>,
    /// Folds of the cross-validation.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u8).range(2..=20))]
    cv: u8,
    /// Labelled pairs to learn from, instead of the other folds of the pairs in --data.
    #[arg(long, value_name = "FILE")]
    train: Option<PathBuf>,
    #[command(flatten)]
    genes: GeneTableArgs,
    /// Where the figures go as JSON; - for standard output.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Where the figures go as tables in Markdown.
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
}

#[derive(Serialize)]
struct Report {
    task: &'static str,
    cv: u8,
    /// What pairs were learnt from, if not from one another.
    #[serde(skip_serializing_if = "Option::is_none")]
    train: Option<String>,
    /// AUROC of each task, by its name.
    auroc: BTreeMap<String, f64>,
    tasks: BTreeMap<String, TaskFound>,
}

#[derive(Serialize)]
pub(super) struct TaskFound {
    pub(super) positive: String,
    pub(super) n_unknown_genes: usize,
    #[serde(flatten)]
    pub(super) ours: BinaryMetrics,
    pub(super) baselines: TaskBaselines,
}

#[derive(Serialize)]
pub(super) struct TaskBaselines {
    pub(super) text_ridge: BinaryMetrics,
}

pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let table = args.genes.open()?;
    let mut tasks = BTreeMap::new();
    for path in &args.data {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let name = name.split('.').next().unwrap_or_default().to_owned();
        tasks.insert(name, measure(&table, path, &args)?);
    }
    let auroc = tasks.iter().map(|(name, found)| (name.clone(), found.ours.auroc)).collect();
    let train = args.train.as_ref().and_then(|path| path.file_name());
    let train = train.map(|name| name.to_string_lossy().into_owned());
    let report = Report { task: "genes", cv: args.cv, train, auroc, tasks };
    let page = markdown(&report);
    if args.json.as_deref() != Some(Path::new("-")) {
        print!("{page}");
    }
    write_json(args.json.as_deref(), &report)?;
    write_text(args.markdown.as_deref(), &format!("# Properties of genes\n\n{page}\n{PUBLISHED}"))?;
    Ok(ExitCode::SUCCESS)
}

fn measure(table: &GeneTable, path: &Path, args: &Args) -> anyhow::Result<TaskFound> {
    let n_folds = usize::from(args.cv);
    let labelled = match read_gene_labels(path)? {
        GeneTask::Genes(labelled) => labelled,
        GeneTask::Pairs(pairs) => {
            let train = args.train.as_deref();
            let taught = train.map(read_pairs).transpose()?;
            let train = taught.as_ref().zip(train);
            return gene_pairs::measure(table, path, &pairs, (train, n_folds));
        }
    };
    let (genes, labels, positive) = match labelled.labels {
        Some((labels, positive)) => (labelled.genes, labels, positive),
        None => {
            // A list of positives: the other genes of the table are the negatives.
            let listed = places(table, &labelled.genes, path).0;
            let listed: std::collections::HashSet<usize> = listed.into_iter().flatten().collect();
            let genes = table.genes().iter().map(|gene| gene.symbol.clone()).collect();
            (
                genes,
                (0..table.genes().len()).map(|gene| listed.contains(&gene)).collect(),
                "listed".to_owned(),
            )
        }
    };
    let (places, n_unknown_genes) = places(table, &genes, path);
    if genes.len() < 2 * n_folds {
        let said = format!("{}: {} genes are too few for {n_folds} folds", path.display(), genes.len());
        return Err(UsageError(said).into());
    }
    let folds = Folds::new(table, &genes, &places, n_folds);
    let figures = |blocks: Blocks| -> anyhow::Result<BinaryMetrics> {
        let scores = by_gene(&GeneRows::new(table, &places, blocks), &labels, &folds)?;
        let alone: Vec<usize> = (0..genes.len()).collect();
        Ok(binary(&scores, &labels, Resampling::Groups(&alone)))
    };
    let ours = figures(Blocks::ALL)?;
    let baselines = TaskBaselines { text_ridge: figures(Blocks::TEXT)? };
    Ok(TaskFound { positive, n_unknown_genes, ours, baselines })
}

fn read_pairs(path: &Path) -> anyhow::Result<LabelledPairs> {
    match read_gene_labels(path)? {
        GeneTask::Pairs(pairs) => Ok(pairs),
        GeneTask::Genes(_) => {
            let said = format!("{}: --train takes labelled pairs (gene_a, gene_b, label)", path.display());
            Err(UsageError(said).into())
        }
    }
}

/// Ridge regression on zeros and ones, balanced: what a gene gets comes from heads that have not seen it.
fn by_gene(rows: &GeneRows, labels: &[bool], folds: &Folds) -> anyhow::Result<Vec<f64>> {
    let mut scores = vec![0.0; labels.len()];
    for fold in 0..folds.n_folds() {
        let (training, held_out) = folds.split(fold);
        let targets =
            Array2::from_shape_fn((training.len(), 1), |(at, _)| f32::from(u8::from(labels[training[at]])));
        let head =
            fit_ridge(&rows.select(&training), &targets.view(), RidgeSettings { penalty: 1.0, max_rank: 1 })?;
        let found = head.predict(&rows.select(&held_out))?;
        held_out.iter().enumerate().for_each(|(at, &gene)| scores[gene] = f64::from(found[[at, 0]]));
    }
    Ok(scores)
}

fn markdown(report: &Report) -> String {
    let pairs = report.train.as_ref().map_or_else(String::new, |train| {
        format!(
            " Pairs are learnt from `{train}` without those that are asked about; genes are shared between both, as in the \
             published split."
        )
    });
    let mut page = format!(
        "{}-fold cross-validation by gene, 95% intervals by gene.{pairs}\n\n| task | genes | positive | AUROC | ridge on text | AUPRC |\n\
         |---|---|---|---|---|---|\n",
        report.cv
    );
    for (name, found) in &report.tasks {
        page += &table_row(&[
            name.clone(),
            found.ours.n.to_string(),
            found.positive.clone(),
            found.ours.intervals["auroc"].to_string(),
            found.baselines.text_ridge.intervals["auroc"].to_string(),
            found.ours.intervals["auprc"].to_string(),
        ]);
    }
    page
}
