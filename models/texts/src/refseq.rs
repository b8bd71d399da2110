//! Takes the notes that are not about the gene out of a RefSeq summary.
//!
//! Summaries end in who wrote them ("[provided by RefSeq, Jul 2008]"), remarks about the record ("Publication Note: ...")
//! and machine-readable blocks ("##Evidence-Data-START## ... ##Evidence-Data-END##"). None says what the gene does, and
//! all of them would be embedded. `gene_text` calls this; NCBI's own answers go through it there, too.

/// Remarks about the sequence record; all from there to the end goes.
const NOTES: [&str; 6] =
    ["Publication Note:", "Sequence Note:", "CCDS Note:", "Transcript Variant:", "COMPLETENESS:", "##"];
/// How the bracket with the author begins.
const AUTHORS: [&str; 2] = ["provided by ", "supplied by "];
/// Longest such bracket seen, in bytes, with room: `[provided by Alliance of Genome Resources, Apr 2022]`.
const MAX_AUTHOR_BYTES: usize = 120;

/// The summary without who wrote it and without remarks about its record; white space tidied.
///
/// ```
/// let raw = "Binds DNA. [provided by RefSeq, Jul 2008]. Publication Note: a subset of publications.";
/// assert_eq!(protext_texts::tidy_summary(raw), "Binds DNA.");
/// ```
#[must_use]
pub fn tidy_summary(raw: &str) -> String {
    let one_line = raw.split_whitespace().collect::<Vec<_>>().join(" ");
    let end = NOTES.iter().filter_map(|note| one_line.find(note)).min().unwrap_or(one_line.len());
    let mut rest = &one_line[..end];
    let mut tidy = String::with_capacity(rest.len());
    while let Some((start, end)) = author(rest) {
        append(&mut tidy, &rest[..start]);
        rest = &rest[end..];
    }
    append(&mut tidy, rest);
    tidy
}

/// Where the next author stands, `[` and `]` included. Some summaries lost the `[`.
fn author(text: &str) -> Option<(usize, usize)> {
    let starts = AUTHORS.iter().flat_map(|author| text.match_indices(author));
    let closed = starts.filter_map(|(start, _)| {
        let n_bytes = text[start..].find(']').filter(|n_bytes| *n_bytes <= MAX_AUTHOR_BYTES)?;
        let before = text[..start].trim_end();
        let is_sentence = before.is_empty() || before.ends_with(['.', '!', '?']);
        match before.strip_suffix('[') {
            Some(before) => Some((before.len(), start + n_bytes + 1)),
            None if is_sentence => Some((start, start + n_bytes + 1)),
            None => None,
        }
    });
    closed.min()
}

/// Adds `part`; a full stop left over behind a bracket is not added twice.
fn append(tidy: &mut String, part: &str) {
    let mut part = part.trim();
    if tidy.ends_with('.') {
        part = part.trim_start_matches('.').trim_start();
    }
    if !(tidy.is_empty() || part.is_empty() || part.starts_with(['.', ',', ';'])) {
        tidy.push(' ');
    }
    tidy.push_str(part);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn notes_go_and_the_rest_stays() {
        let cases = [
            ("", ""),
            ("Binds DNA.", "Binds DNA."),
            ("Binds DNA. [provided by RefSeq, Jul 2008]", "Binds DNA."),
            ("Binds DNA. [provided by RefSeq, Jul 2008].", "Binds DNA."),
            ("Binds DNA [provided by RefSeq, Jul 2008].", "Binds DNA."),
            ("Binds DNA.[supplied by OMIM, Nov 2010].", "Binds DNA."),
            ("Binds\n DNA. [supplied by OMIM]\r\n", "Binds DNA."),
            (
                "Mouse: heart. [provided by MGI, Jan 2010]. Human: liver. [provided by RefSeq, Mar 2011].",
                "Mouse: heart. Human: liver.",
            ),
            (
                "Binds DNA. [provided by RefSeq, Jul 2008]. Publication Note: This RefSeq record includes a subset.",
                "Binds DNA.",
            ),
            ("Binds DNA. Sequence Note: made from two. [provided by RefSeq, Jul 2008].", "Binds DNA."),
            (
                "Binds DNA. ##Evidence-Data-START## Transcript exon :: SAMN1 ##Evidence-Data-END##",
                "Binds DNA.",
            ),
            (
                "Binds DNA. [provided by RefSeq]. ##RefSeq-Attributes-START## x ##RefSeq-Attributes-END##",
                "Binds DNA.",
            ),
            // As it stands in the record of GUCA1A: the bracket is not opened.
            (
                "Causes dystrophy 14. provided by RefSeq, Jul 2020]. Sequence Note: The transcript.",
                "Causes dystrophy 14.",
            ),
            (
                "Energy is provided by ATP [see below] and GTP.",
                "Energy is provided by ATP [see below] and GTP.",
            ),
            ("A [PSI(+)] prion. [provided by SGD, May 2005]", "A [PSI(+)] prion."),
            ("Unclosed. [provided by RefSeq", "Unclosed. [provided by RefSeq"),
            ("[provided by RefSeq, Jul 2008]", ""),
        ];
        for (raw, expected) in cases {
            assert_eq!(tidy_summary(raw), expected, "{raw}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_taken_and_tidying_again_changes_nothing_more(raw in "(\\PC|\\[provided by |\\]|\\.| |##){0,40}") {
            let tidy = tidy_summary(&raw);
            prop_assert!(tidy.len() <= raw.len() + 1);
            prop_assert_eq!(tidy.trim(), &tidy);
        }
    }
}
