//! A block against the same arithmetic spelled out in 64 bits, on every kind of instruction that this processor has and with every kind
//! of operand.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::ops::Range;

use proptest::prelude::*;
use protext_kernels::{Block, BlockShape, BlockWeights, InputMeans, Isa, Operands, Rotary, Scratch};

/// Numbers in (-1, 1) that are the same each time.
fn numbers(n: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5bf0_3635;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1_u32 << 23) as f32 - 1.0
    };
    (0..n).map(|_| next()).collect()
}

struct Weights {
    shape: BlockShape,
    parts: Vec<(Vec<f32>, Vec<f32>)>,
}

impl Weights {
    fn new(shape: BlockShape) -> Self {
        let (dim, wide) = (shape.dim, shape.feed_forward_dim);
        let scaled = |n: usize, seed: u64, by: f32| numbers(n, seed).into_iter().map(|x| x * by).collect();
        let linear = |depth: usize, width: usize, seed: u64| {
            (scaled(depth * width, seed, 1.5 / (depth as f32).sqrt()), scaled(width, seed + 50, 0.2))
        };
        let norm = |seed: u64| {
            (numbers(dim, seed).into_iter().map(|x| 1.0 + 0.3 * x).collect(), scaled(dim, seed + 50, 0.1))
        };
        let parts = vec![
            norm(1),
            linear(dim, dim, 2),
            linear(dim, dim, 3),
            linear(dim, dim, 4),
            linear(dim, dim, 5),
            norm(6),
            linear(dim, wide, 7),
            linear(wide, dim, 8),
        ];
        Self { shape, parts }
    }

    fn block(&self, kind: (Isa, Operands)) -> Block {
        self.block_for(kind, &InputMeans::default())
    }

    /// Calibrated by what goes into it.
    fn block_for(&self, (isa, operands): (Isa, Operands), means: &InputMeans) -> Block {
        let part = |at: usize| (self.parts[at].0.as_slice(), self.parts[at].1.as_slice());
        let weights = BlockWeights {
            attention_norm: part(0),
            query: part(1),
            key: part(2),
            value: part(3),
            output: part(4),
            feed_forward_norm: part(5),
            widen: part(6),
            narrow: part(7),
        };
        Block::new(isa, operands, self.shape, &weights, means).unwrap()
    }

    /// One sequence through the block in 64 bits.
    fn reference(&self, hidden: &[f32], tables: Option<&(Vec<f32>, Vec<f32>)>) -> Vec<f64> {
        let dim = self.shape.dim;
        let rows: Vec<Vec<f64>> =
            hidden.chunks(dim).map(|row| row.iter().map(|&x| f64::from(x)).collect()).collect();
        let each = |rows: &[Vec<f64>], function: &dyn Fn(&[f64]) -> Vec<f64>| -> Vec<Vec<f64>> {
            rows.iter().map(|row| function(row)).collect()
        };
        let norm_first = self.shape.norm_first;
        let normed = each(&rows, &|row| if norm_first { self.normalized(0, row) } else { row.to_vec() });
        let mut projected = [1, 2, 3].map(|part| each(&normed, &|row| self.linear(part, row)));
        let head_dim = dim / self.shape.n_heads;
        if let Some((cos, sin)) = tables {
            for rows in &mut projected[..2] {
                for (position, row) in rows.iter_mut().enumerate() {
                    for head in row.chunks_mut(head_dim) {
                        turn(head, &cos[position * head_dim / 2..], &sin[position * head_dim / 2..]);
                    }
                }
            }
        }
        let [queries, keys, values] = &projected;
        let mut mixed = vec![vec![0.0; dim]; rows.len()];
        for head in 0..self.shape.n_heads {
            let part = head * head_dim..(head + 1) * head_dim;
            for (query, mixed) in queries.iter().zip(&mut mixed) {
                let scores: Vec<f64> =
                    keys.iter().map(|key| dot(&query[part.clone()], &key[part.clone()])).collect();
                let greatest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let shares: Vec<f64> = scores.iter().map(|score| (score - greatest).exp()).collect();
                let sum: f64 = shares.iter().sum();
                for (share, value) in shares.iter().zip(values) {
                    for at in part.clone() {
                        mixed[at] += share / sum * value[at];
                    }
                }
            }
        }
        let mut out = Vec::new();
        for (row, mixed) in rows.iter().zip(&mixed) {
            let mut attended = sum(row, &self.linear(4, mixed));
            if !norm_first {
                attended = self.normalized(0, &attended);
            }
            let normed = if norm_first { self.normalized(5, &attended) } else { attended.clone() };
            let wide = self.linear(6, &normed).into_iter().map(gelu).collect::<Vec<_>>();
            let whole = sum(&attended, &self.linear(7, &wide));
            out.extend(if norm_first { whole } else { self.normalized(5, &whole) });
        }
        out
    }

