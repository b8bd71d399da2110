//! Searching a view by words: the snapshot's full-text index, and later records one by one, ranked together.
//!
//! How common a word is, is counted in the snapshot, for later records too, so that all scores can be compared. A
//! collection whose snapshot is empty counts in its later records.

use super::select::Selection;
use super::view::{Entry, Place, View};
use crate::error::IndexError;
use crate::keywords::{Best, Bm25, Keywords, WordStatistics};

/// One answer to keywords.
#[derive(Debug, Clone, Copy)]
pub struct KeywordHit<'a> {
    /// Where the record and its vectors are.
    pub entry: Entry<'a>,
    /// BM25, above 0; greater is better. Compares records of one answer, and nothing else.
    pub score: f64,
}

impl View {
    /// The `n` records that match best, best first; equal scores in the order in which records were stored. A record
    /// matches if its gene, description or text holds any of the words.
    ///
    /// # Errors
    /// [`IndexError::FilterRows`] for a selection of another view, [`IndexError::Records`] where the snapshot cannot be
    /// read.
    pub fn search_keywords(
        &self,
        keywords: &Keywords,
        n: usize,
        within: Option<&Selection>,
    ) -> Result<Vec<KeywordHit<'_>>, IndexError> {
        within.map_or(Ok(()), |selection| selection.ensure_fits(self))?;
        let is_allowed = |place: Place| within.is_none_or(|selection| selection.allows(place));
        let bm25 = Bm25::new(&self.word_statistics(keywords)?);
        let mut of_base = Best::new(n);
        let is_found = |row: u32| self.is_live(row) && is_allowed(Place::Base(row));
        self.base.records.offer_matches(keywords, &bm25, &is_found, &mut of_base)?;
        let mut best = Best::new(n);
        of_base.into_sorted().into_iter().for_each(|(score, row)| best.offer(score, Place::Base(row)));
        for (at, segment) in self.segments.iter().enumerate() {
            for row in segment.live_rows().filter(|&row| is_allowed(Place::Segment(at, row))) {
                best.offer(bm25.score(segment.held(row).words(), keywords), Place::Segment(at, row));
            }
        }
        let hits = best.into_sorted().into_iter();
        Ok(hits.map(|(score, place)| KeywordHit { entry: self.entry(place), score }).collect())
    }

    fn word_statistics(&self, keywords: &Keywords) -> Result<WordStatistics, IndexError> {
        if !self.base.is_empty() {
            return self.base.records.word_statistics(keywords);
        }
        let later =
            self.segments.iter().flat_map(|segment| segment.live_rows().map(|row| segment.held(row).words()));
        Ok(WordStatistics::of(later, keywords))
    }
}
