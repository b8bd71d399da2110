//! How often a shard was begun, and how it failed: what the caps are held against.

use serde::{Deserialize, Serialize};

use crate::error::JobError;
use crate::folder::JobFolder;
use crate::plan::shard_name;
use crate::run::Stage;
use crate::spec::Cutting;

/// `attempts/<shard>`: written before each try and after each failure.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Attempts {
    pub(crate) n_begun: u32,
    /// Why tries failed that ended by themselves.
    pub(crate) failures: Vec<String>,
}

impl Attempts {
    pub(crate) fn read(folder: &JobFolder, stage: Stage, shard: u64) -> Result<Self, JobError> {
        Ok(folder.get_json(&shard_name(stage.attempts(), shard))?.unwrap_or_default())
    }

    pub(crate) fn write(&self, folder: &JobFolder, stage: Stage, shard: u64) -> Result<(), JobError> {
        folder.put_json(&shard_name(stage.attempts(), shard), self)
    }

    /// Why the shard is to be given up, if it is. Called before a further try.
    pub(crate) fn exhausted(&self, cutting: &Cutting) -> Option<String> {
        let n_failures = self.failures.len() as u32;
        let n_deaths = self.n_begun.saturating_sub(n_failures);
        if n_failures >= cutting.max_failures {
            let last = self.failures.last().map_or("", String::as_str);
            return Some(format!("it failed {n_failures} times, at last: {last}"));
        }
        (n_deaths >= cutting.max_deaths)
            .then(|| format!("its worker ended {n_deaths} times while it was being worked on"))
    }
}
