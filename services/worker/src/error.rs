//! What can be wrong with a job: one enum for callers, and [`StoreError`] for the place where jobs and objects lie.

use std::error::Error;

use protext_core::SpaceMismatch;
use protext_engine::input::{InputError, RecordError};
use protext_engine::output::OutputError;
use protext_engine::{EngineError, FailedRecord};
use protext_index::{IndexError, SnapshotError};

use crate::status::JobState;

pub(crate) type BoxedError = Box<dyn Error + Send + Sync>;

/// Why a place for files could not be used. Each kind is mended in another way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreFault {
    /// Nothing has that name.
    Missing,
    /// Credentials are missing, wrong, or not allowed to do that.
    Denied,
    /// No room is left on the device or in the quota.
    NoSpace,
    /// Anything else: the network, the device.
    Other,
}

impl StoreFault {
    fn way_out(self) -> &'static str {
        match self {
            Self::Missing => "nothing is there; check the name",
            Self::Denied => "access is refused; check permissions, or the credentials in the environment",
            Self::NoSpace => "no space is left; free some, then resume the job: nothing is lost",
            Self::Other => "try again: `protext jobs resume` goes on where it stopped",
        }
    }
}

/// A file or an object could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {place}: {source}; {}", fault.way_out())]
pub struct StoreError {
    /// Such as "read".
    pub action: &'static str,
    /// Path or address, without credentials.
    pub place: String,
    /// What kind of failure it is.
    pub fault: StoreFault,
    /// The system's or the service's reason.
    #[source]
    pub source: BoxedError,
}

/// A job was refused, or could not go on.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// No such job.
    #[error("no job is called {id:?} in {place}; `protext jobs list` names those there are")]
    Unknown {
        /// What was asked for.
        id: String,
        /// Where jobs are kept.
        place: String,
    },
    /// Two submitters, one name.
    #[error(
        "a job called {id:?} is there already ({state}); choose another name, or look at it: `protext jobs show {id}`"
    )]
    NameTaken {
        /// The name.
        id: String,
        /// What the other job is doing.
        state: JobState,
    },
    /// A name that cannot be a folder.
    #[error(
        "job name {name:?} {rule}; write 1 to 64 of a-z, A-Z, 0-9, '.', '-' and '_', beginning with a letter or digit"
    )]
    BadName {
        /// The name.
        name: String,
        /// What is wrong with it.
        rule: &'static str,
    },
    /// A field of the job cannot be.
    #[error("job field {field:?}: {rule}")]
    Field {
        /// The field.
        field: &'static str,
        /// What is wrong, and how to mend it.
        rule: String,
    },
    /// Not in that state.
    #[error("job {id:?} is {state}, so it cannot be {wanted}")]
    WrongState {
        /// The job.
        id: String,
        /// Its state.
        state: JobState,
        /// Such as "cancelled".
        wanted: &'static str,
    },
    /// Another process works on the job as a whole.
    #[error("job {id:?} is being run by another process; follow it with `protext jobs follow {id}`")]
    InUse {
        /// The job.
        id: String,
    },
    /// The output is there already.
    #[error("{place}: exists already; choose another output, or ask to overwrite it (--overwrite)")]
    OutputExists {
        /// The output.
        place: String,
    },
    /// An input cannot be opened.
    #[error(transparent)]
    Input(#[from] InputError),
    /// An input cannot be read to its end.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// A place for files failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Writing the results failed.
    #[error(transparent)]
    Output(#[from] OutputError),
    /// A collection could not be made.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// A collection could not be saved or opened.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// The engine failed or was asked for what it does not have.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// A failure that concerns every record alike.
    #[error(transparent)]
    EveryRecord(#[from] Box<FailedRecord>),
    /// This worker's model is not the job's.
    #[error("{source}; start this worker with the job's model, or leave the job to workers that have it")]
    OtherSpace {
        /// Both spaces.
        #[source]
        source: SpaceMismatch,
    },
    /// This worker's head is not the job's.
    #[error("the job is for the head {of_job}, this worker has {of_worker}; start it with the job's head")]
    OtherHead {
        /// The job's: its name and the beginning of its hash.
        of_job: String,
        /// The worker's.
        of_worker: String,
    },
    /// This worker is of another version.
    #[error(
        "the job was submitted by protext {of_job}, this worker is {of_worker}; another version may give other bytes: \
         run it with {of_job}, or submit it again"
    )]
    OtherVersion {
        /// The job's.
        of_job: String,
        /// The worker's.
        of_worker: String,
    },
    /// A job's own file is damaged.
    #[error("{file} of the job is damaged ({reason}); submit the job again")]
    Damaged {
        /// Name in the job's folder.
        file: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Shards failed although they were tried again.
    #[error(
        "{n_failed} of {n_shards} shards failed; shard {shard}: {reason}; `protext jobs resume` tries them again"
    )]
    ShardsFailed {
        /// How many.
        n_failed: u64,
        /// Of how many.
        n_shards: u64,
        /// The first of them.
        shard: u64,
        /// Why.
        reason: String,
    },
    /// Nothing was embedded.
    #[error("none of the {n_records} records could be used; the job's failures say why")]
    NothingLeft {
        /// Records read.
        n_records: u64,
    },
    /// Someone cancelled the job.
    #[error("the job was cancelled; `protext jobs resume` goes on where it stopped")]
    Cancelled,
    /// This process was asked to stop.
    #[error("stopped; `protext jobs resume` goes on where it stopped")]
    Stopped,
    /// The wiring of models failed.
    #[error("{0}")]
    Models(#[source] BoxedError),
    /// This worker lacks what the job needs; another may have it.
    #[error("this worker cannot do the job: {source}")]
    Unfit {
        /// What is missing.
        source: Box<JobError>,
    },
    /// The queue failed.
    #[error("the queue at {place} failed: {source}")]
    Queue {
        /// Its address.
        place: String,
        /// The client's reason.
        #[source]
        source: BoxedError,
    },
}

