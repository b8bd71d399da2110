//! Clusters by k-mers that sequences share: what is used where MMseqs2 is not installed.
//!
//! Residues are read in a reduced alphabet, a sequence is sketched by the smallest hashes of its k-mers (MinHash), and
//! sequences whose sketches meet often enough are joined, one link being enough. Relatives of low identity share
//! few k-mers, so that not all are found: docs/results/retrieval.md has the figures. Time and memory grow with the number of
//! sequences, not with that of pairs.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use rayon::prelude::*;

use super::union_find::UnionFind;

/// Letters of the reduced alphabet, one string a class. Source: Murphy, Wallqvist and Levy 2000, ten classes.
const CLASSES: [&str; 10] = ["LVIMJ", "C", "A", "G", "ST", "P", "FYW", "EDNQBZ", "KRO", "H"];
/// Residues of a k-mer.
const K: usize = 6;
/// k-mers of a sketch: all of a protein of average length, a sample of a long one.
const SKETCH_LEN: usize = 512;
/// Shared k-mers that two sketches must have at least; strangers of average length share about one by chance.
const MIN_SHARED: usize = 8;
/// Share of the smaller sketch that must be in the other. Lower values chain strangers: at 0.03 two fifths of 60,000 diverse
/// proteins become one cluster. Source: `figures_against_cluster30`.
const MIN_CONTAINMENT: f64 = 0.05;
/// Shorter length over longer length.
const MIN_LENGTH_RATIO: f64 = 0.8;
/// In a bucket of more sequences than this each is compared with its neighbours only.
const MAX_ALL_PAIRS: usize = 24;
/// Neighbours of a sequence in a large bucket.
const N_NEIGHBOURS: usize = 6;

pub(super) const DESCRIPTION: &str = "MinHash single linkage: 6-mers of a ten-letter alphabet, sketches of 512, joined at 8 \
    shared k-mers, 5% of the smaller sketch and a length ratio of 0.8";

/// Clusters of sequences: equal numbers for relatives. The same sequences give the same clusters in any order.
#[must_use]
pub fn minhash_clusters(sequences: &[&str]) -> Vec<u32> {
    // Sorted by content, so that neither the order of rows nor repeats of a sequence matter.
    let mut order: BTreeMap<(Reverse<usize>, &str), Vec<usize>> = BTreeMap::new();
    for (row, sequence) in sequences.iter().enumerate() {
        order.entry((Reverse(sequence.len()), sequence)).or_default().push(row);
    }
    let different: Vec<&str> = order.keys().map(|(_, sequence)| *sequence).collect();
    let sketches: Vec<Vec<u32>> = different.par_iter().map(|sequence| sketch(sequence)).collect();
    let mut sets = UnionFind::new(different.len());
    for (a, b, n_shared) in candidates(&sketches, &different) {
        let smaller = sketches[a as usize].len().min(sketches[b as usize].len());
        if n_shared >= MIN_SHARED && n_shared as f64 >= MIN_CONTAINMENT * smaller as f64 {
            sets.join(a as usize, b as usize);
        }
    }
    let mut clusters = vec![0; sequences.len()];
    for (rows, root) in order.values().zip(sets.roots()) {
        rows.iter().for_each(|&row| clusters[row] = root);
    }
    clusters
}

/// The smallest hashes of the different k-mers, sorted. Residues that are none and unknown ones end a k-mer.
fn sketch(sequence: &str) -> Vec<u32> {
    let base = CLASSES.len() as u64;
    let span = base.pow(K as u32);
    let (mut code, mut length) = (0_u64, 0);
    let mut hashes = Vec::new();
    for residue in sequence.bytes().filter(|byte| !byte.is_ascii_whitespace()) {
        let residue = char::from(residue.to_ascii_uppercase());
        let Some(class) = CLASSES.iter().position(|class| class.contains(residue)) else {
            (code, length) = (0, 0);
            continue;
        };
        code = (code * base + class as u64) % span;
        length += 1;
        if length >= K {
            hashes.push(mixed(code));
        }
    }
    hashes.sort_unstable();
    hashes.dedup();
    hashes.truncate(SKETCH_LEN);
    hashes
}

