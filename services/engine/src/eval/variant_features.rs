//! What a supervised head learns a protein's mutants from: the site as the encoder sees it, and the substitution.
//!
//! Features are made of the sequence and the encoder alone, never of measured scores. They come in blocks, each
//! standardised and divided by the root of its width, so that a ridge listens to a block by its weight, not its width.

use ndarray::{Array2, ArrayView2, Axis, concatenate, s};
use protext_core::{AminoAcid, ProteinSequence};

use crate::variants::{Mutant, Profile, Substitution};

/// Width, in residues, of the Gaussian means over the surroundings.
const SURROUNDINGS: f32 = 3.0;
/// Most bumps along the sequence, and the least distance between them in residues.
const MOST_BUMPS: usize = 60;
const BUMP_DISTANCE: usize = 3;
/// Components of a site, and properties of the mutant, that are multiplied with each other.
const N_CROSSED: usize = 12;
const N_CROSSED_PROPERTIES: usize = 5;
/// Properties of an amino acid: hydropathy, volume, charge, aromatic, proline, glycine, helix, strand.
const N_PROPERTIES: usize = 8;

/// One kind of features.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FeatureBlock {
    /// What it tells.
    pub name: &'static str,
    /// How much a ridge lets it say, relative to the others.
    pub weight: f32,
    /// Its columns.
    pub n_columns: usize,
}

/// Features of mutants.
#[derive(Debug, Clone, PartialEq)]
pub struct VariantFeatures {
    /// `[mutants, features]`, blocks side by side.
    pub values: Array2<f32>,
    /// Blocks, in order.
    pub blocks: Vec<FeatureBlock>,
}

/// A protein as the encoder sees it, site by site.
#[derive(Debug, Clone, Copy)]
pub struct Sites<'a> {
    /// The wild type.
    pub sequence: &'a ProteinSequence,
    /// Principal components of the encoder's rows, nothing masked, `[residues, components]`, greatest first.
    pub rows: ArrayView2<'a, f32>,
    /// What the language head says of every position, masked.
    pub profile: &'a Profile,
}

/// Features of mutants of one protein; those of several substitutions are sums over them.
#[must_use]
pub fn variant_features(sites: &Sites<'_>, mutants: &[Mutant]) -> VariantFeatures {
    let residues = sites.sequence.as_str().as_bytes();
    let chances = chances(sites.profile, residues.len());
    let around = smoothed(&sites.rows.to_owned(), SURROUNDINGS);
    let n_crossed = N_CROSSED.min(sites.rows.ncols());
    let nearby_chemistry = smoothed(&chemistry(residues), SURROUNDINGS);
    let crossed = [sites.rows.slice(s![.., ..n_crossed]).to_owned(), nearby_chemistry];
    let crossed = standardised(join(&crossed));
    let cross = |change: &Substitution| {
        let chemistry = properties(change.mutant);
        let site = crossed.row(change.position);
        let products = site.iter().flat_map(|value| {
            chemistry.iter().take(N_CROSSED_PROPERTIES).map(move |property| value * property)
        });
        products.collect()
    };
    let of_site = |values: &Array2<f32>| summed(mutants, |change| values.row(change.position).to_vec());
    assemble(vec![
        ("substitution", 1.0, summed(mutants, |change| substitution(change, &chances))),
        ("wild type", 0.5, summed(mutants, |change| one_hot(change.wild_type))),
        ("mutant", 0.7, summed(mutants, |change| one_hot(change.mutant))),
        ("row of the site", 0.8, of_site(&sites.rows.to_owned())),
        ("rows around the site", 0.4, of_site(&around)),
        ("probabilities at the site", 0.4, of_site(&chances)),
        ("place in the sequence", 0.4, of_site(&bumps(residues.len()))),
        ("site by substitution", 0.7, summed(mutants, cross)),
    ])
}

