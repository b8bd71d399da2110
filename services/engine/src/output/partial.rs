//! A file that appears whole or not at all.
//!
//! Bytes go to `.NAME.<random>.partial` beside the output; [`PartialFile::finish`] flushes them to the device and
//! gives the file its name. Dropped before that, the temporary file is removed.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use super::error::OutputError;

pub(super) struct PartialFile {
    path: PathBuf,
    file: NamedTempFile,
    overwrite: bool,
    /// A write failed. Later ones are not tried: a format library that tidies up when it is dropped would only
    /// fail again, and say so on standard error.
    failed: bool,
}

impl PartialFile {
    /// Refuses early what [`PartialFile::finish`] would refuse late.
    pub(super) fn create(path: &Path, overwrite: bool) -> Result<Self, OutputError> {
        let path = path.to_owned();
        let Some(name) = path.file_name().filter(|_| !path.is_dir()) else {
            return Err(OutputError::Folder { path });
        };
        if !overwrite && path.symlink_metadata().is_ok() {
            return Err(OutputError::Exists { path });
        }
        let mut prefix = OsString::from(".");
        prefix.push(name);
        prefix.push(".");
        let mut builder = tempfile::Builder::new();
        builder.prefix(&prefix).suffix(".partial");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            // As any new file: the process's umask decides, not the private mode of temporary files.
            builder.permissions(std::fs::Permissions::from_mode(0o666));
        }
        match builder.tempfile_in(folder_of(&path)) {
            Ok(file) => Ok(Self { path, file, overwrite, failed: false }),
            Err(source) => Err(OutputError::Create { path, source }),
        }
    }

    /// The output's name.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Gives the file its name. Returns its size in bytes.
    pub(super) fn finish(self) -> Result<u64, OutputError> {
        let Self { path, file, overwrite, failed } = self;
        if failed {
            return Err(OutputError::Abandoned { path });
        }
        let written = |error: io::Error| OutputError::write(&path, error);
        file.as_file().sync_all().map_err(written)?;
        let n_bytes = file.as_file().metadata().map_err(written)?.len();
        let named = if overwrite { file.persist(&path) } else { file.persist_noclobber(&path) };
        match named {
            Ok(_) => {}
            Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => {
                return Err(OutputError::Exists { path });
            }
            Err(error) => return Err(written(error.error)),
        }
        // The rename itself must survive a power cut. Systems that cannot sync a folder need not.
        if let Ok(folder) = File::open(folder_of(&path)) {
            let _ = folder.sync_all();
        }
        Ok(n_bytes)
    }
}

/// The folder that a path's file is in.
pub(super) fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

impl Write for PartialFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.failed {
            return Ok(bytes.len());
        }
        let outcome = self.file.as_file_mut().write(bytes);
        self.failed = outcome.as_ref().is_err_and(|error| error.kind() != io::ErrorKind::Interrupted);
        outcome
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.as_file_mut().flush()
    }
}

impl Seek for PartialFile {
    fn seek(&mut self, position: SeekFrom) -> io::Result<u64> {
        self.file.as_file_mut().seek(position)
    }
}
