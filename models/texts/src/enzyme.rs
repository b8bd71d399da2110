//! ENZYME, the nomenclature of enzymes as a flat file (`enzyme.dat`): what an enzyme does, and which proteins are it.
//!
//! Lines with a two-letter code, entries that end in `//`. Read are ID, DE, AN, CA, CC and DR; a preamble of CC lines is
//! passed over. Files before UTF-8 are read as Latin-1. Source: ENZYME user manual (`enzuser.txt`).
//!
//! ```
//! let flat = "ID   3.4.21.4\nDE   Trypsin.\nCA   Preferential cleavage: Arg-|-Xaa.\nDR   P07477, TRY1_HUMAN;\n//\n";
//! let enzyme = protext_texts::enzyme::Enzymes::new(flat.as_bytes(), "example")?.next().expect("one entry")?;
//! assert_eq!(enzyme.text(), "Trypsin. Preferential cleavage: Arg-|-Xaa.");
//! # Ok::<(), protext_texts::TextError>(())
//! ```

use std::io::Read;
use std::path::Path;

use crate::error::TextError;
use crate::input::Input;
use crate::wrapped::join_wrapped;

/// An entry.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Enzyme {
    /// Its EC number, such as `3.4.21.4`.
    pub ec_number: String,
    /// Recommended name, with its full stop.
    pub name: String,
    /// Other names.
    pub other_names: Vec<String>,
    /// Reactions it catalyses.
    pub activity: String,
    /// Remarks.
    pub comments: Vec<String>,
    /// Accessions of the proteins that are this enzyme.
    pub accessions: Vec<String>,
}

impl Enzyme {
    /// False for a number that was deleted, or transferred to another.
    #[must_use]
    pub fn is_in_use(&self) -> bool {
        !["Deleted entry", "Transferred entry"].iter().any(|start| self.name.starts_with(start))
    }

    /// Name, activity and remarks as sentences.
    #[must_use]
    pub fn text(&self) -> String {
        let parts = [&self.name, &self.activity].into_iter().chain(&self.comments);
        let parts: Vec<&str> =
            parts.map(|part| part.as_str()).filter(|part| !part.trim().is_empty()).collect();
        parts.join(" ")
    }
}

/// The entries of one file, in its order. Ends at the first error.
#[derive(Debug)]
pub struct Enzymes {
    input: Option<Input>,
    line: String,
}

impl Enzymes {
    /// Opens a file, plain or gzip'd.
    ///
    /// # Errors
    /// [`TextError::Open`] or [`TextError::Read`].
    pub fn open(path: &Path) -> Result<Self, TextError> {
        Ok(Self { input: Some(Input::open(path)?), line: String::new() })
    }

    /// As [`Enzymes::open`], from bytes; `name` stands in messages.
    ///
    /// # Errors
    /// As [`Enzymes::open`].
    pub fn new(bytes: impl Read + Send + 'static, name: &str) -> Result<Self, TextError> {
        Ok(Self { input: Some(Input::new(bytes, name.to_owned())?), line: String::new() })
    }
}

impl Iterator for Enzymes {
    type Item = Result<Enzyme, TextError>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = read_entry(self.input.as_mut()?, &mut self.line);
        if !matches!(next, Ok(Some(_))) {
            self.input = None;
        }
        next.transpose()
    }
}

fn read_entry(input: &mut Input, line: &mut String) -> Result<Option<Enzyme>, TextError> {
    input.begin_record();
    let mut enzyme: Option<Enzyme> = None;
    while input.next_line_latin1(line)? {
        // Old files end in the mark that DOS put behind a text.
        let line = line.trim_end_matches('\u{1a}').trim_end();
        let (code, value) = (line.get(..2).unwrap_or(line), line.get(5..).unwrap_or_default().trim());
        match (code, &mut enzyme) {
            ("//", Some(_)) => return Ok(enzyme),
            ("ID", None) if !value.is_empty() => {
                enzyme = Some(Enzyme { ec_number: value.to_owned(), ..Enzyme::default() });
            }
            ("ID", _) => {
                return Err(
                    input.bad_line("a second ID, or an empty one; // is missing before it, or the EC number")
                );
            }
            (_, Some(enzyme)) => enzyme.read(code, value),
            // The preamble.
            ("CC" | "//" | "", None) => {}
            (other, None) => {
                let rule = format!("{other:?} before an ID; an ENZYME entry starts with \"ID   1.1.1.1\"");
                return Err(input.bad_line(rule));
            }
        }
    }
    match enzyme {
        Some(enzyme) => {
            let rule = format!("the file ends inside {}, before its //; fetch it again", enzyme.ec_number);
            Err(input.bad_line(rule))
        }
        None => Ok(None),
    }
}

