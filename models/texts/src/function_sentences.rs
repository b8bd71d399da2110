//! The part of a summary that says what a gene or protein does: training and evaluation embed this, not the remarks.

use crate::refseq::tidy_summary;

/// A sentence with one of these is about transcripts or copies, not about function. RefSeq writes such a sentence into
/// most summaries, so that embeddings of unrelated genes would agree on it.
const REMARKS: [&str; 12] = [
    "transcript variant",
    "transcript isoform",
    "splice variant",
    "alternative splicing",
    "alternatively spliced",
    "alternate splicing",
    "alternatively-spliced",
    "alternative transcript",
    "isoforms have been",
    "variants encoding",
    "pseudogene",
    "alternate transcriptional",
];

/// The sentences of [`tidy_summary`] but for those about transcripts and pseudogenes; all of them if nothing else is
/// said, and one empty sentence for an empty text.
///
/// ```
/// let raw = "Binds zinc. Alternative splicing results in multiple transcript variants. Cuts RNA.";
/// assert_eq!(protext_texts::function_sentences(raw), ["Binds zinc.", "Cuts RNA."]);
/// ```
#[must_use]
pub fn function_sentences(raw: &str) -> Vec<String> {
    let tidy = tidy_summary(raw);
    let is_remark = |sentence: &str| {
        let lower = sentence.to_lowercase();
        REMARKS.iter().any(|remark| lower.contains(remark))
    };
    let all = sentences(&tidy);
    let kept: Vec<&str> = all.iter().copied().filter(|sentence| !is_remark(sentence)).collect();
    let kept = if kept.is_empty() { all } else { kept };
    if kept.is_empty() { vec![String::new()] } else { kept.into_iter().map(str::to_owned).collect() }
}

/// Sentences end in a full stop before a space and a capital letter or a digit.
fn sentences(text: &str) -> Vec<&str> {
    let mut start = 0;
    let mut found = Vec::new();
    for (at, _) in text.match_indices(". ") {
        let before = text[start..at].chars().next_back();
        let starts_sentence =
            text[at + 2..].chars().next().is_some_and(|c| c.is_uppercase() || c.is_numeric());
        // "E. coli", "S. cerevisiae": a full stop behind a single capital letter ends no sentence.
        let is_initial = before.is_some_and(char::is_uppercase)
            && text[start..at].chars().rev().nth(1).is_none_or(|c| !c.is_alphanumeric());
        if starts_sentence && !is_initial {
            found.push(&text[start..=at]);
            start = at + 2;
        }
    }
    found.push(&text[start..]);
    found.into_iter().map(str::trim).filter(|sentence| !sentence.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remarks_go_and_function_stays() {
        let table = [
            ("Cuts DNA. Several transcript variants are known. Needs zinc.", "Cuts DNA. Needs zinc."),
            (
                "Multiple transcript variants have been found for this gene.",
                "Multiple transcript variants have been found for this gene.",
            ),
            ("A homolog of E. Coli recA. It has 3 pseudogenes.", "A homolog of E. Coli recA."),
            (
                "Binds ATP (see 1.2). 5S RNA follows. [provided by RefSeq, Jul 2008]",
                "Binds ATP (see 1.2). 5S RNA follows.",
            ),
            ("", ""),
        ];
        for (raw, expected) in table {
            assert_eq!(function_sentences(raw).join(" "), expected, "{raw}");
        }
    }
}
