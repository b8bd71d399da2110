//! Heads for pairs of proteins: trained on one table of pairs, chosen on another, with nothing of what is held out.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use protext_core::card::CardData;
use protext_core::{HeadCard, HeadTask};
use protext_engine::eval::{Resampling, auprc, binary, read_labelled};
use protext_engine::heads::{InteractionOptions, InteractionTable};
use protext_engine::ppi::TrainingProteins;
use protext_registry::Cache;
use protext_registry::cache::sha256_of;
use protext_train::heads::{
    PairExamples, PairModel, PairSettings, fit_isotonic, fit_temperature, train_pairs,
};

use super::pair_folds::held_out_scores;
use super::{Args, CalibrationArg, output, with_bar};
use crate::commands::feature_rows::{Content, FeatureSources};
use crate::commands::pair_rows::find_sequences;
use crate::commands::ppi_model::{PAIR_GRAPH, TRAINING_PROTEINS, parsed, tell_left_out};
use crate::fault::UsageError;
use crate::wiring;

/// What only pairs have.
#[derive(Debug, Clone, Default, clap::Args)]
pub(super) struct PairArgs {
    /// Of pairs: table to choose epochs and calibration by, where --data has no split column.
    #[arg(long, value_name = "FILE")]
    valid: Option<PathBuf>,
    /// Of pairs: tables that are kept for testing. Training pairs with a protein of theirs, or a relative of one, are left out.
    #[arg(long, value_name = "FILE", num_args = 1..)]
    hold_out: Vec<PathBuf>,
    /// Of pairs: width of a member's code.
    #[arg(long)]
    code_dim: Option<usize>,
    /// Of pairs: width of the hidden block over two codes.
    #[arg(long)]
    pair_dim: Option<usize>,
    /// Of pairs: what is kept of the weights' running mean in each step.
    #[arg(long)]
    averaging: Option<f64>,
    /// Of pairs: folds of training proteins, whole clusters, whose pairs probabilities are fitted to beside the validation pairs,
    /// with as much weight in all; each is scored by a head that was trained without it. 0 for none.
    #[arg(long, value_name = "N", default_value_t = 0)]
    calibration_folds: usize,
}

/// A table and the pairs of it that count.
struct Part {
    path: PathBuf,
    table: InteractionTable,
    places: Vec<usize>,
}

impl Part {
    fn pairs(&self) -> Vec<(u32, u32)> {
        let pair = |&place: &usize| {
            let pair = &self.table.pairs[place];
            (pair.a as u32, pair.b as u32)
        };
        self.places.iter().map(pair).collect()
    }

    fn ids(&self) -> HashSet<&str> {
        let members = self.places.iter().flat_map(|&place| {
            let pair = &self.table.pairs[place];
            [pair.a, pair.b]
        });
        members.map(|member| self.table.proteins[member].0.as_str()).collect()
    }
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    if args.pair.calibration_folds == 1 {
        let said = "--calibration-folds 1 leaves nothing to train on; take 2 or more, or 0 for none";
        return Err(UsageError(said.to_owned()).into());
    }
    let (mut training, validation) = parts(args)?;
    let clusters = clusters(args)?;
    let n_left_out = leave_relatives_out(args, &clusters, &mut training, &validation)?;
    let labels = training.table.labels(&training.path, &training.places, " to train on")?;
    let truth = validation.table.labels(&validation.path, &validation.places, " to validate on")?;
    let registry = wiring::registry()?;
    let runtime = wiring::load_runtime(registry.cache(), args.features.model.device)?;
    let sources = FeatureSources::open(&args.features, &runtime)?;
    let proteins = [parsed(&training.table.proteins)?, parsed(&validation.table.proteins)?];
    let rows_of = |proteins: &[(String, String)]| {
        let contents = proteins.iter().map(|(id, sequence)| Content { id, sequence, text: "" });
        sources.rows(&contents.collect::<Vec<_>>())
    };
    let (rows, held_out) = (rows_of(&proteins[0])?, rows_of(&proteins[1])?);
    let (pairs, held_pairs) = (training.pairs(), validation.pairs());
    let settings = settings(args);
    let score = |scores: &[f32]| auprc(&scores.iter().map(|s| f64::from(*s)).collect::<Vec<_>>(), &truth);
    let examples = PairExamples { rows: rows.view(), pairs: &pairs, labels: &labels };
    let held_examples = PairExamples { rows: held_out.view(), pairs: &held_pairs, labels: &truth };
    let model = with_bar(|on_epoch| train_pairs(examples, held_examples, &score, &settings, on_epoch))?;
    let scores = model.scores(&model.codes(&held_out.view())?.view(), &held_pairs)?;
    let groups: Vec<&str> =
        training.table.proteins.iter().map(|(id, sequence)| group(&clusters, id, sequence)).collect();
    let n_folds = if args.calibration == CalibrationArg::None { 0 } else { args.pair.calibration_folds };
    let (others, others_truth) =
        held_out_scores(examples, held_examples, &groups, n_folds, &score, &settings)?;
    let fitted_to = fitted_to(n_folds, others.len(), scores.len());
    let calibration = match args.calibration {
        CalibrationArg::Temperature if others.is_empty() => Some(fit_temperature(&[(&scores, &truth)])),
        CalibrationArg::Temperature => Some(fit_temperature(&[(&scores, &truth), (&others, &others_truth)])),
        CalibrationArg::Isotonic => {
            Some(fit_isotonic(&[&scores[..], &others].concat(), &[&truth[..], &others_truth].concat()))
        }
        CalibrationArg::None => None,
    };
    let probability = |score: &f32| match &calibration {
        Some(known) => known.probability(*score),
        None => 1.0 / (1.0 + (-f64::from(*score)).exp()),
    };
    let probabilities: Vec<f64> = scores.iter().map(probability).collect();
    let members: Vec<(usize, usize)> = held_pairs.iter().map(|&(a, b)| (a as usize, b as usize)).collect();
    let found = binary(&probabilities, &truth, Resampling::Members(&members));
    write_files(args, &model, &training, (&proteins[0], &model.codes(&rows.view())?))?;
    let mut notes = vec![format!(
        "{TRAINING_PROTEINS}: every training protein by id, the first 8 bytes of its sequence's sha256 and its code at unit length, \
         a byte a component"
    )];
    notes.extend(calibration.is_some().then_some(fitted_to));
    let card = HeadCard {
        id: output::name(args.id.as_deref(), &args.output),
        task: HeadTask::Pair,
        method: format!(
            "standardised rows to codes; product, absolute difference and sum of two codes to a score; {}",
            serde_json::json!(settings)
        ),
        measured_by: "protext train head --task pair".to_owned(),
        features: sources.cards(),
        outputs: vec!["interaction".to_owned()],
        files: BTreeMap::new(),
        data: data(&training, &args.split.split, rule(args, n_left_out))?,
        validation: Some(data(&validation, &args.split.validate, "chosen on, never trained on".to_owned())?),
        calibration,
        metrics: output::binary_figures(&args.split.validate, &found),
        notes,
    };
    let card = output::write_card(&args.output, card, &["head.onnx", PAIR_GRAPH, TRAINING_PROTEINS])?;
    output::print(&card);
    Ok(ExitCode::SUCCESS)
}

