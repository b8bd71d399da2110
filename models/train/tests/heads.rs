//! Heads on data whose truth is known: each method learns it, repeats bit for bit, and faults are named.
#![allow(clippy::unwrap_used, reason = "a test says where it fails")]

use ndarray::{Array1, Array2};
use protext_train::heads::{
    Examples, HeadModel, HeadTrainError, MlpSettings, PairExamples, PairSettings, Score, Spec, Targets,
    Validation, balanced_weights, fit, search, train_pairs,
};

/// Rows whose components are spread evenly over a cube, each by the multiples of another irrational number, so that none
/// tells anything of another.
fn rows(n: usize, width: usize, seed: usize) -> Array2<f32> {
    const PRIMES: [f64; 6] = [2.0, 3.0, 5.0, 7.0, 11.0, 13.0];
    let at = |(i, j): (usize, usize)| {
        let place = ((i + 10_007 * seed) as f64 * PRIMES[j].sqrt()).fract();
        (place * 2.0 - 1.0) as f32 * 3.0 + 5.0
    };
    Array2::from_shape_fn((n, width), at)
}

/// 1 where the product of the first two centred components is positive: no line tells.
fn classes(rows: &Array2<f32>) -> Vec<u32> {
    rows.rows().into_iter().map(|row| u32::from((row[0] - 5.0) * (row[1] - 5.0) > 0.0)).collect()
}

fn accuracy(outputs: &Array2<f32>, of_row: &[u32]) -> f64 {
    let right =
        outputs.rows().into_iter().zip(of_row).filter(|(row, class)| u32::from(row[1] > row[0]) == **class);
    right.count() as f64 / of_row.len() as f64
}

fn fit_all(
    rows: &Array2<f32>,
    targets: &Targets,
    held: &Array2<f32>,
    score: Score<'_>,
    spec: &Spec,
) -> HeadModel {
    let examples = Examples { rows: rows.view(), targets, weights: None };
    fit(examples, Validation { rows: held.view(), score }, spec, &mut |_| true).unwrap()
}

fn mlp(n_members: usize) -> Spec {
    Spec::Mlp(MlpSettings {
        hidden_dim: 32,
        batch_size: 64,
        n_epochs: 25,
        n_members,
        dropout: 0.1,
        input_dropout: 0.0,
        learning_rate: 5e-3,
        ..MlpSettings::default()
    })
}

#[test]
fn an_mlp_learns_what_no_line_can_and_repeats() {
    let (training, held) = (rows(1200, 4, 1), rows(300, 4, 2));
    let targets = Targets::Classes { of_row: classes(&training), n_classes: 2 };
    let truth = classes(&held);
    let score = |outputs: &Array2<f32>| accuracy(outputs, &truth);
    let by_line = fit_all(&training, &targets, &held, &score, &Spec::Logistic { penalty: 1.0 });
    let by_mlp = fit_all(&training, &targets, &held, &score, &mlp(2));
    let [line, deep] = [&by_line, &by_mlp].map(|model| score(&model.apply(&held.view()).unwrap()));
    assert!(line < 0.7 && deep > 0.9, "{line} {deep}");
    assert_eq!(by_mlp, fit_all(&training, &targets, &held, &score, &mlp(2)));
}

#[test]
fn numbers_come_back_on_their_own_scale() {
    let (training, held) = (rows(800, 3, 3), rows(200, 3, 4));
    let line =
        |rows: &Array2<f32>| rows.map_axis(ndarray::Axis(1), |row| 1000.0 + 40.0 * row[0] - 20.0 * row[2]);
    let targets = Targets::Numbers(line(&training).insert_axis(ndarray::Axis(1)));
    let truth: Array1<f32> = line(&held);
    let score =
        |outputs: &Array2<f32>| -f64::from((&outputs.column(0) - &truth).mapv(f32::abs).mean().unwrap());
    for (spec, least) in [(Spec::Ridge { penalty: 1e-3 }, -0.5), (mlp(1), -12.0)] {
        let found = score(&fit_all(&training, &targets, &held, &score, &spec).apply(&held.view()).unwrap());
        assert!(found > least, "{spec:?}: {found}");
    }
}

#[test]
fn a_search_keeps_the_best_and_says_all_scores() {
    let (training, held) = (rows(400, 3, 5), rows(100, 3, 6));
    let of_row =
        |rows: &Array2<f32>| rows.rows().into_iter().map(|row| u32::from(row[0] > 5.5)).collect::<Vec<u32>>();
    let truth = of_row(&held);
    let of_row = of_row(&training);
    let weights = balanced_weights(&of_row, 2);
    assert!((weights.iter().sum::<f32>() / 400.0 - 1.0).abs() < 1e-4);
    let targets = Targets::Classes { of_row, n_classes: 2 };
    let examples = Examples { rows: training.view(), targets: &targets, weights: Some(&weights) };
    let score = |outputs: &Array2<f32>| accuracy(outputs, &truth);
    let specs = [1e6, 1.0].map(|penalty| Spec::Ridge { penalty });
    let found =
        search(examples, Validation { rows: held.view(), score: &score }, &specs, &mut |_| true).unwrap();
    let best = found.scores[found.best];
    assert!(found.scores.iter().all(|score| *score <= best) && best > 0.9, "{:?}", found.scores);
}

