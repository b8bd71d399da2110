//! Function comments of proteins, out of UniProtKB.
//!
//! UniProt gives an entry as a flat file (`.dat`), as JSON and as XML; one file may hold all of Swiss-Prot. [`Entries`]
//! reads any of them, plain or gzip'd, entry by entry, and gives the same [`Entry`] from each. [`Entry::function_text`]
//! is the text that ProteinCLIP embeds: function comments without citations.
//!
//! ```
//! use protext_texts::uniprot::Entries;
//!
//! let json = r#"{"primaryAccession": "P04637", "comments": [{"commentType": "FUNCTION",
//!     "texts": [{"value": "Acts as a tumor suppressor (PubMed:11025664)."}]}]}"#;
//! let entry = Entries::new(json.as_bytes(), "example")?.next().expect("one entry")?;
//! assert_eq!(entry.function_text().as_deref(), Some("Acts as a tumor suppressor."));
//! # Ok::<(), protext_texts::TextError>(())
//! ```

mod citations;
mod entry;
mod flat;
mod json;
mod json_split;
mod xml;

pub use citations::strip_citations;
pub use entry::{Entry, FunctionText};

use std::io::Read;
use std::path::Path;

use crate::error::TextError;
use crate::input::Input;

/// The entries of one file, in its order. Ends at the first error: what follows a broken entry is not to be trusted.
#[derive(Debug)]
pub struct Entries {
    reader: Option<Reader>,
}

#[derive(Debug)]
enum Reader {
    Flat(flat::FlatReader),
    Json(json::JsonReader),
    Xml(Box<xml::XmlReader>),
}

impl Entries {
    /// Opens a file; its first characters tell the format.
    ///
    /// # Errors
    /// [`TextError::Open`], [`TextError::Read`] or [`TextError::UnknownFormat`].
    pub fn open(path: &Path) -> Result<Self, TextError> {
        Self::of(Input::open(path)?)
    }

    /// As [`Entries::open`], from bytes; `name` stands in messages.
    ///
    /// # Errors
    /// As [`Entries::open`].
    pub fn new(bytes: impl Read + Send + 'static, name: &str) -> Result<Self, TextError> {
        Self::of(Input::new(bytes, name.to_owned())?)
    }

    fn of(mut input: Input) -> Result<Self, TextError> {
        let reader = match input.peek()? {
            None => return Ok(Self { reader: None }),
            Some(b'<') => Reader::Xml(Box::new(xml::XmlReader::new(input))),
            Some(b'{' | b'[') => Reader::Json(json::JsonReader::new(input)),
            Some(b'I') => Reader::Flat(flat::FlatReader::new(input)),
            Some(other) => {
                let found = format!("{:?}", char::from(other));
                let known = "a UniProtKB flat file (its first line starts with ID), JSON or XML";
                return Err(TextError::UnknownFormat { input: input.name().to_owned(), found, known });
            }
        };
        Ok(Self { reader: Some(reader) })
    }
}

impl Iterator for Entries {
    type Item = Result<Entry, TextError>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = match self.reader.as_mut()? {
            Reader::Flat(reader) => reader.read_entry(),
            Reader::Json(reader) => reader.read_entry(),
            Reader::Xml(reader) => reader.read_entry(),
        };
        if !matches!(next, Ok(Some(_))) {
            self.reader = None;
        }
        next.transpose()
    }
}
