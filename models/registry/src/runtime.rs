//! The ONNX Runtime library: fetched with pip as a pinned wheel, kept in the cache, found by path.
//!
//! Only the shared library and its notices are taken out; no Python code runs. What [`locate`] returns was
//! checked for presence, format and architecture, so that loading fails only for reasons worth reading.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::cache::{Cache, CacheError, sha256_of};
use crate::error::WheelError;
use crate::progress::Progress;
use crate::wheel::{Member, Wheel};

/// Version of ONNX Runtime that Protext is tested with.
pub const VERSION: &str = "1.31.1";

/// Points to a library of one's own.
pub const LIBRARY_VARIABLE: &str = "PROTEXT_ORT_LIBRARY";

/// Which build of the runtime.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
            other => Err(format!("unknown runtime {other:?}: use cpu")),
        }
    }
}

/// The runtime cannot be installed or found.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// Not provided yet.
    #[error(
        "the {kind} runtime is not available in this version of Protext; type `protext runtime install cpu`"
    )]
    NotAvailable {
        /// What was asked for.
        kind: RuntimeKind,
    },
    /// No wheel for this machine.
    #[error(
        "there is no pinned ONNX Runtime for {os} on {architecture}; build one and set {LIBRARY_VARIABLE} to its libonnxruntime"
    )]
    Platform {
        /// Operating system.
        os: &'static str,
        /// Processor.
        architecture: &'static str,
    },
    /// Not installed.
    #[error("ONNX Runtime {VERSION} is not at {}; type `protext runtime install cpu`", path.display())]
    Missing {
        /// Where it should be.
        path: PathBuf,
    },
    /// Not a shared library.
    #[error("{} is no shared library; type `protext runtime install cpu` to fetch it again", path.display())]
    NotALibrary {
        /// The file.
        path: PathBuf,
    },
    /// For another processor.
    #[error(
        "{} is built for {found}, this machine is {expected}; type `protext runtime install cpu`, or set {LIBRARY_VARIABLE} to a library for {expected}",
        path.display()
    )]
    WrongArchitecture {
        /// The file.
        path: PathBuf,
        /// This machine.
        expected: &'static str,
        /// The file's.
        found: String,
    },
    /// Other bytes than were pinned.
    #[error("{} is corrupt: its sha256 is {found}, not {expected}; type `protext runtime install cpu` to fetch it again", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// Pinned.
        expected: &'static str,
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

struct Pinned {
    architecture: &'static str,
    /// `e_machine` of ELF.
    elf_machine: u16,
    platforms: [&'static str; 2],
    wheel_sha256: &'static str,
    library_sha256: &'static str,
}

const PINNED: [Pinned; 2] = [
    Pinned {
        architecture: "x86_64",
        elf_machine: 62,
        platforms: ["manylinux_2_28_x86_64", "manylinux_2_27_x86_64"],
        wheel_sha256: "5752bd508126ae7c49894d3b9d2e83f0c3d487319246d04c444b393308d7ad7f",
        library_sha256: "fc44112fbe06d7d689c57e11d3862031f64711007e4ee020f8eed5185fd2c1d3",
    },
    Pinned {
        architecture: "aarch64",
        elf_machine: 183,
        platforms: ["manylinux_2_28_aarch64", "manylinux_2_27_aarch64"],
        wheel_sha256: "da05378364c44d4407e463982d2bf8d5e4cfea873283757e48beeb41df97b7f3",
        library_sha256: "8aa3b76b28c778a2b1dd660d34161adb1d508c9ccd04ff9dc80e26eca5df8467",
    },
];

fn pinned() -> Result<&'static Pinned, RuntimeError> {
    let here =
        |pinned: &&Pinned| std::env::consts::OS == "linux" && pinned.architecture == std::env::consts::ARCH;
    PINNED
        .iter()
        .find(here)
        .ok_or(RuntimeError::Platform { os: std::env::consts::OS, architecture: std::env::consts::ARCH })
}

/// Where the library of the cache is or would be.
///
/// # Errors
/// [`RuntimeError::Platform`].
pub fn library_path(cache: &Cache) -> Result<PathBuf, RuntimeError> {
    let folder = format!("runtime/cpu-{VERSION}-{}", pinned()?.architecture);
    Ok(cache.root().join(folder).join(format!("libonnxruntime.so.{VERSION}")))
}

