//! The interaction use case: do two proteins interact, with how sure we are and how far from what was trained on.
//!
//! A [`PpiPredictor`] is a head for pairs with the proteins that it was trained on. Each protein becomes a [`Partner`] once
//! (its code, and its nearest training protein); pairs of partners are then scored in batches: single pairs, one against
//! all, or all against all with the best few of each. Called by `protext ppi`, `protext eval ppi` and
//! `POST /v1/predict/ppi`.

mod request;
mod training_proteins;

use std::sync::Arc;

use protext_core::{FeatureRows, HeadError, HeadTask, PairHead};

pub use request::{Asked, PpiAnswer, PpiRequest, PpiRow, ProteinInput, predict};
pub use training_proteins::{Nearest, TrainingProteins, TrainingProteinsError};

/// Partners that are scored against one at once; bounds memory.
const BLOCK: usize = 2048;

/// A head for pairs of proteins, ready to answer.
pub struct PpiPredictor {
    head: Arc<dyn PairHead>,
    training: TrainingProteins,
}

/// A protein in the terms of the head.
#[derive(Debug, Clone, PartialEq)]
pub struct Partner {
    /// What the caller calls it.
    pub id: String,
    /// The head's code of it.
    pub code: Vec<f32>,
    /// True if this very sequence was trained on.
    pub in_training: bool,
    /// The training protein whose code is nearest.
    pub nearest: Option<Nearest>,
}

/// A pair and what the head says of it; members by their places among the partners.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scored {
    /// One member.
    pub a: usize,
    /// The other.
    pub b: usize,
    /// Before calibration.
    pub score: f32,
    /// Calibrated, 0 to 1.
    pub probability: f64,
}

impl PpiPredictor {
    /// A head and its training proteins.
    ///
    /// # Errors
    /// [`HeadError::Task`] if the head is not one for pairs.
    pub fn new(head: Arc<dyn PairHead>, training: TrainingProteins) -> Result<Self, HeadError> {
        let card = head.card();
        if card.task != HeadTask::Pair {
            let (expected, found) = (HeadTask::Pair, card.task);
            return Err(HeadError::Task { head: card.id.clone(), expected, found });
        }
        Ok(Self { head, training })
    }

    /// The head.
    #[must_use]
    pub fn head(&self) -> &dyn PairHead {
        &*self.head
    }

    /// Proteins that it was trained on.
    #[must_use]
    pub fn training(&self) -> &TrainingProteins {
        &self.training
    }

    /// Proteins by id and sequence, from their rows in the same order.
    ///
    /// # Errors
    /// [`HeadError`].
    pub fn partners(&self, proteins: &[(&str, &str)], rows: &FeatureRows) -> Result<Vec<Partner>, HeadError> {
        let codes = self.head.encode(rows)?;
        let codes = codes.chunks_exact(self.head.code_dim());
        let partner = |((id, sequence), code): (&(&str, &str), &[f32])| Partner {
            id: (*id).to_owned(),
            code: code.to_vec(),
            in_training: self.training.contains(sequence),
            nearest: self.training.nearest(code),
        };
        Ok(proteins.iter().zip(codes).map(partner).collect())
    }

    /// Scores of pairs, in their order.
    ///
    /// # Errors
    /// [`HeadError`].
    pub fn pairs(&self, partners: &[Partner], pairs: &[(usize, usize)]) -> Result<Vec<Scored>, HeadError> {
        let mut scored = Vec::with_capacity(pairs.len());
        let side = |pairs: &[(usize, usize)], at: fn(&(usize, usize)) -> usize| {
            pairs.iter().flat_map(|pair| &partners[at(pair)].code).copied().collect::<Vec<f32>>()
        };
        for block in pairs.chunks(BLOCK) {
            let scores = self.head.score(&side(block, |pair| pair.0), &side(block, |pair| pair.1))?;
            scored.extend(block.iter().zip(scores).map(|(&(a, b), score)| self.calibrated(a, b, score)));
        }
        Ok(scored)
    }

