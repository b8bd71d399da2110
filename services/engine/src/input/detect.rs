//! Which format and compression an input has: by its ending, else by its first bytes.
//!
//! Compression (gzip, zstd) is always told by magic bytes, because `.gz` files are often renamed. The first bytes are read
//! into a small buffer that is put back in front of the stream, so pipes work as files do.

use std::fmt;
use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;

/// A format of records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// `>id description` and residues.
    Fasta,
    /// Tab-separated, one header line, no quoting.
    Tsv,
    /// Comma-separated, one header line, quoted where needed.
    Csv,
    /// One JSON object a line.
    JsonLines,
    /// Apache Parquet.
    Parquet,
}

impl Format {
    /// The format that a name's ending tells, `.gz` and `.zst` aside.
    #[must_use]
    pub fn from_path(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_string_lossy().to_ascii_lowercase();
        let name = [".gz", ".zst"].iter().find_map(|ending| name.strip_suffix(ending)).unwrap_or(&name);
        let (_, ending) = name.rsplit_once('.')?;
        match ending {
            "fasta" | "fa" | "faa" | "fas" | "fsa" => Some(Self::Fasta),
            "tsv" | "tab" => Some(Self::Tsv),
            "csv" => Some(Self::Csv),
            "jsonl" | "ndjson" => Some(Self::JsonLines),
            "parquet" => Some(Self::Parquet),
            _ => None,
        }
    }

    /// The format that the first bytes tell, after decompression.
    #[must_use]
    pub fn from_content(head: &[u8]) -> Option<Self> {
        if head.starts_with(b"PAR1") {
            return Some(Self::Parquet);
        }
        let text = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head).trim_ascii_start();
        let line = text.split(|&byte| byte == b'\n' || byte == b'\r').next().unwrap_or_default();
        match text.first()? {
            b'>' | b';' => Some(Self::Fasta),
            b'{' => Some(Self::JsonLines),
            _ if line.contains(&0) => None,
            _ if line.contains(&b'\t') => Some(Self::Tsv),
            _ if line.contains(&b',') => Some(Self::Csv),
            _ => None,
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fasta => "FASTA",
            Self::Tsv => "TSV",
            Self::Csv => "CSV",
            Self::JsonLines => "JSON lines",
            Self::Parquet => "Parquet",
        })
    }
}

/// A decompressed stream with its first bytes at hand.
pub(super) struct Opened {
    pub(super) head: Vec<u8>,
    pub(super) stream: Box<dyn BufRead + Send>,
    pub(super) is_compressed: bool,
}

/// Why a stream could not be prepared.
pub(super) enum DetectError {
    Read(io::Error),
    Codec(&'static str),
}

const HEAD_BYTES: u64 = 8 * 1024;
const BUFFER_BYTES: usize = 64 * 1024;

/// Compressions that are recognised so that the message can name them.
const FOREIGN_CODECS: [(&[u8], &str); 3] = [(b"BZh", "bzip2"), (b"\xfd7zXZ\0", "xz"), (b"PK\x03\x04", "zip")];
const GZIP: &[u8] = b"\x1f\x8b";
const ZSTD: &[u8] = b"\x28\xb5\x2f\xfd";

/// Looks at the first bytes of `raw` and undoes gzip, single- or multi-member, and zstd, of one frame or more.
pub(super) fn decompress(raw: Box<dyn Read + Send>) -> Result<Opened, DetectError> {
    let (head, stream) = peek(raw).map_err(DetectError::Read)?;
    if let Some((_, codec)) = FOREIGN_CODECS.iter().find(|(magic, _)| head.starts_with(magic)) {
        return Err(DetectError::Codec(codec));
    }
    let decoder: Box<dyn Read + Send> = if head.starts_with(GZIP) {
        Box::new(MultiGzDecoder::new(stream))
    } else if head.starts_with(ZSTD) {
        Box::new(zstd::stream::read::Decoder::with_buffer(stream).map_err(DetectError::Read)?)
    } else {
        return Ok(Opened { head, stream, is_compressed: false });
    };
    let (head, stream) = peek(decoder).map_err(DetectError::Read)?;
    Ok(Opened { head, stream, is_compressed: true })
}

/// Reads the first bytes and puts them back in front of the rest.
fn peek(mut raw: Box<dyn Read + Send>) -> io::Result<(Vec<u8>, Box<dyn BufRead + Send>)> {
    let mut head = Vec::new();
    let rest: Box<dyn Read + Send> = match raw.by_ref().take(HEAD_BYTES).read_to_end(&mut head) {
        Ok(_) => raw,
        // What came before the failure is still good: the reader meets the failure after it.
        Err(error) if !head.is_empty() => Box::new(Failing(Some(error))),
        Err(error) => return Err(error),
    };
    let stream = BufReader::with_capacity(BUFFER_BYTES, Cursor::new(head.clone()).chain(rest));
    Ok((head, Box::new(stream)))
}

/// A stream that fails once with an error met earlier, then ends.
struct Failing(Option<io::Error>);

impl Read for Failing {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        self.0.take().map_or(Ok(0), Err)
    }
}