#[test]
fn faults_of_rows_and_targets_are_named() {
    let data = rows(10, 2, 7);
    let none = Array2::<f32>::zeros((0, 2));
    let score = |_: &Array2<f32>| 0.0;
    let try_fit = |rows: &Array2<f32>, targets: &Targets, weights: Option<&[f32]>| {
        let validation = Validation { rows: none.view(), score: &score };
        let examples = Examples { rows: rows.view(), targets, weights };
        fit(examples, validation, &Spec::Ridge { penalty: 1.0 }, &mut |_| true).unwrap_err()
    };
    let one = Targets::Classes { of_row: vec![1; 10], n_classes: 2 };
    assert!(matches!(try_fit(&data, &one, None), HeadTrainError::OneClass { .. }));
    let short = Targets::Classes { of_row: vec![1; 9], n_classes: 2 };
    assert!(matches!(try_fit(&data, &short, None), HeadTrainError::Uneven { .. }));
    let constant = Targets::Numbers(Array2::ones((10, 1)));
    assert!(matches!(try_fit(&data, &constant, None), HeadTrainError::ConstantTarget { target: 0 }));
    let good = Targets::Numbers(data.slice(ndarray::s![.., ..1]).to_owned());
    assert!(matches!(try_fit(&data, &good, Some(&[1.0])), HeadTrainError::Uneven { what: "weights", .. }));
    let mut broken = data;
    broken[[3, 1]] = f32::INFINITY;
    assert!(matches!(try_fit(&broken, &good, None), HeadTrainError::NotFinite { row: 3, .. }));
}

/// Records with two hidden kinds; a pair belongs together if the kinds are equal.
fn pairs_of(n: usize, seed: usize) -> (Array2<f32>, Vec<(u32, u32)>, Vec<bool>) {
    let rows = rows(n, 6, seed);
    let kind = |at: usize| rows[[at, 0]] > 5.0;
    let pairs: Vec<(u32, u32)> = (0..n * 8)
        .map(|i| ((i % n) as u32, ((i * 7 + i / n * 13 + 1) % n) as u32))
        .filter(|(a, b)| a != b)
        .collect();
    let labels = pairs.iter().map(|(a, b)| kind(*a as usize) == kind(*b as usize)).collect();
    (rows, pairs, labels)
}

#[test]
fn a_pair_head_learns_is_symmetric_and_repeats() {
    let (rows, pairs, labels) = pairs_of(400, 11);
    let (held_rows, held_pairs, held_labels) = pairs_of(80, 12);
    let training = PairExamples { rows: rows.view(), pairs: &pairs, labels: &labels };
    let validation = PairExamples { rows: held_rows.view(), pairs: &held_pairs, labels: &held_labels };
    let right = |scores: &[f32]| {
        let right = scores.iter().zip(&held_labels).filter(|(score, label)| (**score > 0.0) == **label);
        right.count() as f64 / held_labels.len() as f64
    };
    let settings = PairSettings {
        hidden_dim: 32,
        code_dim: 8,
        pair_dim: 16,
        dropout: 0.0,
        input_dropout: 0.0,
        batch_size: 128,
        learning_rate: 5e-3,
        n_epochs: 12,
        n_members: 2,
        ..PairSettings::default()
    };
    let train = || train_pairs(training, validation, &right, &settings, &mut |_| true).unwrap();
    let model = train();
    assert_eq!(model, train(), "one seed, one head");
    let codes = model.codes(&held_rows.view()).unwrap();
    assert_eq!(codes.ncols(), model.code_dim());
    let scores = model.scores(&codes.view(), &held_pairs).unwrap();
    let swapped: Vec<(u32, u32)> = held_pairs.iter().map(|(a, b)| (*b, *a)).collect();
    assert_eq!(scores, model.scores(&codes.view(), &swapped).unwrap(), "(a, b) and (b, a) are one");
    assert!(right(&scores) > 0.85, "{}", right(&scores));
}

#[test]
fn faults_of_pairs_are_named() {
    let (rows, pairs, labels) = pairs_of(30, 13);
    let whole = PairExamples { rows: rows.view(), pairs: &pairs, labels: &labels };
    let score = |_: &[f32]| 0.0;
    let failed = |training, settings: &PairSettings| {
        train_pairs(training, whole, &score, settings, &mut |_| true).unwrap_err()
    };
    let settings = PairSettings::default();
    let all = vec![true; labels.len()];
    let one = failed(PairExamples { labels: &all, ..whole }, &settings);
    assert!(matches!(one, HeadTrainError::OneClass { part: "training", .. }), "{one}");
    let short = failed(PairExamples { labels: &labels[1..], ..whole }, &settings);
    assert!(matches!(short, HeadTrainError::Uneven { .. }));
    let zero = failed(whole, &PairSettings { n_members: 0, ..settings });
    assert!(matches!(zero, HeadTrainError::Setting { name: "n_members", .. }));
}
