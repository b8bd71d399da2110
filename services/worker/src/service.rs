//! Running whatever waits in a place, one job after the other: inside a service, or as `protext worker`.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use protext_core::Modality;

use crate::error::JobError;
use crate::jobs::Jobs;
use crate::models::{Models, embedder};
use crate::run::Watch;
use crate::spec::{JobSpec, Task};

/// Between two looks for work.
const POLL: Duration = Duration::from_millis(300);
/// Until a queue that cannot be reached is tried again.
const QUEUE_AGAIN: Duration = Duration::from_secs(5);
/// Between two looks for jobs that are past their time.
const EXPIRE_EVERY: Duration = Duration::from_secs(60);

/// Who works on jobs that wait.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Way {
    /// This process.
    #[default]
    Here,
    /// The workers of the queue at this address. Jobs that need a collection of this process stay here.
    Queue(String),
}

impl Way {
    fn queue_for(&self, spec: &JobSpec) -> Option<&str> {
        match self {
            // Workers know collections by their folders, services by their names.
            Self::Queue(address) if !matches!(spec.task, Task::SearchAll { .. } | Task::Annotate { .. }) => {
                Some(address)
            }
            _ => None,
        }
    }
}

/// Runs waiting jobs, oldest first, until `watch` says stop; with `once`, until none waits. A job that this worker is not
/// for is left to others.
///
/// # Errors
/// [`JobError::Store`] if the place itself fails; failures of jobs are in their status.
pub fn run_waiting(
    jobs: &Jobs,
    models: &dyn Models,
    watch: &Watch,
    (way, once): (&Way, bool),
) -> Result<(), JobError> {
    let mut not_for_us = HashSet::new();
    let mut expired_at: Option<Instant> = None;
    while !watch.stop.load(Ordering::Relaxed) {
        if expired_at.is_none_or(|at| at.elapsed() > EXPIRE_EVERY) {
            for id in jobs.expire()? {
                tracing::info!(job = id, "expired");
            }
            expired_at = Some(Instant::now());
        }
        let Some(id) = jobs.next_waiting(&not_for_us)? else {
            if once {
                return Ok(());
            }
            std::thread::sleep(POLL);
            continue;
        };
        tracing::info!(job = id, "running");
        match run_or_enqueue(jobs, &id, models, watch, way) {
            Ok(()) => tracing::info!(job = id, "over"),
            Err(error @ JobError::Queue { .. }) => {
                tracing::warn!(job = id, %error, "the queue cannot be reached; trying again");
                pause(watch, QUEUE_AGAIN);
            }
            Err(JobError::Stopped) => return Ok(()),
            Err(error) => {
                tracing::warn!(job = id, %error, "the job did not finish");
                // Most errors are in its state, so that it does not wait any more; of the others it is known here.
                not_for_us.insert(id);
            }
        }
    }
    Ok(())
}

fn run_or_enqueue(
    jobs: &Jobs,
    id: &str,
    models: &dyn Models,
    watch: &Watch,
    way: &Way,
) -> Result<(), JobError> {
    let Some(queue) = way.queue_for(&jobs.status(id)?.spec) else {
        return jobs.run(id, models, watch).map(|_| ());
    };
    jobs.prepare(id, models, watch)?;
    enqueue(jobs, id, queue)
}

#[cfg(feature = "nats")]
fn enqueue(jobs: &Jobs, id: &str, queue: &str) -> Result<(), JobError> {
    crate::nats::NatsQueue::connect(queue)?.enqueue(jobs, id)
}

#[cfg(not(feature = "nats"))]
fn enqueue(_: &Jobs, _: &str, queue: &str) -> Result<(), JobError> {
    let source = "this program was built without the feature nats".into();
    Err(JobError::Queue { place: crate::jobs::without_credentials(queue).to_owned(), source })
}

/// Sleeps, unless asked to stop.
fn pause(watch: &Watch, wait: Duration) {
    let until = Instant::now() + wait;
    while Instant::now() < until && !watch.stop.load(Ordering::Relaxed) {
        std::thread::sleep(POLL);
    }
}

/// Jobs beside a service: a thread that runs what waits, behind all interactive requests.
pub struct JobService {
    jobs: Jobs,
    models: Arc<dyn Models>,
    watch: Arc<Watch>,
    way: Way,
    thread: Option<JoinHandle<()>>,
}

impl JobService {
    /// Starts the thread.
    ///
    /// # Errors
    /// [`JobError::Models`] if it cannot be started.
    pub fn start(jobs: Jobs, models: Arc<dyn Models>, way: Way) -> Result<Self, JobError> {
        let watch = Arc::new(Watch::default());
        let (for_thread, its_jobs, its_models) = (Arc::clone(&watch), jobs.clone(), Arc::clone(&models));
        let its_way = way.clone();
        let run = move || {
            while let Err(error) = run_waiting(&its_jobs, &*its_models, &for_thread, (&its_way, false)) {
                tracing::error!(%error, "the place of jobs failed; trying again");
                pause(&for_thread, QUEUE_AGAIN);
            }
        };
        let thread = std::thread::Builder::new().name("jobs".to_owned()).spawn(run);
        let thread = thread.map_err(|error| JobError::Models(Box::new(error)))?;
        Ok(Self { jobs, models, watch, way, thread: Some(thread) })
    }

    /// Refuses what this service could not do, before it is submitted. Where others are to work on it, the encoder that it
    /// leaves unsaid becomes this service's.
    ///
    /// # Errors
    /// What is missing, or what the spec breaks.
    pub fn check(&self, spec: &mut JobSpec) -> Result<(), JobError> {
        spec.check()?;
        let engine = self.models.open(spec)?;
        if self.way.queue_for(spec).is_some() {
            let embedder = embedder(&engine, spec)?.encoder();
            let named = match embedder.modality() {
                Modality::Protein => &mut spec.model.encoder,
                Modality::Text => &mut spec.model.text_encoder,
            };
            named.get_or_insert_with(|| embedder.id().to_owned());
        }
        Ok(())
    }

    /// The jobs.
    #[must_use]
    pub fn jobs(&self) -> &Jobs {
        &self.jobs
    }
}

impl Drop for JobService {
    /// Ends after the records under way; the job goes on when the service is started again.
    fn drop(&mut self) {
        self.watch.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // The thread has no result.
            let _ = thread.join();
        }
    }
}
