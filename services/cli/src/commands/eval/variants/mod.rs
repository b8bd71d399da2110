//! `protext eval variants`: do scores of mutants order what deep mutational scans measured?
//!
//! Zero-shot scores see no measurement. The supervised head sees those of other positions: five folds by position, the
//! penalty chosen within the training folds. Baselines stand beside both.

mod report;
mod supervised;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::Ordering;

use indicatif::ProgressBar;
use protext_core::LongPolicy;
use protext_engine::eval::{DmsAssay, VariantBaseline, rank_correlation, read_dms};
use protext_engine::variants::{
    Masking, Mutant, Profile, ResidueRows, VariantError, VariantModel, VariantScores,
};
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use rand::seq::index::sample;

use super::{write_json, write_text};
use crate::commands::variants::{MaskingArg, open_models};
use crate::wiring::ModelArgs;
use crate::{interrupt, progress};
use report::{AssayReport, Report};

/// Assays of longer proteins are told apart. Source: the window of ESM-2, and the contract of this figure.
const LONGEST: usize = 1022;
/// Of the mutants whose embedding is shifted.
const SAMPLE_SEED: u64 = 20_261_121;

#[derive(clap::Args)]
#[command(after_help = "Example:\n  \
    protext eval variants --data dms_mutants.tsv.gz --json variants.json --markdown variants.md --plot variants.svg\n\n\
    Costs: seventeen passes of the encoder a protein with --masking spread (a minute or two for 87 assays on two cores), \
    one a position with --masking each (about half an hour); one a mutant that is sampled for the embedding shift.")]
pub(crate) struct Args {
    /// Measured mutants: table with dms_id, mutant and score (higher is fitter).
    #[arg(long, value_name = "FILE")]
    data: PathBuf,
    /// Assays: table with dms_id and sequence; by default dms_assays.tsv beside the mutants.
    #[arg(long, value_name = "FILE")]
    assays: Option<PathBuf>,
    /// Mask positions one by one (each), or every sixteenth at once (spread).
    #[arg(long, value_enum, default_value_t = MaskingArg::Spread)]
    masking: MaskingArg,
    /// Mutants of each assay, drawn at random, whose embedding shift is measured; 0 leaves that baseline out.
    #[arg(long, value_name = "N", default_value_t = 25)]
    shift_mutants: usize,
    /// Leave the supervised head out.
    #[arg(long)]
    zero_shot_only: bool,
    /// Language head in a folder of its own instead of the encoder's.
    #[arg(long, value_name = "FOLDER")]
    lm_head: Option<PathBuf>,
    /// Where the figures go as JSON; - for standard output.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Where the figures go as tables in Markdown.
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
    /// Where the correlations of all assays go, as SVG.
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
    #[command(flatten)]
    model: ModelArgs,
}

/// A protein as the encoder sees it; assays of one protein share it.
struct Seen {
    whole: ResidueRows,
    whole_profile: Profile,
    masked_profile: Profile,
}

pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let beside = || args.data.with_file_name("dms_assays.tsv");
    let assays = read_dms(&args.data, &args.assays.clone().unwrap_or_else(beside))?;
    let (embedder, head) = open_models(&args.model, args.lm_head.as_deref())?;
    let model = VariantModel::new(&embedder, head.as_deref(), LongPolicy::Window)?;
    let bar = progress::residues(Some(n_residues(&args, &model, &assays)), "scoring mutants");
    let measured = measure_all(&args, &model, &assays, &bar);
    bar.finish_and_clear();
    let per_assay = measured.map_err(|error| match error.downcast_ref::<VariantError>() {
        Some(VariantError::Stopped) => interrupt::Interrupted.into(),
        _ => error,
    })?;
    let data = args.data.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let masking = args.masking.into();
    let report = Report::new(&assays, per_assay, data, (&model, masking, args.shift_mutants));
    report.print();
    write_json(args.json.as_deref(), &report)?;
    write_text(args.markdown.as_deref(), &report.markdown())?;
    if let Some(path) = &args.plot {
        write_text(Some(path), &report.plot()?)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Assays in the order of their sequences, so that each protein is encoded once.
fn measure_all(
    args: &Args,
    model: &VariantModel<'_>,
    assays: &[DmsAssay],
    bar: &ProgressBar,
) -> anyhow::Result<Vec<AssayReport>> {
    let stop = interrupt::flag()?;
    let mut on_pass = |n_residues: usize| {
        bar.inc(n_residues as u64);
        !stop.load(Ordering::Relaxed)
    };
    let mut order: Vec<usize> = (0..assays.len()).collect();
    order.sort_by_key(|&index| assays[index].sequence.as_str());
    let mut seen: Option<(&str, Seen)> = None;
    let mut reports = Vec::with_capacity(assays.len());
    for index in order {
        let assay = &assays[index];
        let sequence = assay.sequence.as_str();
        let is_same = seen.as_ref().is_some_and(|(of, _)| *of == sequence);
        if !is_same {
            let positions: Vec<usize> = (0..sequence.len()).collect();
            seen = Some((sequence, see(model, assay, &positions, args.masking.into(), &mut on_pass)?));
        }
        let Some((_, protein)) = &seen else { continue };
        let mut report = zero_shot(assay, protein);
        if args.shift_mutants > 0 {
            report.embedding_shift = embedding_shift(model, assay, args.shift_mutants, &mut on_pass)?;
        }
        if !args.zero_shot_only {
            report.supervised = supervised::correlation(assay, protein)?;
        }
        reports.push((index, report));
    }
    reports.sort_by_key(|(index, _)| *index);
    Ok(reports.into_iter().map(|(_, report)| report).collect())
}

fn see(
    model: &VariantModel<'_>,
    assay: &DmsAssay,
    positions: &[usize],
    masking: Masking,
    on_pass: &mut dyn FnMut(usize) -> bool,
) -> Result<Seen, VariantError> {
    let whole = model.wild_type_rows(&assay.sequence, on_pass)?;
    let masked = model.masked_rows(&assay.sequence, positions, masking, on_pass)?;
    let whole_profile = model.profile(&whole, positions)?;
    let masked_profile = model.profile(&masked, positions)?;
    Ok(Seen { whole, whole_profile, masked_profile })
}

fn zero_shot(assay: &DmsAssay, protein: &Seen) -> AssayReport {
    let correlation = |score: &dyn Fn(&Mutant) -> f64| {
        let scores: Vec<f64> = assay.mutants.iter().map(score).collect();
        rank_correlation(&scores, &assay.scores)
    };
    let by = |profile: &Profile| correlation(&|mutant: &Mutant| profile.score(mutant).unwrap_or_default());
    AssayReport {
        dms_id: assay.id.clone(),
        n: assay.mutants.len(),
        length: assay.sequence.len(),
        spearman: correlation(&|mutant: &Mutant| {
            let both = [&protein.masked_profile, &protein.whole_profile];
            both.into_iter().filter_map(|profile| profile.score(mutant)).sum()
        }),
        masked_marginal: by(&protein.masked_profile),
        wild_type_marginal: by(&protein.whole_profile),
        supervised: None,
        embedding_shift: None,
        blosum62: correlation(&|mutant: &Mutant| VariantBaseline::Blosum62.score(mutant)),
        hydropathy: correlation(&|mutant: &Mutant| VariantBaseline::Hydropathy.score(mutant)),
        volume: correlation(&|mutant: &Mutant| VariantBaseline::Volume.score(mutant)),
    }
}

/// Correlation of a sample's distances, the sign turned so that higher is fitter.
fn embedding_shift(
    model: &VariantModel<'_>,
    assay: &DmsAssay,
    n: usize,
    on_pass: &mut dyn FnMut(usize) -> bool,
) -> Result<Option<f64>, VariantError> {
    let mut random = StdRng::seed_from_u64(SAMPLE_SEED);
    let mut chosen = sample(&mut random, assay.mutants.len(), n.min(assay.mutants.len())).into_vec();
    chosen.sort_unstable();
    let mutants: Vec<Mutant> = chosen.iter().map(|&index| assay.mutants[index].clone()).collect();
    let wanted = VariantScores { masked: None, wild_type: false, shift: true };
    let (scores, _) = model.score(&assay.sequence, &mutants, wanted, on_pass)?;
    let shifts: Vec<f64> = scores.iter().map(|score| -score.embedding_shift.unwrap_or_default()).collect();
    let measured: Vec<f64> = chosen.iter().map(|&index| assay.scores[index]).collect();
    Ok(rank_correlation(&shifts, &measured))
}

fn n_residues(args: &Args, model: &VariantModel<'_>, assays: &[DmsAssay]) -> u64 {
    let mut sequences: Vec<&str> = assays.iter().map(|assay| assay.sequence.as_str()).collect();
    sequences.sort_unstable();
    sequences.dedup();
    let marginals = VariantScores { masked: Some(args.masking.into()), wild_type: true, shift: false };
    let of_protein = |sequence: &&str| {
        let positions: Vec<usize> = (0..sequence.len()).collect();
        model.n_residues(sequence.len(), &positions, 0, marginals)
    };
    let shifts = assays.iter().filter(|_| args.shift_mutants > 0).map(|assay| {
        let n = args.shift_mutants.min(assay.mutants.len()) as u64 + 1;
        n * assay.sequence.len() as u64
    });
    sequences.iter().map(of_protein).sum::<u64>() + shifts.sum::<u64>()
}

/// Whether an assay counts in the figure of the contract.
fn is_short(assay: &AssayReport) -> bool {
    assay.length <= LONGEST
}
