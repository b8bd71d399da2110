//! pip as a child process: what it is asked, how long it may take, and what its failures are called.
//!
//! Everything that pip writes goes below the folder it is given, its temporary files too.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::Wheel;
use super::process::run;
use crate::cache::CacheError;
use crate::error::WheelError;

/// Longest that pip may take unless told otherwise.
const TIMEOUT: Duration = Duration::from_secs(1200);

/// What the C library calls a full disk and a full quota; pip shows these words as they are.
const DISK_FULL: [&str; 2] = ["No space left on device", "Disk quota exceeded"];

/// How pip is run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pip {
    /// The Python command; pip is its module.
    pub python: String,
    /// Longest that one download may take; pip and its children are killed then.
    pub timeout: Duration,
}

/// `$PROTEXT_PYTHON`, else `python3`.
#[must_use]
pub fn python() -> String {
    let set = std::env::var("PROTEXT_PYTHON").ok().filter(|command| !command.is_empty());
    set.unwrap_or_else(|| "python3".to_owned())
}

impl Pip {
    /// The command of [`python`], with a limit of 20 minutes.
    #[must_use]
    pub fn from_environment() -> Self {
        Self { python: python(), timeout: TIMEOUT }
    }

    /// Downloads the wheel into `folder`, hash required; returns its path.
    pub(super) fn download(&self, wheel: &Wheel<'_>, folder: &Path) -> Result<PathBuf, WheelError> {
        let requirements = folder.join("requirements.txt");
        let hashes = wheel.sha256.iter().map(|sha256| format!(" --hash=sha256:{sha256}"));
        let line = format!("{}{}\n", wheel.requirement(), hashes.collect::<String>());
        std::fs::write(&requirements, line).map_err(|source| CacheError::from_io(&requirements, source))?;
        let temporary = folder.join("tmp");
        std::fs::create_dir(&temporary).map_err(|source| CacheError::from_io(&temporary, source))?;
        let mut command = self.command(wheel);
        command.arg("--requirement").arg(&requirements).arg("--dest").arg(folder).env("TMPDIR", &temporary);
        self.run(command, wheel, folder)?;
        let files = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
        let mut wheels = files.filter(|path| path.extension().is_some_and(|ending| ending == "whl"));
        wheels.next().ok_or_else(|| WheelError::Pip {
            requirement: wheel.requirement(),
            reason: "it ended well but left no wheel".to_owned(),
        })
    }

    fn command(&self, wheel: &Wheel<'_>) -> Command {
        let mut command = Command::new(&self.python);
        command.args(["-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-input"]);
        command.args(["--no-deps", "--no-cache-dir", "--only-binary=:all:", "--require-hashes"]);
        if !wheel.platforms.is_empty() {
            // Any Python will do to fetch; the tags name the wheel, not the interpreter.
            command.args(["--python-version", "3.11", "--implementation", "cp", "--abi", "cp311"]);
            for platform in &wheel.platforms {
                command.args(["--platform", platform]);
            }
        }
        command
    }

    fn run(&self, command: Command, wheel: &Wheel<'_>, folder: &Path) -> Result<(), WheelError> {
        let (python, requirement) = (self.python.clone(), wheel.requirement());
        let ended = run(command, self.timeout)
            .map_err(|source| WheelError::NoPython { python: python.clone(), source })?;
        let reason = ended.last_lines();
        match ended.status {
            Some(status) if status.success() => Ok(()),
            Some(_) if reason.contains("No module named pip") => Err(WheelError::NoPip { python }),
            Some(_) if DISK_FULL.iter().any(|words| reason.contains(words)) => {
                let source = io::Error::new(io::ErrorKind::StorageFull, format!("pip says: {reason}"));
                Err(CacheError::from_io(folder, source).into())
            }
            Some(status) if reason.is_empty() => Err(WheelError::Pip {
                requirement,
                reason: format!("it ended with {status} and said nothing"),
            }),
            Some(_) => Err(WheelError::Pip { requirement, reason }),
            None => Err(WheelError::Timeout { requirement, timeout_s: self.timeout.as_secs() }),
        }
    }
}
