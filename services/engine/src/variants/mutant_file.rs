//! Files of mutants: a table with the column `mutant` (and `id` where there are several proteins), or one mutant a line.
//!
//! Tab- or comma-separated, plain or gzip; lines that are empty or start with `#` are passed over. Mutants are not judged
//! here: that takes their sequences.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use flate2::read::MultiGzDecoder;

use super::error::{BadMutant, VariantError};

/// Names of the column of mutants.
const MUTANT_COLUMNS: [&str; 3] = ["mutant", "mutants", "variant"];
/// Names of the column of proteins.
const PROTEIN_COLUMNS: [&str; 4] = ["id", "accession", "protein", "dms_id"];

/// One mutant as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MutantRow {
    /// Its line in the file, from 1.
    pub line: u64,
    /// Its protein, where the file says.
    pub protein: Option<String>,
    /// Such as `A12V`; not judged yet.
    pub mutant: String,
}

/// The mutants of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MutantFile {
    /// In the order of the file, at least one.
    pub rows: Vec<MutantRow>,
    /// Rows that have not the fields of the others.
    pub bad: Vec<BadMutant>,
}

/// Where the fields of a row stand.
struct Layout {
    mutant: usize,
    protein: Option<usize>,
    has_header: bool,
}

/// Reads a file of mutants; `-` is standard input.
///
/// # Errors
/// [`VariantError::Read`] or [`VariantError::Empty`].
pub fn read_mutants(path: &Path) -> Result<MutantFile, VariantError> {
    let failed = |source: csv::Error| VariantError::Read { path: path.to_owned(), source };
    let mut reader = open(path).map_err(|error| failed(error.into()))?;
    let head = reader.fill_buf().map_err(|error| failed(error.into()))?;
    let first = head.split(|&byte| byte == b'\n').find(|line| !line.starts_with(b"#") && !line.is_empty());
    let delimiter = if first.is_some_and(|line| !line.contains(&b'\t')) { b',' } else { b'\t' };
    let mut table = csv::ReaderBuilder::new();
    table.has_headers(false).flexible(true).delimiter(delimiter).comment(Some(b'#')).trim(csv::Trim::All);
    let mut layout: Option<Layout> = None;
    let mut file = MutantFile { rows: Vec::new(), bad: Vec::new() };
    // Lines are counted here: the position of a record is where the blank lines before it begin.
    for (index, text) in reader.lines().enumerate() {
        let text = text.map_err(|error| failed(error.into()))?;
        if text.trim().is_empty() || text.starts_with('#') {
            continue;
        }
        let Some(record) = table.from_reader(text.as_bytes()).records().next() else { continue };
        let (line, record) = (index as u64 + 1, record.map_err(failed)?);
        let is_first = layout.is_none();
        let layout = layout.get_or_insert_with(|| Layout::of(&record));
        if is_first && layout.has_header {
            continue;
        }
        let protein = layout.protein.map(|column| record.get(column).unwrap_or_default().to_owned());
        match record.get(layout.mutant) {
            Some(mutant) => file.rows.push(MutantRow { line, protein, mutant: mutant.to_owned() }),
            None => file.bad.push(BadMutant {
                number: line,
                written: record.iter().collect::<Vec<_>>().join("\t"),
                protein: None,
                rule: format!(
                    "the line has {} fields, but its mutant should be in field {}",
                    record.len(),
                    layout.mutant + 1
                ),
            }),
        }
    }
    if file.rows.is_empty() && file.bad.is_empty() {
        return Err(VariantError::Empty { path: path.to_owned() });
    }
    Ok(file)
}

impl Layout {
    /// From the first line: a header if it names a column of mutants, else a mutant, perhaps behind its protein.
    fn of(first: &csv::StringRecord) -> Self {
        let find = |names: &[&str]| {
            first.iter().position(|field| names.iter().any(|name| field.eq_ignore_ascii_case(name)))
        };
        match find(&MUTANT_COLUMNS) {
            Some(mutant) => Self { mutant, protein: find(&PROTEIN_COLUMNS), has_header: true },
            None if first.len() > 1 => Self { mutant: 1, protein: Some(0), has_header: false },
            None => Self { mutant: 0, protein: None, has_header: false },
        }
    }
}

fn open(path: &Path) -> std::io::Result<Box<dyn BufRead>> {
    let raw: Box<dyn Read> =
        if path == Path::new("-") { Box::new(std::io::stdin()) } else { Box::new(File::open(path)?) };
    let mut reader = BufReader::new(raw);
    let is_gzip = reader.fill_buf()?.starts_with(&[0x1f, 0x8b]);
    Ok(if is_gzip { Box::new(BufReader::new(MultiGzDecoder::new(reader))) } else { Box::new(reader) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<MutantFile, VariantError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        read_mutants(file.path())
    }

    fn rows(text: &str) -> Vec<(u64, Option<String>, String)> {
        read(text).unwrap().rows.into_iter().map(|row| (row.line, row.protein, row.mutant)).collect()
    }

    #[test]
    fn tables_and_lists_are_told_apart() {
        let row =
            |line, protein: Option<&str>, mutant: &str| (line, protein.map(str::to_owned), mutant.to_owned());
        assert_eq!(rows("A1V\nK2R:L3A\n"), [row(1, None, "A1V"), row(2, None, "K2R:L3A")]);
        assert_eq!(rows("# notes\nmutant\nA1V\n\nK2R\r\n"), [row(3, None, "A1V"), row(5, None, "K2R")]);
        assert_eq!(rows("P1\tA1V\n"), [row(1, Some("P1"), "A1V")]);
        assert_eq!(rows("id,score,mutant\nP1,0.5,A1V\n"), [row(2, Some("P1"), "A1V")]);
        assert_eq!(rows("dms_id\tmutant\nP1\t\n"), [row(2, Some("P1"), "")]);
    }

    #[test]
    fn rows_without_a_mutant_are_kept_apart_and_empty_files_refused() {
        let file = read("id\tmutant\nP1\tA1V\nP2\n").unwrap();
        assert_eq!((file.rows.len(), file.bad[0].number), (1, 3));
        for empty in ["", "\n\n", "# nothing\n", "id\tmutant\n"] {
            assert!(matches!(read(empty), Err(VariantError::Empty { .. })), "{empty:?}");
        }
        assert!(matches!(read_mutants(Path::new("/nowhere")), Err(VariantError::Read { .. })));
    }
}
