//! The ONNX Runtime library of this process.
//!
//! A process holds one runtime. It is loaded by path, so that a missing or wrong library is an error with the
//! path in it and never a panic or a silent other copy.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use ort::environment::Environment;

use crate::error::ModelError;

/// The loaded runtime. Cheap to clone; sessions keep it alive.
#[derive(Clone)]
pub struct OnnxRuntime {
    environment: Environment,
    path: PathBuf,
}

static LOADED: Mutex<Option<OnnxRuntime>> = Mutex::new(None);

impl OnnxRuntime {
    /// Loads `libonnxruntime` from `path`, or returns the one that this process has already loaded from there.
    ///
    /// # Errors
    /// [`ModelError::RuntimeLoad`] with the loader's reason (missing file, wrong architecture, version too old),
    /// [`ModelError::RuntimeAlreadyLoaded`] if another file is in use.
    pub fn load(path: &Path) -> Result<Self, ModelError> {
        let mut loaded = LOADED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(runtime) = loaded.as_ref() {
            return if runtime.path == path {
                Ok(runtime.clone())
            } else {
                Err(ModelError::RuntimeAlreadyLoaded { loaded: runtime.path.clone(), asked: path.to_owned() })
            };
        }
        let refused = |source: Box<dyn std::error::Error + Send + Sync>| ModelError::RuntimeLoad {
            path: path.to_owned(),
            source,
        };
        // `ort` states the reason in the message of an error type that is not Sync, so the text is kept.
        let builder = ort::init_from(path).map_err(|error| refused(error.to_string().into()))?;
        let environment =
            builder.with_name("protext").build().map_err(|error| refused(error.to_string().into()))?;
        environment.set_log_level(ort::logging::LogLevel::Error);
        let runtime = Self { environment, path: path.to_owned() };
        *loaded = Some(runtime.clone());
        Ok(runtime)
    }

    /// The one that this process has loaded, if it has.
    #[must_use]
    pub fn loaded() -> Option<Self> {
        LOADED.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    /// Where it was loaded from.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn environment(&self) -> &Environment {
        &self.environment
    }
}

impl fmt::Debug for OnnxRuntime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OnnxRuntime").field("path", &self.path).finish_non_exhaustive()
    }
}
