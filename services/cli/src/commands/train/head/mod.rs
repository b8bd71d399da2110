//! `protext train head`: a predictor on vectors, written as ONNX with a card. One file a task.

mod output;
mod pair_folds;
mod pairs;
mod parts;
mod perturbation;
mod records;
mod residues;
mod targets;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::ValueEnum;
use protext_train::heads::{HeadEpoch, HeadTrainError, MlpSettings, Spec};

use crate::commands::feature_rows::FeatureArgs;
use crate::fault::UsageError;
use crate::{interrupt, progress};

#[derive(clap::Args)]
#[command(after_help = "Examples:\n  \
    protext train head --task classify --data localisation.tsv --label compartment -o my-head\n  \
    protext train head --task regress --data stability.csv --label melting_point,log_yield --features statistics,joint -o my-head\n  \
    protext train head --task classify --data genes.tsv --label essential --features text --folds 5 -o my-head\n  \
    protext train head --task perturbation --data perturb_seq.h5ad --condition perturbation --control control -o my-head\n  \
    protext train head --task residue --data structure.jsonl --label dssp -o my-head\n  \
    protext train head --task pair --data train.tsv --valid valid.tsv --hold-out test.tsv --features statistics,joint -o my-head\n\n\
    The table has an id, the label columns, a sequence or text (or --sequences, --rows), and perhaps split, group or cluster30. \
    Without a split one is made by group.")]
