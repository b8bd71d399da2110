//! Embeddings on disk for whoever asks next: the service, a job, another process.
//!
//! One SQLite file in WAL mode, so that readers never wait for a writer and a killed process leaves nothing half written. It
//! takes a bounded number of bytes; what was used longest ago goes first. A value carries a checksum: one that was flipped on
//! the disk is no value. Nothing depends on the cache: what goes wrong after it was opened is said once in the log, and costs
//! encoding again.
//!
//! Keys are digests of everything that decides on an embedding ([`EmbeddingKey`]); neither sequences nor texts are kept.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use protext_core::{Encoded, EncoderRow, LongReport};
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension as _, TransactionBehavior, params};

/// Bytes of a digest.
const KEY_BYTES: usize = 32;
/// How long a writer waits for another process.
const WAIT: Duration = Duration::from_secs(2);
/// Between two tries to set a file up.
const RETRY: Duration = Duration::from_millis(10);
/// How much older than now the mark of the last use may be, in seconds, before it is written again.
const STALE_S: i64 = 3_600;
/// Embeddings that go at once when room is needed.
const GO_TOGETHER: usize = 64;

const SET_UP: &str = "
    PRAGMA page_size = 8192;
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = NORMAL;
    PRAGMA journal_size_limit = 4194304;
    CREATE TABLE IF NOT EXISTS embedding (
        key BLOB PRIMARY KEY,
        used INTEGER NOT NULL,
        is_alone INTEGER NOT NULL,
        value BLOB NOT NULL
    ) STRICT;
    CREATE INDEX IF NOT EXISTS embedding_used ON embedding (used);
";

/// Digest of what decides on an embedding: encoder, device and numbers, rules for long inputs, and the content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct EmbeddingKey(pub [u8; KEY_BYTES]);

/// The cache cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot open the cache of embeddings {}: {source}; set PROTEXT_CACHE to a folder on a local disk, or do without",
    path.display()
)]
pub struct EmbeddingCacheError {
    /// The file.
    pub path: PathBuf,
    /// SQLite's reason, or the system's.
    #[source]
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

/// Embeddings by key. Threads share one; processes open one each on the same file.
#[derive(Debug)]
pub struct EmbeddingCache {
    path: PathBuf,
    /// Two, so that who reads in this process does not wait for who writes either.
    reader: Mutex<Connection>,
    writer: Mutex<Connection>,
    max_bytes: u64,
    has_warned: AtomicBool,
}

impl EmbeddingCache {
    /// Opens the file, or makes one, which will take about `max_bytes` and a write-ahead log of a few MiB. A file that is
    /// none of ours, or damaged, is replaced.
    ///
    /// # Errors
    /// [`EmbeddingCacheError`] if the folder cannot be written, say.
    pub fn open(path: &Path, max_bytes: u64) -> Result<Self, EmbeddingCacheError> {
        let failed = |source: Box<dyn std::error::Error + Send + Sync>| EmbeddingCacheError {
            path: path.to_owned(),
            source,
        };
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(|error| failed(error.into()))?;
        }
        let writer = connect(path).or_else(|error| {
            if !is_damage(&error) {
                return Err(error);
            }
            tracing::warn!(path = %path.display(), %error, "the cache of embeddings is damaged and made anew");
            remove(path);
            connect(path)
        });
        let writer = Mutex::new(writer.map_err(|error| failed(error.into()))?);
        let reader = Mutex::new(connect(path).map_err(|error| failed(error.into()))?);
        Ok(Self { path: path.to_owned(), reader, writer, max_bytes, has_warned: AtomicBool::new(false) })
    }

    /// The embedding of this key, if it is here and whole. With `only_alone` none whose batch held others: the last bits of
    /// such a one may depend on them.
    #[must_use]
    pub fn get(&self, key: &EmbeddingKey, only_alone: bool) -> Option<Encoded> {
        let read = |connection: &mut Connection| {
            let mut found =
                connection.prepare_cached("SELECT used, is_alone, value FROM embedding WHERE key = ?1")?;
            found.query_row([key.0], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).optional()
        };
        let (used, is_alone, value): (i64, bool, Vec<u8>) = self.with(&self.reader, read).flatten()?;
        if only_alone && !is_alone {
            return None;
        }
        let now = seconds();
        // Who writes now is not waited for: the mark can be made another time.
        if used < now - STALE_S
            && let Ok(writer) = self.writer.try_lock()
        {
            let mark = "UPDATE embedding SET used = ?2 WHERE key = ?1";
            self.told(writer.prepare_cached(mark).and_then(|mut mark| mark.execute(params![key.0, now])));
        }
        decode(&value)
    }

