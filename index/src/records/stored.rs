//! Records of a snapshot on disk: opened without reading them, looked up one by one.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use memmap2::Mmap;
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension as _, params, params_from_iter};

use super::connections::Connections;
use super::recent::Recent;
use super::schema::{APPLICATION_ID, VERSION};
use crate::collection::Record;
use crate::error::IndexError;
use crate::filter::{Comparison, Condition, Field, Holds, Operand};
use crate::keywords::{Best, Keywords, WordStatistics};
use crate::row_set::RowSet;
use crate::taxonomy::Taxonomy;

/// Sets of rows that are kept because the same conditions come again.
const MAX_KEPT_SETS: usize = 64;
/// Memory for these sets, 32 MiB.
const MAX_KEPT_BYTES: usize = 32 << 20;
/// Records of one answer that are kept for the next; who reads more goes through the collection.
const MAX_OF_ANSWER: usize = 256;

/// The records of a snapshot. What stays in memory: the names of free fields, some connections with up to 2 MB of
/// pages each, the sets of rows of the last conditions, 32 MiB at most, and the records read last, 16 MiB at most.
#[derive(Debug)]
pub(crate) struct RecordFile {
    connections: Connections,
    totals: Totals,
    fields: BTreeMap<String, i64>,
    has_taxonomy: bool,
    recent: Recent,
    /// The latest last.
    selected: Mutex<VecDeque<(Condition, Arc<RowSet>)>>,
}

#[derive(Debug, Clone, Copy)]
struct Totals {
    n_records: u32,
    n_residues: u64,
    n_words: u64,
}

impl RecordFile {
    /// Reads what stands at the front of the file, and no record.
    pub(crate) fn open(map: Arc<Mmap>, path: PathBuf) -> Result<Self, IndexError> {
        let connections = Connections::new(map, path);
        let (application, version) = connections.with(|connection| {
            let number = |name: &str| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
            Ok((number("application_id")?, number("user_version")?))
        })?;
        if (application, version) != (APPLICATION_ID, VERSION) {
            let path = connections.path().to_path_buf();
            return Err(IndexError::RecordsKind { path, application, version });
        }
        let totals = connections.with(|connection| {
            connection.query_row("SELECT n_records, n_residues, n_words FROM totals", [], |row| {
                Ok(Totals { n_records: row.get(0)?, n_residues: row.get(1)?, n_words: row.get(2)? })
            })
        })?;
        let fields = connections.with(|connection| {
            let mut names = connection.prepare("SELECT name, field FROM field")?;
            names.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
        })?;
        let has_taxonomy = connections.with(|connection| {
            connection.query_row("SELECT EXISTS (SELECT 1 FROM taxon)", [], |row| row.get(0))
        })?;
        let selected = Mutex::new(VecDeque::new());
        Ok(Self { connections, totals, fields, has_taxonomy, recent: Recent::none(), selected })
    }

    pub(crate) fn len(&self) -> usize {
        self.totals.n_records as usize
    }

    pub(crate) fn n_residues(&self) -> u64 {
        self.totals.n_residues
    }

    pub(crate) fn field_names(&self) -> impl Iterator<Item = &str> {
        self.fields.keys().map(String::as_str)
    }

    pub(crate) fn has_taxonomy(&self) -> bool {
        self.has_taxonomy
    }

    /// The records of these rows, in their order.
    pub(crate) fn read(&self, rows: &[u32]) -> Result<Vec<Arc<Record>>, IndexError> {
        if let Some(&row) = rows.iter().find(|&&row| row >= self.totals.n_records) {
            return Err(IndexError::UnknownRow { row, n_rows: self.len() });
        }
        if rows.len() > MAX_OF_ANSWER {
            return Ok(self.parsed(rows)?.into_iter().map(|(record, _)| record).collect());
        }
        let known = self.recent.of(rows);
        let is_missing = |(&row, known): (&u32, &Option<_>)| known.is_none().then_some(row);
        let missing: Vec<u32> = rows.iter().zip(&known).filter_map(is_missing).collect();
        let mut read = self.parsed(&missing)?.into_iter().zip(&missing).map(|((record, n_bytes), &row)| {
            self.recent.keep(row, &record, n_bytes);
            record
        });
        Ok(known.into_iter().filter_map(|known| known.or_else(|| read.next())).collect())
    }

