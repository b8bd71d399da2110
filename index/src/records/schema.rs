//! `records.sqlite`: the tables of a snapshot's records, and writing them.
//!
//! | table | holds |
//! |---|---|
//! | `totals` | records, residues and words of all |
//! | `record` | what filters compare, by row |
//! | `content` | each record as JSON, by row; what a hit shows |
//! | `field`, `value` | names of free fields, and their values by row |
//! | `words` | the full-text index; holds no text of its own |
//! | `word` | how many records hold each word |
//! | `taxon`, `lineage` | the taxonomy; and for each taxon of a record, all taxa above it |
//!
//! Rows are counted from 0 as those of the vectors. The file is written once, under a name that does not count yet,
//! and never changed: no journal is kept, and a failure leaves nothing that anybody reads.

use std::collections::BTreeMap;
use std::path::Path;

use rusqlite::{Connection, OpenFlags, params};

use super::Records;
use crate::error::IndexError;
use crate::filter::number_in;
use crate::keywords::searchable;
use crate::taxonomy::lineage;

/// Says in the file's head that it is ours: "PTXR".
pub(super) const APPLICATION_ID: i64 = 0x5054_5852;
/// Version of the tables.
pub(super) const VERSION: i64 = 1;

const TABLES: &str = "
    CREATE TABLE totals (n_records INTEGER NOT NULL, n_residues INTEGER NOT NULL, n_words INTEGER NOT NULL) STRICT;
    CREATE TABLE record (
        row INTEGER PRIMARY KEY,
        id TEXT NOT NULL,
        organism TEXT COLLATE NOCASE,
        taxon INTEGER,
        gene TEXT COLLATE NOCASE,
        length INTEGER,
        source TEXT COLLATE NOCASE,
        description TEXT COLLATE NOCASE
    ) STRICT;
    CREATE TABLE content (row INTEGER PRIMARY KEY, json TEXT NOT NULL) STRICT;
    CREATE TABLE field (field INTEGER PRIMARY KEY, name TEXT NOT NULL) STRICT;
    CREATE TABLE value (
        field INTEGER NOT NULL,
        row INTEGER NOT NULL,
        text TEXT NOT NULL COLLATE NOCASE,
        number REAL,
        PRIMARY KEY (field, row)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE taxon (taxon INTEGER PRIMARY KEY, parent INTEGER NOT NULL) STRICT;
    CREATE TABLE lineage (above INTEGER NOT NULL, taxon INTEGER NOT NULL, PRIMARY KEY (above, taxon))
        STRICT, WITHOUT ROWID;
    CREATE VIRTUAL TABLE words USING fts5(text, content='', tokenize='ascii');
    CREATE VIRTUAL TABLE word USING fts5vocab(words, row);
";

/// Made once the rows are in, which takes less time than keeping them up to date.
const INDEXES: &str = "
    INSERT INTO words(words) VALUES ('optimize');
    CREATE UNIQUE INDEX record_id ON record (id);
    CREATE INDEX record_organism ON record (organism) WHERE organism IS NOT NULL;
    CREATE INDEX record_taxon ON record (taxon) WHERE taxon IS NOT NULL;
    CREATE INDEX record_gene ON record (gene) WHERE gene IS NOT NULL;
    CREATE INDEX record_length ON record (length) WHERE length IS NOT NULL;
    CREATE INDEX record_source ON record (source) WHERE source IS NOT NULL;
    CREATE INDEX value_text ON value (field, text);
    CREATE INDEX value_number ON value (field, number) WHERE number IS NOT NULL;
";

/// Why a file of records could not be written.
#[derive(Debug)]
pub(crate) enum WriteFault {
    /// SQLite says so: the disk is full, as a rule.
    File(rusqlite::Error),
    /// The records could not be read.
    Records(IndexError),
}

impl From<rusqlite::Error> for WriteFault {
    fn from(error: rusqlite::Error) -> Self {
        Self::File(error)
    }
}

impl From<IndexError> for WriteFault {
    fn from(error: IndexError) -> Self {
        Self::Records(error)
    }
}

/// Writes `records` to a new file. The caller waits until the disk has it.
pub(crate) fn write(records: &Records, path: &Path) -> Result<(), WriteFault> {
    let flags =
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags)?;
    // What is cut off by a crash or a full disk is thrown away whole, so nothing has to be undone.
    connection.execute_batch(
        "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA locking_mode = EXCLUSIVE;
         PRAGMA temp_store = MEMORY; PRAGMA cache_size = -65536;",
    )?;
    connection.pragma_update(None, "application_id", APPLICATION_ID)?;
    connection.pragma_update(None, "user_version", VERSION)?;
    let transaction = connection.transaction()?;
    transaction.execute_batch(TABLES)?;
    let n_words = put_records(records, &transaction)?;
    put_taxonomy(records, &transaction)?;
    let totals = params![records.len() as u64, records.n_residues(), n_words];
    transaction.execute("INSERT INTO totals VALUES (?1, ?2, ?3)", totals)?;
    transaction.execute_batch(INDEXES)?;
    transaction.commit()?;
    connection.close().map_err(|(_, error)| error)?;
    Ok(())
}

