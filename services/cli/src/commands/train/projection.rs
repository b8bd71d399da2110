//! `protext train projection`: two towers into one joint space, from pairs of protein and text.
//!
//! Pairs stay on their side of the split by group ([`Plan`]). Rows come from encoders through the cache, or from files of
//! embeddings; a killed run goes on from its checkpoint, and the same seed gives the same files.

use std::collections::HashMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::Ordering;

use anyhow::Context as _;
use protext_core::card::Calibration;
use protext_core::{Fingerprint, RowKind};
use protext_engine::eval::{Retrieval, TextPair, retrieval};
use protext_train::contrastive::{
    Checkpoint, ContrastiveSettings, Epoch, Pairs, Parts, TrainError, Trained, TrainingDevice,
    fit_inverse_temperature, ranks, train,
};

use super::joint_card::{self, Origin};
use super::pair_split::{Plan, SplitArgs};
use super::report;
use crate::commands::pair_rows::{PairArgs, sequence_or_accession};
use crate::commands::row_source::{RowSource, SentenceRows};
use crate::fault::UsageError;
use crate::{interrupt, progress};

#[derive(clap::Args)]
#[command(after_help = "Examples:\n  \
    protext train projection --data protein_text.tsv.gz -o my-towers\n  \
    protext train projection --data pairs.tsv --sequences proteins.fasta.gz -o my-towers --shared-dim 256 --seed 1\n  \
    protext train projection --data pairs.csv --split-shares 0.9,0.05,0.05 --cluster minhash -o my-towers\n  \
    protext train projection --data pairs.tsv --protein-rows proteins.h5 --text-rows texts.parquet \
    --protein-space esm2-650M-mean -o my-towers\n  \
    protext train projection --data protein_text.tsv.gz --extra enzymes.tsv --hold-out human_swissprot.tsv.gz -o my-towers\n  \
    protext eval retrieval --data protein_text.tsv.gz --split test --towers my-towers")]
pub(crate) struct Args {
    #[command(flatten)]
    pairs: PairArgs,
    #[command(flatten)]
    split: SplitArgs,
    /// Name of the joint space; by default the folder's.
    #[arg(long)]
    id: Option<String>,
    /// Folder for protein.onnx, text.onnx, card.toml, report.html and, if a split was made, split.tsv.
    #[arg(short, long, value_name = "FOLDER")]
    output: PathBuf,
    #[command(flatten)]
    settings: SettingArgs,
}

