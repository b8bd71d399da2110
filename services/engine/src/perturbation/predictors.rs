//! Several heads by name, each opened when it is first asked.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::PerturbationPredictor;
use super::error::PerturbationError;

/// Opens a head by name.
pub type OpenHead =
    dyn Fn(&str) -> Result<PerturbationPredictor, Box<dyn std::error::Error + Send + Sync>> + Send + Sync;

/// Predictors by name, each opened when it is first asked; the first is asked where none is named.
#[derive(Default)]
pub struct PerturbationPredictors {
    open: Option<Box<OpenHead>>,
    ids: Vec<String>,
    opened: Mutex<BTreeMap<String, Arc<PerturbationPredictor>>>,
}

impl PerturbationPredictors {
    /// Heads of these names, which `open` opens.
    #[must_use]
    pub fn new(ids: Vec<String>, open: Box<OpenHead>) -> Self {
        Self { open: Some(open), ids, opened: Mutex::default() }
    }

    /// True without any.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// Names, the one that answers by default first.
    #[must_use]
    pub fn ids(&self) -> &[String] {
        &self.ids
    }

    /// The one of that name, or the first. Opening one reads files: not for an async thread.
    ///
    /// # Errors
    /// [`PerturbationError::UnknownHead`] with those there are, [`PerturbationError::Open`].
    pub fn get(&self, id: Option<&str>) -> Result<Arc<PerturbationPredictor>, PerturbationError> {
        let wanted = self.ids.iter().find(|known| id.is_none_or(|id| id == known.as_str()));
        let (Some(wanted), Some(open)) = (wanted, &self.open) else {
            let (id, known) = (id.unwrap_or_default().to_owned(), self.ids.join(", "));
            return Err(PerturbationError::UnknownHead { id, known });
        };
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(there) = opened.get(wanted) {
            return Ok(Arc::clone(there));
        }
        let found = open(wanted).map_err(|source| PerturbationError::Open { id: wanted.clone(), source })?;
        let found = Arc::new(found);
        opened.insert(wanted.clone(), Arc::clone(&found));
        Ok(found)
    }
}