    /// Scores of one partner with others, in their order.
    ///
    /// # Errors
    /// [`HeadError`].
    pub fn one_against(
        &self,
        partners: &[Partner],
        one: usize,
        others: &[usize],
    ) -> Result<Vec<Scored>, HeadError> {
        let mut scored = Vec::with_capacity(others.len());
        for block in others.chunks(BLOCK) {
            let codes: Vec<f32> = block.iter().flat_map(|&other| &partners[other].code).copied().collect();
            let scores = self.head.score(&partners[one].code, &codes)?;
            scored.extend(block.iter().zip(scores).map(|(&other, score)| self.calibrated(one, other, score)));
        }
        Ok(scored)
    }

    /// All against all: the `top` best of each partner, best first, given to `on_partner` in the order of the partners. Each
    /// pair is scored once; `on_row` hears of every partner that was compared with those after it and ends the work by
    /// answering false, and then `None` is returned.
    ///
    /// # Errors
    /// [`HeadError`].
    pub fn all_against_all(
        &self,
        partners: &[Partner],
        top: usize,
        mut on_row: impl FnMut(usize) -> bool,
    ) -> Result<Option<Vec<Vec<Scored>>>, HeadError> {
        let n = partners.len();
        let codes: Vec<f32> = partners.iter().flat_map(|partner| &partner.code).copied().collect();
        let dim = self.head.code_dim();
        let mut best: Vec<Best> = (0..n).map(|_| Best::new(top)).collect();
        for one in 0..n {
            for start in (one + 1..n).step_by(BLOCK) {
                let end = (start + BLOCK).min(n);
                let scores = self.head.score(&partners[one].code, &codes[start * dim..end * dim])?;
                for (other, score) in (start..end).zip(scores) {
                    best[one].offer(score, other);
                    best[other].offer(score, one);
                }
            }
            if !on_row(one) {
                return Ok(None);
            }
        }
        let answers = best.into_iter().enumerate().map(|(one, best)| {
            best.sorted().into_iter().map(|(score, other)| self.calibrated(one, other, score)).collect()
        });
        Ok(Some(answers.collect()))
    }

    fn calibrated(&self, a: usize, b: usize, score: f32) -> Scored {
        let plain = || 1.0 / (1.0 + (-f64::from(score)).exp());
        let calibration = self.head.card().calibration.as_ref();
        let probability = calibration.map_or_else(plain, |known| known.probability(score));
        Scored { a, b, score, probability }
    }
}

/// The best few so far; of equal scores the earlier partner.
struct Best {
    top: usize,
    /// Unordered, up to twice as many as are kept.
    found: Vec<(f32, usize)>,
    /// Below this nothing is worth keeping.
    least: f32,
}

impl Best {
    fn new(top: usize) -> Self {
        Self { top, found: Vec::new(), least: f32::NEG_INFINITY }
    }

    fn offer(&mut self, score: f32, other: usize) {
        if score < self.least || self.top == 0 {
            return;
        }
        self.found.push((score, other));
        if self.found.len() >= self.top.saturating_mul(2).saturating_add(16) {
            self.cut();
        }
    }

    fn cut(&mut self) {
        self.found.sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        self.found.truncate(self.top);
        if self.found.len() == self.top {
            self.least = self.found.last().map_or(f32::NEG_INFINITY, |(score, _)| *score);
        }
    }

