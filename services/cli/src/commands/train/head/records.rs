//! Heads for records: a class, or numbers, of each row of a table.

use std::collections::BTreeMap;
use std::process::ExitCode;

use ndarray::{Array2, Axis};
use protext_core::{HeadCard, HeadFigure, HeadTask, ProbabilityCalibration};
use protext_engine::eval::{Resampling, auroc, binary, resampled, spearman};
use protext_engine::heads::{LabelledTable, TableOptions};
use protext_train::heads::{
    Examples, Found, Spec, Targets, Validation, balanced_weights, fit_isotonic, fit_temperature_of_classes,
    search,
};

use super::parts::Parts;
use super::{Args, CalibrationArg, Task, output, targets, with_bar};
use crate::commands::feature_rows::{Content, FeatureSources};
use crate::fault::UsageError;
use crate::wiring;

/// What is learned from.
pub(super) struct Problem {
    pub(super) rows: Array2<f32>,
    pub(super) targets: Targets,
    /// Names of classes, or of the label columns.
    pub(super) outputs: Vec<String>,
    pub(super) parts: Parts,
    pub(super) specs: Vec<Spec>,
    pub(super) balance: bool,
}

/// What came out.
pub(super) struct Outcome {
    pub(super) found: Found,
    /// Places of the rows that are measured, and outputs for them.
    pub(super) measured: Option<(Vec<usize>, Array2<f32>)>,
    pub(super) calibration: Option<ProbabilityCalibration>,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let options = TableOptions {
        labels: args.label.clone(),
        id: None,
        group: args.split.group.clone(),
        text: args.text_column.clone(),
        sequences: args.sequences.clone(),
    };
    let mut table = LabelledTable::read(&args.data, &options)?;
    if table.n_without_label > 0 {
        eprintln!("{}: {} rows have no label and are left out", args.data.display(), table.n_without_label);
    }
    let (outputs, targets) = match args.task {
        Task::Regress => (args.label.clone(), targets::numbers(&args.data, &args.label, &table.rows)?),
        Task::Classify | Task::Residue | Task::Pair | Task::Perturbation => {
            let labels = table.rows.iter().map(|row| row.labels[0].as_str());
            let (names, of_row) = targets::classes(&args.data, labels)?;
            let n_classes = names.len();
            (names, Targets::Classes { of_row, n_classes })
        }
    };
    let parts = Parts::new(&args.split, &args.data, &mut table)?;
    let registry = wiring::registry()?;
    let runtime = wiring::load_runtime(registry.cache(), args.features.model.device)?;
    let sources = FeatureSources::open(&args.features, &runtime)?;
    let contents: Vec<Content<'_>> = table
        .rows
        .iter()
        .map(|row| Content { id: &row.id, sequence: &row.sequence, text: &row.text })
        .collect();
    let rows = sources.rows(&contents)?;
    let specs = args.mlp.specs(args.method, args.task == Task::Regress);
    let problem = Problem { rows, targets, outputs, parts, specs, balance: args.balance };
    let (task, features) =
        (if args.task == Task::Regress { HeadTask::Regress } else { HeadTask::Classify }, sources.cards());
    let outcome = train(args, &problem)?;
    finish(args, &problem, outcome, (task, features))
}

/// Trains, chooses and predicts what is measured.
pub(super) fn train(args: &Args, problem: &Problem) -> anyhow::Result<Outcome> {
    let Problem { parts, targets, outputs, .. } = problem;
    if let Targets::Classes { of_row, .. } = targets {
        for part in [("to train on", &parts.training), ("to validate on", &parts.validation)] {
            if !part.1.is_empty() {
                targets::ensure_classes(&args.data, outputs, of_row, (part.0, part.1))?;
            }
        }
    }
    match &parts.folds {
        None => {
            let found = fit_on(problem, &parts.training, &parts.validation)?;
            let held_out = found.model.apply(&problem.rows.select(Axis(0), &parts.validation).view())?;
            let calibration = calibrate(args.calibration, targets, &parts.validation, &held_out)?;
            let measured = (!parts.test.is_empty()).then(|| {
                let rows = problem.rows.select(Axis(0), &parts.test);
                Ok::<_, anyhow::Error>((parts.test.clone(), found.model.apply(&rows.view())?))
            });
            Ok(Outcome { found, measured: measured.transpose()?, calibration })
        }
        Some(folds) => cross_validate(args, problem, folds),
    }
}

