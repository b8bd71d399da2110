//! Lines of flat files that were broken for their width: UniProtKB's and ENZYME's.

/// Adds the next line. Both files break at spaces and behind hyphens, so a hyphen at the end takes no space behind it,
/// except where words share it ("alpha- and beta-").
pub(crate) fn join_wrapped(text: &mut String, next: &str) {
    let is_shared = ["and ", "or ", "to "].iter().any(|word| next.starts_with(word));
    let is_hyphenated = text.ends_with('-') && !text.ends_with(" -") && !is_shared;
    if !(text.is_empty() || is_hyphenated) {
        text.push(' ');
    }
    text.push_str(next);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrapped_lines_are_joined_as_they_were_broken() {
        let cases = [
            ("inhibitor of cyclin-", "dependent kinases", "inhibitor of cyclin-dependent kinases"),
            ("alpha-", "and beta-chains", "alpha- and beta-chains"),
            ("from 3' -", "5' end", "from 3' - 5' end"),
            ("binds", "DNA", "binds DNA"),
            ("", "DNA", "DNA"),
        ];
        for (text, next, expected) in cases {
            let mut text = text.to_owned();
            join_wrapped(&mut text, next);
            assert_eq!(text, expected);
        }
    }
}
