//! Batch jobs: embed, index, search all, annotate, pair all proteins, over inputs of any size, on one machine or many.
//!
//! A job is a folder ([`Jobs`]): what was submitted, the inputs as shards of distinct contents, a file for each shard that
//! is done, and at last the output with a manifest. Every step can be cut off by `kill -9` and goes on where it stopped;
//! the same input gives the same bytes. Submitted by `protext jobs` and `POST /v1/jobs`, run by them or by
//! `protext worker`. `docs/decisions/jobs.md` says why it is as it is.

mod attempts;
mod blobs;
mod collections;
mod commit;
mod error;
mod failures;
mod folder;
mod jobs;
mod manifest;
mod models;
#[cfg(feature = "nats")]
mod nats;
mod pairs;
mod plan;
mod run;
mod service;
pub mod spec;
mod status;
mod store;

pub use collections::{CopyError, copy_collection};
pub use error::{JobError, StoreError, StoreFault};
pub use failures::Failure;
pub use jobs::{Jobs, Resume, upload_input};
pub use manifest::{Manifest, ResultFile};
pub use models::{LoadedModels, Models};
#[cfg(feature = "nats")]
pub use nats::NatsQueue;
pub use plan::{Plan, PlanCounts, PlannedInput};
pub use run::{UPLOAD, Watch};
pub use service::{JobService, Way, run_waiting};
pub use spec::{JobSpec, Task};
pub use status::{JobFault, JobState, JobStatus, Note, ShardCounts};
