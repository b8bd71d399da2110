//! Records from files: FASTA, TSV, CSV, JSON lines and Parquet, plain, gzip or zstd, from a path or standard input.
//!
//! [`open`] looks at an input and gives a [`RecordReader`], which streams: memory stays within the limit of one
//! record (for Parquet: one page of each column), whatever the size of the file. What is wrong with one record
//! is told with its number and the reading goes on; residues are judged later, by `protext-core`. Callers are
//! `protext embed` and the building of collections.

mod columns;
mod delimited;
mod detect;
mod error;
mod fasta;
mod ids;
mod jsonl;
mod lines;
mod parquet;
mod taxonomy;

use std::fmt;
use std::fs::File;
use std::io::{BufRead, Read};
use std::path::{Path, PathBuf};

use protext_core::Modality;

pub use detect::Format;
pub use error::{InputError, RecordError, Rule};
pub(crate) use ids::IdSet;
pub use ids::MAX_ID_BYTES;
pub use taxonomy::read_taxonomy;

use detect::{DetectError, Opened};

/// Where records come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A file.
    Path(PathBuf),
    /// Standard input.
    Stdin,
}

impl Source {
    /// A path as given on a command line: `-` is standard input.
    #[must_use]
    pub fn from_arg(arg: impl AsRef<Path>) -> Self {
        match arg.as_ref() {
            path if path == Path::new("-") => Self::Stdin,
            path => Self::Path(path.to_owned()),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => path.display().fmt(f),
            Self::Stdin => f.write_str("standard input"),
        }
    }
}

/// What to do with an id that an earlier record of the same input has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Duplicates {
    /// Report each further one with [`Rule::DuplicateId`].
    #[default]
    Refuse,
    /// Pass over each further one and count it.
    KeepFirst,
    /// Give every record, also several of one id: a protein with several texts.
    KeepAll,
}

/// How an input is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputOptions {
    /// What records must hold: a sequence or a text.
    pub modality: Modality,
    /// The format; by default the name's ending tells it, then the content.
    pub format: Option<Format>,
    /// Most bytes of a record's sequence or text.
    pub max_record_bytes: usize,
    /// What to do with repeated ids.
    pub duplicates: Duplicates,
    /// Column or JSON key of the id; by default the usual names are looked for.
    pub id_column: Option<String>,
    /// Column or JSON key of the sequence.
    pub sequence_column: Option<String>,
    /// Column or JSON key of the text.
    pub text_column: Option<String>,
    /// Further columns or JSON keys to keep in [`InputRecord::metadata`]. FASTA has none.
    pub metadata_columns: Vec<String>,
    /// A table need not have every one of the metadata columns.
    pub metadata_optional: bool,
    /// Keep every other column or JSON key in [`InputRecord::metadata`], too, and of FASTA headers as UniProt writes
    /// them `db` (sp or tr), `entry_name`, `pe` (evidence for the protein) and `sv` (version of the sequence).
    pub keep_all: bool,
}

impl InputOptions {
    /// The defaults: format and columns found, a million bytes a record, repeated ids refused.
    #[must_use]
    pub fn new(modality: Modality) -> Self {
        Self {
            modality,
            format: None,
            max_record_bytes: 1_000_000,
            duplicates: Duplicates::default(),
            id_column: None,
            sequence_column: None,
            text_column: None,
            metadata_columns: Vec::new(),
            metadata_optional: false,
            keep_all: false,
        }
    }
}

/// What a record holds, as it was written: neither validated nor tidied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Payload {
    /// Residues, perhaps with white space, gaps or lower case.
    Sequence(String),
    /// A sentence or more.
    Text(String),
}

impl Payload {
    /// The characters.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Sequence(raw) | Self::Text(raw) => raw,
        }
    }
}

/// One record of an input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputRecord {
    /// 1-based number in its file; records that were refused count too.
    pub number: u64,
    /// Unique in its file, at most [`MAX_ID_BYTES`], no control characters. UniProt headers give the accession.
    pub id: String,
    /// UniProt's entry name, such as `ALBU_HUMAN`.
    pub entry_name: Option<String>,
    /// Free text about the record, perhaps empty.
    pub description: String,
    /// What is to be embedded.
    pub payload: Payload,
    /// Organism, as written.
    pub organism: Option<String>,
    /// NCBI taxon id.
    pub taxon_id: Option<u32>,
    /// Gene name.
    pub gene: Option<String>,
    /// Values of [`InputOptions::metadata_columns`], in that order, then what [`InputOptions::keep_all`] keeps; an empty
    /// value is left out.
    pub metadata: Vec<(String, String)>,
}

impl InputRecord {
    /// A record that holds nothing but its content.
    #[must_use]
    pub fn new(number: u64, id: String, payload: Payload) -> Self {
        Self {
            number,
            id,
            entry_name: None,
            description: String::new(),
            payload,
            organism: None,
            taxon_id: None,
            gene: None,
            metadata: Vec::new(),
        }
    }
}

/// Opens an input and finds its format.
///
/// # Errors
/// An [`InputError`] if the input cannot be opened, is empty or of no known format, or lacks a column.
pub fn open(source: &Source, options: &InputOptions) -> Result<RecordReader, InputError> {
    match source {
        Source::Stdin => open_stream(source.to_string(), Box::new(std::io::stdin()), options),
        Source::Path(path) => {
            let failed = |source| InputError::Open { path: path.clone(), source };
            if std::fs::metadata(path).map_err(failed)?.is_dir() {
                return Err(InputError::Folder { path: path.clone() });
            }
            let file = File::open(path).map_err(failed)?;
            let by_name = options.format.or_else(|| Format::from_path(path));
            open_detected(source.to_string(), Box::new(file), by_name, Some(path), options)
        }
    }
}

