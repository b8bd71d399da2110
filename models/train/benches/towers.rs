//! What an epoch of the towers that ship costs, on made-up rows of their shape.
//!
//! ```text
//! cargo bench -p protext-train --bench towers
//! ```
//!
//! Two pairs of towers side by side, as `make towers` trains them; the first epoch, which also whitens, is left out.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a bench prints and may panic")]

use std::time::Instant;

use ndarray::Array2;
use protext_core::{N_WORD_COMPONENTS, SplitMix64};
use protext_train::contrastive::{ContrastiveSettings, Epoch, Pairs, Parts, train};

const N_TRAINING: usize = 12_486;
const N_EXTRA: usize = 22_382;
const N_EPOCHS: usize = 4;
/// Mean and deviation of four layers of 320 components.
const PROTEIN_DIM: usize = 2 * 4 * 320;
const TEXT_DIM: usize = 384 + N_WORD_COMPONENTS;
const SENTENCES: u32 = 3;

fn main() {
    let (training, extra, validation) = (pairs(N_TRAINING, 1), pairs(N_EXTRA, 2), pairs(1_000, 3));
    let settings = ContrastiveSettings {
        batch_size: 6_144,
        n_epochs: N_EPOCHS,
        patience: N_EPOCHS,
        sentence_dropout: 0.5,
        noise: 0.4,
        word_components: 384,
        n_members: 2,
        ..ContrastiveSettings::default()
    };
    let mut ends: Vec<Vec<Instant>> = vec![Vec::new(); 2];
    let mut on_epoch = |epoch: &Epoch| {
        ends[epoch.member - 1].push(Instant::now());
        true
    };
    let parts = Parts { training: &training, extra: Some(&extra), validation: &validation };
    train(parts, &settings, None, &mut on_epoch).unwrap();
    for (member, ends) in ends.iter().enumerate() {
        let seconds = (ends[N_EPOCHS - 1] - ends[0]).as_secs_f64() / (N_EPOCHS - 1) as f64;
        println!("member {}: {seconds:.2} s an epoch", member + 1);
    }
}

/// Pairs without meaning; what is learned takes as long.
fn pairs(n: usize, seed: u64) -> Pairs {
    let mut draws = SplitMix64::from_state(seed);
    let mut rows = |n: usize, dim: usize| {
        Array2::from_shape_simple_fn((n, dim), || (draws.draw() >> 40) as f32 / (1_u64 << 24) as f32)
    };
    let texts = (0..n as u32).map(|text| (text * SENTENCES..(text + 1) * SENTENCES).collect());
    Pairs {
        proteins: rows(n, PROTEIN_DIM),
        sentences: rows(n * SENTENCES as usize, TEXT_DIM),
        texts: texts.collect(),
        protein_keys: (0..n as u32).collect(),
        text_keys: (0..n as u32).collect(),
    }
}
