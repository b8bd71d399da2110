//! Two towers on pairs whose truth is known: both sides are noisy views of one hidden vector.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use ndarray::{Array2, s};
use protext_core::{N_WORD_COMPONENTS, RowKind};
use protext_train::contrastive::{
    Checkpoint, ContrastiveSettings, OnEpoch, Pairs, Parts, TrainError, Trained, mean_reciprocal_rank, ranks,
    train,
};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

const HIDDEN: usize = 6;

/// Pairs `first..first + n` of an endless list: two random linear views of a hidden vector, with a little noise.
fn pairs(first: usize, n: usize) -> Pairs {
    let mut rng = StdRng::seed_from_u64(7);
    let mut view = |dim: usize| Array2::from_shape_fn((HIDDEN, dim), |_| rng.random_range(-1.0_f32..1.0));
    let (to_protein, to_text) = (view(24), view(16));
    let side = |view: &Array2<f32>, salt: u64| {
        let mut rows = Array2::zeros((n, view.ncols()));
        for (index, mut row) in rows.rows_mut().into_iter().enumerate() {
            let mut hidden = StdRng::seed_from_u64((first + index) as u64);
            let hidden = Array2::from_shape_fn((1, HIDDEN), |_| hidden.random_range(-1.0_f32..1.0));
            let mut noise = StdRng::seed_from_u64((first + index) as u64 + salt);
            row.assign(&hidden.dot(view).row(0));
            row.mapv_inplace(|value| value.tanh() + noise.random_range(-0.02..0.02));
        }
        rows
    };
    let keys: Vec<u32> = (0..n as u32).collect();
    Pairs {
        proteins: side(&to_protein, 1 << 40),
        sentences: side(&to_text, 1 << 41),
        texts: (0..n as u32).map(|row| vec![row]).collect(),
        protein_keys: keys.clone(),
        text_keys: keys,
    }
}

fn settings() -> ContrastiveSettings {
    ContrastiveSettings {
        shared_dim: 8,
        hidden_dim: 32,
        dropout: 0.1,
        batch_size: 128,
        n_epochs: 15,
        patience: 15,
        learning_rate: 5e-3,
        protein_components: 12,
        shrinkage: 0.01,
        ..ContrastiveSettings::default()
    }
}

fn parts<'a>(training: &'a Pairs, validation: &'a Pairs) -> Parts<'a> {
    Parts { training, extra: None, validation }
}

fn run(checkpoint: Option<&Checkpoint>, on_epoch: OnEpoch<'_>) -> Result<Trained, TrainError> {
    train(parts(&pairs(0, 600), &pairs(10_000, 100)), &settings(), checkpoint, on_epoch)
}

#[test]
fn towers_find_unseen_partners_and_runs_repeat() {
    let trained = run(None, &mut |_| true).unwrap();
    let unseen = pairs(20_000, 200);
    let proteins = trained.protein.apply(&unseen.proteins.view()).unwrap();
    let texts = trained.text.apply(&unseen.text_rows().view()).unwrap();
    for row in proteins.rows() {
        assert!((row.dot(&row) - 1.0).abs() < 1e-4);
    }
    let found = ranks(&proteins.view(), &texts.view());
    let mrr = mean_reciprocal_rank(&found.by_protein);
    // Chance among 200 is 0.03.
    assert!(mrr > 0.6, "{mrr}: {:?}", trained.epochs);
    assert_eq!(trained, run(None, &mut |_| true).unwrap());
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str| std::fs::read(trained.text.write(&folder.path().join(name)).unwrap()).unwrap();
    assert_eq!(write("a.onnx"), write("b.onnx"));
}

