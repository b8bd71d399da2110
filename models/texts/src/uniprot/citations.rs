//! Takes citations and evidence out of a comment, so that the text says what the protein does and nothing else.
//!
//! ProteinCLIP cleans its texts this way before embedding them (Wu, Chang, Zou 2024; its `swissprot.py` removes
//! `PubMed:`, `ECO:` and `UniProtKB:` references and the brackets they leave empty). UniProt's own remarks on evidence,
//! "(By similarity)", "(Probable)" and "(Potential)", go as well. Other brackets stay as they are.

/// The comment without citations and evidence.
///
/// ```
/// use protext_texts::uniprot::strip_citations;
///
/// let raw = "Binds DNA (PubMed:123, PubMed:456). Cuts it (By similarity). {ECO:0000250|UniProtKB:P1}.";
/// assert_eq!(strip_citations(raw), "Binds DNA. Cuts it.");
/// ```
#[must_use]
pub fn strip_citations(raw: &str) -> String {
    let raw = raw.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut rest = raw.as_str();
    let mut text = String::with_capacity(rest.len());
    while let Some(at) = rest.find(['(', '{']) {
        let (before, bracket) = rest.split_at(at);
        append(&mut text, before);
        match removable(bracket) {
            Some(n_bytes) => {
                text.truncate(text.trim_end().len());
                rest = &bracket[n_bytes..];
                // "... nerve endings. {ECO:...}." keeps one full stop.
                if text.ends_with('.') && rest.starts_with('.') && !rest.starts_with("..") {
                    rest = &rest[1..];
                }
            }
            None => {
                text.push_str(&bracket[..1]);
                rest = &bracket[1..];
            }
        }
    }
    append(&mut text, rest);
    text.trim().to_owned()
}

/// Adds `part`, without a space before the punctuation at its start.
fn append(text: &mut String, part: &str) {
    let trimmed = part.trim_start();
    let first_after = trimmed.chars().nth(1);
    let is_stop =
        trimmed.starts_with(['.', ',', ';', ':']) && first_after.is_none_or(|c| !c.is_alphanumeric());
    let part = if text.is_empty() || is_stop { trimmed } else { part };
    text.push_str(part);
}

/// Length in bytes of the bracket that `text` starts with, if it holds citations and nothing else.
fn removable(text: &str) -> Option<usize> {
    let close = if text.starts_with('{') { '}' } else { ')' };
    let end = text.find(close)?;
    let inside = &text[1..end];
    let is_removable = match close {
        '}' => inside.trim_start().starts_with("ECO:"),
        _ => inside.split([',', ';']).all(is_citation),
    };
    is_removable.then_some(end + 1)
}

/// `PubMed:123`, `Ref.4`, `ECO:0000305`, `UniProtKB:P1`, `By similarity` and the like.
fn is_citation(item: &str) -> bool {
    let item = item.trim();
    let item = item.strip_prefix("and ").unwrap_or(item);
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let is_word = |text: &str| !text.is_empty() && !text.contains(' ');
    matches!(item.to_ascii_lowercase().as_str(), "by similarity" | "probable" | "potential" | "curated")
        || item.strip_prefix("PubMed:").is_some_and(|number| is_number(number.trim()))
        || item.strip_prefix("Ref.").is_some_and(|number| is_number(number.trim()))
        || ["ECO:", "UniProtKB:"].iter().any(|start| item.strip_prefix(start).is_some_and(is_word))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn citations_go_and_other_brackets_stay() {
        let cases = [
            ("", ""),
            ("Binds DNA.", "Binds DNA."),
            ("Binds DNA (PubMed:123).", "Binds DNA."),
            ("Binds DNA (PubMed:123, PubMed:456). Cuts.", "Binds DNA. Cuts."),
            ("Binds DNA (PubMed:123,\n   PubMed:456), and RNA (Ref.5).", "Binds DNA, and RNA."),
            ("Binds DNA (By similarity).", "Binds DNA."),
            ("Binds DNA (By  similarity) (Probable).", "Binds DNA."),
            ("Binds (PubMed:1, By similarity) DNA", "Binds DNA"),
            ("Binds DNA. {ECO:0000250|UniProtKB:Q29455, ECO:0000269|PubMed:20847230}.", "Binds DNA."),
            ("Binds DNA {ECO:0000305}.", "Binds DNA."),
            ("At nerve endings (By similarity). {ECO:1}.", "At nerve endings."),
            ("5-hydroxytryptamine (serotonin), a hormone", "5-hydroxytryptamine (serotonin), a hormone"),
            ("Cuts (in vitro, PubMed:12) DNA.", "Cuts (in vitro, PubMed:12) DNA."),
            ("(Microbial infection) Receptor for HIV (PubMed:7).", "(Microbial infection) Receptor for HIV."),
            ("(PubMed:7) Receptor", "Receptor"),
            ("Adds GlcNAc... to it ({ECO:1}) here .", "Adds GlcNAc... to it () here ."),
            ("Adds GlcNAc... {ECO:1}.", "Adds GlcNAc..."),
            ("Open (PubMed:12", "Open (PubMed:12"),
            ("Open {ECO:12", "Open {ECO:12"),
            ("Has {braces} and () too", "Has {braces} and () too"),
            ("Acts on Ca(2+) (PubMed:3) channels", "Acts on Ca(2+) channels"),
        ];
        for (raw, expected) in cases {
            assert_eq!(strip_citations(raw), expected, "{raw}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_taken(raw in "(\\PC|\\(PubMed:1\\)|\\{ECO:1\\}|\\.| |\\(|\\)){0,40}") {
            let text = strip_citations(&raw);
            prop_assert!(text.len() <= raw.len());
            prop_assert_eq!(text.trim(), &text);
        }

        #[test]
        fn sentences_survive_whatever_is_cited(
            parts in proptest::collection::vec(("[A-Z][a-z]{1,8}( [a-z]{1,8}){0,4}", 0_usize..5), 1..6),
        ) {
            let cites = ["", " (PubMed:1)", " (PubMed:12, PubMed:3)", " (By similarity)", " (Probable) (Ref.2)"];
            let cited: Vec<_> = parts.iter().map(|(words, cite)| format!("{words}{}.", cites[*cite])).collect();
            let plain: Vec<_> = parts.iter().map(|(words, _)| format!("{words}.")).collect();
            let whole = format!("{} {{ECO:0000269|PubMed:1}}.", cited.join(" "));
            prop_assert_eq!(strip_citations(&whole), plain.join(" "));
        }
    }
}