/// The two parts: two tables, or two splits of one.
fn parts(args: &Args) -> anyhow::Result<(Part, Part)> {
    let read = |path: &Path| {
        let sequences = if args.sequences.is_empty() { find_sequences(path) } else { args.sequences.clone() };
        let options = InteractionOptions { columns: None, sequences, labelled: true, strict: false };
        let table = InteractionTable::read(path, &options)?;
        tell_left_out(path, &table);
        Ok::<_, anyhow::Error>(table)
    };
    let table = read(&args.data)?;
    let has_split = table.pairs.iter().any(|pair| pair.split.is_some());
    let part = |path: &Path, table: InteractionTable, split: &str| {
        let places = table.in_split(path, split)?;
        Ok::<_, anyhow::Error>(Part { path: path.to_owned(), table, places })
    };
    let validation = match &args.pair.valid {
        Some(path) => part(path, read(path)?, &args.split.validate)?,
        None if has_split => part(&args.data, table.clone(), &args.split.validate)?,
        None => {
            let said = format!(
                "{}: has no column split; give the pairs to choose by in a table of their own (--valid FILE)",
                args.data.display()
            );
            return Err(UsageError(said).into());
        }
    };
    Ok((part(&args.data, table, &args.split.split)?, validation))
}

/// Refuses a protein in both parts; leaves training pairs with relatives of validation or held-out proteins out, and says how
/// many.
fn leave_relatives_out(
    args: &Args,
    clusters: &HashMap<String, String>,
    training: &mut Part,
    validation: &Part,
) -> anyhow::Result<usize> {
    let shared = training.ids().intersection(&validation.ids()).map(|id| (*id).to_owned()).min();
    if let Some(shared) = shared {
        let said = format!(
            "{shared} is in pairs to train on and in pairs to validate on; a protein belongs on one side, or figures tell only \
             how well proteins are known by heart"
        );
        return Err(UsageError(said).into());
    }
    let mut held: HashSet<String> = HashSet::new();
    let mut hold = |id: &str, sequence: Option<&str>| {
        held.insert(format!("id {id}"));
        held.extend(clusters.get(id).map(|cluster| format!("cluster {cluster}")));
        held.extend(sequence.map(|sequence| format!("sequence {sequence}")));
    };
    for id in validation.ids() {
        let sequence = validation.table.proteins.iter().find(|(known, _)| known == id);
        hold(id, sequence.map(|(_, sequence)| sequence.as_str()));
    }
    for path in &args.pair.hold_out {
        let sequences = if args.sequences.is_empty() { find_sequences(path) } else { args.sequences.clone() };
        let options = InteractionOptions { columns: None, sequences, labelled: false, strict: false };
        let table = InteractionTable::read(path, &options)?;
        table.proteins.iter().for_each(|(id, sequence)| hold(id, Some(sequence)));
        table.without_sequence.iter().for_each(|id| hold(id, None));
    }
    let is_held: Vec<bool> = training
        .table
        .proteins
        .iter()
        .map(|(id, sequence)| {
            let cluster = clusters.get(id).map(|cluster| format!("cluster {cluster}"));
            let keys = [Some(format!("id {id}")), cluster, Some(format!("sequence {sequence}"))];
            keys.into_iter().flatten().any(|key| held.contains(&key))
        })
        .collect();
    let n_before = training.places.len();
    let pairs = &training.table.pairs;
    training.places.retain(|&place| !is_held[pairs[place].a] && !is_held[pairs[place].b]);
    let n_left_out = n_before - training.places.len();
    if n_left_out > 0 {
        eprintln!(
            "{}: {n_left_out} training pairs are left out as relatives of proteins of other parts",
            training.path.display()
        );
    }
    if training.places.is_empty() {
        let said = "no pair is left to train on: all have relatives in what is validated on or held out";
        return Err(UsageError(said.to_owned()).into());
    }
    Ok(n_left_out)
}

