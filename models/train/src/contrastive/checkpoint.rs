//! Where a run stands after an epoch: one safetensors file, replaced in one step, so that a killed run goes on.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor, Var};
use safetensors::SafeTensors;
use serde::{Deserialize, Serialize};

use super::adamw::AdamW;
use super::error::TrainError;
use super::{ContrastiveSettings, Epoch};

/// Name of the run's state in the file's metadata.
const STATE: &str = "protext_run";

/// Where a run keeps its state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// The file; further pairs of towers add their number to its name.
    pub path: PathBuf,
    /// What identifies the data, such as a hash; a checkpoint of other data is refused.
    pub data: String,
}

/// Everything but the tensors.
#[derive(Debug, Serialize, Deserialize)]
struct State {
    data: String,
    settings: ContrastiveSettings,
    n_steps: usize,
    epochs: Vec<Epoch>,
}

/// A run that can be saved and restored: its variables, those of the best epoch, and the optimizer.
pub(super) struct RunState {
    pub(super) vars: Vec<Var>,
    pub(super) best: Vec<Tensor>,
    pub(super) optimizer: AdamW,
    pub(super) epochs: Vec<Epoch>,
}

impl Checkpoint {
    /// Removes the files of a run of so many pairs of towers, as far as there are any: it has ended.
    ///
    /// # Errors
    /// [`TrainError::Write`].
    pub fn remove(&self, n_members: usize) -> Result<(), TrainError> {
        for member in 1..=n_members {
            let file = self.of_member(member);
            match std::fs::remove_file(&file.path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(file.unwritable(error));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The checkpoint of one pair of towers, 1 for the first.
    pub(super) fn of_member(&self, member: usize) -> Self {
        let mut path = self.path.clone().into_os_string();
        if member > 1 {
            path.push(format!(".{member}"));
        }
        Self { path: path.into(), data: self.data.clone() }
    }

    pub(super) fn save(&self, run: &RunState, settings: &ContrastiveSettings) -> Result<(), TrainError> {
        let state = State {
            data: self.data.clone(),
            settings: *settings,
            n_steps: run.optimizer.n_steps(),
            epochs: run.epochs.clone(),
        };
        let mut tensors = HashMap::new();
        for (index, (var, best)) in run.vars.iter().zip(&run.best).enumerate() {
            tensors.insert(format!("var.{index}"), var.as_tensor().clone());
            tensors.insert(format!("best.{index}"), best.clone());
        }
        for (index, (first, second)) in run.optimizer.moments().iter().enumerate() {
            tensors.insert(format!("first.{index}"), first.clone());
            tensors.insert(format!("second.{index}"), second.clone());
        }
        let state = serde_json::to_string(&state).expect("a state is plain data");
        let metadata = Some(HashMap::from([(STATE.to_owned(), state)]));
        let bytes = safetensors::serialize(&tensors, metadata).map_err(|error| self.unusable(&error))?;
        self.replace(&bytes).map_err(|error| self.unwritable(error))
    }

    /// Restores a run, if there is a file. False: there was none.
    pub(super) fn restore(
        &self,
        run: &mut RunState,
        settings: &ContrastiveSettings,
    ) -> Result<bool, TrainError> {
        let bytes = match std::fs::read(&self.path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(self.unusable(&error)),
        };
        let (_, metadata) = SafeTensors::read_metadata(&bytes).map_err(|error| self.unusable(&error))?;
        let state = metadata.metadata().as_ref().and_then(|map| map.get(STATE));
        let state = state.ok_or_else(|| self.unusable(&"it is no checkpoint"))?;
        let state: State = serde_json::from_str(state).map_err(|error| self.unusable(&error))?;
        if state.settings != *settings || state.data != self.data {
            return Err(self.unusable(&"it belongs to other data or settings"));
        }
        let mut tensors = candle_core::safetensors::load_buffer(&bytes, &Device::Cpu)?;
        let device = run.vars[0].device().clone();
        let mut take = |name: String| match tensors.remove(&name) {
            Some(tensor) => Ok(tensor.to_device(&device)?),
            None => Err(self.unusable(&format!("tensor {name} is missing"))),
        };
        let mut moments = Vec::new();
        for (index, var) in run.vars.iter().enumerate() {
            var.set(&take(format!("var.{index}"))?)?;
            run.best[index] = take(format!("best.{index}"))?;
            moments.push((take(format!("first.{index}"))?, take(format!("second.{index}"))?));
        }
        run.optimizer.restore(moments, state.n_steps);
        run.epochs = state.epochs;
        Ok(true)
    }

    fn replace(&self, bytes: &[u8]) -> std::io::Result<()> {
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let mut file = tempfile::NamedTempFile::new_in(folder.unwrap_or(Path::new(".")))?;
        std::io::Write::write_all(&mut file, bytes)?;
        file.as_file().sync_all()?;
        file.persist(&self.path)?;
        Ok(())
    }

    fn unusable(&self, rule: &dyn ToString) -> TrainError {
        TrainError::Checkpoint { path: self.path.clone(), rule: rule.to_string() }
    }

    fn unwritable(&self, source: std::io::Error) -> TrainError {
        TrainError::Write { path: self.path.clone(), source }
    }
}
