//! Ranking by words, alone or fused with the ranking by vectors.
//!
//! Cosines and BM25 scores cannot be compared, ranks can: each list gives a record 1 / (60 + rank), and the sums order
//! the answer (reciprocal rank fusion).

use std::collections::HashMap;
use std::sync::Arc;

use protext_index::{Record, StoredRecord, ViewHit, WordHit};

/// What is added to a rank. Source: Cormack, Clarke and Buettcher 2009, doi:10.1145/1571941.1572114, where 60 was
/// fixed in a pilot and near the best.
const RANK_OFFSET: f32 = 60.0;

/// First hits of each list that are fused, at least: a record that one list puts at 80 and the other at 5 is to
/// come before one that only a single list has, also where few hits are wanted.
pub(super) const MIN_FUSED: usize = 100;

/// A record in its place of the answer.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Ranked {
    pub(super) record: Arc<Record>,
    /// With the query vector, if there is one.
    pub(super) cosine: Option<f32>,
    /// BM25, for a record that holds a keyword.
    pub(super) keyword_score: Option<f32>,
    /// What the record was ordered by where two lists were fused.
    pub(super) fused_score: Option<f32>,
}

impl From<ViewHit> for Ranked {
    fn from(hit: ViewHit) -> Self {
        Self { record: hit.record, cosine: Some(hit.cosine), keyword_score: None, fused_score: None }
    }
}

/// The answer to keywords alone.
pub(super) fn by_words(found: Vec<WordHit>) -> Vec<Ranked> {
    let ranked = |hit: WordHit| {
        let (record, keyword_score) = (hit.stored.record, Some(hit.score as f32));
        Ranked { record, cosine: None, keyword_score, fused_score: None }
    };
    found.into_iter().map(ranked).collect()
}

/// Fuses both rankings, best first. Records with the same sum stay in the order of their cosines. `cosine` gives that
/// of a record which only the words found.
pub(super) fn fused(
    by_vector: Vec<ViewHit>,
    by_words: Vec<WordHit>,
    cosine: &dyn Fn(&StoredRecord) -> f32,
) -> Vec<Ranked> {
    let share = |rank: usize| 1.0 / (RANK_OFFSET + rank as f32);
    let mut all: Vec<Ranked> = by_vector.into_iter().map(Ranked::from).collect();
    for (index, ranked) in all.iter_mut().enumerate() {
        ranked.fused_score = Some(share(index + 1));
    }
    let known: HashMap<String, usize> =
        all.iter().enumerate().map(|(at, ranked)| (ranked.record.id.clone(), at)).collect();
    for (index, hit) in by_words.into_iter().enumerate() {
        let record = Arc::clone(&hit.stored.record);
        let (share, keyword_score) = (share(index + 1), Some(hit.score as f32));
        match known.get(&record.id) {
            Some(&at) => {
                all[at].keyword_score = keyword_score;
                all[at].fused_score = all[at].fused_score.map(|other| other + share);
            }
            None => {
                let cosine = Some(cosine(&hit.stored));
                all.push(Ranked { record, cosine, keyword_score, fused_score: Some(share) });
            }
        }
    }
    let order = |one: &Ranked, other: &Ranked| {
        let of = |score: Option<f32>| score.unwrap_or(f32::MIN);
        of(other.fused_score)
            .total_cmp(&of(one.fused_score))
            .then(of(other.cosine).total_cmp(&of(one.cosine)))
    };
    all.sort_by(order);
    all
}