/// Every row by a head that has not seen its fold; each fold is chosen on the next one, which it then does not learn from.
fn cross_validate(args: &Args, problem: &Problem, folds: &[usize]) -> anyhow::Result<Outcome> {
    let n_folds = folds.iter().max().map_or(0, |last| last + 1);
    let mut outputs = Array2::from_elem((problem.rows.nrows(), problem.targets.n_outputs()), f32::NAN);
    let mut wins = vec![0_usize; problem.specs.len()];
    for fold in 0..n_folds {
        let chosen_on = (fold + 1) % n_folds;
        let of = |wanted: &dyn Fn(usize) -> bool| {
            (0..folds.len()).filter(|&row| wanted(folds[row])).collect::<Vec<usize>>()
        };
        let training = of(&|row| row != fold && (row != chosen_on || n_folds == 2));
        let (validation, held_out) = (of(&|row| row == chosen_on), of(&|row| row == fold));
        // With two folds there is none to choose on but the training fold itself.
        let validation = if n_folds == 2 { training.clone() } else { validation };
        let found = fit_on(problem, &training, &validation)?;
        wins[found.best] += 1;
        let predicted = found.model.apply(&problem.rows.select(Axis(0), &held_out).view())?;
        held_out.iter().zip(predicted.rows()).for_each(|(&row, values)| outputs.row_mut(row).assign(&values));
    }
    // What won most folds is fitted on all rows; an MLP among them runs as long as its schedule says.
    let best = (0..wins.len()).rev().max_by_key(|&at| wins[at]).unwrap_or(0);
    let all: Vec<usize> = (0..folds.len()).collect();
    let mut found = fit_specs(problem, &problem.specs[best..=best], &all, &[])?;
    found.best = best;
    found.scores = wins.into_iter().map(|wins| wins as f64).collect();
    let calibration = calibrate(args.calibration, &problem.targets, &all, &outputs)?;
    Ok(Outcome { found, measured: Some((all, outputs)), calibration })
}

fn fit_on(problem: &Problem, training: &[usize], validation: &[usize]) -> anyhow::Result<Found> {
    fit_specs(problem, &problem.specs, training, validation)
}

fn fit_specs(
    problem: &Problem,
    specs: &[Spec],
    training: &[usize],
    validation: &[usize],
) -> anyhow::Result<Found> {
    let (rows, held_out) = (problem.rows.select(Axis(0), training), problem.rows.select(Axis(0), validation));
    let targets = problem.targets.select(training);
    let truth = problem.targets.select(validation);
    let weights = match (&targets, problem.balance) {
        (Targets::Classes { of_row, n_classes }, true) => Some(balanced_weights(of_row, *n_classes)),
        _ => None,
    };
    let examples = Examples { rows: rows.view(), targets: &targets, weights: weights.as_deref() };
    let score = |outputs: &Array2<f32>| score(outputs, &truth);
    let validation = Validation { rows: held_out.view(), score: &score };
    with_bar(|on_epoch| search(examples, validation, specs, on_epoch))
}

/// What settings are chosen by: AUROC of two classes, the log-likelihood of several, the mean Spearman of numbers.
fn score(outputs: &Array2<f32>, truth: &Targets) -> f64 {
    match truth {
        Targets::Classes { of_row, n_classes: 2 } => {
            let scores: Vec<f64> = outputs.rows().into_iter().map(|row| f64::from(row[1] - row[0])).collect();
            auroc(&scores, &of_row.iter().map(|class| *class == 1).collect::<Vec<_>>())
        }
        Targets::Classes { of_row, .. } => {
            let calibration = fit_temperature_of_classes(&outputs.view(), of_row);
            let each = outputs.rows().into_iter().zip(of_row).map(|(row, class)| {
                calibration.probabilities(&row.to_vec())[*class as usize].max(1e-12).ln()
            });
            each.sum::<f64>() / of_row.len() as f64
        }
        Targets::Numbers(truth) | Targets::Labels(truth) => {
            let columns = 0..truth.ncols();
            let each = columns.map(|column| spearman_of(outputs, truth, column, &all(truth.nrows())));
            each.sum::<f64>() / truth.ncols() as f64
        }
    }
}

fn all(n: usize) -> Vec<usize> {
    (0..n).collect()
}

/// Spearman of one column over some rows, those whose truth is known.
fn spearman_of(outputs: &Array2<f32>, truth: &Array2<f32>, column: usize, rows: &[usize]) -> f64 {
    let known = rows.iter().filter(|row| truth[[**row, column]].is_finite());
    let (a, b): (Vec<f64>, Vec<f64>) =
        known.map(|&row| (f64::from(outputs[[row, column]]), f64::from(truth[[row, column]]))).unzip();
    spearman(&a, &b)
}

