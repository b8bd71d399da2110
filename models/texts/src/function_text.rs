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

/// [`tidy_summary`] without sentences about transcripts and pseudogenes; the tidied whole if nothing else is said.
///
/// ```
/// let raw = "Binds zinc. Alternative splicing results in multiple transcript variants.";
/// assert_eq!(protext_texts::function_text(raw), "Binds zinc.");
/// ```
#[must_use]
pub fn function_text(raw: &str) -> String {
    let tidy = tidy_summary(raw);
    let is_remark = |sentence: &str| {
        let lower = sentence.to_lowercase();
        REMARKS.iter().any(|remark| lower.contains(remark))
    };
    let kept: Vec<&str> = sentences(&tidy).into_iter().filter(|sentence| !is_remark(sentence)).collect();
    if kept.is_empty() { tidy } else { kept.join(" ") }
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
            assert_eq!(function_text(raw), expected, "{raw}");
        }
    }
}
