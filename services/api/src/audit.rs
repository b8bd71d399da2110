//! The audit log: one line of JSON for each request that writes or is to write, let through or not.
//!
//! Who (key id and address), what (method, path), when, and how it ended; never a key, never a sequence.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;

/// Where writes are noted.
#[derive(Default)]
pub struct Audit(Option<Mutex<File>>);

/// One request.
#[derive(Debug, Serialize)]
pub(crate) struct AuditEntry<'a> {
    pub(crate) request_id: &'a str,
    pub(crate) key_id: Option<&'a str>,
    pub(crate) client: Option<String>,
    pub(crate) method: &'a str,
    pub(crate) path: &'a str,
    pub(crate) status: u16,
}

#[derive(Serialize)]
struct Line<'a> {
    unix_ms: u128,
    #[serde(flatten)]
    entry: &'a AuditEntry<'a>,
}

impl Audit {
    /// Appends to a file, which is made if it is not there.
    ///
    /// # Errors
    /// The system's, if the file cannot be opened.
    pub fn to_file(path: &Path) -> io::Result<Self> {
        let mut options = File::options();
        options.append(true).create(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        Ok(Self(Some(Mutex::new(options.open(path)?))))
    }

    /// Notes a request: in the file if there is one, and in the log of the service.
    pub(crate) fn note(&self, entry: &AuditEntry<'_>) {
        let AuditEntry { request_id, key_id, method, path, status, .. } = entry;
        tracing::info!(target: "protext_audit", request_id, key_id, method, path, status, "write");
        let Some(file) = &self.0 else { return };
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH);
        let line = Line { unix_ms: since_1970.map_or(0, |time| time.as_millis()), entry };
        let mut text = serde_json::to_vec(&line).unwrap_or_default();
        text.push(b'\n');
        // One write a line, so that lines of several processes do not mix.
        if let Err(error) = file.lock().unwrap_or_else(PoisonError::into_inner).write_all(&text) {
            tracing::error!(%error, "a write cannot be noted in the audit log");
        }
    }
}