    /// The records of these rows from their table, each with the bytes of its text.
    fn parsed(&self, rows: &[u32]) -> Result<Vec<(Arc<Record>, usize)>, IndexError> {
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        let texts = self.connections.with(|connection| {
            let mut of_row = connection.prepare_cached("SELECT json FROM content WHERE row = ?1")?;
            let mut text = |row: &u32| of_row.query_row([row], |found| found.get::<_, String>(0));
            rows.iter().map(&mut text).collect::<Result<Vec<_>, _>>()
        })?;
        let record = |(text, &row): (&String, &u32)| match serde_json::from_str(text) {
            Ok(record) => Ok((Arc::new(record), text.len())),
            Err(error) => Err(IndexError::RecordContent {
                path: self.connections.path().to_path_buf(),
                record: row as usize + 1,
                what: error.to_string(),
            }),
        };
        texts.iter().zip(rows).map(record).collect()
    }

    pub(crate) fn row_of(&self, id: &str) -> Result<Option<u32>, IndexError> {
        self.connections.with(|connection| {
            let mut of_id = connection.prepare_cached("SELECT row FROM record WHERE id = ?1")?;
            of_id.query_row([id], |found| found.get(0)).optional()
        })
    }

    /// The rows that meet a condition; the last ones that were asked for are kept.
    pub(crate) fn rows_where(&self, condition: &Condition) -> Result<Arc<RowSet>, IndexError> {
        let kept = || self.selected.lock().unwrap_or_else(PoisonError::into_inner);
        {
            let mut kept = kept();
            if let Some(at) = kept.iter().position(|(known, _)| known == condition)
                && let Some(known) = kept.remove(at)
            {
                let set = Arc::clone(&known.1);
                kept.push_back(known);
                return Ok(set);
            }
        }
        let set = self.connections.with(|connection| {
            let mut set = RowSet::none(self.len());
            for (sql, operands) in self.queries(condition) {
                let mut query = connection.prepare(&sql)?;
                let mut rows = query.query(params_from_iter(operands))?;
                while let Some(row) = rows.next()? {
                    set.insert(row.get(0)?);
                }
            }
            Ok(Arc::new(set))
        })?;
        let mut kept = kept();
        kept.push_back((condition.clone(), Arc::clone(&set)));
        while kept.len() > MAX_KEPT_SETS || kept.len() > 1 && kept.len() * (self.len() / 8) > MAX_KEPT_BYTES {
            kept.pop_front();
        }
        Ok(set)
    }

    /// SQL with its operands; the rows of all of them together meet the condition.
    fn queries(&self, condition: &Condition) -> Vec<(String, Vec<Value>)> {
        let field = &condition.field;
        let one = |holds: &str, operands: &[&Operand]| self.query(field, holds, operands);
        let found = match &condition.holds {
            Holds::Exists => vec![one("IS NOT NULL", &[])],
            Holds::Compares(comparison, with) => vec![one(&format!("{} ?1", sign(*comparison)), &[with])],
            Holds::OneOf(all) => all.iter().map(|with| one("= ?1", &[with])).collect(),
            Holds::Between(low, high) => vec![one("BETWEEN ?1 AND ?2", &[low, high])],
            Holds::Under(above) => {
                let sql =
                    "SELECT row FROM record WHERE taxon IN (SELECT taxon FROM lineage WHERE above = ?1)";
                vec![Some((sql.to_owned(), vec![Value::from(*above)]))]
            }
        };
        found.into_iter().flatten().collect()
    }

