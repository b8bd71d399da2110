//! Why a source could not be read: which file, which record, which rule, and what to do.

use std::path::PathBuf;

/// Reading or writing texts failed.
#[derive(Debug, thiserror::Error)]
pub enum TextError {
    /// The file cannot be opened.
    #[error("cannot open {}; check the path and its permissions", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
    /// Reading stopped in the middle.
    #[error("{input}: cannot be read on after record {record}; if the file was cut short, fetch it again")]
    Read {
        /// File or address.
        input: String,
        /// Records that were read whole before.
        record: u64,
        /// The system's or the decompressor's reason.
        #[source]
        source: std::io::Error,
    },
    /// A record with more bytes than any real one.
    #[error(
        "{input}: record {record} is longer than {limit_bytes} bytes; a line or a closing tag is missing, fetch the \
         file again"
    )]
    TooLong {
        /// File or address.
        input: String,
        /// Number of the record, from 1.
        record: u64,
        /// Most bytes a record may have.
        limit_bytes: u64,
    },
    /// Bytes that are no text.
    #[error("{input}, line {line}: not UTF-8; convert the file (iconv -t UTF-8) or fetch it again")]
    NotUtf8 {
        /// File or address.
        input: String,
        /// Number of the line, from 1.
        line: u64,
    },
    /// A line that breaks a rule of its format.
    #[error("{input}, line {line}: {rule}")]
    Line {
        /// File or address.
        input: String,
        /// Number of the line, from 1.
        line: u64,
        /// The rule, and what would be right.
        rule: String,
    },
    /// An entry that breaks a rule of its format.
    #[error("{input}, entry {record}: {rule}")]
    Entry {
        /// File or address.
        input: String,
        /// Number of the entry, from 1.
        record: u64,
        /// The rule, and what would be right.
        rule: String,
    },
    /// An entry that is no JSON, or JSON of another shape.
    #[error(
        "{input}, entry {record}: not the JSON that the source documents; fetch it again with format=json"
    )]
    Json {
        /// File or address.
        input: String,
        /// Number of the entry, from 1.
        record: u64,
        /// The parser's reason.
        #[source]
        source: serde_json::Error,
    },
    /// An entry that is no XML.
    #[error("{input}, entry {record}: broken XML; fetch the file again")]
    Xml {
        /// File or address.
        input: String,
        /// Number of the entry, from 1.
        record: u64,
        /// The parser's reason.
        #[source]
        source: Box<quick_xml::Error>,
    },
    /// A file of another kind.
    #[error("{input}: {found} is the start of none of the formats known here; give {known}")]
    UnknownFormat {
        /// File or address.
        input: String,
        /// How the file begins.
        found: String,
        /// Formats that would do.
        known: &'static str,
    },
    /// The ontology contradicts itself.
    #[error("{input}: {rule}")]
    Ontology {
        /// File or address.
        input: String,
        /// Ids, rule, and what would be right.
        rule: String,
    },
    /// Nothing to say about a gene.
    #[error(
        "gene {gene:?}: nothing is left to say; give it a symbol, a name, a summary or GO terms, or switch on the \
         parts it has in GeneTextOptions"
    )]
    NoText {
        /// Symbol of the gene, perhaps empty.
        gene: String,
    },
}
