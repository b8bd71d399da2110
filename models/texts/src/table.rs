//! Tab-separated tables with one line of column names: no quoting, plain or gzip'd.
//!
//! Columns are found by name, whatever their order and case; a role such as "gene id" has several usual names. Readers of
//! GO terms, genes, proteins and annotations sit on this.

use std::path::Path;

use crate::error::TextError;
use crate::input::Input;

/// A table, read row by row.
#[derive(Debug)]
pub(crate) struct Table {
    input: Input,
    names: Vec<String>,
    line: String,
}

impl Table {
    pub(crate) fn open(path: &Path) -> Result<Self, TextError> {
        Self::read(Input::open(path)?)
    }

    /// Reads the line of column names.
    pub(crate) fn read(mut input: Input) -> Result<Self, TextError> {
        let mut header = String::new();
        input.begin_record();
        input.next_line(&mut header)?;
        Ok(Self::with_header(input, &header))
    }

    /// Takes an input whose line of column names was read already.
    pub(crate) fn with_header(input: Input, header: &str) -> Self {
        let names = header.split('\t').map(|name| name.trim().to_ascii_lowercase()).collect();
        Self { input, names, line: String::new() }
    }

    /// Where the first of `names` that the table has stands.
    pub(crate) fn column(&self, names: &[&str]) -> Option<usize> {
        names.iter().find_map(|wanted| self.names.iter().position(|name| name == wanted))
    }

    /// As [`Table::column`], for a column that must be there.
    pub(crate) fn needed(&self, names: &[&str]) -> Result<usize, TextError> {
        self.column(names).ok_or_else(|| {
            let (wanted, present) = (names.join("\" or \""), self.names.join(", "));
            self.input.bad_line(format!("the header has no column \"{wanted}\"; it has {present}"))
        })
    }

    /// The next row that is not blank; `None` at the end.
    pub(crate) fn next_row(&mut self) -> Result<Option<Row<'_>>, TextError> {
        loop {
            self.input.begin_record();
            if !self.input.next_line(&mut self.line)? {
                return Ok(None);
            }
            if !self.line.trim().is_empty() {
                break;
            }
        }
        let cells: Vec<&str> = self.line.split('\t').map(str::trim).collect();
        if cells.len() != self.names.len() {
            let rule = format!("{} columns, but the header has {}", cells.len(), self.names.len());
            return Err(self.input.bad_line(rule));
        }
        Ok(Some(Row { cells, names: &self.names, input: &self.input }))
    }

    pub(crate) fn input(&self) -> &Input {
        &self.input
    }
}

/// A row: as many cells as there are columns, without white space around them.
#[derive(Debug)]
pub(crate) struct Row<'a> {
    cells: Vec<&'a str>,
    names: &'a [String],
    input: &'a Input,
}

impl<'a> Row<'a> {
    pub(crate) fn cell(&self, column: usize) -> &'a str {
        self.cells[column]
    }

    /// The cell, unless the table has no such column or the cell is empty.
    pub(crate) fn filled(&self, column: Option<usize>) -> Option<&'a str> {
        column.map(|column| self.cells[column]).filter(|cell| !cell.is_empty())
    }

    /// The cell of a column that may not be empty.
    pub(crate) fn required(&self, column: usize) -> Result<&'a str, TextError> {
        self.filled(Some(column)).ok_or_else(|| self.bad(column, "is empty; every row needs one"))
    }

    /// The cell as a list, parsed; `;`, `,` or `|` stands between values.
    pub(crate) fn list<T: std::str::FromStr>(&self, column: Option<usize>) -> Result<Vec<T>, TextError>
    where
        T::Err: std::fmt::Display,
    {
        let Some(column) = column else { return Ok(Vec::new()) };
        let values =
            self.cells[column].split([';', ',', '|']).map(str::trim).filter(|value| !value.is_empty());
        values.map(|value| value.parse().map_err(|error: T::Err| self.bad(column, error))).collect()
    }

    /// The row breaks a rule in one of its columns.
    pub(crate) fn bad(&self, column: usize, rule: impl std::fmt::Display) -> TextError {
        self.input.bad_line(format!("{}: {rule}", self.names[column]))
    }

    /// The row breaks a rule.
    pub(crate) fn bad_row(&self, rule: impl Into<String>) -> TextError {
        self.input.bad_line(rule)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::go::GoId;
    use crate::input::tests::input;

    #[test]
    fn columns_are_found_by_any_of_their_names() {
        let mut table =
            Table::read(input(b"Symbol\tEntrez_ID\tgo\r\n TP53 \t7157\tGO:0003677; GO:0005634\r\n\n"))
                .unwrap();
        assert_eq!(table.column(&["gene_id", "entrez_id"]), Some(1));
        let missing = table.needed(&["summary", "text"]).unwrap_err().to_string();
        assert!(
            missing.contains("\"summary\" or \"text\"") && missing.contains("symbol, entrez_id"),
            "{missing}"
        );
        let row = table.next_row().unwrap().unwrap();
        assert_eq!((row.cell(0), row.filled(Some(1)), row.filled(None)), ("TP53", Some("7157"), None));
        assert_eq!(row.list::<GoId>(Some(2)).unwrap().len(), 2);
        assert!(table.next_row().unwrap().is_none());
    }

    #[test]
    fn bad_rows_name_line_column_and_rule() {
        let mut table = Table::read(input(b"a\tgo\n1\n2\tGO:1\n\tx\n")).unwrap();
        let ragged = table.next_row().unwrap_err().to_string();
        assert!(ragged.contains("test, line 2: 1 columns"), "{ragged}");
        let row = table.next_row().unwrap().unwrap();
        let bad = row.list::<GoId>(Some(1)).unwrap_err().to_string();
        assert!(bad.contains("line 3: go: ") && bad.contains("seven digits"), "{bad}");
        let empty = table.next_row().unwrap().unwrap().required(0).unwrap_err().to_string();
        assert!(empty.contains("line 4: a: is empty"), "{empty}");
    }
}