    /// `None` for a free field that no record of this snapshot has.
    fn query(&self, field: &Field, holds: &str, operands: &[&Operand]) -> Option<(String, Vec<Value>)> {
        let value = |operand: &&Operand| match operand {
            Operand::Text(text) => Value::from(text.clone()),
            Operand::Number(number) => Value::from(*number),
        };
        let mut values: Vec<Value> = operands.iter().map(value).collect();
        let column = match field {
            Field::Id => "id",
            Field::Description => "description",
            Field::Organism => "organism",
            Field::Taxon => "taxon",
            Field::Gene => "gene",
            Field::Length => "length",
            Field::Source => "source",
            Field::Free(name) => {
                let column = match operands.first() {
                    Some(Operand::Number(_)) => "number",
                    _ => "text",
                };
                let field = self.fields.get(name)?;
                values.insert(0, Value::from(*field));
                // The operands of `holds` come after the field.
                let holds = holds.replace("?2", "?3").replace("?1", "?2");
                return Some((
                    format!("SELECT row FROM value WHERE field = ?1 AND {column} {holds}"),
                    values,
                ));
            }
        };
        Some((format!("SELECT row FROM record WHERE {column} {holds}"), values))
    }

    pub(crate) fn parent_of(&self, taxon: u32) -> Result<Option<u32>, IndexError> {
        self.connections.with(|connection| {
            let mut above = connection.prepare("SELECT parent FROM taxon WHERE taxon = ?1")?;
            above.query_row([taxon], |found| found.get(0)).optional()
        })
    }

    pub(crate) fn taxonomy(&self) -> Result<Option<Taxonomy>, IndexError> {
        if !self.has_taxonomy {
            return Ok(None);
        }
        let pairs = self.connections.with(|connection| {
            let mut all = connection.prepare("SELECT taxon, parent FROM taxon")?;
            all.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<Result<Vec<_>, _>>()
        })?;
        Taxonomy::of(pairs).map(Some)
    }

    pub(crate) fn word_statistics(&self, keywords: &Keywords) -> Result<WordStatistics, IndexError> {
        let n_with = self.connections.with(|connection| {
            let mut of_word = connection.prepare("SELECT doc FROM word WHERE term = ?1")?;
            let mut count = |word| of_word.query_row([word], |found| found.get(0)).optional();
            keywords.words().map(|word| Ok(count(word)?.unwrap_or(0))).collect::<rusqlite::Result<Vec<u64>>>()
        })?;
        let Totals { n_records, n_words, .. } = self.totals;
        Ok(WordStatistics { n_records: n_records.into(), n_words, n_with })
    }

    pub(crate) fn offer_matches(
        &self,
        keywords: &Keywords,
        is_allowed: &dyn Fn(u32) -> bool,
        best: &mut Best<u32>,
    ) -> Result<(), IndexError> {
        self.connections.with(|connection| {
            let mut matches =
                connection.prepare("SELECT rowid, -bm25(words) FROM words WHERE words MATCH ?1")?;
            let mut rows = matches.query([keywords.any_of()])?;
            while let Some(found) = rows.next()? {
                let row = found.get(0)?;
                if row < self.totals.n_records && is_allowed(row) {
                    best.offer(found.get(1)?, row);
                }
            }
            Ok(())
        })
    }

    /// Reads everything and holds it against the rules that SQLite and we have; what is wrong, if anything.
    pub(crate) fn examine(&self) -> Result<Option<String>, IndexError> {
        let said: String = self
            .connections
            .with(|connection| connection.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0)))?;
        if said != "ok" {
            return Ok(Some(said));
        }
        let count = |connection: &Connection, table: &str| {
            let sql = format!("SELECT count(*), coalesce(max(row), -1) FROM {table}");
            connection.query_row(&sql, params![], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?)))
        };
        let expected = i64::from(self.totals.n_records);
        for table in ["record", "content"] {
            let (n, last) = self.connections.with(|connection| count(connection, table))?;
            if (n, last) != (expected, expected - 1) {
                return Ok(Some(format!("table {table} has {n} rows up to {last} for {expected} records")));
            }
        }
        for row in 0..self.totals.n_records {
            for (record, _) in self.parsed(&[row])? {
                if self.row_of(&record.id)? != Some(row) {
                    return Ok(Some(format!("record {} is not found by its id", row + 1)));
                }
            }
        }
        Ok(None)
    }
}

fn sign(comparison: Comparison) -> &'static str {
    match comparison {
        Comparison::Equal => "=",
        Comparison::Less => "<",
        Comparison::AtMost => "<=",
        Comparison::Greater => ">",
        Comparison::AtLeast => ">=",
    }
}
