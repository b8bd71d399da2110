//! The ONNX Runtime library: fetched with pip as a pinned wheel, kept in the cache, found by path.
//!
//! There is a build for CPUs, one with OpenVINO and one for CUDA (`pinned.rs`); what the last one needs of NVIDIA's is found
//! by [`cuda`]. Only shared libraries and notices are taken out; no Python code runs. What [`locate`] returns was
//! checked for presence, format and architecture, so that loading fails only for reasons worth reading.

pub mod cuda;
mod pinned;

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::cache::{Cache, CacheError, sha256_of};
use crate::error::WheelError;
use crate::progress::Progress;
use crate::stamp::{Changed, Stamp};
use crate::wheel::{Member, Wheel};
use pinned::{Pinned, machine_name, pinned, this_machine};

/// Points to a library of one's own.
pub const LIBRARY_VARIABLE: &str = "PROTEXT_ORT_LIBRARY";

/// Which build of the runtime.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RuntimeKind {
    /// CPU provider.
    Cpu,
    /// OpenVINO provider.
    Openvino,
    /// CUDA provider.
    Cuda,
}

impl fmt::Display for RuntimeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            RuntimeKind::Cpu => "cpu",
            RuntimeKind::Openvino => "openvino",
            RuntimeKind::Cuda => "cuda",
        })
    }
}

impl FromStr for RuntimeKind {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        match name {
            "cpu" => Ok(RuntimeKind::Cpu),
            "openvino" => Ok(RuntimeKind::Openvino),
            "cuda" => Ok(RuntimeKind::Cuda),
            other => Err(format!("unknown runtime {other:?}: use cpu, openvino or cuda")),
        }
    }
}