    /// Keeps an embedding without rows of residues; `is_alone` says that nothing else was in its batches.
    pub fn keep(&self, key: &EmbeddingKey, encoded: &Encoded, is_alone: bool) {
        debug_assert!(encoded.residues.is_none(), "rows of residues are too large to keep");
        let value = encode(encoded);
        self.with(&self.writer, |connection| {
            // A reader that would turn writer behind another writer is refused at once; one that says so first waits.
            let change = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            make_room(&change, self.max_bytes.saturating_sub(value.len() as u64))?;
            let mut put =
                change.prepare_cached("INSERT OR REPLACE INTO embedding VALUES (?1, ?2, ?3, ?4)")?;
            put.execute(params![key.0, seconds(), is_alone, value])?;
            drop(put);
            change.commit()
        });
    }

    /// Embeddings that are kept, and the bytes that they and what finds them take.
    #[cfg(test)]
    fn size(&self) -> (u64, u64) {
        let read = |connection: &mut Connection| {
            let n = connection.query_row("SELECT count(*) FROM embedding", [], |row| row.get(0))?;
            Ok((n, n_bytes(connection)?))
        };
        self.with(&self.reader, read).unwrap_or_default()
    }

    fn with<T>(
        &self,
        connection: &Mutex<Connection>,
        run: impl FnOnce(&mut Connection) -> rusqlite::Result<T>,
    ) -> Option<T> {
        self.told(run(&mut connection.lock().unwrap_or_else(PoisonError::into_inner)))
    }

    /// The first failure goes to the log.
    fn told<T>(&self, done: rusqlite::Result<T>) -> Option<T> {
        done.inspect_err(|error| {
            if !self.has_warned.swap(true, Ordering::Relaxed) {
                let path = self.path.display();
                tracing::warn!(%path, %error, "the cache of embeddings fails; what it lacks is encoded");
            }
        })
        .ok()
    }
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let flags =
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(WAIT)?;
    // Who turns the log on does not wait for others who do the same: it is told that they are busy.
    let until = Instant::now() + WAIT;
    loop {
        match connection.execute_batch(SET_UP) {
            Err(error)
                if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) && Instant::now() < until =>
            {
                std::thread::sleep(RETRY);
            }
            done => return done.map(|()| connection),
        }
    }
}

/// Whether the file is the reason: it is no database, a damaged one, or one with other tables.
fn is_damage(error: &rusqlite::Error) -> bool {
    matches!(error, rusqlite::Error::SqlInputError { .. })
        || matches!(error.sqlite_error_code(), Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt))
}

/// The file with its log; what is not there is fine.
fn remove(path: &Path) {
    for ending in ["", "-wal", "-shm"] {
        let mut name = path.as_os_str().to_owned();
        name.push(ending);
        let _ = std::fs::remove_file(PathBuf::from(name));
    }
}

/// Bytes of the pages in use.
fn n_bytes(connection: &Connection) -> rusqlite::Result<u64> {
    let pragma = |name| connection.query_row(&format!("PRAGMA {name}"), [], |row| row.get::<_, u64>(0));
    Ok((pragma("page_count")? - pragma("freelist_count")?) * pragma("page_size")?)
}

/// Lets go of what was used longest ago until at most `max_bytes` are in use.
fn make_room(connection: &Connection, max_bytes: u64) -> rusqlite::Result<()> {
    while n_bytes(connection)? > max_bytes {
        let mut oldest = connection.prepare_cached(
            "DELETE FROM embedding WHERE rowid IN (SELECT rowid FROM embedding ORDER BY used LIMIT ?1)",
        )?;
        if oldest.execute([GO_TOGETHER])? == 0 {
            break;
        }
    }
    Ok(())
}

fn seconds() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    since.as_secs().cast_signed()
}

/// Checksum, tokens, what the long policy did, width of the pooled row, values; little-endian.
fn encode(encoded: &Encoded) -> Vec<u8> {
    let (policy, a, b) = match encoded.report {
        LongReport::Whole => (0, 0, 0),
        LongReport::Windowed { n_windows } => (1, n_windows, 0),
        LongReport::Truncated { kept, length } => (2, kept, length),
    };
    let pooled = encoded.pooled.as_slice();
    let mut value = vec![0; 4];
    for number in [encoded.n_tokens, policy, a, b, pooled.len()] {
        value.extend_from_slice(&(number as u64).to_le_bytes());
    }
    let statistics = encoded.statistics.as_ref().map_or(&[][..], EncoderRow::as_slice);
    pooled.iter().chain(statistics).for_each(|number| value.extend_from_slice(&number.to_le_bytes()));
    let checksum = crc32fast::hash(&value[4..]);
    value[..4].copy_from_slice(&checksum.to_le_bytes());
    value
}

