//! BM25, with the constants and the floor of SQLite's FTS5, so that records in memory and records in a snapshot's
//! full-text index have scores that can be compared.
//!
//! Source: Robertson and Zaragoza 2009, doi:10.1561/1500000019; k1, b and the floor of the inverse document
//! frequency as documented for the function `bm25` of SQLite's FTS5.

use super::Keywords;
use super::words::WordCounts;

const K1: f64 = 1.2;
const B: f64 = 0.75;
/// Weight of a word that half of all records hold, or more.
const MIN_IDF: f64 = 1e-6;

/// How common words are among some records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WordStatistics {
    pub(crate) n_records: u64,
    /// Words of all records.
    pub(crate) n_words: u64,
    /// For each keyword, how many records hold it.
    pub(crate) n_with: Vec<u64>,
}

impl WordStatistics {
    /// Counted one by one.
    pub(crate) fn of<'a>(records: impl Iterator<Item = &'a WordCounts>, keywords: &Keywords) -> Self {
        let mut all = Self { n_records: 0, n_words: 0, n_with: vec![0; keywords.words().len()] };
        for record in records {
            all.n_records += 1;
            all.n_words += record.n_words();
            for (n_with, word) in all.n_with.iter_mut().zip(keywords.words()) {
                *n_with += u64::from(record.count(word) > 0);
            }
        }
        all
    }
}

/// Scores records by the keywords they hold.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Bm25 {
    /// One a keyword.
    idf: Vec<f64>,
    mean_words: f64,
}

impl Bm25 {
    pub(crate) fn new(statistics: &WordStatistics) -> Self {
        let n_records = statistics.n_records as f64;
        let idf = |&n_with: &u64| {
            let n_with = n_with as f64;
            let idf = ((n_records - n_with + 0.5) / (n_with + 0.5)).ln();
            // A logarithm of nothing is no number, and counts as the floor, too.
            if idf > 0.0 { idf } else { MIN_IDF }
        };
        let mean_words = statistics.n_words as f64 / n_records.max(1.0);
        Self { idf: statistics.n_with.iter().map(idf).collect(), mean_words }
    }

    /// 0 for a record that holds none of the keywords.
    pub(crate) fn score(&self, words: &WordCounts, keywords: &Keywords) -> f64 {
        let length = words.n_words() as f64 / self.mean_words.max(f64::MIN_POSITIVE);
        let of_word = |(idf, word): (&f64, &str)| match f64::from(words.count(word)) {
            0.0 => 0.0,
            count => idf * count * (K1 + 1.0) / (count + K1 * (1.0 - B + B * length)),
        };
        self.idf.iter().zip(keywords.words()).map(of_word).sum()
    }
}

/// The best few of what is offered: score descending, then `T` ascending.
#[derive(Debug)]
pub(crate) struct Best<T> {
    n: usize,
    found: Vec<(f64, T)>,
}

impl<T: Ord + Copy> Best<T> {
    /// Keeps `n`.
    pub(crate) fn new(n: usize) -> Self {
        Self { n, found: Vec::new() }
    }

    /// Takes in what has a score.
    pub(crate) fn offer(&mut self, score: f64, what: T) {
        if score > 0.0 {
            self.found.push((score, what));
            if self.found.len() >= self.n.saturating_mul(4).max(4_096) {
                self.cut();
            }
        }
    }

    fn cut(&mut self) {
        self.found.sort_unstable_by(|one, other| other.0.total_cmp(&one.0).then(one.1.cmp(&other.1)));
        self.found.truncate(self.n);
    }

    /// Best first.
    pub(crate) fn into_sorted(mut self) -> Vec<(f64, T)> {
        self.cut();
        self.found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collection::Record;

    #[test]
    fn rare_words_count_more_and_long_records_less() {
        let words = |text: &str| WordCounts::of(&Record { description: text.into(), ..Record::default() });
        let records = [
            words("alcohol dehydrogenase"),
            words("lactate dehydrogenase of muscle and of other tissues"),
            words("actin"),
            words("serum albumin"),
            words("zinc transporter"),
        ];
        let keywords = Keywords::parse("alcohol dehydrogenase").unwrap();
        let statistics = WordStatistics::of(records.iter(), &keywords);
        assert_eq!((statistics.n_records, statistics.n_words, &statistics.n_with[..]), (5, 15, &[1, 2][..]));
        let bm25 = Bm25::new(&statistics);
        let scores: Vec<_> = records.iter().map(|record| bm25.score(record, &keywords)).collect();
        assert!(scores[0] > scores[1] && scores[1] > 0.0 && scores[2] == 0.0, "{scores:?}");
        let mut best = Best::new(2);
        (0..5).for_each(|row| best.offer(scores[row], row));
        assert_eq!(best.into_sorted().iter().map(|(_, row)| *row).collect::<Vec<_>>(), [0, 1]);
    }

    #[test]
    fn nothing_to_count_is_no_score_that_is_no_number() {
        let keywords = Keywords::parse("actin").unwrap();
        let bm25 = Bm25::new(&WordStatistics::of(std::iter::empty(), &keywords));
        let record = WordCounts::of(&Record { gene: Some("actin".into()), ..Record::default() });
        assert!(bm25.score(&record, &keywords).is_finite());
    }
}