/// The runtime cannot be installed or found.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// No wheel for this machine.
    #[error(
        "there is no pinned ONNX Runtime ({kind}) for {os} on {architecture}; build one and set {LIBRARY_VARIABLE} to its libonnxruntime"
    )]
    Platform {
        /// Which build.
        kind: RuntimeKind,
        /// Operating system.
        os: &'static str,
        /// Processor.
        architecture: &'static str,
    },
    /// Not installed.
    #[error("ONNX Runtime is not at {}; type `protext runtime install {kind}`", path.display())]
    Missing {
        /// Which build.
        kind: RuntimeKind,
        /// Where it should be.
        path: PathBuf,
    },
    /// Not a shared library.
    #[error("{} is no shared library; type `protext runtime install {kind}` to fetch it again", path.display())]
    NotALibrary {
        /// Which build.
        kind: RuntimeKind,
        /// The file.
        path: PathBuf,
    },
    /// For another processor.
    #[error(
        "{} is built for {found}, this machine is {expected}; type `protext runtime install {kind}`, or set {LIBRARY_VARIABLE} to a library for {expected}",
        path.display()
    )]
    WrongArchitecture {
        /// Which build.
        kind: RuntimeKind,
        /// The file.
        path: PathBuf,
        /// This machine.
        expected: &'static str,
        /// The file's.
        found: String,
    },
    /// Other bytes than were pinned.
    #[error("{} is corrupt: its sha256 is {found}, not {expected}; type `protext runtime install {kind}` to fetch it again", path.display())]
    Corrupt {
        /// Which build.
        kind: RuntimeKind,
        /// The file.
        path: PathBuf,
        /// Pinned.
        expected: String,
        /// Found.
        found: String,
    },
    /// The file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
    /// Fetching failed.
    #[error(transparent)]
    Wheel(#[from] WheelError),
    /// The cache cannot be used.
    #[error(transparent)]
    Cache(#[from] CacheError),
}

/// Where the library of the cache is or would be.
///
/// # Errors
/// [`RuntimeError::Platform`].
pub fn library_path(cache: &Cache, kind: RuntimeKind) -> Result<PathBuf, RuntimeError> {
    let Pinned { version, architecture, .. } = pinned(kind)?;
    let folder = format!("runtime/{kind}-{version}-{architecture}");
    Ok(cache.root().join(folder).join(format!("libonnxruntime.so.{version}")))
}

/// Fetches the pinned runtime unless it is already there and whole; returns the library's path.
///
/// # Errors
/// [`RuntimeError`].
pub fn install(cache: &Cache, kind: RuntimeKind, progress: &dyn Progress) -> Result<PathBuf, RuntimeError> {
    let pinned = pinned(kind)?;
    let library = library_path(cache, kind)?;
    cache.remove_leftovers();
    let _lock = cache.lock("runtime")?;
    if verify(&library, kind).is_ok() {
        return Ok(library);
    }
    let wheel = Wheel {
        package: pinned.package,
        version: pinned.version,
        sha256: vec![pinned.wheel_sha256],
        platforms: pinned.platforms.map(str::to_owned).to_vec(),
    };
    let folder = library.parent().unwrap_or(Path::new(".")).to_owned();
    let name = format!("libonnxruntime.so.{}", pinned.version);
    let libraries = || pinned.beside.iter().copied().chain([name.as_str()]);
    let notices = ["onnxruntime/LICENSE", "onnxruntime/ThirdPartyNotices.txt"].map(str::to_owned);
    let paths: Vec<String> =
        notices.into_iter().chain(libraries().map(|name| format!("onnxruntime/capi/{name}"))).collect();
    let members: Vec<Member<'_>> = paths
        .iter()
        .map(|path| {
            let destination = folder.join(path.rsplit('/').next().unwrap_or(path));
            // The wheel's own hash pins the others.
            let sha256 = (destination == library).then_some(pinned.library_sha256);
            Member { path, sha256, destination }
        })
        .collect();
    wheel.fetch(cache, &members, progress)?;
    let mut stamp = Stamp::default();
    for name in libraries() {
        let path = folder.join(name);
        let sha256 = sha256_of(&path).map_err(|source| RuntimeError::Read { path, source })?;
        stamp.add(&folder, name, sha256)?;
    }
    stamp.write(&folder)?;
    Ok(library)
}

/// True if a build was installed; what it takes to run is another question.
#[must_use]
pub fn is_installed(cache: &Cache, kind: RuntimeKind) -> bool {
    library_path(cache, kind).is_ok_and(|path| path.is_file())
}

/// Re-hashes the installed library and what it loads from beside it.
///
/// # Errors
/// [`RuntimeError::Missing`] or [`RuntimeError::Corrupt`].
pub fn verify(library: &Path, kind: RuntimeKind) -> Result<(), RuntimeError> {
    let missing = |path: &Path| RuntimeError::Missing { path: path.to_owned(), kind };
    if !library.is_file() {
        return Err(missing(library));
    }
    let expected = pinned(kind)?;
    let read = |path: &Path, source| RuntimeError::Read { path: path.to_owned(), source };
    let found = sha256_of(library).map_err(|source| read(library, source))?;
    if found != expected.library_sha256 {
        let expected = expected.library_sha256.to_owned();
        return Err(RuntimeError::Corrupt { path: library.to_owned(), kind, expected, found });
    }
    if expected.beside.is_empty() {
        return Ok(());
    }
    let folder = library.parent().unwrap_or(Path::new("."));
    let stamp = Stamp::read(folder).ok_or_else(|| missing(folder))?;
    match stamp.verify(folder) {
        Ok(None) => Ok(()),
        Ok(Some(Changed { path, expected, found })) => {
            Err(RuntimeError::Corrupt { path, kind, expected, found })
        }
        Err((path, source)) if source.kind() == std::io::ErrorKind::NotFound => Err(missing(&path)),
        Err((path, source)) => Err(read(&path, source)),
    }
}

/// The library to load for a build: `$PROTEXT_ORT_LIBRARY`, else the cache's. Checked for format and architecture.
///
/// # Errors
/// [`RuntimeError`], each with what to type.
pub fn locate(cache: &Cache, kind: RuntimeKind) -> Result<PathBuf, RuntimeError> {
    let own = std::env::var_os(LIBRARY_VARIABLE).filter(|value| !value.is_empty());
    let path = match own {
        Some(path) => PathBuf::from(path),
        None => library_path(cache, kind)?,
    };
    check_library(&path, kind)?;
    Ok(path)
}

/// Checks presence, ELF magic and machine.
fn check_library(path: &Path, kind: RuntimeKind) -> Result<(), RuntimeError> {
    let mut header = [0; 20];
    let read = File::open(path).and_then(|mut file| file.read_exact(&mut header));
    if let Err(source) = read {
        return Err(match source.kind() {
            std::io::ErrorKind::NotFound => RuntimeError::Missing { path: path.to_owned(), kind },
            std::io::ErrorKind::UnexpectedEof => RuntimeError::NotALibrary { path: path.to_owned(), kind },
            _ => RuntimeError::Read { path: path.to_owned(), source },
        });
    }
    if &header[..4] != b"\x7fELF" {
        return Err(RuntimeError::NotALibrary { path: path.to_owned(), kind });
    }
    let machine = u16::from_le_bytes([header[18], header[19]]);
    let (expected_machine, expected) = this_machine()?;
    if machine != expected_machine {
        let (path, found) = (path.to_owned(), machine_name(machine));
        return Err(RuntimeError::WrongArchitecture { path, kind, expected, found });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(bytes: &[u8]) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        file
    }

    #[test]
    fn each_fault_of_a_library_says_what_to_type() {
        let missing = check_library(Path::new("/nowhere/libonnxruntime.so"), RuntimeKind::Cpu).unwrap_err();
        assert!(matches!(missing, RuntimeError::Missing { .. }));
        for bytes in [&b""[..], b"short", b"this is no shared library at all"] {
            let error = check_library(file(bytes).path(), RuntimeKind::Cpu).unwrap_err();
            assert!(matches!(error, RuntimeError::NotALibrary { .. }), "{error}");
            assert!(error.to_string().contains("protext runtime install cpu"), "{error}");
        }
        let mut header = [0_u8; 64];
        header[..4].copy_from_slice(b"\x7fELF");
        header[18] = 243;
        let error = check_library(file(&header).path(), RuntimeKind::Cpu).unwrap_err();
        assert!(matches!(&error, RuntimeError::WrongArchitecture { .. }), "{error}");
        assert!(error.to_string().contains("ELF machine 243"), "{error}");
    }

    #[test]
    fn a_library_of_other_bytes_is_corrupt() {
        assert!(matches!(
            verify(file(b"abc").path(), RuntimeKind::Openvino),
            Err(RuntimeError::Corrupt { .. })
        ));
    }
}