    fn normalized(&self, part: usize, row: &[f64]) -> Vec<f64> {
        let (scale, shift) = &self.parts[part];
        let mean = row.iter().sum::<f64>() / row.len() as f64;
        let variance = row.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / row.len() as f64;
        let factor = (variance + f64::from(self.shape.norm_epsilon)).sqrt().recip();
        let scaled = row.iter().zip(scale).zip(shift);
        scaled
            .map(|((x, scale), shift)| (x - mean) * factor * f64::from(*scale) + f64::from(*shift))
            .collect()
    }

    fn linear(&self, part: usize, row: &[f64]) -> Vec<f64> {
        let (weight, bias) = &self.parts[part];
        let mut out: Vec<f64> = bias.iter().map(|&b| f64::from(b)).collect();
        for (x, weights) in row.iter().zip(weight.chunks(bias.len())) {
            for (out, weight) in out.iter_mut().zip(weights) {
                *out += x * f64::from(*weight);
            }
        }
        out
    }
}

fn turn(head: &mut [f64], cos: &[f32], sin: &[f32]) {
    let half = head.len() / 2;
    for at in 0..half {
        let (left, right) = (head[at], head[half + at]);
        let (cos, sin) = (f64::from(cos[at]), f64::from(sin[at]));
        head[at] = left * cos - right * sin;
        head[half + at] = right * cos + left * sin;
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn sum(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| a + b).collect()
}

fn gelu(x: f64) -> f64 {
    // tanh's form would be another function; this is erf by its series, good to |x| of 6.
    let z = x / 2.0_f64.sqrt();
    let (mut series, mut term) = (0.0, z);
    for n in 0..300 {
        series += term / f64::from(2 * n + 1);
        term *= -z * z / f64::from(n + 1);
    }
    let erf = if z.abs() > 5.0 { z.signum() } else { series * std::f64::consts::FRAC_2_SQRT_PI };
    x / 2.0 * (1.0 + erf)
}

fn tables(n: usize, head_dim: usize) -> (Vec<f32>, Vec<f32>) {
    let angle = |at: usize| {
        let (position, frequency) = (at / (head_dim / 2), at % (head_dim / 2));
        position as f64 * 10_000_f64.powf(-2.0 * frequency as f64 / head_dim as f64)
    };
    (0..n * head_dim / 2).map(|at| (angle(at).cos() as f32, angle(at).sin() as f32)).unzip()
}

fn kinds() -> Vec<(Isa, Operands)> {
    for (operands, name) in
        [(Operands::Int16, "AVX2"), (Operands::Int16, "AVX-512 VNNI"), (Operands::Bf16, "AMX")]
    {
        if !Isa::all().any(|isa| isa.name() == name) {
            eprintln!(
                "NOT RUN in {operands:?} with {name}: this processor has none, or the system does not permit it"
            );
        }
    }
    let operands = [Operands::Bf16, Operands::TwiceBf16, Operands::Int8, Operands::Int16];
    let each = Isa::all().flat_map(|isa| operands.map(|operands| (isa, operands)));
    each.filter(|(isa, operands)| match operands {
        // Those of 16 bits are the same on all with AVX-512.
        Operands::Int16 => ["AVX2", "AVX-512 VNNI"].contains(&isa.name()),
        _ => isa.takes(*operands),
    })
    .collect()
}

/// Sequences one behind the other.
fn ranges(lengths: &[usize]) -> Vec<Range<usize>> {
    let mut first = 0;
    let range = |&n: &usize| {
        first += n;
        first - n..first
    };
    lengths.iter().map(range).collect()
}

fn cosine(a: &[f32], b: &[f64]) -> f64 {
    let a: Vec<f64> = a.iter().map(|&x| f64::from(x)).collect();
    dot(&a, b) / (dot(&a, &a) * dot(b, b)).sqrt()
}

const SHAPES: [BlockShape; 6] = [
    // Heads as in ESM-2 8M, 35M, 150M and 650M, and such whose halves do not fill steps of 16; the last so wide that tiles take its
    // depth in slices.
    BlockShape { dim: 320, n_heads: 20, feed_forward_dim: 1280, norm_epsilon: 1e-5, norm_first: true },
    BlockShape { dim: 96, n_heads: 4, feed_forward_dim: 384, norm_epsilon: 1e-5, norm_first: true },
    BlockShape { dim: 64, n_heads: 2, feed_forward_dim: 32, norm_epsilon: 1e-12, norm_first: false },
    BlockShape { dim: 128, n_heads: 2, feed_forward_dim: 512, norm_epsilon: 1e-5, norm_first: true },
    BlockShape { dim: 160, n_heads: 4, feed_forward_dim: 64, norm_epsilon: 1e-5, norm_first: true },
    BlockShape { dim: 672, n_heads: 14, feed_forward_dim: 64, norm_epsilon: 1e-5, norm_first: true },
];

#[test]
fn a_block_answers_as_the_arithmetic_does() {
    for kind in kinds() {
        // Least cosine, and most that a number may be off.
        let (least, most) = match kind.1 {
            Operands::Bf16 => (0.999_9, 0.1),
            Operands::TwiceBf16 => (0.999_999_999, 5e-4),
            Operands::Int8 => (0.999_5, 0.3),
            Operands::Int16 => (0.999_999_5, 5e-3),
        };
        for shape in SHAPES {
            let weights = Weights::new(shape);
            let block = weights.block(kind);
            let tables = tables(520, shape.dim / shape.n_heads);
            for turned in [true, false] {
                let lengths = match shape.dim {
                    96 => vec![1, 2, 31, 32, 33, 256, 257, 520],
                    _ => vec![1, 40],
                };
                let hidden = numbers(lengths.iter().sum::<usize>() * shape.dim, 9);
                let sequences = ranges(&lengths);
                let mut out = vec![f32::NAN; hidden.len()];
                let rotary = turned.then_some(Rotary { cos: &tables.0, sin: &tables.1 });
                block.run(&mut Scratch::default(), &hidden, &sequences, rotary.as_ref(), &mut out);
                for rows in sequences {
                    let part = rows.start * shape.dim..rows.end * shape.dim;
                    let expected = weights.reference(&hidden[part.clone()], turned.then_some(&tables));
                    let cosine = cosine(&out[part.clone()], &expected);
                    assert!(cosine > least, "{kind:?} {shape:?}, {} tokens: {cosine}", rows.len());
                    let off = out[part].iter().zip(&expected).map(|(a, b)| (f64::from(*a) - b).abs());
                    let worst = off.fold(0.0, f64::max);
                    assert!(worst < most, "{kind:?} {shape:?}, {} tokens: {worst}", rows.len());
                }
            }
        }
    }
}

#[test]
fn scores_beyond_what_powers_hold_are_shared_out() {
    for kind in kinds() {
        // What rounding does to such keys decides who is seen.
        let least = match kind.1 {
            Operands::Bf16 => 0.995,
            Operands::TwiceBf16 => 0.999_999,
            Operands::Int8 => 0.97,
            Operands::Int16 => 0.999_95,
        };
        for key_bias in [5.0, -5.0] {
            let mut weights = Weights::new(SHAPES[1]);
            // All scores of a head near 600, or near -600: e^600 is beyond 32 bits, and e^-600 is nothing.
            weights.parts[1].1.fill(5.0);
            weights.parts[2].1.fill(key_bias);
            let lengths = [33, 100];
            let hidden = numbers(133 * 96, 9);
            let mut out = vec![f32::NAN; hidden.len()];
            weights.block(kind).run(&mut Scratch::default(), &hidden, &ranges(&lengths), None, &mut out);
            for rows in ranges(&lengths) {
                let part = rows.start * 96..rows.end * 96;
                let cosine = cosine(&out[part.clone()], &weights.reference(&hidden[part], None));
                assert!(cosine > least, "{kind:?} with keys at {key_bias}: {cosine}");
            }
        }
    }
}

/// Not any numbers: words of 16 bits do not tell such scores apart.
#[test]
fn scores_beyond_words_of_16_bits_are_no_numbers() {
    for kind in kinds().into_iter().filter(|(_, operands)| *operands == Operands::Int16) {
        let mut weights = Weights::new(SHAPES[1]);
        weights.parts[1].1.fill(3e3);
        weights.parts[2].1.fill(3e3);
        let hidden = numbers(40 * 96, 9);
        let mut out = vec![0.0; hidden.len()];
        weights.block(kind).run(&mut Scratch::default(), &hidden, &ranges(&[40]), None, &mut out);
        assert!(out.iter().all(|value| value.is_nan()));
    }
}

#[test]
fn a_wrong_shape_or_part_is_named() {
    let Some(isa) = Isa::detect() else { return };
    let odd = BlockShape { dim: 100, ..SHAPES[1] };
    assert!(odd.check().unwrap_err().contains("multiple of 32"));
    assert!(BlockShape { n_heads: 7, ..SHAPES[1] }.check().unwrap_err().contains("multiple of the heads"));
    let weights = Weights::new(SHAPES[1]);
    let part = |at: usize| (weights.parts[at].0.as_slice(), weights.parts[at].1.as_slice());
    let swapped = BlockWeights {
        attention_norm: part(0),
        query: part(1),
        key: part(2),
        value: part(3),
        output: part(6),
        feed_forward_norm: part(5),
        widen: part(6),
        narrow: part(7),
    };
    assert!(
        Block::new(isa, Operands::Int16, SHAPES[1], &swapped, &InputMeans::default())
            .err()
            .unwrap()
            .contains("output has")
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// To the last bit: whatever else is in the batch, whatever was there before, wherever the rows lie.
    #[test]
    fn a_sequence_is_answered_alike_in_any_company(lengths in prop::collection::vec(1_usize..140, 1..5), gap in 0_usize..3) {
        let shape = SHAPES[1];
        let weights = Weights::new(shape);
        let tables = tables(140, shape.dim / shape.n_heads);
        let rotary = Rotary { cos: &tables.0, sin: &tables.1 };
        for kind in kinds() {
            let block = weights.block(kind);
            let mut scratch = Scratch::default();
            let spread: Vec<Range<usize>> =
                ranges(&lengths).iter().enumerate().map(|(at, rows)| rows.start + at * gap..rows.end + at * gap).collect();
            let n_rows = spread.last().unwrap().end + gap;
            let hidden = numbers(n_rows * shape.dim, 3);
            let mut together = vec![f32::NAN; hidden.len()];
            block.run(&mut scratch, &hidden, &spread, Some(&rotary), &mut together);
            for rows in spread {
                let values = rows.start * shape.dim..rows.end * shape.dim;
                let mut alone = vec![f32::NAN; values.len()];
                block.run(&mut scratch, &hidden[values.clone()], std::slice::from_ref(&(0..rows.len())), Some(&rotary), &mut alone);
                prop_assert_eq!(&alone[..], &together[values]);
            }
        }
    }
}

#[test]
fn what_is_no_number_stays_none() {
    for kind in kinds() {
        for part in [2, 4, 6] {
            for wrong in [f32::NAN, f32::INFINITY] {
                let mut weights = Weights::new(SHAPES[1]);
                let (weight, bias) = &mut weights.parts[part];
                weight[5 * bias.len() + 40] = wrong;
                let hidden = numbers(40 * 96, 9);
                let mut out = vec![0.0; hidden.len()];
                let rows = std::slice::from_ref(&(0..40));
                weights.block(kind).run(&mut Scratch::default(), &hidden, rows, None, &mut out);
                assert!(
                    out.iter().any(|value| !value.is_finite()),
                    "{kind:?}: {wrong} in part {part} is lost"
                );
            }
        }
        let mut hidden = numbers(40 * 96, 9);
        hidden[7 * 96 + 3] = f32::NAN;
        let mut out = vec![0.0; hidden.len()];
        let (weights, rows) = (Weights::new(SHAPES[1]), std::slice::from_ref(&(0..40)));
        weights.block(kind).run(&mut Scratch::default(), &hidden, rows, None, &mut out);
        assert!(out[7 * 96..8 * 96].iter().all(|value| value.is_nan()), "{kind:?}: a token is lost");
    }
}

#[test]
fn bytes_are_nearer_when_they_know_their_inputs() {
    for kind in kinds().into_iter().filter(|(_, operands)| *operands == Operands::Int8) {
        for shape in SHAPES {
            let weights = Weights::new(shape);
            // Two halves of one text, as it were: recorded on one, tried on the other. All tokens have much in common.
            let common = numbers(shape.dim, 4);
            let hidden: Vec<f32> = numbers(80 * shape.dim, 9)
                .iter()
                .enumerate()
                .map(|(at, x)| x * 0.3 + common[at % shape.dim])
                .collect();
            let (known, asked) = hidden.split_at(40 * shape.dim);
            let (rows, mut out) = (std::slice::from_ref(&(0..40)), vec![0.0; known.len()]);
            let mut scratch = Scratch::recording(InputMeans::default());
            weights.block((kind.0, Operands::Bf16)).run(&mut scratch, known, rows, None, &mut out);
            let means = scratch.recorded();
            assert_eq!(means.n_rows(), 40);
            let expected = weights.reference(asked, None);
            let mut off_by = |means: &InputMeans| -> f64 {
                weights.block_for(kind, means).run(&mut Scratch::default(), asked, rows, None, &mut out);
                // Of the mean over tokens, which is what is pooled.
                let off = |column: usize| -> f64 {
                    let each = (0..40).map(|row| row * shape.dim + column);
                    each.map(|at| f64::from(out[at]) - expected[at]).sum::<f64>().abs()
                };
                (0..shape.dim).map(off).sum()
            };
            let (without, with) = (off_by(&InputMeans::default()), off_by(&means));
            assert!(with < 0.7 * without, "{kind:?} {shape:?}: {with} with, {without} without");
        }
    }
}

/// Rounded alike, so that a space is the same on either: sums of bytes are whole numbers, and those of words differ in their last bits.
#[test]
fn tiles_answer_as_vectors_do() {
    let (Some(best), Some(vectors)) = (Isa::detect(), Isa::all().find(|isa| isa.name() == "AVX-512 BF16"))
    else {
        return;
    };
    if best == vectors {
        eprintln!("NOT RUN: this processor has no tiles, or the system does not permit them");
        return;
    }
    for operands in [Operands::Bf16, Operands::TwiceBf16, Operands::Int8] {
        for shape in SHAPES {
            let weights = Weights::new(shape);
            let tables = tables(300, shape.dim / shape.n_heads);
            let rotary = Rotary { cos: &tables.0, sin: &tables.1 };
            let (hidden, sequences) = (numbers(333 * shape.dim, 9), ranges(&[33, 300]));
            let [ours, theirs] = [best, vectors].map(|isa| {
                let mut out = vec![f32::NAN; hidden.len()];
                let block = weights.block((isa, operands));
                block.run(&mut Scratch::default(), &hidden, &sequences, Some(&rotary), &mut out);
                out
            });
            let off = ours.iter().zip(&theirs).map(|(a, b)| f64::from((a - b).abs()));
            let (worst, mean) = (off.clone().fold(0.0, f64::max), off.sum::<f64>() / ours.len() as f64);
            // A sum at the border of two bytes, or of two words, may fall to either side.
            let (most, most_mean) = if operands == Operands::TwiceBf16 { (5e-4, 2e-5) } else { (0.1, 1e-3) };
            assert!(worst < most && mean < most_mean, "{operands:?} {shape:?}: {worst}, {mean} on average");
        }
    }
}
