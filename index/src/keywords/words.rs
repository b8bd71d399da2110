//! What a word is.

use std::collections::HashMap;

use crate::collection::Record;

/// Bytes of a word that count; what runs on longer is a sequence or an address, and found by its start.
const MAX_WORD_BYTES: usize = 64;

/// Names of the Greek letters from alpha on, as protein names spell them. Source: the Unicode block "Greek and
/// Coptic", U+03B1 to U+03C9, in which final sigma has a place of its own.
const GREEK: [&str; 25] = [
    "alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa", "lambda", "mu",
    "nu", "xi", "omicron", "pi", "rho", "sigma", "sigma", "tau", "upsilon", "phi", "chi", "psi", "omega",
];
const ALPHA: u32 = 0x3b1;
const MICRO: char = '\u{b5}';

fn greek(letter: char) -> Option<&'static str> {
    if letter == MICRO {
        return Some("mu");
    }
    GREEK.get((letter as u32).checked_sub(ALPHA)? as usize).copied()
}

/// Gives each word of `text`: runs of letters and digits in lower case, and Greek letters by name.
pub(super) fn for_each_word(text: &str, take: &mut dyn FnMut(&str)) {
    let mut word = String::new();
    let mut end = |word: &mut String| {
        if !word.is_empty() {
            let n_bytes = (0..=MAX_WORD_BYTES.min(word.len())).rev().find(|&at| word.is_char_boundary(at));
            take(&word[..n_bytes.unwrap_or(0)]);
            word.clear();
        }
    };
    for letter in text.chars().flat_map(char::to_lowercase) {
        if let Some(name) = greek(letter) {
            end(&mut word);
            word.push_str(name);
            end(&mut word);
        } else if letter.is_alphanumeric() {
            word.push(letter);
        } else {
            end(&mut word);
        }
    }
    end(&mut word);
}

fn for_each_word_of(record: &Record, take: &mut dyn FnMut(&str)) {
    for text in
        [record.gene.as_deref(), Some(&record.description), record.text.as_deref()].into_iter().flatten()
    {
        for_each_word(text, take);
    }
}

/// A record's words, one space after each, and how many they are.
pub(crate) fn searchable(record: &Record) -> (String, u64) {
    let (mut words, mut n_words) = (String::new(), 0);
    for_each_word_of(record, &mut |word| {
        words.push_str(word);
        words.push(' ');
        n_words += 1;
    });
    (words, n_words)
}

/// How often a record holds each of its words.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct WordCounts {
    counts: HashMap<Box<str>, u32>,
    n_words: u64,
}

impl WordCounts {
    pub(crate) fn of(record: &Record) -> Self {
        let mut all = Self::default();
        for_each_word_of(record, &mut |word| {
            match all.counts.get_mut(word) {
                Some(count) => *count += 1,
                None => drop(all.counts.insert(word.into(), 1)),
            }
            all.n_words += 1;
        });
        all
    }

    pub(crate) fn count(&self, word: &str) -> u32 {
        self.counts.get(word).copied().unwrap_or(0)
    }

    /// All words, repeated ones included.
    pub(crate) fn n_words(&self) -> u64 {
        self.n_words
    }
}