/// `None` for bytes that [`encode`] did not write.
fn decode(value: &[u8]) -> Option<Encoded> {
    let (checksum, rest) = value.split_first_chunk::<4>()?;
    if crc32fast::hash(rest).to_le_bytes() != *checksum {
        return None;
    }
    let (head, values) = rest.split_at_checked(5 * 8)?;
    let (numbers, _) = head.as_chunks::<8>();
    let [n_tokens, policy, a, b, n_pooled] =
        std::array::from_fn(|at| usize::try_from(u64::from_le_bytes(numbers[at])).unwrap_or(usize::MAX));
    let report = match policy {
        0 => LongReport::Whole,
        1 => LongReport::Windowed { n_windows: a },
        2 => LongReport::Truncated { kept: a, length: b },
        _ => return None,
    };
    let values: Vec<f32> = values.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
    let (pooled, statistics) = values.split_at_checked(n_pooled)?;
    Some(Encoded {
        pooled: EncoderRow::new(pooled.to_vec()).ok()?,
        statistics: match statistics {
            [] => None,
            row => Some(EncoderRow::new(row.to_vec()).ok()?),
        },
        residues: None,
        report,
        n_tokens,
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn encoded(value: f32) -> Encoded {
        Encoded {
            pooled: EncoderRow::new(vec![value; 300]).unwrap(),
            statistics: Some(EncoderRow::new(vec![-value; 700]).unwrap()),
            residues: None,
            report: LongReport::Windowed { n_windows: 3 },
            n_tokens: 1_234,
        }
    }

    fn key(number: u32) -> EmbeddingKey {
        let mut bytes = [7; KEY_BYTES];
        bytes[..4].copy_from_slice(&number.to_le_bytes());
        EmbeddingKey(bytes)
    }

    #[test]
    fn embeddings_come_back_whole_to_whoever_opens_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/embeddings.sqlite");
        let mine = EmbeddingCache::open(&path, 1 << 20).unwrap();
        let theirs = EmbeddingCache::open(&path, 1 << 20).unwrap();
        mine.keep(&key(1), &encoded(1.5), true);
        theirs.keep(&key(2), &Encoded { statistics: None, report: LongReport::Whole, ..encoded(2.5) }, false);
        for cache in [&mine, &theirs, &EmbeddingCache::open(&path, 1 << 20).unwrap()] {
            assert_eq!(cache.get(&key(1), true), Some(encoded(1.5)));
            assert_eq!(cache.get(&key(2), false).unwrap().statistics, None);
            assert_eq!(cache.get(&key(2), true), None, "others were in its batch");
            assert_eq!(cache.get(&key(3), false), None);
            assert_eq!(cache.size().0, 2);
        }
    }

    #[test]
    fn it_stays_within_its_bytes_and_keeps_what_came_last() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("embeddings.sqlite");
        let cache = EmbeddingCache::open(&path, 1 << 20).unwrap();
        for number in 0..1_000 {
            cache.keep(&key(number), &encoded(1.0), false);
            assert!(cache.size().1 <= (1 << 20) + 8_192, "{:?}", cache.size());
        }
        assert!(cache.size().0 >= 100 && cache.get(&key(999), false).is_some(), "{:?}", cache.size());
        drop(cache);
        assert!(fs::metadata(&path).unwrap().len() < 2 << 20);
        // A lower bound counts from the next embedding on.
        let cache = EmbeddingCache::open(&path, 1 << 18).unwrap();
        cache.keep(&key(1_001), &encoded(1.0), false);
        assert!(cache.size().1 <= (1 << 18) + 8_192, "{:?}", cache.size());
    }

    #[test]
    fn what_is_damaged_is_no_embedding() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("embeddings.sqlite");
        let cache = EmbeddingCache::open(&path, 1 << 20).unwrap();
        cache.keep(&key(1), &encoded(1.0), true);
        let mut value = encode(&encoded(1.0));
        assert_eq!(decode(&value), Some(encoded(1.0)));
        for at in [0, 20, 2_000] {
            value[at] ^= 1;
            assert_eq!(decode(&value), None, "byte {at}");
            value[at] ^= 1;
        }
        assert!((0..value.len()).all(|end| decode(&value[..end]).is_none()));
        drop(cache);
        // A file that is none, and one of another layout.
        fs::write(&path, b"not a database, but long enough to be taken for one".repeat(100)).unwrap();
        let cache = EmbeddingCache::open(&path, 1 << 20).unwrap();
        assert_eq!(cache.get(&key(1), false), None);
        drop(cache);
        remove(&path);
        Connection::open(&path).unwrap().execute_batch("CREATE TABLE embedding (key BLOB)").unwrap();
        let cache = EmbeddingCache::open(&path, 1 << 20).unwrap();
        cache.keep(&key(1), &encoded(1.0), true);
        assert_eq!(cache.get(&key(1), true), Some(encoded(1.0)));
        // A folder that cannot be: a typed error that says what to do.
        let said = EmbeddingCache::open(&path.join("below"), 1 << 20).unwrap_err().to_string();
        assert!(said.contains("PROTEXT_CACHE"), "{said}");
    }

    #[test]
    fn threads_and_connections_write_side_by_side() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("embeddings.sqlite");
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let path = &path;
                scope.spawn(move || {
                    let cache = EmbeddingCache::open(path, 8 << 20).unwrap();
                    for number in 0..100 {
                        cache.keep(&key(thread * 100 + number), &encoded(number as f32), true);
                        assert_eq!(
                            cache.get(&key(thread * 100 + number), true),
                            Some(encoded(number as f32))
                        );
                    }
                });
            }
        });
        assert_eq!(EmbeddingCache::open(&path, 8 << 20).unwrap().size().0, 400);
    }
}