/// Settings of the towers; what is not given keeps its default.
#[derive(clap::Args)]
struct SettingArgs {
    /// Width of the joint space.
    #[arg(long)]
    shared_dim: Option<usize>,
    /// Width of the hidden blocks.
    #[arg(long)]
    hidden_dim: Option<usize>,
    /// Hidden blocks of each tower.
    #[arg(long)]
    n_hidden: Option<usize>,
    /// Share of hidden values dropped in training.
    #[arg(long)]
    dropout: Option<f32>,
    /// Pairs in a batch.
    #[arg(long)]
    batch_size: Option<usize>,
    /// Highest learning rate.
    #[arg(long)]
    learning_rate: Option<f64>,
    /// Decay of matrices.
    #[arg(long)]
    weight_decay: Option<f64>,
    /// Share of a text's sentences left out in each epoch.
    #[arg(long)]
    sentence_dropout: Option<f32>,
    /// Deviation of the noise added to whitened rows.
    #[arg(long)]
    noise: Option<f32>,
    /// Batches of --extra pairs for each batch of --data.
    #[arg(long)]
    extra_share: Option<f64>,
    /// Nearest training vectors by which hubs are told and corrected; 0 corrects none.
    #[arg(long)]
    hub_neighbours: Option<usize>,
    /// Pairs of towers; their vectors are joined.
    #[arg(long)]
    members: Option<usize>,
    /// Components of the whitened protein rows.
    #[arg(long)]
    protein_components: Option<usize>,
    /// Components of the words of a text that are read beside the encoder's row; 0 reads none.
    #[arg(long)]
    word_components: Option<usize>,
    /// Epochs at most.
    #[arg(long)]
    epochs: Option<usize>,
    /// Epochs without a better validation MRR after which training stops.
    #[arg(long)]
    patience: Option<usize>,
    /// Seed of every draw.
    #[arg(long)]
    seed: Option<u64>,
    /// Where the towers are trained; cuda needs an NVIDIA GPU and a build with the feature of that name.
    #[arg(long, value_enum, default_value = "cpu")]
    train_on: TrainOn,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum TrainOn {
    Cpu,
    Cuda,
}

impl SettingArgs {
    fn settings(&self) -> ContrastiveSettings {
        let default = ContrastiveSettings::default();
        ContrastiveSettings {
            shared_dim: self.shared_dim.unwrap_or(default.shared_dim),
            hidden_dim: self.hidden_dim.unwrap_or(default.hidden_dim),
            n_hidden: self.n_hidden.unwrap_or(default.n_hidden),
            dropout: self.dropout.unwrap_or(default.dropout),
            batch_size: self.batch_size.unwrap_or(default.batch_size),
            learning_rate: self.learning_rate.unwrap_or(default.learning_rate),
            weight_decay: self.weight_decay.unwrap_or(default.weight_decay),
            sentence_dropout: self.sentence_dropout.unwrap_or(default.sentence_dropout),
            noise: self.noise.unwrap_or(default.noise),
            extra_share: self.extra_share.unwrap_or(default.extra_share),
            hub_neighbours: self.hub_neighbours.unwrap_or(default.hub_neighbours),
            n_members: self.members.unwrap_or(default.n_members),
            protein_components: self.protein_components.unwrap_or(default.protein_components),
            word_components: self.word_components.unwrap_or(default.word_components),
            n_epochs: self.epochs.unwrap_or(default.n_epochs),
            patience: self.patience.unwrap_or(default.patience),
            seed: self.seed.unwrap_or(default.seed),
            device: match self.train_on {
                TrainOn::Cpu => TrainingDevice::Cpu,
                TrainOn::Cuda => TrainingDevice::Cuda,
            },
            ..default
        }
    }
}

pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let files = args.pairs.row_files()?;
    let plan = Plan::new(&args.split, &args.pairs, &files)?;
    let settings = args.settings.settings();
    let sources = args.pairs.row_sources(files)?;
    if settings.word_components > 0 && matches!(sources[1], RowSource::File(_)) {
        return Err(UsageError(
            "--word-components takes the words of texts, and --text-rows has rows alone".into(),
        )
        .into());
    }
    let kinds = [sources[0].default_kind(), settings.text_kind()];
    let mut numbers = Numbers::default();
    let training = pairs_of(&sources, &plan.training(), kinds, &mut numbers)?;
    let validation = pairs_of(&sources, &plan.validation(), kinds, &mut numbers)?;
    let extra: Vec<&TextPair> = plan.extra.iter().collect();
    let extra = if extra.is_empty() { None } else { Some(pairs_of(&sources, &extra, kinds, &mut numbers)?) };
    std::fs::create_dir_all(&args.output)
        .with_context(|| format!("cannot create {}", args.output.display()))?;
    let checkpoint =
        Checkpoint { path: args.output.join("run.checkpoint"), data: identity(&plan, &sources, kinds)? };
    let parts = Parts { training: &training, extra: extra.as_ref(), validation: &validation };
    let trained = train_resumable(&checkpoint, parts, &settings)?;
    let groups: Vec<&str> = plan.validation().iter().map(|pair| pair.group.as_str()).collect();
    let measured = measure(&trained, &validation, &groups)?;
    plan.write(&args.output)?;
    let origin = Origin {
        id: args.id,
        settings: &settings,
        sources: &sources,
        data: plan.data.clone(),
        extra: plan.extra_data.clone(),
        validate: &args.split.validate,
    };
    let card = joint_card::write(&args.output, &trained, &measured, origin)?;
    report::write(&args.output, &card, &trained.epochs)?;
    // Last, so that a run that is killed while it writes goes on from its end.
    checkpoint.remove(settings.n_members)?;
    println!("{}: {} pairs, {} epochs", card.space(), training.len(), trained.epochs.len());
    card.metrics.iter().for_each(|(name, value)| println!("{name:<40} {value:.3}"));
    Ok(ExitCode::SUCCESS)
}