/// A k-mer's hash: spread evenly, so that the smallest are a fair sample. Source: the finalizer of SplitMix64.
fn mixed(code: u64) -> u32 {
    let mut bits = code.wrapping_add(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (bits >> 32) as u32
}

/// Pairs that share hashes and may be long enough, with how many they share.
fn candidates(sketches: &[Vec<u32>], sequences: &[&str]) -> Vec<(u32, u32, usize)> {
    let mut postings: Vec<(u32, u32)> = Vec::with_capacity(sketches.iter().map(Vec::len).sum());
    for (row, sketch) in sketches.iter().enumerate() {
        postings.extend(sketch.iter().map(|&hash| (hash, row as u32)));
    }
    postings.par_sort_unstable();
    // Rows are sorted from long to short: what follows in a bucket is as long or shorter.
    let fits = |a: u32, b: u32| {
        sequences[b as usize].len() as f64 >= MIN_LENGTH_RATIO * sequences[a as usize].len() as f64
    };
    let mut pairs: Vec<(u32, u32)> = Vec::new();
    for bucket in postings.chunk_by(|a, b| a.0 == b.0) {
        let n_next = if bucket.len() <= MAX_ALL_PAIRS { bucket.len() } else { N_NEIGHBOURS };
        for (at, &(_, a)) in bucket.iter().enumerate() {
            let next = bucket[at + 1..].iter().map(|&(_, b)| b).take(n_next);
            pairs.extend(next.take_while(|&b| fits(a, b)).map(|b| (a, b)));
        }
    }
    drop(postings);
    pairs.par_sort_unstable();
    let count = |same: &[(u32, u32)]| (same[0].0, same[0].1, same.len());
    pairs.chunk_by(|a, b| a == b).map(count).filter(|(_, _, n_shared)| *n_shared >= MIN_SHARED).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};
    use std::path::Path;
    use std::time::Instant;

    use super::*;
    use crate::eval::{read_labelled, read_sequences};

    /// Residues that look drawn, the same for a seed.
    fn drawn(seed: u64, n: usize) -> String {
        let residues = b"ACDEFGHIKLMNPQRSTVWY";
        let at = |place| mixed(seed.wrapping_mul(1_000_003).wrapping_add(place as u64)) as usize % 20;
        (0..n).map(|place| char::from(residues[at(place)])).collect()
    }

    /// Each `every`-th residue is another.
    fn mutated(sequence: &str, every: usize) -> String {
        let swap = |(place, residue)| if place % every == 0 { 'W' } else { residue };
        sequence.chars().enumerate().map(swap).collect()
    }

    #[test]
    fn relatives_are_joined_and_strangers_are_not_in_any_order() {
        let parents: Vec<String> = (0..40).map(|seed| drawn(seed, 300)).collect();
        let children: Vec<String> = parents.iter().map(|parent| mutated(parent, 9)).collect();
        let all: Vec<&str> = parents.iter().chain(&children).map(String::as_str).collect();
        let clusters = minhash_clusters(&all);
        for row in 0..40 {
            assert_eq!(clusters[row], clusters[row + 40]);
        }
        assert_eq!(clusters.iter().collect::<HashSet<_>>().len(), 40);
        let reversed: Vec<&str> = all.iter().rev().copied().collect();
        let mut again = minhash_clusters(&reversed);
        again.reverse();
        assert_eq!(again, clusters);
    }

    #[test]
    fn short_odd_and_equal_sequences_are_taken() {
        let clusters = minhash_clusters(&["MK", "", "MK", "XXXXXXXXXXXX", "mk*"]);
        assert_eq!(clusters[0], clusters[2]);
        assert_eq!(clusters.iter().collect::<HashSet<_>>().len(), 4);
        assert!(minhash_clusters(&[]).is_empty());
    }

    #[test]
    fn a_large_family_stays_one_cluster() {
        let parent = drawn(1, 250);
        let family: Vec<String> = (11..111).map(|every| mutated(&parent, every)).collect();
        let clusters = minhash_clusters(&family.iter().map(String::as_str).collect::<Vec<_>>());
        assert!(clusters.iter().all(|cluster| *cluster == clusters[0]));
    }

    /// Prints how much of a table's `cluster30` is found; `PROTEXT_PROTEINS` names the table.
    /// `PROTEXT_PROTEINS=human_swissprot.tsv.gz cargo test --release -p protext-engine minhash -- --ignored --nocapture`
    #[test]
    #[ignore = "prints figures of a table that is not part of the repository"]
    fn figures_against_cluster30() {
        let Some(path) = std::env::var_os("PROTEXT_PROTEINS") else {
            println!("NOT RUN: PROTEXT_PROTEINS names no table");
            return;
        };
        let path = Path::new(&path);
        let sequences = read_sequences(&[path.to_owned()]).unwrap();
        let rows = read_labelled(path).unwrap();
        let of = |row: &crate::eval::Labelled| sequences[&row.accession].as_str();
        let all: Vec<&str> = rows.iter().map(of).collect();
        let started = Instant::now();
        let found = minhash_clusters(&all);
        let seconds = started.elapsed().as_secs_f64();
        let truth: Vec<&str> =
            rows.iter().map(|row| row.labels[1].as_deref().unwrap_or(&row.accession)).collect();
        let n_pairs = |sizes: Vec<usize>| sizes.iter().map(|n| n * (n - 1) / 2).sum::<usize>() as f64;
        let (n_true, n_found) = (n_pairs(sizes(truth.iter())), n_pairs(sizes(found.iter())));
        let n_both = n_pairs(sizes(found.iter().zip(&truth)));
        let largest = sizes(found.iter()).into_iter().max().unwrap();
        // Of the proteins with a relative: how many are in one cluster with one of their relatives?
        let true_sizes: HashMap<&str, usize> = counts(truth.iter().copied());
        let both_sizes = counts(truth.iter().copied().zip(found.iter().copied()));
        let with: Vec<usize> = (0..all.len()).filter(|&row| true_sizes[truth[row]] > 1).collect();
        let linked = with.iter().filter(|&&row| both_sizes[&(truth[row], found[row])] > 1).count();
        println!("{} proteins, {seconds:.1} s", all.len());
        println!("pairs of one cluster30 that are in one cluster: {:.3} of {n_true}", n_both / n_true);
        println!("pairs of one cluster that are in one cluster30: {:.3} of {n_found}", n_both / n_found);
        println!(
            "proteins with relatives that are with one of them: {:.3}",
            linked as f64 / with.len() as f64
        );
        println!(
            "clusters: {} (cluster30: {}), largest {largest}",
            sizes(found.iter()).len(),
            true_sizes.len()
        );
    }

    fn counts<T: std::hash::Hash + Eq>(values: impl Iterator<Item = T>) -> HashMap<T, usize> {
        let mut counts = HashMap::new();
        values.for_each(|value| *counts.entry(value).or_default() += 1);
        counts
    }

    fn sizes<T: std::hash::Hash + Eq>(values: impl Iterator<Item = T>) -> Vec<usize> {
        counts(values).into_values().collect()
    }
}