/// Texts whose encoder rows say nothing, and whose words say all.
#[test]
fn words_are_read_beside_the_encoders_row() {
    let with_words = |first: usize, n: usize| {
        let pairs = pairs(first, n);
        let mut noise = StdRng::seed_from_u64(first as u64);
        let mut sentences = Array2::zeros((n, 6 + N_WORD_COMPONENTS));
        sentences.slice_mut(s![.., ..6]).mapv_inplace(|_: f32| noise.random_range(-1.0..1.0));
        sentences.slice_mut(s![.., 6..22]).assign(&(&pairs.sentences * 0.01));
        Pairs { sentences, ..pairs }
    };
    let settings = ContrastiveSettings { word_components: 12, ..settings() };
    assert_eq!(settings.text_kind(), RowKind::PooledAndWords);
    let (training, validation, unseen) =
        (with_words(0, 600), with_words(10_000, 100), with_words(20_000, 200));
    let trained = train(parts(&training, &validation), &settings, None, &mut |_| true).unwrap();
    let proteins = trained.protein.apply(&unseen.proteins.view()).unwrap();
    let texts = trained.text.apply(&unseen.text_rows().view()).unwrap();
    let mrr = mean_reciprocal_rank(&ranks(&proteins.view(), &texts.view()).by_text);
    // Chance among 200 is 0.03.
    assert!(mrr > 0.5, "{mrr}");
}

#[test]
fn a_run_that_was_stopped_goes_on_to_the_same_towers() {
    let folder = tempfile::tempdir().unwrap();
    let checkpoint = Checkpoint { path: folder.path().join("run.checkpoint"), data: "pairs".into() };
    let unbroken = run(None, &mut |_| true).unwrap();
    for stop_after in [3, 9] {
        let stopped = run(Some(&checkpoint), &mut |epoch| epoch.number < stop_after);
        assert!(matches!(stopped, Err(TrainError::Stopped { epoch }) if epoch == stop_after));
    }
    let mut first = 0;
    let resumed = run(Some(&checkpoint), &mut |epoch| {
        first = if first == 0 { epoch.number } else { first };
        true
    });
    assert_eq!(first, 10, "the tenth epoch is the next");
    assert_eq!(resumed.unwrap(), unbroken);
    checkpoint.remove(1).unwrap();
    checkpoint.remove(1).unwrap();
}

#[test]
fn a_checkpoint_of_another_run_or_a_damaged_one_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut checkpoint = Checkpoint { path: folder.path().join("run.checkpoint"), data: "pairs".into() };
    run(Some(&checkpoint), &mut |_| false).unwrap_err();
    checkpoint.data = "other pairs".into();
    let refused = run(Some(&checkpoint), &mut |_| true).unwrap_err();
    assert!(refused.to_string().contains("other data or settings"), "{refused}");
    let bytes = std::fs::read(&checkpoint.path).unwrap();
    std::fs::write(&checkpoint.path, &bytes[..bytes.len() / 2]).unwrap();
    let refused = run(Some(&checkpoint), &mut |_| true).unwrap_err();
    assert!(matches!(refused, TrainError::Checkpoint { .. }), "{refused}");
}

#[test]
fn several_members_are_joined_and_better_than_one() {
    let (training, validation, unseen) = (pairs(0, 600), pairs(10_000, 100), pairs(20_000, 300));
    let folder = tempfile::tempdir().unwrap();
    let mrr = |n_members: usize| {
        let settings = ContrastiveSettings { n_members, n_epochs: 6, noise: 0.1, ..settings() };
        let checkpoint = Checkpoint { path: folder.path().join(format!("{n_members}")), data: String::new() };
        let trained =
            train(parts(&training, &validation), &settings, Some(&checkpoint), &mut |_| true).unwrap();
        // Four components correct hubs.
        assert_eq!((trained.protein.dim(), trained.epochs.len()), (8 * n_members + 4, 6 * n_members));
        checkpoint.remove(n_members).unwrap();
        let proteins = trained.protein.apply(&unseen.proteins.view()).unwrap();
        let texts = trained.text.apply(&unseen.text_rows().view()).unwrap();
        assert!((proteins.row(0).dot(&proteins.row(0)) - 1.0).abs() < 1e-4);
        mean_reciprocal_rank(&ranks(&proteins.view(), &texts.view()).by_text)
    };
    let (one, four) = (mrr(1), mrr(4));
    assert!(four > one, "{one} {four}");
    assert_eq!(
        std::fs::read_dir(folder.path()).unwrap().count(),
        0,
        "checkpoints of every member are removed"
    );
}