/// Writes every record, and gives the number of their words.
fn put_records(records: &Records, to: &Connection) -> Result<u64, WriteFault> {
    let mut into_record = to.prepare("INSERT INTO record VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)")?;
    let mut into_content = to.prepare("INSERT INTO content VALUES (?1, ?2)")?;
    let mut into_field = to.prepare("INSERT INTO field VALUES (?1, ?2)")?;
    let mut into_value = to.prepare("INSERT INTO value VALUES (?1, ?2, ?3, ?4)")?;
    let mut into_words = to.prepare("INSERT INTO words (rowid, text) VALUES (?1, ?2)")?;
    let mut fields: BTreeMap<String, i64> = BTreeMap::new();
    let mut n_words = 0;
    for row in 0..records.len() as u32 {
        let record = records.record(row)?;
        let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        into_record.execute(params![
            row,
            record.id,
            given(&record.organism),
            record.taxon_id,
            given(&record.gene),
            Some(record.length).filter(|&length| length > 0),
            given(&record.source),
            Some(&record.description).filter(|text| !text.is_empty()),
        ])?;
        // A record is strings and numbers under string keys, which JSON always has a form for.
        into_content.execute(params![row, serde_json::to_string(&*record).unwrap_or_default()])?;
        for (name, value) in record.fields.iter().filter(|(_, value)| !value.is_empty()) {
            let next = fields.len() as i64;
            let field = *fields.entry(name.clone()).or_insert(next);
            if field == next {
                into_field.execute(params![field, name])?;
            }
            into_value.execute(params![field, row, value, number_in(value)])?;
        }
        let (words, n) = searchable(&record);
        into_words.execute(params![row, words])?;
        n_words += n;
    }
    Ok(n_words)
}

fn put_taxonomy(records: &Records, to: &Connection) -> Result<(), WriteFault> {
    let Some(taxonomy) = records.taxonomy()? else { return Ok(()) };
    let mut into_taxon = to.prepare("INSERT INTO taxon VALUES (?1, ?2)")?;
    for (taxon, parent) in taxonomy.pairs() {
        into_taxon.execute(params![taxon, parent])?;
    }
    let mut distinct = to.prepare("SELECT DISTINCT taxon FROM record WHERE taxon IS NOT NULL")?;
    let taxa = distinct.query_map([], |row| row.get(0))?.collect::<Result<Vec<u32>, _>>()?;
    let mut into_lineage = to.prepare("INSERT INTO lineage VALUES (?1, ?2)")?;
    for taxon in taxa {
        let mut parent_of = |taxon| Ok::<_, rusqlite::Error>(taxonomy.parent_of(taxon));
        let mut line = lineage(taxon, &mut parent_of)?;
        line.sort_unstable();
        line.dedup();
        for above in line {
            into_lineage.execute(params![above, taxon])?;
        }
    }
    Ok(())
}