/// Opens a stream of any origin, such as the body of a request. `name` stands for the file in messages.
///
/// # Errors
/// As [`open`]; [`InputError::ParquetNeedsFile`] for Parquet.
pub fn open_stream(
    name: String,
    stream: Box<dyn Read + Send>,
    options: &InputOptions,
) -> Result<RecordReader, InputError> {
    open_detected(name, stream, options.format, None, options)
}

fn open_detected(
    file: String,
    raw: Box<dyn Read + Send>,
    format: Option<Format>,
    path: Option<&Path>,
    options: &InputOptions,
) -> Result<RecordReader, InputError> {
    let Opened { head, stream, is_compressed } = match detect::decompress(raw) {
        Ok(opened) => opened,
        Err(DetectError::Read(source)) => return Err(InputError::Read { file, source }),
        Err(DetectError::Codec(codec)) => return Err(InputError::Compression { file, codec }),
    };
    if head.is_empty() {
        return Err(InputError::Empty { file });
    }
    let Some(format) = format.or_else(|| Format::from_content(&head)) else {
        return Err(InputError::UnknownFormat { file });
    };
    let records: Records = match (format, path) {
        (Format::Parquet, Some(path)) if !is_compressed => {
            Box::new(parquet::ParquetReader::open(&file, path, options)?)
        }
        (Format::Parquet, Some(_)) => Box::new(decompressed_parquet(&file, stream, options)?),
        (Format::Parquet, None) => return Err(InputError::ParquetNeedsFile { file }),
        _ => text_records(&file, format, stream, options)?,
    };
    Ok(RecordReader::new(file, format, records, options.duplicates))
}

/// Parquet is read from its end, so a compressed file of it is decompressed to the disk first.
fn decompressed_parquet(
    file: &str,
    mut stream: Box<dyn BufRead + Send>,
    options: &InputOptions,
) -> Result<parquet::ParquetReader, InputError> {
    let failed = |source| InputError::Read { file: file.to_owned(), source };
    let mut plain = tempfile::NamedTempFile::new().map_err(failed)?;
    std::io::copy(&mut stream, &mut plain).map_err(failed)?;
    parquet::ParquetReader::open(file, plain.path(), options)
}

fn text_records(
    file: &str,
    format: Format,
    stream: Box<dyn BufRead + Send>,
    options: &InputOptions,
) -> Result<Records, InputError> {
    Ok(match format {
        Format::Fasta if options.modality == Modality::Text => {
            return Err(InputError::NoTexts { file: file.to_owned(), format });
        }
        Format::Fasta => Box::new(fasta::FastaReader::new(file, stream, options)),
        Format::JsonLines => Box::new(jsonl::JsonLinesReader::new(file, stream, options)),
        Format::Tsv | Format::Csv | Format::Parquet => {
            let delimiter = if format == Format::Csv { b',' } else { b'\t' };
            Box::new(delimited::DelimitedReader::open(file, stream, delimiter, options)?)
        }
    })
}

/// A record with the line it begins on, as the formats give it.
struct Located {
    record: InputRecord,
    line: Option<u64>,
}

type Records = Box<dyn Iterator<Item = Result<Located, RecordError>> + Send>;

/// Streams the records of one input. After a fatal error ([`RecordError::is_fatal`]) it ends.
pub struct RecordReader {
    file: String,
    format: Format,
    records: Records,
    duplicates: Duplicates,
    ids: IdSet,
    n_duplicates_passed: u64,
    any: bool,
    ended: bool,
}

impl RecordReader {
    fn new(file: String, format: Format, records: Records, duplicates: Duplicates) -> Self {
        let ids = IdSet::default();
        Self { file, format, records, duplicates, ids, n_duplicates_passed: 0, any: false, ended: false }
    }

    /// The input's name, as messages give it.
    #[must_use]
    pub fn file(&self) -> &str {
        &self.file
    }

    /// The format that is being read.
    #[must_use]
    pub fn format(&self) -> Format {
        self.format
    }

    /// Records passed over so far under [`Duplicates::KeepFirst`].
    #[must_use]
    pub fn n_duplicates_passed(&self) -> u64 {
        self.n_duplicates_passed
    }

    fn end(&mut self) -> Option<Result<InputRecord, RecordError>> {
        self.ended = true;
        let rule = Rule::NoRecords;
        (!self.any)
            .then(|| Err(RecordError { file: self.file.clone(), record: 0, line: None, id: None, rule }))
    }
}

impl Iterator for RecordReader {
    type Item = Result<InputRecord, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.ended {
            let Some(next) = self.records.next() else { return self.end() };
            self.any = true;
            let Located { record, line } = match next {
                Ok(located) => located,
                Err(error) => {
                    self.ended = error.is_fatal();
                    return Some(Err(error));
                }
            };
            if self.duplicates == Duplicates::KeepAll || self.ids.insert(&record.id) {
                return Some(Ok(record));
            }
            if self.duplicates == Duplicates::Refuse {
                let (file, id) = (self.file.clone(), Some(record.id));
                return Some(Err(RecordError {
                    file,
                    record: record.number,
                    line,
                    id,
                    rule: Rule::DuplicateId,
                }));
            }
            self.n_duplicates_passed += 1;
        }
        None
    }
}

impl fmt::Debug for RecordReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecordReader")
            .field("file", &self.file)
            .field("format", &self.format)
            .finish_non_exhaustive()
    }
}