fn calibrate(
    wanted: CalibrationArg,
    targets: &Targets,
    places: &[usize],
    outputs: &Array2<f32>,
) -> anyhow::Result<Option<ProbabilityCalibration>> {
    let Targets::Classes { of_row, n_classes } = targets.select(places) else { return Ok(None) };
    match wanted {
        CalibrationArg::None => Ok(None),
        CalibrationArg::Temperature => Ok(Some(fit_temperature_of_classes(&outputs.view(), &of_row))),
        CalibrationArg::Isotonic if n_classes == 2 => {
            let labels = of_row.iter().map(|class| *class == 1).collect::<Vec<_>>();
            let scores: Vec<f32> = outputs.rows().into_iter().map(|row| row[1] - row[0]).collect();
            Ok(Some(fit_isotonic(&scores, &labels)))
        }
        CalibrationArg::Isotonic => {
            let said = format!(
                "--calibration isotonic is for two classes, but there are {n_classes}; take temperature"
            );
            Err(UsageError(said).into())
        }
    }
}

/// Writes graph and card, and prints the figures.
pub(super) fn finish(
    args: &Args,
    problem: &Problem,
    outcome: Outcome,
    (task, features): (HeadTask, Vec<protext_core::FeatureCard>),
) -> anyhow::Result<ExitCode> {
    let Outcome { found, measured, calibration } = outcome;
    output::make_folder(&args.output)?;
    found.model.write(&args.output.join("head.onnx"))?;
    problem.parts.write(&args.output)?;
    let metrics = match &measured {
        Some((places, outputs)) => figures(problem, places, outputs, calibration.as_ref()),
        None => BTreeMap::new(),
    };
    let balance = if args.balance { "; classes counted alike" } else { "" };
    let scores: Vec<String> = found.scores.iter().map(|score| format!("{score:.4}")).collect();
    let card = HeadCard {
        id: output::name(args.id.as_deref(), &args.output),
        task,
        method: format!(
            "standardised rows, {}{balance}; {} of what was tried: {}",
            serde_json::json!(problem.specs[found.best]),
            if problem.parts.folds.is_some() { "folds won" } else { "validation scores" },
            scores.join(", ")
        ),
        measured_by: "protext train head".to_owned(),
        features,
        outputs: problem.outputs.clone(),
        files: BTreeMap::new(),
        data: problem.parts.data.clone(),
        validation: problem.parts.validation_data.clone(),
        calibration,
        metrics,
        notes: Vec::new(),
    };
    let card = output::write_card(&args.output, card, &["head.onnx"])?;
    output::print(&card);
    Ok(ExitCode::SUCCESS)
}

fn figures(
    problem: &Problem,
    places: &[usize],
    outputs: &Array2<f32>,
    calibration: Option<&ProbabilityCalibration>,
) -> BTreeMap<String, HeadFigure> {
    let part = &problem.parts.test_name;
    let groups: Vec<usize> = places.iter().map(|&place| problem.parts.groups[place]).collect();
    match problem.targets.select(places) {
        Targets::Classes { of_row, n_classes } => {
            let plain = ProbabilityCalibration::Temperature { inverse_temperature: 1.0 };
            let calibration = calibration.unwrap_or(&plain);
            let probabilities: Vec<Vec<f64>> =
                outputs.rows().into_iter().map(|row| of_classes(calibration, &row.to_vec())).collect();
            if n_classes == 2 && of_row.iter().any(|class| *class != of_row[0]) {
                let positive: Vec<f64> = probabilities.iter().map(|each| each[1]).collect();
                let labels: Vec<bool> = of_row.iter().map(|class| *class == 1).collect();
                return output::binary_figures(
                    part,
                    &binary(&positive, &labels, Resampling::Groups(&groups)),
                );
            }
            let is_right: Vec<f64> = probabilities
                .iter()
                .zip(&of_row)
                .map(|(each, class)| {
                    let first = (0..each.len()).max_by(|&a, &b| each[a].total_cmp(&each[b])).unwrap_or(0);
                    f64::from(u8::from(first == *class as usize))
                })
                .collect();
            let mean =
                |rows: &[usize]| rows.iter().map(|&row| is_right[row]).sum::<f64>() / rows.len() as f64;
            BTreeMap::from([(format!("{part}_accuracy"), output::figure(resampled(&groups, mean)))])
        }
        Targets::Numbers(truth) | Targets::Labels(truth) => {
            let of = |column: usize| {
                let interval = resampled(&groups, |rows| spearman_of(outputs, &truth, column, rows));
                (format!("{part}_spearman_{}", problem.outputs[column]), output::figure(interval))
            };
            (0..truth.ncols()).map(of).collect()
        }
    }
}

/// Probabilities of classes; an isotonic curve of two is one of the difference of their scores.
fn of_classes(calibration: &ProbabilityCalibration, scores: &[f32]) -> Vec<f64> {
    match (calibration, scores) {
        (ProbabilityCalibration::Isotonic { .. }, [no, yes]) => {
            let probability = calibration.probability(yes - no);
            vec![1.0 - probability, probability]
        }
        _ => calibration.probabilities(scores),
    }
}