/// Fetches the pinned runtime unless it is already there and whole; returns the library's path.
///
/// # Errors
/// [`RuntimeError`].
pub fn install(cache: &Cache, kind: RuntimeKind, progress: &dyn Progress) -> Result<PathBuf, RuntimeError> {
    if kind != RuntimeKind::Cpu {
        return Err(RuntimeError::NotAvailable { kind });
    }
    let pinned = pinned()?;
    let library = library_path(cache)?;
    cache.remove_leftovers();
    let _lock = cache.lock("runtime")?;
    if verify(&library).is_ok() {
        return Ok(library);
    }
    let wheel = Wheel {
        package: "onnxruntime",
        version: VERSION,
        sha256: vec![pinned.wheel_sha256],
        platforms: pinned.platforms.map(str::to_owned).to_vec(),
    };
    let folder = library.parent().unwrap_or(Path::new(".")).to_owned();
    let member = format!("onnxruntime/capi/libonnxruntime.so.{VERSION}");
    let notices = ["onnxruntime/LICENSE", "onnxruntime/ThirdPartyNotices.txt"];
    let mut members: Vec<Member<'_>> = notices
        .iter()
        .map(|path| Member {
            path,
            sha256: None,
            destination: folder.join(path.rsplit('/').next().unwrap_or(path)),
        })
        .collect();
    members.push(Member { path: &member, sha256: Some(pinned.library_sha256), destination: library.clone() });
    wheel.fetch(cache, &members, progress)?;
    Ok(library)
}

/// Re-hashes the installed library.
///
/// # Errors
/// [`RuntimeError::Missing`] or [`RuntimeError::Corrupt`].
pub fn verify(library: &Path) -> Result<(), RuntimeError> {
    if !library.is_file() {
        return Err(RuntimeError::Missing { path: library.to_owned() });
    }
    let expected = pinned()?.library_sha256;
    match sha256_of(library) {
        Ok(found) if found == expected => Ok(()),
        Ok(found) => Err(RuntimeError::Corrupt { path: library.to_owned(), expected, found }),
        Err(source) => Err(RuntimeError::Read { path: library.to_owned(), source }),
    }
}

/// The library to load: `$PROTEXT_ORT_LIBRARY`, else the cache's. Checked for format and architecture.
///
/// # Errors
/// [`RuntimeError`], each with what to type.
pub fn locate(cache: &Cache) -> Result<PathBuf, RuntimeError> {
    let own = std::env::var_os(LIBRARY_VARIABLE).filter(|value| !value.is_empty());
    let path = match own {
        Some(path) => PathBuf::from(path),
        None => library_path(cache)?,
    };
    check_library(&path)?;
    Ok(path)
}

/// Checks presence, ELF magic and machine.
fn check_library(path: &Path) -> Result<(), RuntimeError> {
    let mut header = [0; 20];
    let read = File::open(path).and_then(|mut file| file.read_exact(&mut header));
    if let Err(source) = read {
        return Err(match source.kind() {
            std::io::ErrorKind::NotFound => RuntimeError::Missing { path: path.to_owned() },
            std::io::ErrorKind::UnexpectedEof => RuntimeError::NotALibrary { path: path.to_owned() },
            _ => RuntimeError::Read { path: path.to_owned(), source },
        });
    }
    if &header[..4] != b"\x7fELF" {
        return Err(RuntimeError::NotALibrary { path: path.to_owned() });
    }
    let machine = u16::from_le_bytes([header[18], header[19]]);
    let expected = pinned()?;
    if machine != expected.elf_machine {
        let known = PINNED.iter().find(|pinned| pinned.elf_machine == machine);
        let found =
            known.map_or_else(|| format!("ELF machine {machine}"), |pinned| pinned.architecture.to_owned());
        return Err(RuntimeError::WrongArchitecture {
            path: path.to_owned(),
            expected: expected.architecture,
            found,
        });
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
        let missing = check_library(Path::new("/nowhere/libonnxruntime.so")).unwrap_err();
        assert!(matches!(missing, RuntimeError::Missing { .. }));
        for bytes in [&b""[..], b"short", b"this is no shared library at all"] {
            let error = check_library(file(bytes).path()).unwrap_err();
            assert!(matches!(error, RuntimeError::NotALibrary { .. }), "{error}");
            assert!(error.to_string().contains("protext runtime install cpu"), "{error}");
        }
        let mut header = [0_u8; 64];
        header[..4].copy_from_slice(b"\x7fELF");
        header[18] = 243;
        let error = check_library(file(&header).path()).unwrap_err();
        assert!(matches!(&error, RuntimeError::WrongArchitecture { .. }), "{error}");
        assert!(error.to_string().contains("ELF machine 243"), "{error}");
    }

    #[test]
    fn a_library_of_other_bytes_is_corrupt() {
        assert!(matches!(verify(file(b"abc").path()), Err(RuntimeError::Corrupt { .. })));
    }
}