pub(crate) struct Args {
    /// What is predicted.
    #[arg(long, value_enum)]
    task: Task,
    /// Labelled table: TSV, CSV, JSON lines or Parquet, plain or gzip.
    #[arg(long, value_name = "FILE")]
    data: PathBuf,
    /// Column of the label; of numbers several, separated by commas. Of residues a string with one letter a residue, where
    /// a dash or a dot stands for no label.
    #[arg(long, value_delimiter = ',', default_value = "label")]
    label: Vec<String>,
    /// Column of the text, where it is not text.
    #[arg(long, value_name = "COLUMN")]
    text_column: Option<String>,
    /// FASTA or tables with id and sequence, for rows without a sequence.
    #[arg(long, value_name = "FILE", num_args = 1..)]
    sequences: Vec<PathBuf>,
    #[command(flatten)]
    features: FeatureArgs,
    #[command(flatten)]
    split: parts::SplitArgs,
    /// How the head is fitted; auto tries all that fit the task and keeps the best on validation rows. Of perturbations it takes
    /// the mean of ridge regression and an MLP.
    #[arg(long, value_enum, default_value_t = Method::Auto)]
    method: Method,
    /// Count all classes alike, however many rows each has.
    #[arg(long)]
    balance: bool,
    /// How scores become probabilities.
    #[arg(long, value_enum, default_value_t = CalibrationArg::Temperature)]
    calibration: CalibrationArg,
    #[command(flatten)]
    mlp: MlpArgs,
    #[command(flatten)]
    genes: crate::commands::gene_heads::GeneTableArgs,
    #[command(flatten)]
    matrix: perturbation::MatrixArgs,
    #[command(flatten)]
    pair: pairs::PairArgs,
    /// Name of the head; by default the folder's.
    #[arg(long)]
    id: Option<String>,
    /// Folder for head.onnx, card.toml and, if a split was made, split.tsv.
    #[arg(short, long, value_name = "FOLDER")]
    output: PathBuf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Task {
    /// Whether two proteins interact.
    Pair,
    /// One of several classes.
    Classify,
    /// One or several numbers.
    Regress,
    /// A class for each residue.
    Residue,
    /// What perturbing a gene changes: ranked responses, screens, pairs of genes, or a matrix of conditions and genes.
    Perturbation,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Method {
    Auto,
    Ridge,
    Logistic,
    Mlp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum CalibrationArg {
    /// One factor for all scores.
    Temperature,
    /// A rising curve; of two classes only.
    Isotonic,
    /// None: no probabilities.
    None,
}

/// Settings of MLPs; what is not given keeps its default, and auto varies it.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct MlpArgs {
    /// Width of the hidden blocks.
    #[arg(long)]
    hidden_dim: Option<usize>,
    /// Hidden blocks.
    #[arg(long)]
    n_hidden: Option<usize>,
    /// Share of hidden values dropped in training.
    #[arg(long)]
    dropout: Option<f32>,
    /// Share of inputs dropped in training.
    #[arg(long)]
    input_dropout: Option<f32>,
    /// Rows in a batch.
    #[arg(long)]
    batch_size: Option<usize>,
    /// Highest learning rate.
    #[arg(long)]
    learning_rate: Option<f64>,
    /// Decay of matrices.
    #[arg(long)]
    weight_decay: Option<f64>,
    /// Epochs at most.
    #[arg(long)]
    epochs: Option<usize>,
    /// Epochs without a better validation score after which training stops.
    #[arg(long)]
    patience: Option<usize>,
    /// Members of the ensemble.
    #[arg(long)]
    members: Option<usize>,
    /// Penalty of ridge or logistic regression; several are tried, separated by commas.
    #[arg(long, value_delimiter = ',')]
    penalty: Vec<f64>,
    /// Seed of every draw.
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

/// Penalties that are tried unless one is given, in units of rows.
const PENALTIES: [f64; 7] = [1.0, 10.0, 100.0, 300.0, 1_000.0, 3_000.0, 10_000.0];

impl MlpArgs {
    pub(crate) fn settings(&self, default: MlpSettings) -> MlpSettings {
        MlpSettings {
            hidden_dim: self.hidden_dim.unwrap_or(default.hidden_dim),
            n_hidden: self.n_hidden.unwrap_or(default.n_hidden),
            dropout: self.dropout.unwrap_or(default.dropout),
            input_dropout: self.input_dropout.unwrap_or(default.input_dropout),
            batch_size: self.batch_size.unwrap_or(default.batch_size),
            learning_rate: self.learning_rate.unwrap_or(default.learning_rate),
            weight_decay: self.weight_decay.unwrap_or(default.weight_decay),
            n_epochs: self.epochs.unwrap_or(default.n_epochs),
            patience: self.patience.unwrap_or(default.patience),
            n_members: self.members.unwrap_or(default.n_members),
            seed: self.seed,
        }
    }

    /// What is tried: one head, or several of which the best on validation rows is kept.
    pub(crate) fn specs(&self, method: Method, is_regression: bool) -> Vec<Spec> {
        let penalties = if self.penalty.is_empty() { PENALTIES.to_vec() } else { self.penalty.clone() };
        let ridge = penalties.iter().map(|&penalty| Spec::Ridge { penalty });
        let logistic = penalties.iter().map(|&penalty| Spec::Logistic { penalty });
        let mlp = Spec::Mlp(self.settings(MlpSettings::default()));
        match method {
            Method::Ridge => ridge.collect(),
            Method::Logistic => logistic.collect(),
            Method::Mlp => vec![mlp],
            Method::Auto if is_regression => ridge.chain([mlp]).collect(),
            Method::Auto => logistic.chain([mlp]).collect(),
        }
    }
}

pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    if args.method == Method::Logistic && args.task == Task::Regress {
        let said = "--method logistic is for classes; take ridge or mlp for numbers";
        return Err(UsageError(said.to_owned()).into());
    }
    if args.label.len() > 1 && args.task != Task::Regress {
        let said = "several labels are for --task regress; name one column by --label";
        return Err(UsageError(said.to_owned()).into());
    }
    match args.task {
        Task::Classify | Task::Regress => records::run(&args),
        Task::Residue => residues::run(&args),
        Task::Perturbation => perturbation::run(&args),
        Task::Pair => pairs::run(&args),
    }
}

/// Runs a training with a bar of epochs; an interrupt ends it after the epoch under way.
pub(crate) fn with_bar<T, E>(
    train: impl FnOnce(&mut dyn FnMut(&HeadEpoch) -> bool) -> Result<T, E>,
) -> anyhow::Result<T>
where
    anyhow::Error: From<E>,
{
    let stop = interrupt::flag()?;
    let bar = progress::rows("training, epochs");
    let trained = train(&mut |epoch: &HeadEpoch| {
        bar.inc(1);
        bar.set_message(format!(
            "training member {}: loss {:.4}, validation score {:.4}, epochs",
            epoch.member, epoch.loss, epoch.score
        ));
        tracing::info!(
            member = epoch.member,
            epoch = epoch.number,
            loss = epoch.loss,
            score = epoch.score,
            "epoch"
        );
        !stop.load(std::sync::atomic::Ordering::Relaxed)
    });
    bar.finish_and_clear();
    let error = match trained {
        Ok(trained) => return Ok(trained),
        Err(error) => anyhow::Error::from(error),
    };
    match error.chain().find_map(|cause| cause.downcast_ref::<HeadTrainError>()) {
        Some(HeadTrainError::Stopped { .. }) => Err(interrupt::Interrupted.into()),
        None | Some(HeadTrainError::Tensor(_) | HeadTrainError::Write { .. }) => Err(error),
        Some(_) => Err(UsageError(format!("{error:#}")).into()),
    }
}
