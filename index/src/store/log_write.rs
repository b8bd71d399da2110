//! Appending to a log: bytes count once the disk has them.

use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::error::{StoreError, io_error};
use super::log_format::{Chain, Header, header_bytes, put_entry};
use super::log_read::LogEnd;
use crate::snapshot::{log_name, partial_log_name, sync_folder};

/// The log that is written to.
#[derive(Debug)]
pub(super) struct Log {
    file: File,
    path: PathBuf,
    number: u64,
    /// Bytes that the disk has for certain.
    n_bytes: u64,
    chain: Chain,
    /// An append failed, and what it left behind could not be cut off yet.
    is_torn: bool,
}

impl Log {
    /// Starts a new log in `dir`; it has its name only once its header is on the disk.
    pub(super) fn create(dir: &Path, header: &Header) -> Result<Self, StoreError> {
        let (partial, path) = (dir.join(partial_log_name(header.number)), dir.join(log_name(header.number)));
        let bytes = header_bytes(header).map_err(|error| io_error("write", &partial)(error.into()))?;
        let write_synced = || {
            let mut file =
                File::options().read(true).write(true).create(true).truncate(true).open(&partial)?;
            file.write_all(&bytes)?;
            file.sync_all()?;
            Ok(file)
        };
        let file = write_synced().map_err(io_error("write", &partial))?;
        fs::rename(&partial, &path).map_err(io_error("rename", &partial))?;
        sync_folder(dir)?;
        let digest_at = bytes.len() - super::log_format::DIGEST_BYTES;
        let chain = Chain::start(&bytes[..digest_at]);
        Ok(Self { file, path, number: header.number, n_bytes: bytes.len() as u64, chain, is_torn: false })
    }

    /// Goes on with a log that was read to `end`; what a crash left behind that is cut off.
    pub(super) fn resume(path: PathBuf, number: u64, end: &LogEnd) -> Result<Self, StoreError> {
        let file = File::options().read(true).write(true).open(&path).map_err(io_error("write", &path))?;
        let is_torn = end.n_torn_bytes > 0;
        let mut log = Self { file, path, number, n_bytes: end.n_bytes, chain: end.chain, is_torn };
        log.cut()?;
        // What was read may be in the system's memory only, if the program that wrote it was killed before its sync.
        log.file.sync_all().map_err(io_error("sync", &log.path))?;
        Ok(log)
    }

    pub(super) fn number(&self) -> u64 {
        self.number
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes that the disk has for certain.
    pub(super) fn n_bytes(&self) -> u64 {
        self.n_bytes
    }

    /// Writes batches as entries and waits until the disk has them. `written` is called between the two.
    /// Where it fails, the log is as it was.
    pub(super) fn append(&mut self, batches: &[&[u8]], written: &dyn Fn()) -> Result<(), StoreError> {
        self.cut()?;
        let mut bytes = Vec::with_capacity(batches.iter().map(|batch| batch.len() + 32).sum());
        let chain = batches.iter().fold(self.chain, |chain, batch| put_entry(&mut bytes, chain, batch));
        self.is_torn = true;
        let mut write_synced = || {
            self.file.seek(SeekFrom::Start(self.n_bytes))?;
            self.file.write_all(&bytes)?;
            written();
            self.file.sync_data()
        };
        if let Err(error) = write_synced() {
            // If this fails, too, the next append tries again and is refused until it works.
            let _ = self.cut();
            return Err(io_error("write", &self.path)(error));
        }
        self.is_torn = false;
        self.n_bytes += bytes.len() as u64;
        self.chain = chain;
        Ok(())
    }

    /// Cuts off what is not known to be on the disk.
    pub(super) fn cut(&mut self) -> Result<(), StoreError> {
        if self.is_torn {
            let cut = self.file.set_len(self.n_bytes).and_then(|()| self.file.sync_all());
            cut.map_err(io_error("cut", &self.path))?;
            self.is_torn = false;
        }
        Ok(())
    }
}