#[test]
fn extra_pairs_help_and_never_count_as_training_pairs() {
    let (training, extra, validation, unseen) =
        (pairs(0, 256), pairs(30_000, 900), pairs(10_000, 100), pairs(20_000, 300));
    let mrr = |extra: Option<&Pairs>| {
        let settings = ContrastiveSettings { n_epochs: 10, extra_share: 3.0, ..settings() };
        let trained = train(
            Parts { training: &training, extra, validation: &validation },
            &settings,
            None,
            &mut |_| true,
        )
        .unwrap();
        let proteins = trained.protein.apply(&unseen.proteins.view()).unwrap();
        let texts = trained.text.apply(&unseen.text_rows().view()).unwrap();
        mean_reciprocal_rank(&ranks(&proteins.view(), &texts.view()).by_text)
    };
    let (without, with) = (mrr(None), mrr(Some(&extra)));
    assert!(with > without, "{without} {with}");
    let narrow = Pairs { proteins: extra.sentences.clone(), ..extra };
    let refused = train(
        Parts { training: &training, extra: Some(&narrow), validation: &validation },
        &settings(),
        None,
        &mut |_| true,
    )
    .unwrap_err();
    assert!(refused.to_string().contains("in extra"), "{refused}");
}

#[test]
fn repeated_texts_are_partners_of_each_other() {
    // Every text stands twice, with different proteins; without shared targets each would push the other away.
    let mut doubled = pairs(0, 512);
    for row in (0..512).step_by(2) {
        doubled.texts[row + 1] = doubled.texts[row].clone();
        let protein = doubled.proteins.row(row).mapv(|value| value * 0.98);
        doubled.proteins.row_mut(row + 1).assign(&protein);
        doubled.text_keys[row + 1] = doubled.text_keys[row];
    }
    let trained = train(parts(&doubled, &pairs(10_000, 100)), &settings(), None, &mut |_| true).unwrap();
    assert!(trained.epochs.iter().any(|epoch| epoch.validation_mrr > 0.4), "{:?}", trained.epochs);
}

#[test]
fn faults_of_data_and_settings_are_named() {
    let fails = |training: &Pairs, validation: &Pairs, settings: &ContrastiveSettings| {
        train(parts(training, validation), settings, None, &mut |_| true).unwrap_err().to_string()
    };
    let (good, valid) = (pairs(0, 200), pairs(10_000, 50));
    let said = fails(&pairs(0, 100), &valid, &settings());
    assert!(said.contains("fewer than one batch of 128"), "{said}");
    let said = fails(&good, &pairs(0, 1), &settings());
    assert!(said.contains("validation pairs are too few"), "{said}");
    let mut broken = good.clone();
    broken.sentences[[17, 3]] = f32::NAN;
    let said = fails(&broken, &valid, &settings());
    assert!(said.contains("sentence row 17 of training"), "{said}");
    let mut uneven = good.clone();
    uneven.text_keys.pop();
    let mut empty = good.clone();
    empty.texts[5].clear();
    assert!(fails(&empty, &valid, &settings()).contains("text 5 has no sentence"));
    assert!(fails(&uneven, &valid, &settings()).contains("as many of each"));
    let narrow = Pairs { proteins: valid.sentences.clone(), ..valid.clone() };
    let said = fails(&good, &narrow, &settings());
    assert!(said.contains("protein rows have 16 components in validation, but 24"), "{said}");
    for bad in [
        ContrastiveSettings { dropout: 1.0, ..settings() },
        ContrastiveSettings { temperature: 0.0, ..settings() },
        ContrastiveSettings { n_hidden: 0, ..settings() },
    ] {
        assert!(fails(&good, &valid, &bad).contains("must be"));
    }
}