impl Enzyme {
    fn read(&mut self, code: &str, value: &str) {
        match code {
            "DE" => join_wrapped(&mut self.name, value),
            "AN" => match self.other_names.last_mut().filter(|name| !name.ends_with('.')) {
                Some(name) => join_wrapped(name, value),
                None => self.other_names.push(value.to_owned()),
            },
            "CA" => join_wrapped(&mut self.activity, value),
            "CC" => match (value.strip_prefix("-!-"), self.comments.last_mut()) {
                (Some(comment), _) => self.comments.push(comment.trim().to_owned()),
                (None, Some(comment)) => join_wrapped(comment, value),
                (None, None) => self.comments.push(value.to_owned()),
            },
            "DR" => {
                let accessions = value.split(';').filter_map(|pair| pair.split(',').next());
                let accessions = accessions.map(str::trim).filter(|accession| !accession.is_empty());
                self.accessions.extend(accessions.map(str::to_owned));
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use proptest::prelude::*;

    use super::*;
    use crate::input::tests::gzip;

    const FILE: &[u8] = b"CC   ----\nCC   ENZYME\nCC   ----\n//\n\
        ID   1.1.1.1\nDE   Alcohol dehydrogenase.\nAN   Aldehyde\nAN   reductase.\nAN   ADH.\n\
        CA   An alcohol + NAD(+) = an aldehyde or\nCA   ketone + NADH.\nCF   Zinc.\n\
        CC   -!- Acts on primary or secondary alcohols or hemi-\nCC       acetals.\nCC   -!- See also EC 1.1.1.2.\n\
        PR   PROSITE; PDOC00058;\nDR   P80222, ADH1_ALLMI;  P06525, ADH1_ARATH;\nDR   Q9NAR7, ADH_BACOL ;\n//\n\
        ID   1.1.1.68\nDE   Transferred entry: 1.7.99.5.\n//\nID   1.1.1.74\nDE   Deleted entry.\n//\n\
        ID   1.2.3.4\nDE   L\xf6we's oxidase.\n//\n\x1a";

    fn read(bytes: &[u8]) -> Result<Vec<Enzyme>, TextError> {
        Enzymes::new(Cursor::new(bytes.to_vec()), "enzyme.dat")?.collect()
    }

    #[test]
    fn entries_with_their_text_and_proteins() {
        for bytes in [FILE.to_vec(), gzip(FILE)] {
            let enzymes = read(&bytes).unwrap();
            assert_eq!(enzymes.len(), 4);
            let first = &enzymes[0];
            assert_eq!(
                first.text(),
                "Alcohol dehydrogenase. An alcohol + NAD(+) = an aldehyde or ketone + NADH. Acts on primary or secondary \
                 alcohols or hemi-acetals. See also EC 1.1.1.2."
            );
            assert_eq!(first.other_names, ["Aldehyde reductase.", "ADH."]);
            assert_eq!(first.accessions, ["P80222", "P06525", "Q9NAR7"]);
            assert_eq!(enzymes.iter().map(Enzyme::is_in_use).collect::<Vec<_>>(), [true, false, false, true]);
            assert_eq!(enzymes[3].text(), "L\u{f6}we's oxidase.");
        }
    }

    #[test]
    fn broken_files_are_named_with_line_and_rule() {
        let cases = [
            (&b"DE   Trypsin.\n"[..], "line 1: \"DE\" before an ID"),
            (b"ID   1.1.1.1\nDE   A.\nID   1.1.1.2\n", "line 3: a second ID"),
            (b"ID   1.1.1.1\nDE   A.\n", "ends inside 1.1.1.1"),
            (b"ID   \n", "line 1"),
        ];
        for (bytes, rule) in cases {
            let error = read(bytes).unwrap_err().to_string();
            assert!(error.starts_with("enzyme.dat, line") && error.contains(rule), "{error}");
        }
        assert!(read(b"").unwrap().is_empty());
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = read(&bytes);
            let _ = read(&[b"ID   1.1.1.1\nDR   ", bytes.as_slice()].concat());
        }
    }
}
