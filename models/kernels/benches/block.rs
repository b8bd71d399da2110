//! Time of one block, for shapes of ESM-2 and lengths of proteins, on one thread.
//!
//!     cargo bench -p protext-kernels --bench block [-- 8M bf16 384]
//!     cargo bench -p protext-kernels --bench block -- AVX2 8M
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a bench prints and may panic")]

use std::ops::Range;
use std::time::Instant;

use protext_kernels::{Block, BlockShape, BlockWeights, InputMeans, Isa, Operands, Rotary, Scratch};

/// Blocks in turns, so that weights are read from as far away as in a model of so many layers.
const N_LAYERS: usize = 6;
const N_TOKENS: usize = 1536;
const N_ROUNDS: usize = 20;

/// Numbers in (-1, 1) times `by` that are the same each time.
fn numbers(n: usize, by: f32) -> Vec<f32> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 40) as f32 / (1_u32 << 23) as f32 - 1.0) * by
    };
    (0..n).map(|_| next()).collect()
}

fn block(isa: Isa, operands: Operands, shape: BlockShape) -> Block {
    let (dim, wide) = (shape.dim, shape.feed_forward_dim);
    let (scale, shift) = (vec![1.0; dim], vec![0.0; dim]);
    let linear =
        |depth: usize, width: usize| (numbers(depth * width, 1.5 / (depth as f32).sqrt()), vec![0.1; width]);
    let (square, widen, narrow) = (linear(dim, dim), linear(dim, wide), linear(wide, dim));
    let query: Vec<f32> =
        square.0.iter().map(|weight| weight / ((dim / shape.n_heads) as f32).sqrt()).collect();
    let (norm, square) = ((scale.as_slice(), shift.as_slice()), (square.0.as_slice(), square.1.as_slice()));
    let weights = BlockWeights {
        attention_norm: norm,
        query: (&query, square.1),
        key: square,
        value: square,
        output: square,
        feed_forward_norm: norm,
        widen: (&widen.0, &widen.1),
        narrow: (&narrow.0, &narrow.1),
    };
    Block::new(isa, operands, shape, &weights, &InputMeans::default()).unwrap()
}

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    // The best, or what is named.
    let named = Isa::all().find(|isa| wanted.iter().any(|word| word == isa.name()));
    let Some(isa) = named.or_else(Isa::detect) else {
        println!("NOT RUN: this processor has no AVX2");
        return;
    };
    println!(
        "{}: microseconds a token and block, {N_TOKENS} tokens in all, least of {N_ROUNDS} rounds",
        isa.name()
    );
    let shapes = [("8M", 320, 20), ("35M", 480, 20), ("150M", 640, 20), ("650M", 1280, 20)];
    let kinds = [
        ("bf16", Operands::Bf16),
        ("bf16x3", Operands::TwiceBf16),
        ("int8", Operands::Int8),
        ("int16", Operands::Int16),
    ];
    // Whatever is named, or all where nothing of its sort is.
    let is_wanted = |name: &str, names: &[&str]| {
        wanted.iter().any(|word| word == name) || !wanted.iter().any(|word| names.contains(&word.as_str()))
    };
    let shapes_wanted = shapes.iter().filter(|shape| is_wanted(shape.0, &shapes.map(|shape| shape.0)));
    for &(name, dim, n_heads) in shapes_wanted {
        let shape =
            BlockShape { dim, n_heads, feed_forward_dim: 4 * dim, norm_epsilon: 1e-5, norm_first: true };
        let half = dim / n_heads / 2;
        let angles = numbers(N_TOKENS * half, 3.0);
        let (cos, sin): (Vec<f32>, Vec<f32>) = angles.iter().map(|angle| (angle.cos(), angle.sin())).unzip();
        let rotary = Rotary { cos: &cos, sin: &sin };
        let first = numbers(N_TOKENS * dim, 1.0);
        let lengths = ["64", "256", "384", "1024"];
        for length in lengths.iter().filter(|length| is_wanted(length, &lengths)) {
            let length: usize = length.parse().unwrap();
            let sequences: Vec<Range<usize>> =
                (0..N_TOKENS / length).map(|at| at * length..(at + 1) * length).collect();
            let n_tokens = sequences.len() * length;
            let (mut scratch, mut out) = (Scratch::default(), vec![0.0; n_tokens * dim]);
            let kinds_wanted =
                kinds.iter().filter(|kind| isa.takes(kind.1) && is_wanted(kind.0, &kinds.map(|kind| kind.0)));
            let found = kinds_wanted.map(|&(kind, operands)| {
                let blocks: Vec<Block> = (0..N_LAYERS).map(|_| block(isa, operands, shape)).collect();
                let mut least = f64::INFINITY;
                for _ in 0..N_ROUNDS {
                    let started = Instant::now();
                    for block in &blocks {
                        block.run(
                            &mut scratch,
                            &first[..n_tokens * dim],
                            &sequences,
                            Some(&rotary),
                            &mut out,
                        );
                    }
                    least = least.min(started.elapsed().as_secs_f64() * 1e6 / (n_tokens * N_LAYERS) as f64);
                }
                format!("{kind} {least:.3}")
            });
            println!("{name:>5} {length:>5} residues: {}", found.collect::<Vec<_>>().join(", "));
        }
    }
}
