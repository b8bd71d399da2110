//! An encoder and its language head at work on variants.
//!
//! Three scores. *Masked marginal*: log p(mutant) - log p(wild type) at the masked position. *Wild-type marginal*: the same
//! from the whole sequence, in one pass. *Embedding shift*: how far the mutant's pooled row lies from the wild type's.
//! Sources: Meier et al. 2021 (ESM-1v) for the marginals, Wu et al. 2024 (ProteinCLIP) for the shift.

use protext_core::{
    EncoderInput, EncoderRow, LanguageHead, LogProbabilities, LongPolicy, LongReport, ProteinSequence,
};
use serde::{Deserialize, Serialize};

use super::error::VariantError;
use super::mutant::Mutant;
use super::passes::{self, OnPass};
use crate::embedder::{EmbedOptions, Embedder};

/// Distance between positions that are masked together by [`Masking::Spread`]: 6% of a sequence, below the 15% that
/// encoders are trained with. Source: docs/results/variants_method.md.
pub const MASK_STRIDE: usize = 16;

/// Which positions are masked in one pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Masking {
    /// Each alone: one pass a position, as papers do it.
    Each,
    /// Every sixteenth at once: sixteen passes a protein, whatever its length.
    Spread,
}

/// Which scores are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VariantScores {
    /// The masked marginal, and how positions are masked.
    pub masked: Option<Masking>,
    /// The wild-type marginal.
    pub wild_type: bool,
    /// The embedding shift; one pass a mutant.
    pub shift: bool,
}

/// Scores of one mutant; those that were not asked for are absent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct VariantScore {
    /// Sum over substitutions of log p(mutant) - log p(wild type), position masked; higher is fitter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub masked_marginal: Option<f64>,
    /// The same with nothing masked; higher is fitter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wild_type_marginal: Option<f64>,
    /// Euclidean distance between the pooled rows of mutant and wild type; higher is further away.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub embedding_shift: Option<f64>,
}

/// What the language head says of some positions of a sequence.
#[derive(Debug, Clone, PartialEq)]
pub struct Profile(Vec<Option<LogProbabilities>>);

impl Profile {
    /// All amino acids alike at every position: what an encoder without a language head can say.
    #[must_use]
    pub fn uniform(length: usize) -> Self {
        let alike = -(protext_core::AminoAcid::COUNT as f32).ln();
        Self(vec![Some([alike; protext_core::AminoAcid::COUNT]); length])
    }

    /// The distribution at a 0-based position, if it was asked for.
    #[must_use]
    pub fn at(&self, position: usize) -> Option<&LogProbabilities> {
        self.0.get(position)?.as_ref()
    }

    /// Sum over substitutions of log p(mutant) - log p(wild type); `None` if a position was not asked for.
    #[must_use]
    pub fn score(&self, mutant: &Mutant) -> Option<f64> {
        let ratio = |change: &super::Substitution| {
            let chances = self.at(change.position)?;
            Some(f64::from(chances[change.mutant.index()]) - f64::from(chances[change.wild_type.index()]))
        };
        mutant.substitutions().iter().map(ratio).sum()
    }
}

/// Rows of the residues of one sequence.
#[derive(Debug, Clone, PartialEq)]
pub struct ResidueRows {
    /// Row-major `[residues, dim]`; rows of positions that were not asked for are zero.
    pub values: Vec<f32>,
    /// Width of a row.
    pub dim: usize,
}

/// An encoder with its language head.
#[derive(Clone, Copy)]
pub struct VariantModel<'a> {
    embedder: &'a Embedder,
    head: Option<&'a dyn LanguageHead>,
    long: LongPolicy,
}

impl<'a> VariantModel<'a> {
    /// Brings both together; without a head only the embedding shift can be had.
    ///
    /// # Errors
    /// [`VariantError::Space`] if the head was fitted on another encoder.
    pub fn new(
        embedder: &'a Embedder,
        head: Option<&'a dyn LanguageHead>,
        long: LongPolicy,
    ) -> Result<Self, VariantError> {
        if let Some(head) = head {
            let rows = embedder.encoder_space();
            rows.ensure_same("the encoder's rows", head.input_space(), "the language head's input")?;
        }
        Ok(Self { embedder, head, long })
    }