    fn sorted(mut self) -> Vec<(f32, usize)> {
        self.cut();
        self.found
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use protext_core::card::CardData;
    use protext_core::{
        FeatureCard, FeatureKind, Fingerprint, HeadCard, Modality, ProbabilityCalibration, Space,
    };

    use super::*;

    /// Codes are the rows; the score is their product.
    struct Product(HeadCard);

    impl PairHead for Product {
        fn card(&self) -> &HeadCard {
            &self.0
        }

        fn code_dim(&self) -> usize {
            2
        }

        fn encode(&self, rows: &FeatureRows) -> Result<Vec<f32>, HeadError> {
            self.0.ensure_reads(rows.spaces())?;
            Ok(rows.values().to_vec())
        }

        fn score(&self, one: &[f32], others: &[f32]) -> Result<Vec<f32>, HeadError> {
            let ones = one.chunks_exact(2).cycle();
            Ok(others.chunks_exact(2).zip(ones).map(|(a, b)| a[0] * b[0] + a[1] * b[1]).collect())
        }
    }

    fn space() -> Space {
        Space { name: "s".to_owned(), dim: 2, fingerprint: Fingerprint::of(["s"]) }
    }

    fn card(task: HeadTask) -> HeadCard {
        let feature = FeatureCard {
            kind: FeatureKind::Pooled,
            modality: Modality::Protein,
            encoder: "e".to_owned(),
            space: space(),
        };
        HeadCard {
            id: "h".to_owned(),
            task,
            method: String::new(),
            measured_by: String::new(),
            features: vec![feature],
            outputs: vec!["interaction".to_owned()],
            files: BTreeMap::new(),
            data: CardData {
                source: String::new(),
                split: String::new(),
                split_rule: String::new(),
                n_rows: 0,
                sha256: String::new(),
            },
            validation: None,
            calibration: Some(ProbabilityCalibration::Temperature { inverse_temperature: 2.0 }),
            metrics: BTreeMap::new(),
            notes: Vec::new(),
        }
    }

    fn predictor() -> PpiPredictor {
        let training = TrainingProteins::new(2, [("T", "MK", [1.0, 0.0].as_slice())]).unwrap();
        PpiPredictor::new(Arc::new(Product(card(HeadTask::Pair))), training).unwrap()
    }

    fn partners(predictor: &PpiPredictor, n: usize) -> Vec<Partner> {
        let ids: Vec<String> = (0..n).map(|i| format!("p{i}")).collect();
        let proteins: Vec<(&str, &str)> = ids.iter().map(|id| (id.as_str(), "MK")).collect();
        let values = (0..n).flat_map(|i| [(i as f32 * 0.9).sin(), (i as f32 * 1.7).cos()]);
        predictor.partners(&proteins, &FeatureRows::new(vec![space()], values.collect()).unwrap()).unwrap()
    }

    #[test]
    fn all_against_all_agrees_with_pairs_and_keeps_the_best() {
        let predictor = predictor();
        let partners = partners(&predictor, 60);
        let all = predictor.all_against_all(&partners, 5, |_| true).unwrap().unwrap();
        assert_eq!(all.len(), 60);
        for (one, found) in all.iter().enumerate() {
            let others: Vec<usize> = (0..60).filter(|other| *other != one).collect();
            let mut expected = predictor.one_against(&partners, one, &others).unwrap();
            expected.sort_by(|a, b| b.score.total_cmp(&a.score).then(a.b.cmp(&b.b)));
            expected.truncate(5);
            assert_eq!(found, &expected);
        }
        let pairs = predictor.pairs(&partners, &[(3, 4), (4, 3)]).unwrap();
        assert_eq!((pairs[0].score, pairs[0].probability), (pairs[1].score, pairs[1].probability));
        assert!((pairs[0].probability - 1.0 / (1.0 + (-2.0 * f64::from(pairs[0].score)).exp())).abs() < 1e-9);
        assert!(predictor.all_against_all(&partners, 5, |one| one < 3).unwrap().is_none());
    }

    #[test]
    fn partners_know_the_training_proteins() {
        let predictor = predictor();
        let rows = FeatureRows::new(vec![space()], vec![2.0, 0.0, 0.0, 3.0]).unwrap();
        let found = predictor.partners(&[("a", "MK"), ("b", "MV")], &rows).unwrap();
        assert!(found[0].in_training && !found[1].in_training);
        let nearest = found[0].nearest.clone().unwrap();
        assert!(nearest.id == "T" && (nearest.similarity - 1.0).abs() < 0.01);
        assert!(found[1].nearest.clone().unwrap().similarity.abs() < 0.01);
    }

    #[test]
    fn heads_of_other_tasks_and_rows_of_other_spaces_are_refused() {
        let training = TrainingProteins::new(2, [("T", "MK", [1.0, 0.0].as_slice())]).unwrap();
        let other = PpiPredictor::new(Arc::new(Product(card(HeadTask::Classify))), training);
        assert!(matches!(other.err(), Some(HeadError::Task { .. })));
        let foreign = Space { fingerprint: Fingerprint::of(["other"]), ..space() };
        let rows = FeatureRows::new(vec![foreign], vec![1.0, 2.0]).unwrap();
        assert!(matches!(predictor().partners(&[("a", "MK")], &rows), Err(HeadError::Space(_))));
    }
}
