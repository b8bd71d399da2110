//! `protext train projection`: two towers into one joint space, from pairs of protein and text.
//!
//! Pairs stay on their side of the split by group: a group that stands in two parts ends the run before it starts.
//! Rows come from the cache, a killed run goes on from its checkpoint, and the same seed gives the same files.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::Ordering;

use anyhow::Context as _;
use protext_core::RowKind;
use protext_core::card::{Calibration, CardData, JointCard, TowerCard};
use protext_engine::Embedder;
use protext_engine::eval::{PairTable, Retrieval, TextPair, retrieval};
use protext_registry::Cache;
use protext_registry::cache::sha256_of;
use protext_train::contrastive::{
    Checkpoint, ContrastiveSettings, Epoch, Pairs, TrainError, Trained, fit_inverse_temperature, ranks, train,
};

use super::report;
use crate::commands::pair_rows::{
    PairArgs, SentenceRows, TEXT_RECIPE, protein_row_kind, protein_rows, sentence_rows,
};
use crate::fault::UsageError;
use crate::{interrupt, progress};

#[derive(clap::Args)]
#[command(after_help = "Examples:\n  \
    protext train projection --data protein_text.tsv.gz -o my-towers\n  \
    protext train projection --data pairs.tsv --sequences proteins.tsv -o my-towers --shared-dim 256 --seed 1\n  \
    protext eval retrieval --data protein_text.tsv.gz --split test --towers my-towers")]
pub(crate) struct Args {
    #[command(flatten)]
    pairs: PairArgs,
    /// Part to train on.
    #[arg(long, default_value = "train")]
    split: String,
    /// Part to choose the epoch by; never the test part.
    #[arg(long, default_value = "valid")]
    validate: String,
    /// Name of the joint space; by default the folder's.
    #[arg(long)]
    id: Option<String>,
    /// Folder for protein.onnx, text.onnx, card.toml and report.html.
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
    /// Pairs of towers; their vectors are joined.
    #[arg(long)]
    members: Option<usize>,
    /// Components of the whitened protein rows.
    #[arg(long)]
    protein_components: Option<usize>,
    /// Epochs at most.
    #[arg(long)]
    epochs: Option<usize>,
    /// Epochs without a better validation MRR after which training stops.
    #[arg(long)]
    patience: Option<usize>,
    /// Seed of every draw.
    #[arg(long)]
    seed: Option<u64>,
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
            n_members: self.members.unwrap_or(default.n_members),
            protein_components: self.protein_components.unwrap_or(default.protein_components),
            n_epochs: self.epochs.unwrap_or(default.n_epochs),
            patience: self.patience.unwrap_or(default.patience),
            seed: self.seed.unwrap_or(default.seed),
            ..default
        }
    }
}

pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let table = args.pairs.read()?;
    let training = table.in_split(&args.pairs.data, &args.split)?;
    let validation = table.in_split(&args.pairs.data, &args.validate)?;
    check_groups(&table, &training, &validation)?;
    // Several right answers would make the choice of an epoch a matter of luck.
    let validation: Vec<usize> =
        validation.into_iter().filter(|&row| table.pairs[row].n_same_text == 1).collect();
    let settings = args.settings.settings();
    let (protein, text) = (args.pairs.protein_embedder()?, args.pairs.text_embedder()?);
    let all: Vec<&TextPair> = training.iter().chain(&validation).map(|&row| &table.pairs[row]).collect();
    let SentenceRows { sentences, texts } = sentence_rows(&text, &all)?;
    let pairs = Pairs {
        proteins: protein_rows(&protein, &all)?,
        sentences,
        texts,
        protein_keys: keys(all.iter().map(|pair| pair.sequence.as_str())),
        text_keys: keys(all.iter().map(|pair| pair.text.as_str())),
    };
    let (first, second) = (0..training.len(), training.len()..all.len());
    let (train_on, choose_by) =
        (pairs.select(&first.collect::<Vec<_>>()), pairs.select(&second.clone().collect::<Vec<_>>()));
    let trained = train_resumable(&args, &train_on, &choose_by, &settings)?;
    let groups: Vec<&str> = all[second].iter().map(|pair| pair.group.as_str()).collect();
    let measured = measure(&trained, &choose_by, &groups)?;
    let card = write(&args, &settings, &trained, [&protein, &text], training.len(), &measured)?;
    report::write(&args.output, &card, &trained.epochs)?;
    println!("{}: {} pairs, {} epochs", card.space(), training.len(), trained.epochs.len());
    card.metrics.iter().for_each(|(name, value)| println!("{name:<40} {value:.3}"));
    Ok(ExitCode::SUCCESS)
}