/// Blocks side by side, each of its weight whatever its width.
/// Source of the weights: docs/results/variants_method.md.
fn assemble(parts: Vec<(&'static str, f32, Array2<f32>)>) -> VariantFeatures {
    let block = |(name, weight, part): &(&'static str, f32, Array2<f32>)| FeatureBlock {
        name,
        weight: *weight,
        n_columns: part.ncols(),
    };
    let blocks: Vec<FeatureBlock> = parts.iter().map(block).collect();
    let scaled = parts.into_iter().map(|(_, weight, part)| {
        let scale = weight / (part.ncols().max(1) as f32).sqrt();
        standardised(part) * scale
    });
    VariantFeatures { values: join(&scaled.collect::<Vec<_>>()), blocks }
}

/// A row a mutant: the sum over its substitutions.
fn summed(mutants: &[Mutant], of: impl Fn(&Substitution) -> Vec<f32>) -> Array2<f32> {
    let width = mutants.first().map_or(0, |mutant| of(&mutant.substitutions()[0]).len());
    let mut values = Array2::zeros((mutants.len(), width));
    for (mut row, mutant) in values.rows_mut().into_iter().zip(mutants) {
        for change in mutant.substitutions() {
            row.iter_mut().zip(of(change)).for_each(|(sum, value)| *sum += value);
        }
    }
    values
}

fn one_hot(amino_acid: AminoAcid) -> Vec<f32> {
    let mut values = vec![0.0; AminoAcid::COUNT];
    values[amino_acid.index()] = 1.0;
    values
}

/// Changes of properties, with and without sign, and what the language head says.
fn substitution(change: &Substitution, chances: &Array2<f32>) -> Vec<f32> {
    let (from, to) = (properties(change.wild_type), properties(change.mutant));
    let changes = from.iter().zip(&to).map(|(from, to)| to - from);
    let of = |amino_acid: AminoAcid| chances[[change.position, amino_acid.index()]];
    let (wild_type, mutant) = (of(change.wild_type), of(change.mutant));
    let said = [mutant - wild_type, mutant, wild_type];
    changes.clone().chain(changes.map(f32::abs)).chain(from).chain(to).chain(said).collect()
}

/// Properties of an amino acid on like scales.
fn properties(amino_acid: AminoAcid) -> [f32; N_PROPERTIES] {
    let is_one_of = |letters: &[u8]| f32::from(u8::from(letters.contains(&amino_acid.letter())));
    [
        amino_acid.hydropathy() / 3.0,
        (amino_acid.volume() - 140.0) / 40.0,
        2.0 * amino_acid.charge(),
        2.0 * is_one_of(b"FWYH"),
        3.0 * is_one_of(b"P"),
        2.0 * is_one_of(b"G"),
        // Those that Chou and Fasman 1978 find often in helices and in strands.
        is_one_of(b"EMALKFQW"),
        is_one_of(b"VIYFWLTC"),
    ]
}

/// Chemistry of every residue, `[residues, 4]`; zero for those that are none of the 20.
fn chemistry(residues: &[u8]) -> Array2<f32> {
    let of = |residue: u8| AminoAcid::from_letter(residue).map_or([0.0; N_PROPERTIES], properties);
    let all: Vec<[f32; N_PROPERTIES]> = residues.iter().map(|&residue| of(residue)).collect();
    Array2::from_shape_fn((residues.len(), 4), |(position, property)| all[position][property])
}

/// Log probabilities and their entropy, `[residues, 21]`.
fn chances(profile: &Profile, length: usize) -> Array2<f32> {
    Array2::from_shape_fn((length, AminoAcid::COUNT + 1), |(position, column)| {
        let Some(chances) = profile.at(position) else { return 0.0 };
        match chances.get(column) {
            Some(&chance) => chance,
            None => -chances.iter().map(|chance| chance.exp() * chance).sum::<f32>(),
        }
    })
}

/// Gaussian means over the surroundings of each position.
fn smoothed(values: &Array2<f32>, width: f32) -> Array2<f32> {
    let (length, n_columns) = values.dim();
    let reach = (3.0 * width) as usize;
    let mut means = Array2::zeros((length, n_columns));
    for position in 0..length {
        let (start, end) = (position.saturating_sub(reach), (position + reach + 1).min(length));
        let mut total = 0.0;
        for other in start..end {
            let weight = (-0.5 * (position.abs_diff(other) as f32 / width).powi(2)).exp();
            means.row_mut(position).scaled_add(weight, &values.row(other));
            total += weight;
        }
        means.row_mut(position).mapv_inplace(|sum: f32| sum / total);
    }
    means
}

/// Gaussian bumps along the sequence: what is near in it is alike.
fn bumps(length: usize) -> Array2<f32> {
    let distance = length.div_ceil(MOST_BUMPS).max(BUMP_DISTANCE);
    let width = 1.5 * distance as f32;
    Array2::from_shape_fn((length, length.div_ceil(distance)), |(position, bump)| {
        (-0.5 * (position.abs_diff(bump * distance) as f32 / width).powi(2)).exp()
    })
}

/// Columns of mean 0 and deviation 1; constant ones become 0.
fn standardised(mut values: Array2<f32>) -> Array2<f32> {
    for mut column in values.axis_iter_mut(Axis(1)) {
        let mean = column.mean().unwrap_or(0.0);
        let deviation = column.std(0.0);
        column.mapv_inplace(|value| if deviation > 1e-6 { (value - mean) / deviation } else { 0.0 });
    }
    values
}

fn join(parts: &[Array2<f32>]) -> Array2<f32> {
    let parts: Vec<_> = parts.iter().map(|part| part.view()).collect();
    concatenate(Axis(1), &parts).expect("all parts have one row a site, or one a mutant")
}

#[cfg(test)]
mod tests {
    use protext_core::ResiduePolicy;

    use super::*;

    fn sequence() -> ProteinSequence {
        ProteinSequence::parse("MKVLAXMKVLA", ResiduePolicy::default()).unwrap().0
    }

    fn features(mutants: &[&str]) -> VariantFeatures {
        let sequence = sequence();
        let mutants: Vec<Mutant> = mutants.iter().map(|it| Mutant::parse(it, &sequence).unwrap()).collect();
        let rows = Array2::from_shape_fn((11, 3), |(row, column)| ((row * 7 + column * 3) % 5) as f32);
        let profile = Profile::uniform(11);
        variant_features(&Sites { sequence: &sequence, rows: rows.view(), profile: &profile }, &mutants)
    }

    #[test]
    fn blocks_have_their_weight_whatever_their_width() {
        let found = features(&["K2W", "V3A", "L4P", "A5G", "M7K", "K8A", "V9D"]);
        let mut start = 0;
        for block in &found.blocks {
            let part = found.values.slice(s![.., start..start + block.n_columns]);
            let squares = part.iter().map(|value| value * value).sum::<f32>() / 7.0;
            assert!(squares <= block.weight.powi(2) + 1e-4, "{}: {squares}", block.name);
            start += block.n_columns;
        }
        assert_eq!(start, found.values.ncols());
        assert!(found.values.iter().all(|value| value.is_finite()));
    }

    #[test]
    fn several_substitutions_are_summed() {
        let one_hots = summed(
            &[Mutant::parse("K2W:V3A", &sequence()).unwrap(), Mutant::parse("K2A", &sequence()).unwrap()],
            |change| one_hot(change.mutant),
        );
        let of = |letter| AminoAcid::from_letter(letter).unwrap().index();
        assert_eq!(
            (one_hots[[0, of(b'W')]], one_hots[[0, of(b'A')]], one_hots[[1, of(b'W')]]),
            (1.0, 1.0, 0.0)
        );
    }

    #[test]
    fn means_over_surroundings_keep_constants_and_flatten_peaks() {
        let constant = smoothed(&Array2::from_elem((9, 2), 3.0), 3.0);
        assert!(constant.iter().all(|value| (value - 3.0).abs() < 1e-5));
        let mut peak = Array2::zeros((9, 1));
        peak[[4, 0]] = 1.0;
        let peak = smoothed(&peak, 1.0);
        assert!(peak[[4, 0]] < 0.5 && peak[[3, 0]] > peak[[2, 0]]);
    }
}