impl JobError {
    /// True if the machine or the surroundings are at fault, not the shard: it is not counted against the shard.
    #[must_use]
    pub fn is_of_machine(&self) -> bool {
        match self {
            Self::Store(error) => error.fault != StoreFault::Missing,
            Self::Output(_) => true,
            Self::OtherSpace { .. } | Self::OtherHead { .. } | Self::OtherVersion { .. } => true,
            Self::Models(_) | Self::Unfit { .. } => true,
            _ => false,
        }
    }

    /// A short word for programs.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Unknown { .. } => "unknown_job",
            Self::NameTaken { .. } => "name_taken",
            Self::BadName { .. } | Self::Field { .. } => "invalid",
            Self::WrongState { .. } => "wrong_state",
            Self::InUse { .. } => "in_use",
            Self::OutputExists { .. } => "output_exists",
            Self::Input(_) | Self::Record(_) => "unreadable_input",
            Self::Store(error) => match error.fault {
                StoreFault::Missing => "missing",
                StoreFault::Denied => "denied",
                StoreFault::NoSpace => "no_space",
                StoreFault::Other => "store",
            },
            Self::Output(OutputError::NoSpace { .. }) => "no_space",
            Self::Output(OutputError::Exists { .. }) => "output_exists",
            Self::Output(_) => "output",
            Self::Index(_) | Self::Snapshot(_) => "collection",
            Self::Engine(_) | Self::EveryRecord(_) => "engine",
            Self::OtherSpace { .. } => "other_space",
            Self::OtherHead { .. } => "other_head",
            Self::OtherVersion { .. } => "other_version",
            Self::Damaged { .. } => "damaged",
            Self::ShardsFailed { .. } => "shards_failed",
            Self::NothingLeft { .. } => "nothing_left",
            Self::Cancelled => "cancelled",
            Self::Stopped => "stopped",
            Self::Models(_) => "models",
            Self::Unfit { .. } => "unfit",
            Self::Queue { .. } => "queue",
        }
    }
}
