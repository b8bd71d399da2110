//! What an epoch of the towers that ship costs, on made-up rows of their shape.
//!
//! ```text
//! cargo bench -p protext-train --bench towers              # a few epochs of two pairs of towers
//! cargo bench -p protext-train --bench towers -- --whole   # all that `make towers` trains
//! ```
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a bench prints and may panic")]

use std::time::Instant;

use ndarray::Array2;
use protext_core::{N_WORD_COMPONENTS, SplitMix64};
use protext_train::contrastive::{ContrastiveSettings, Epoch, Pairs, Parts, train};

const N_TRAINING: usize = 12_486;
const N_EXTRA: usize = 22_382;
/// Mean and deviation of four layers of 320 components.
const PROTEIN_DIM: usize = 2 * 4 * 320;
const TEXT_DIM: usize = 384 + N_WORD_COMPONENTS;
const N_SENTENCES: u32 = 3;

fn main() {
    let (n_members, n_epochs) = if std::env::args().any(|word| word == "--whole") { (4, 45) } else { (2, 4) };
    let (training, extra, validation) = (pairs(N_TRAINING, 1), pairs(N_EXTRA, 2), pairs(1_000, 3));
    let settings = ContrastiveSettings {
        batch_size: 6_144,
        n_epochs,
        patience: n_epochs,
        sentence_dropout: 0.5,
        noise: 0.4,
        word_components: 384,
        n_members,
        ..ContrastiveSettings::default()
    };
    let mut ends = vec![Vec::new(); n_members];
    let mut on_epoch = |epoch: &Epoch| {
        ends[epoch.member - 1].push(Instant::now());
        true
    };
    let parts = Parts { training: &training, extra: Some(&extra), validation: &validation };
    let started = Instant::now();
    train(parts, &settings, None, &mut on_epoch).unwrap();
    println!(
        "{n_members} pairs of towers, {n_epochs} epochs: {:.1} s with whitening",
        started.elapsed().as_secs_f64()
    );
    for (member, ends) in ends.iter().enumerate() {
        let seconds = (ends[n_epochs - 1] - ends[0]).as_secs_f64() / (n_epochs - 1) as f64;
        println!("pair {}: {seconds:.2} s an epoch after the first", member + 1);
    }
}

/// Pairs without meaning; what is learned takes as long.
fn pairs(n: usize, seed: u64) -> Pairs {
    let mut draws = SplitMix64::from_state(seed);
    let mut rows = |n: usize, dim: usize| {
        Array2::from_shape_simple_fn((n, dim), || (draws.draw() >> 40) as f32 / (1_u64 << 24) as f32)
    };
    let texts = (0..n as u32).map(|text| (text * N_SENTENCES..(text + 1) * N_SENTENCES).collect());
    Pairs {
        proteins: rows(n, PROTEIN_DIM),
        sentences: rows(n * N_SENTENCES as usize, TEXT_DIM),
        texts: texts.collect(),
        protein_keys: (0..n as u32).collect(),
        text_keys: (0..n as u32).collect(),
    }
}