/// Relatives on both sides of the split would make every figure too good.
fn check_groups(table: &PairTable, training: &[usize], validation: &[usize]) -> anyhow::Result<()> {
    let group = |&row: &usize| table.pairs[row].group.as_str();
    let known: HashMap<&str, usize> = training.iter().map(|row| (group(row), *row)).collect();
    match validation.iter().find_map(|row| Some((row, known.get(group(row))?))) {
        None => Ok(()),
        Some((row, other)) => Err(UsageError(format!(
            "{} and {} are of one group ({}), but one is trained on and one validates; keep groups on one side",
            table.pairs[*row].accession,
            table.pairs[*other].accession,
            group(row)
        ))
        .into()),
    }
}

/// Equal numbers for equal strings.
fn keys<'a>(values: impl Iterator<Item = &'a str>) -> Vec<u32> {
    let mut numbers = HashMap::new();
    values
        .map(|value| {
            let next = u32::try_from(numbers.len()).unwrap_or(u32::MAX);
            *numbers.entry(value).or_insert(next)
        })
        .collect()
}

fn train_resumable(
    args: &Args,
    training: &Pairs,
    validation: &Pairs,
    settings: &ContrastiveSettings,
) -> anyhow::Result<Trained> {
    std::fs::create_dir_all(&args.output)
        .with_context(|| format!("cannot create {}", args.output.display()))?;
    let checkpoint =
        Checkpoint { path: args.output.join("run.checkpoint"), data: sha256_of(&args.pairs.data)? };
    let stop = interrupt::flag()?;
    let n_epochs = settings.n_epochs * settings.n_members;
    let bar = progress::count(n_epochs as u64, "training");
    let trained = train(training, None, validation, settings, Some(&checkpoint), &mut |epoch: &Epoch| {
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
        Ok(trained) => {
            checkpoint.remove(settings.n_members)?;
            Ok(trained)
        }
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

fn write(
    args: &Args,
    settings: &ContrastiveSettings,
    trained: &Trained,
    embedders: [&Embedder; 2],
    n_rows: usize,
    (measured, calibration): &(Retrieval, Calibration),
) -> anyhow::Result<JointCard> {
    let [protein, text] = embedders;
    let files = [args.output.join("protein.onnx"), args.output.join("text.onnx")];
    trained.protein.write(&files[0])?;
    trained.text.write(&files[1])?;
    let tower = |embedder: &Embedder, row_kind: RowKind, file: &Path| -> anyhow::Result<TowerCard> {
        let input_space =
            embedder.encoder().space(row_kind).cloned().context("the rows that were trained on")?;
        Ok(TowerCard {
            encoder: embedder.encoder().id().to_owned(),
            row_kind,
            sha256: sha256_of(file)?,
            input_space,
        })
    };
    let folder_name = args.output.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let card = JointCard {
        id: args.id.clone().unwrap_or(folder_name),
        dim: trained.protein.dim(),
        method: describe(settings),
        text_recipe: TEXT_RECIPE.to_owned(),
        measured_by: "protext train projection".to_owned(),
        protein: tower(protein, protein_row_kind(protein), &files[0])?,
        text: tower(text, RowKind::Pooled, &files[1])?,
        data: CardData {
            source: args.pairs.data.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            split: args.split.clone(),
            split_rule: "by group: no group is in two parts, checked before training".to_owned(),
            n_rows,
            sha256: sha256_of(&args.pairs.data)?,
        },
        calibration: Some(*calibration),
        metrics: metrics(&args.validate, measured),
    };
    Cache::put(&args.output.join("card.toml"), toml::to_string(&card)?.as_bytes())?;
    Ok(card)
}

fn describe(settings: &ContrastiveSettings) -> String {
    format!("two towers, symmetric InfoNCE with several positives; {}", serde_json::json!(settings))
}

fn metrics(part: &str, measured: &Retrieval) -> BTreeMap<String, f64> {
    let sides =
        [("protein_to_text", &measured.protein_to_text), ("text_to_protein", &measured.text_to_protein)];
    let of = |(side, found): (&str, &protext_engine::eval::RetrievalMetrics)| {
        [
            (format!("{part}_{side}_recall_at_1"), found.recall_at_1),
            (format!("{part}_{side}_recall_at_10"), found.recall_at_10),
            (format!("{part}_{side}_mrr"), found.mrr),
        ]
    };
    sides.into_iter().flat_map(of).collect()
}