/// Equal numbers for equal strings, over all lists of a run.
#[derive(Default)]
struct Numbers<'a> {
    proteins: HashMap<&'a str, u32>,
    texts: HashMap<&'a str, u32>,
}

fn number<'a>(numbers: &mut HashMap<&'a str, u32>, value: &'a str) -> u32 {
    let next = u32::try_from(numbers.len()).unwrap_or(u32::MAX);
    *numbers.entry(value).or_insert(next)
}

/// Rows and keys of pairs.
fn pairs_of<'a>(
    sources: &[RowSource; 2],
    pairs: &[&'a TextPair],
    [protein_kind, text_kind]: [RowKind; 2],
    numbers: &mut Numbers<'a>,
) -> anyhow::Result<Pairs> {
    let [protein, text] = sources;
    let proteins = protein.protein_rows(pairs, protein_kind)?;
    let SentenceRows { sentences, texts } = text.sentence_rows(pairs, text_kind)?;
    Ok(Pairs {
        proteins,
        sentences,
        texts,
        protein_keys: pairs
            .iter()
            .map(|pair| number(&mut numbers.proteins, sequence_or_accession(pair)))
            .collect(),
        text_keys: pairs.iter().map(|pair| number(&mut numbers.texts, &pair.text)).collect(),
    })
}

/// What a checkpoint belongs to: every pair of the run in its order, and the spaces and files of their rows.
fn identity(plan: &Plan, sources: &[RowSource; 2], kinds: [RowKind; 2]) -> anyhow::Result<String> {
    let mut parts = Vec::new();
    for (source, kind) in sources.iter().zip(kinds) {
        parts.push(source.space(kind)?.fingerprint.to_string());
        parts.push(source.card_rows().map(|rows| rows.sha256).unwrap_or_default());
    }
    for (name, pairs) in [
        ("training", plan.training()),
        ("validation", plan.validation()),
        ("extra", plan.extra.iter().collect()),
    ] {
        parts.push(name.to_owned());
        parts.extend(
            pairs.iter().flat_map(|pair| [&pair.accession, &pair.sequence, &pair.text].map(String::clone)),
        );
    }
    Ok(Fingerprint::of(parts).to_string())
}

fn train_resumable(
    checkpoint: &Checkpoint,
    parts: Parts<'_>,
    settings: &ContrastiveSettings,
) -> anyhow::Result<Trained> {
    let stop = interrupt::flag()?;
    let n_epochs = settings.n_epochs * settings.n_members;
    let bar = progress::count(n_epochs as u64, "training");
    let trained = train(parts, settings, Some(checkpoint), &mut |epoch: &Epoch| {
        bar.inc(1);
        bar.set_message(format!("loss {:.3}, validation MRR {:.3}", epoch.loss, epoch.validation_mrr));
        tracing::info!(epoch = epoch.number, loss = epoch.loss, mrr = epoch.validation_mrr, "epoch");
        !stop.load(Ordering::Relaxed)
    });
    bar.finish_and_clear();
    match trained {
        Err(TrainError::Stopped { epoch }) => {
            eprintln!("stopped after epoch {epoch}; the same command goes on from there");
            Err(interrupt::Interrupted.into())
        }
        Err(error) => Err(UsageError(format!("{:#}", anyhow::Error::from(error))).into()),
        Ok(trained) => Ok(trained),
    }
}

fn measure(trained: &Trained, pairs: &Pairs, groups: &[&str]) -> anyhow::Result<(Retrieval, Calibration)> {
    let (proteins, texts) =
        (trained.protein.apply(&pairs.proteins.view())?, trained.text.apply(&pairs.text_rows().view())?);
    let found = ranks(&proteins.view(), &texts.view());
    let inverse_temperature = fit_inverse_temperature(&proteins.view(), &texts.view());
    let calibration = Calibration { inverse_temperature, n_texts: texts.nrows() };
    Ok((retrieval(&found.by_protein, &found.by_text, groups), calibration))
}