    /// The encoder's id.
    #[must_use]
    pub fn encoder(&self) -> &'a str {
        self.embedder.encoder().id()
    }

    /// The language head's id, if there is one.
    #[must_use]
    pub fn head(&self) -> Option<&'a str> {
        self.head.map(LanguageHead::id)
    }

    /// What the long policy does to a sequence, and the residues that are left of it.
    ///
    /// # Errors
    /// The encoder's refusal.
    pub fn within_policy(
        &self,
        sequence: &ProteinSequence,
    ) -> Result<(ProteinSequence, LongReport), VariantError> {
        let input = EncoderInput::Protein(sequence.clone());
        let prepared =
            self.embedder.encoder().prepare(&input, self.long).map_err(crate::EngineError::from)?;
        Ok(match prepared.report {
            LongReport::Truncated { kept, .. } => (sequence.part(0..kept), prepared.report),
            report => (sequence.clone(), report),
        })
    }

    /// Passes of at most one window that scoring takes.
    #[must_use]
    pub fn n_passes(
        &self,
        length: usize,
        positions: &[usize],
        n_mutants: usize,
        wanted: VariantScores,
    ) -> usize {
        let window = self.embedder.encoder().window();
        let windows = length.div_ceil(window).max(1);
        let masked = match wanted.masked {
            None => 0,
            Some(Masking::Each) => positions.len(),
            Some(Masking::Spread) => classes(positions).len() * windows,
        };
        masked
            + usize::from(wanted.wild_type || wanted.shift) * windows
            + usize::from(wanted.shift) * n_mutants * windows
    }

    /// Residues that pass through the encoder, for progress: what [`crate::variants::OnPass`] hears in all.
    #[must_use]
    pub fn n_residues(
        &self,
        length: usize,
        positions: &[usize],
        n_mutants: usize,
        wanted: VariantScores,
    ) -> u64 {
        let window = self.embedder.encoder().window();
        let masked = match wanted.masked {
            None => 0,
            Some(Masking::Each) => positions.len() * length.min(window),
            Some(Masking::Spread) => classes(positions).len() * length,
        };
        let shift = if wanted.shift { (n_mutants + 1) * length } else { 0 };
        (masked + usize::from(wanted.wild_type) * length + shift) as u64
    }

    /// Scores mutants of one sequence, in their order. Not for async threads.
    ///
    /// # Errors
    /// [`VariantError`].
    pub fn score(
        &self,
        sequence: &ProteinSequence,
        mutants: &[Mutant],
        wanted: VariantScores,
        on_pass: OnPass<'_>,
    ) -> Result<(Vec<VariantScore>, LongReport), VariantError> {
        let (sequence, report) = self.within_policy(sequence)?;
        let positions = Mutant::positions(mutants);
        if let Some(&position) = positions.last().filter(|&&position| position >= sequence.len()) {
            return Err(VariantError::CutOff { position: position + 1, kept: sequence.len() });
        }
        let mut scores = vec![VariantScore::default(); mutants.len()];
        if let Some(masking) = wanted.masked {
            let profile = self.masked_profile(&sequence, &positions, masking, on_pass)?;
            scores.iter_mut().zip(mutants).for_each(|(score, it)| score.masked_marginal = profile.score(it));
        }
        if wanted.wild_type {
            let profile = self.wild_type_profile(&sequence, &positions, on_pass)?;
            let each = scores.iter_mut().zip(mutants);
            each.for_each(|(score, it)| score.wild_type_marginal = profile.score(it));
        }
        if wanted.shift {
            let shifts = self.shifts(&sequence, mutants, on_pass)?;
            scores.iter_mut().zip(shifts).for_each(|(score, shift)| score.embedding_shift = Some(shift));
        }
        Ok((scores, report))
    }

    /// What the head says of positions when they are masked.
    ///
    /// # Errors
    /// [`VariantError::NoLanguageHead`], or what fails.
    pub fn masked_profile(
        &self,
        sequence: &ProteinSequence,
        positions: &[usize],
        masking: Masking,
        on_pass: OnPass<'_>,
    ) -> Result<Profile, VariantError> {
        self.needed_head()?;
        let rows = self.masked_rows(sequence, positions, masking, on_pass)?;
        self.profile(&rows, positions)
    }

    /// What the head says of positions when nothing is masked.
    ///
    /// # Errors
    /// [`VariantError::NoLanguageHead`], or what fails.
    pub fn wild_type_profile(
        &self,
        sequence: &ProteinSequence,
        positions: &[usize],
        on_pass: OnPass<'_>,
    ) -> Result<Profile, VariantError> {
        self.needed_head()?;
        let rows = self.wild_type_rows(sequence, on_pass)?;
        self.profile(&rows, positions)
    }

    /// Rows of all residues of the sequence as it is, over windows where it is long.
    ///
    /// # Errors
    /// [`VariantError`].
    pub fn wild_type_rows(
        &self,
        sequence: &ProteinSequence,
        on_pass: OnPass<'_>,
    ) -> Result<ResidueRows, VariantError> {
        let dim = self.embedder.encoder_space().dim;
        let mut values = Vec::new();
        let only = std::iter::once(((), sequence.clone()));
        passes::run(self.embedder, self.per_residue(), only, on_pass, |(), encoded| {
            values = encoded.residues.unwrap_or_default();
        })?;
        Ok(ResidueRows { values, dim })
    }

    /// Rows of positions of a sequence, each masked when its row is taken.
    ///
    /// Alone: of a long protein, the window around the position is encoded. Spread: the whole protein is, over windows
    /// where it is long, and a row is the mean over the windows that hold its position.
    ///
    /// # Errors
    /// [`VariantError`].
    pub fn masked_rows(
        &self,
        sequence: &ProteinSequence,
        positions: &[usize],
        masking: Masking,
        on_pass: OnPass<'_>,
    ) -> Result<ResidueRows, VariantError> {
        let (dim, length) = (self.embedder.encoder_space().dim, sequence.len());
        let mut values = vec![0.0; length * dim];
        let mut take = |position: usize, start: usize, residues: &[f32]| {
            let row = (position - start) * dim;
            values[position * dim..(position + 1) * dim].copy_from_slice(&residues[row..row + dim]);
        };
        let options = self.per_residue();
        match masking {
            Masking::Each => {
                let window = self.embedder.encoder().window();
                let parts = positions.iter().map(|&position| {
                    let range = window_around(position, length, window);
                    let start = range.start;
                    ((position, start), sequence.part(range).masked([position - start]))
                });
                passes::run(self.embedder, options, parts, on_pass, |(position, start), encoded| {
                    take(position, start, &encoded.residues.unwrap_or_default());
                })?;
            }
            Masking::Spread => {
                let masked = classes(positions)
                    .into_iter()
                    .map(|class| (class, sequence.masked((class..length).step_by(MASK_STRIDE))));
                passes::run(self.embedder, options, masked, on_pass, |class, encoded| {
                    let residues = encoded.residues.unwrap_or_default();
                    let of_class = positions.iter().filter(|&&position| position % MASK_STRIDE == class);
                    of_class.for_each(|&position| take(position, 0, &residues));
                })?;
            }
        }
        Ok(ResidueRows { values, dim })
    }

    /// What the head says of these rows at `positions`.
    ///
    /// # Errors
    /// [`VariantError::NoLanguageHead`] or [`VariantError::Head`].
    pub fn profile(&self, rows: &ResidueRows, positions: &[usize]) -> Result<Profile, VariantError> {
        let ResidueRows { values, dim } = rows;
        let mut wanted = Vec::with_capacity(positions.len() * dim);
        for position in positions {
            wanted.extend_from_slice(&values[position * dim..(position + 1) * dim]);
        }
        let mut chances = vec![None; values.len() / dim];
        let answers = self.needed_head()?.log_probabilities(&wanted)?;
        positions.iter().zip(answers).for_each(|(&position, answer)| chances[position] = Some(answer));
        Ok(Profile(chances))
    }

    /// Distances between the pooled rows of each mutant and the wild type.
    fn shifts(
        &self,
        sequence: &ProteinSequence,
        mutants: &[Mutant],
        on_pass: OnPass<'_>,
    ) -> Result<Vec<f64>, VariantError> {
        let all = std::iter::once(sequence.clone()).chain(mutants.iter().map(|it| it.apply(sequence)));
        let mut wild_type: Option<EncoderRow> = None;
        let mut shifts = Vec::with_capacity(mutants.len());
        let options = EmbedOptions::new(self.long);
        passes::run(self.embedder, options, all.map(|sequence| ((), sequence)), on_pass, |(), encoded| {
            match &wild_type {
                None => wild_type = Some(encoded.pooled),
                Some(wild_type) => shifts.push(distance(wild_type, &encoded.pooled)),
            }
        })?;
        Ok(shifts)
    }

    fn per_residue(&self) -> EmbedOptions {
        EmbedOptions { per_residue: true, ..EmbedOptions::new(self.long) }
    }

    fn needed_head(&self) -> Result<&'a dyn LanguageHead, VariantError> {
        self.head.ok_or_else(|| VariantError::NoLanguageHead { encoder: self.encoder().to_owned() })
    }
}