/// The group or cluster30 of proteins, from the tables of sequences that have such a column.
fn clusters(args: &Args) -> anyhow::Result<HashMap<String, String>> {
    let sequences =
        if args.sequences.is_empty() { find_sequences(&args.data) } else { args.sequences.clone() };
    let mut clusters = HashMap::new();
    for path in sequences {
        // FASTA files and tables without such a column tell no relatives; equal sequences are told anyway.
        let Ok(labelled) = read_labelled(&path) else { continue };
        for protein in labelled {
            if let Some(label) = protein.labels.into_iter().flatten().next() {
                clusters.insert(protein.accession, label);
            }
        }
    }
    Ok(clusters)
}

/// What relatives have in common: their cluster, or else their sequence.
fn group<'a>(clusters: &'a HashMap<String, String>, id: &str, sequence: &'a str) -> &'a str {
    clusters.get(id).map_or(sequence, String::as_str)
}

/// What probabilities were fitted to, in words.
fn fitted_to(n_folds: usize, n_held_out: usize, n_validation: usize) -> String {
    match n_folds {
        0 => format!("probabilities are fitted to {n_validation} validation pairs"),
        _ => format!(
            "probabilities are fitted to {n_validation} validation pairs and to {n_held_out} pairs of training proteins, those of each \
             of {n_folds} folds scored by a head that was trained without its proteins; a temperature is fitted to both alike"
        ),
    }
}

fn settings(args: &Args) -> PairSettings {
    let (default, mlp, pair) = (PairSettings::default(), &args.mlp, &args.pair);
    PairSettings {
        hidden_dim: mlp.hidden_dim.unwrap_or(default.hidden_dim),
        code_dim: pair.code_dim.unwrap_or(default.code_dim),
        pair_dim: pair.pair_dim.unwrap_or(default.pair_dim),
        dropout: mlp.dropout.unwrap_or(default.dropout),
        input_dropout: mlp.input_dropout.unwrap_or(default.input_dropout),
        batch_size: mlp.batch_size.unwrap_or(default.batch_size),
        learning_rate: mlp.learning_rate.unwrap_or(default.learning_rate),
        weight_decay: mlp.weight_decay.unwrap_or(default.weight_decay),
        n_epochs: mlp.epochs.unwrap_or(default.n_epochs),
        patience: mlp.patience.unwrap_or(default.patience),
        averaging: pair.averaging.unwrap_or(default.averaging),
        n_members: mlp.members.unwrap_or(default.n_members),
        seed: mlp.seed,
    }
}

/// Both graphs, and the proteins that were trained on.
fn write_files(
    args: &Args,
    model: &PairModel,
    training: &Part,
    (proteins, codes): (&[(String, String)], &ndarray::Array2<f32>),
) -> anyhow::Result<()> {
    output::make_folder(&args.output)?;
    model.write_tower(&args.output.join("head.onnx"))?;
    model.write_pair(&args.output.join(PAIR_GRAPH))?;
    let trained_on = training.ids();
    let codes: Vec<Vec<f32>> = codes.rows().into_iter().map(|row| row.to_vec()).collect();
    let each = proteins.iter().zip(&codes).filter(|((id, _), _)| trained_on.contains(id.as_str()));
    let each = each.map(|((id, sequence), code)| (id.as_str(), sequence.as_str(), code.as_slice()));
    let made = TrainingProteins::new(model.code_dim(), each)?;
    Ok(Cache::put(&args.output.join(TRAINING_PROTEINS), &made.to_bytes())?)
}

fn rule(args: &Args, n_left_out: usize) -> String {
    let name = |path: &PathBuf| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let held: Vec<String> = args.pair.hold_out.iter().map(name).collect();
    let held = if held.is_empty() { String::new() } else { format!(" or of {}", held.join(", ")) };
    format!(
        "no protein is in both parts, checked before training; {n_left_out} pairs left out as relatives (same sequence or cluster) of \
         validation proteins{held}"
    )
}

fn data(part: &Part, split: &str, split_rule: String) -> anyhow::Result<CardData> {
    Ok(CardData {
        source: part.path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        split: split.to_owned(),
        split_rule,
        n_rows: part.places.len(),
        sha256: sha256_of(&part.path)?,
    })
}
