//! The libraries of CUDA and cuDNN that the CUDA provider loads: where they are, and which are missing.
//!
//! They come with CUDA's installer, with Debian's or NVIDIA's packages, or as wheels beside PyTorch. Loading them by path
//! before the provider does makes any of these places do.

use std::path::{Path, PathBuf};

use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW};

/// Folders to look in, beside the loader's own: several, separated by colons.
pub const FOLDERS_VARIABLE: &str = "PROTEXT_CUDA_LIBRARIES";

/// A library and what brings it, in the order in which they need one another.
const NEEDED: [(&str, &str); 8] = [
    ("libcuda.so.1", "the NVIDIA driver"),
    ("libcudart.so.13", "CUDA 13, or the wheel nvidia-cuda-runtime"),
    ("libcublasLt.so.13", "CUDA 13, or the wheel nvidia-cublas"),
    ("libcublas.so.13", "CUDA 13, or the wheel nvidia-cublas"),
    ("libcurand.so.10", "CUDA 13, or the wheel nvidia-curand"),
    ("libcufft.so.12", "CUDA 13, or the wheel nvidia-cufft"),
    ("libnvrtc.so.13", "CUDA 13, or the wheel nvidia-cuda-nvrtc"),
    ("libcudnn.so.9", "cuDNN 9 for CUDA 13, or the wheel nvidia-cudnn-cu13"),
];

/// Loads every library that the provider needs, for the whole life of the process.
///
/// # Errors
/// One line for each that could not be loaded: its name, what brings it, and the loader's reason.
pub fn load_libraries() -> Result<(), Vec<String>> {
    let folders = folders();
    let missing: Vec<String> = NEEDED
        .iter()
        .filter_map(|(name, source)| {
            load(name, &folders).err().map(|reason| format!("{name} ({source}): {reason}"))
        })
        .collect();
    if missing.is_empty() { Ok(()) } else { Err(missing) }
}

/// GPUs that CUDA lets this process see (`CUDA_VISIBLE_DEVICES` counts); 1 where the driver does not say.
#[must_use]
pub fn n_devices() -> usize {
    driver_count().filter(|n| *n > 0).unwrap_or(1)
}

fn driver_count() -> Option<usize> {
    type Init = unsafe extern "C" fn(u32) -> i32;
    type Count = unsafe extern "C" fn(*mut i32) -> i32;
    let mut n = 0;
    // SAFETY: both have had these signatures since CUDA 2, and `n` outlives the call.
    let is_known = unsafe {
        let driver = Library::open(Some("libcuda.so.1"), RTLD_NOW | RTLD_GLOBAL).ok()?;
        let known = {
            let init = driver.get::<Init>(b"cuInit\0").ok()?;
            let count = driver.get::<Count>(b"cuDeviceGetCount\0").ok()?;
            init(0) == 0 && count(&raw mut n) == 0
        };
        std::mem::forget(driver);
        known
    };
    usize::try_from(n).ok().filter(|_| is_known)
}

/// From the loader's own places, else from the first folder that has it.
fn load(name: &str, folders: &[PathBuf]) -> Result<(), String> {
    let by_name = open(name.as_ref());
    let Err(reason) = by_name else { return Ok(()) };
    let mut there = folders.iter().map(|folder| folder.join(name)).filter(|path| path.exists()).peekable();
    if there.peek().is_none() {
        return Err(reason);
    }
    there.map(|path| open(&path)).find(Result::is_ok).unwrap_or(Err(reason))
}

/// Opens a library for all that is loaded later, and for good.
fn open(path: &Path) -> Result<(), String> {
    // SAFETY: initializers of NVIDIA's libraries run, as the provider's own loading would make them.
    let opened = unsafe { Library::open(Some(path), RTLD_NOW | RTLD_GLOBAL) };
    // The loader's reason names the library; the error above it does not.
    let library = opened.map_err(|error| {
        std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string)
    })?;
    std::mem::forget(library);
    Ok(())
}

/// Where CUDA usually is: named folders, the toolkit's, and wheels of the Pythons that are here.
fn folders() -> Vec<PathBuf> {
    let named = std::env::var_os(FOLDERS_VARIABLE).unwrap_or_default();
    let mut folders: Vec<PathBuf> =
        std::env::split_paths(&named).filter(|path| !path.as_os_str().is_empty()).collect();
    for root in ["CUDA_HOME", "CUDA_PATH"].iter().filter_map(std::env::var_os).map(PathBuf::from) {
        folders.push(root.join("lib64"));
    }
    folders.extend(
        ["/usr/local/cuda/lib64", "/usr/local/cuda-13/lib64", "/usr/lib/x86_64-linux-gnu"].map(PathBuf::from),
    );
    let mut pythons = vec![PathBuf::from("/usr/lib"), PathBuf::from("/usr/local/lib"), PathBuf::from("/opt")];
    pythons.extend(
        ["VIRTUAL_ENV", "CONDA_PREFIX"]
            .iter()
            .filter_map(std::env::var_os)
            .map(|path| PathBuf::from(path).join("lib")),
    );
    pythons.extend(std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".local/lib")));
    for python in pythons.iter().flat_map(|root| folders_in(root)).filter(|path| is_python(path)) {
        for packages in ["site-packages", "dist-packages"] {
            let wheels = folders_in(&python.join(packages).join("nvidia"));
            folders.extend(wheels.into_iter().map(|wheel| wheel.join("lib")));
        }
    }
    folders
}

fn is_python(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("python3"))
}

fn folders_in(folder: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> =
        std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    found.sort_unstable();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_library_is_found_by_name_or_in_a_folder_and_otherwise_named() {
        assert!(load("libc.so.6", &[]).is_ok());
        let folder = tempfile::tempdir().unwrap();
        let folders = [folder.path().to_owned()];
        let missing = load("libprotext-absent.so.1", &folders).unwrap_err();
        assert!(missing.contains("libprotext-absent.so.1"), "{missing}");
        std::fs::write(folder.path().join("libprotext-absent.so.1"), b"no library").unwrap();
        assert!(load("libprotext-absent.so.1", &folders).is_err());
    }

    #[test]
    fn what_is_missing_is_named_one_by_one() {
        // Where a GPU's libraries are all here there is nothing to name.
        if let Err(missing) = load_libraries() {
            assert!(
                missing.iter().all(|line| line.starts_with("lib") && line.contains("): ")),
                "{missing:?}"
            );
        }
    }
}