/// Remainders of positions: those of one are masked together.
fn classes(positions: &[usize]) -> Vec<usize> {
    let all = positions.iter().map(|position| position % MASK_STRIDE);
    all.collect::<std::collections::BTreeSet<_>>().into_iter().collect()
}

/// The part of a sequence that an encoder sees around a position: as much on either side as there is.
fn window_around(position: usize, length: usize, window: usize) -> std::ops::Range<usize> {
    if length <= window {
        return 0..length;
    }
    let start = position.saturating_sub(window / 2).min(length - window);
    start..start + window
}

fn distance(left: &EncoderRow, right: &EncoderRow) -> f64 {
    let pairs = left.as_slice().iter().zip(right.as_slice());
    pairs.map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum::<f64>().sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_lie_around_their_position_and_within_the_sequence() {
        assert_eq!(window_around(5, 10, 10), 0..10);
        for (length, window) in [(11, 10), (100, 10), (3000, 1022)] {
            for position in 0..length {
                let range = window_around(position, length, window);
                assert!(range.contains(&position) && range.end <= length && range.len() == window);
            }
        }
        assert_eq!(window_around(50, 100, 10), 45..55);
    }

    #[test]
    fn positions_that_are_masked_together_are_far_apart() {
        assert_eq!(classes(&[0, 3, 16, 19, 35]), [0, 3]);
    }
}
