//! Weights that all sessions of one graph share on the CPU.
//!
//! A session of its own copies every weight as its kernels want it: so many workers, so many copies. Here the weights are mapped from the
//! file beside the graph, and what the first session packs is what the next ones use.

use std::ffi::CString;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use memmap2::{MmapMut, MmapOptions};
use ort::AsPointer as _;
use ort::memory::{AllocationDevice, AllocatorType, MemoryInfo, MemoryType};
use ort::session::builder::{PrepackedWeights, SessionBuilder};
use ort::value::{Shape, TensorRefMut};
use protext_graph::{BoxError, ExternalWeight, external_weights};

use crate::error::ModelError;

/// Mapped weights of one graph, and what was packed of them. Sessions that were opened with it must not outlive it.
pub(crate) struct SharedWeights {
    values: Vec<(CString, TensorRefMut<'static, f32>)>,
    packed: PrepackedWeights,
    /// What the values point to.
    _files: Vec<MmapMut>,
}

impl SharedWeights {
    /// Those of a graph whose weights lie in files beside it; `None` if they are within.
    pub(crate) fn of(graph: &Path) -> Result<Option<Arc<Self>>, ModelError> {
        let found = Self::map(graph);
        let shared = found.map_err(|source| ModelError::Weights { path: graph.to_owned(), source })?;
        Ok((!shared.values.is_empty()).then(|| Arc::new(shared)))
    }

    fn map(graph: &Path) -> Result<Self, BoxError> {
        let (mut values, mut files) = (Vec::new(), Vec::<(PathBuf, MmapMut)>::new());
        for weight in external_weights(graph)? {
            if files.last().is_none_or(|(path, _)| *path != weight.file) {
                let file = File::open(&weight.file)?;
                // SAFETY: what is written here stays in this process, and nobody is to change a verified file below us.
                files.push((weight.file.clone(), unsafe { MmapOptions::new().map_copy(&file) }?));
            }
            let (path, bytes) = files.last_mut().expect("one was just pushed");
            let ExternalWeight { name, dims, offset, .. } = &weight;
            let (n_bytes, n_there) = (weight.n_bytes(), bytes.len());
            let is_there = offset.checked_add(n_bytes).is_some_and(|end| end <= n_there);
            if !is_there || !offset.is_multiple_of(align_of::<f32>()) {
                let path = path.display();
                return Err(
                    format!("{path} has {n_there} bytes; {name:?} takes {n_bytes} from {offset} on").into()
                );
            }
            let memory =
                MemoryInfo::new(AllocationDevice::CPU, 0, AllocatorType::Device, MemoryType::Default)?;
            let shape = Shape::new(dims.iter().map(|&dim| dim as i64));
            // SAFETY: there are so many bytes from there on, and they stay mapped for as long as the value is here.
            let value =
                unsafe { TensorRefMut::from_raw(memory, bytes[*offset..].as_mut_ptr().cast(), shape) }?;
            values.push((CString::new(name.as_str())?, value));
        }
        let files = files.into_iter().map(|(_, bytes)| bytes).collect();
        Ok(Self { values, packed: PrepackedWeights::new(), _files: files })
    }

    /// Has a session use them instead of its own.
    pub(crate) fn give(&self, builder: SessionBuilder) -> ort::Result<SessionBuilder> {
        let mut builder = builder.with_prepacked_weights(&self.packed)?;
        for (name, value) in &self.values {
            // SAFETY: the builder, the name and the value are alive; the session reads what the value points to, which is here for longer.
            let status =
                unsafe { (ort::api().AddInitializer)(builder.ptr_mut(), name.as_ptr(), value.ptr()) };
            // SAFETY: the status is the call's own.
            unsafe { ort::Error::result_from_status(status) }?;
        }
        Ok(builder)
    }
}
