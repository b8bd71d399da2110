//! Shards through NATS JetStream, for workers on several machines.
//!
//! One stream keeps a message for each shard and one for each commit; what is acknowledged is gone from it. A worker takes
//! one shard at a time, says every few seconds that it is still at work, and acknowledges when the shard's file is in its
//! place. A worker that dies or is cut off says nothing any more, and the shard goes to another. Shards done twice give the
//! same bytes in the same place, so nothing is lost and nothing is there twice.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use async_nats::jetstream::consumer::{AckPolicy, PullConsumer, pull};
use async_nats::jetstream::context::PublishAckFuture;
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::stream::{Config, RetentionPolicy};
use async_nats::jetstream::{self, AckKind, Message};
use futures_util::StreamExt as _;
use serde::{Deserialize, Serialize};
use tokio::runtime::Runtime;

use crate::commit::commit;
use crate::error::JobError;
use crate::folder::JobFolder;
use crate::jobs::{Jobs, without_credentials};
use crate::models::Models;
use crate::run::{Attempted, OpenJob, Stage, Watch, attempt, check_cancelled, is_settled, record_end, work};
use crate::status::{JobState, StateFile, note};

const STREAM: &str = "PROTEXT";
const SHARDS: &str = "protext.shards";
const COMMITS: &str = "protext.commits";
/// A worker that was not heard of for this long has lost its shard.
const ACK_WAIT: Duration = Duration::from_secs(30);
/// How often a worker says that it is at work.
const HEARTBEAT: Duration = Duration::from_secs(8);
/// A message that is published again within this time is taken for the same.
const DEDUPE_WINDOW: Duration = Duration::from_secs(600);
/// Shards under way at once, over all workers.
const MAX_IN_FLIGHT: i64 = 4_096;
/// Messages sent without waiting for their receipts.
const PUBLISH_AHEAD: usize = 256;
/// How long a look for work waits for some.
const FETCH_WAIT: Duration = Duration::from_secs(1);
/// Until a commit is looked at again while shards are under way.
const COMMIT_AGAIN: Duration = Duration::from_secs(1);
/// Until something that failed for the machine's reasons is tried again.
const MACHINE_AGAIN: Duration = Duration::from_secs(10);
/// Connecting at first; later the client tries again by itself for as long as it takes.
const CONNECT_WAIT: Duration = Duration::from_secs(10);

/// Until a worker tries to connect again.
const CONNECT_AGAIN: Duration = Duration::from_secs(3);

/// What a message says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Order {
    /// Where the job lies.
    place: String,
    job: String,
    /// `None`: put the results together.
    shard: Option<u64>,
}

/// A queue on a NATS server.
pub struct NatsQueue {
    address: String,
    runtime: Runtime,
    context: jetstream::Context,
    shards: PullConsumer,
    commits: PullConsumer,
}

impl NatsQueue {
    /// Connects, and makes stream and consumers if they are not there.
    ///
    /// # Errors
    /// [`JobError::Queue`].
    pub fn connect(address: &str) -> Result<Self, JobError> {
        protext_http::install_crypto_provider();
        // Credentials in the address are not for messages.
        let shown = without_credentials(address).to_owned();
        let failed = |source: async_nats::Error| JobError::Queue { place: shown.clone(), source };
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("queue")
            .enable_all()
            .build()
            .map_err(|error| failed(Box::new(error)))?;
        let opened = runtime.block_on(async { tokio::time::timeout(CONNECT_WAIT, open(address)).await });
        let (context, shards, commits) = match opened {
            Ok(opened) => opened.map_err(failed)?,
            Err(_) => return Err(failed("no answer within 10 seconds; is the server there?".into())),
        };
        Ok(Self { address: shown, runtime, context, shards, commits })
    }

    /// As [`NatsQueue::connect`], again and again while the server is away, until `watch` says stop: a worker that starts while
    /// the queue does is no mistake. An address or a key that is wrong is told at once.
    ///
    /// # Errors
    /// [`JobError::Queue`].
    pub fn connect_when_there(address: &str, watch: &Watch) -> Result<Self, JobError> {
        loop {
            let error = match Self::connect(address) {
                Err(error) if may_come(&error) => error,
                connected => return connected,
            };
            tracing::warn!(%error, "the queue is not there; waiting for it");
            let until = Instant::now() + CONNECT_AGAIN;
            while Instant::now() < until {
                if watch.stop.load(Ordering::Relaxed) {
                    return Err(error);
                }
                std::thread::sleep(Duration::from_millis(100));
            }
        }
    }

    fn failed(&self, source: impl Into<async_nats::Error>) -> JobError {
        JobError::Queue { place: self.address.clone(), source: source.into() }
    }

    /// Hands a planned job's open shards to the workers, and its commit.
    ///
    /// # Errors
    /// [`JobError::Queue`] or [`JobError::Store`]; called again, it goes on where it stopped.
    pub fn enqueue(&self, jobs: &Jobs, id: &str) -> Result<(), JobError> {
        let folder = jobs.folder(id)?;
        let place = jobs.place();
        let mut state = StateFile::read(&folder)?;
        state.queue = Some(self.address.clone());
        state.n_rounds += 1;
        state.state = JobState::Queued;
        folder.put_json("state.json", &state)?;
        let n_shards = crate::plan::shards(&folder)?.len() as u64;
        let done: std::collections::HashSet<String> = folder.list("out")?.into_iter().collect();
        let open = (0..n_shards).filter(|shard| !done.contains(&format!("{shard:07}"))).map(Some);
        let orders =
            open.chain([None]).map(|shard| Order { place: place.clone(), job: id.to_owned(), shard });
        self.runtime.block_on(async {
            let mut receipts: Vec<PublishAckFuture> = Vec::with_capacity(PUBLISH_AHEAD);
            for order in orders {
                receipts.push(self.publish(&order, state.n_rounds).await?);
                if receipts.len() >= PUBLISH_AHEAD {
                    self.receive(receipts.drain(..)).await?;
                }
            }
            self.receive(receipts.drain(..)).await
        })
    }

    async fn publish(&self, order: &Order, round: u64) -> Result<PublishAckFuture, JobError> {
        let subject = match order.shard {
            Some(_) => format!("{SHARDS}.{}", token(&order.job)),
            None => format!("{COMMITS}.{}", token(&order.job)),
        };
        let part = order.shard.map_or_else(|| "commit".to_owned(), |shard| shard.to_string());
        let payload = serde_json::to_vec(order).map_err(|error| self.failed(error))?;
        let message_id = format!("{}/{}/{round}/{part}", order.place, order.job);
        let message = PublishMessage::build().payload(payload.into()).message_id(message_id);
        self.context.send_publish(subject, message).await.map_err(|error| self.failed(error))
    }

    async fn receive(&self, receipts: impl Iterator<Item = PublishAckFuture>) -> Result<(), JobError> {
        for receipt in receipts {
            receipt.await.map_err(|error| self.failed(error))?;
        }
        Ok(())
    }

    /// Takes orders until `watch` says stop: the shard under way is finished before it returns. With `once`, until none is
    /// there.
    ///
    /// # Errors
    /// [`JobError::Queue`] where the stream is gone; a server that cannot be reached is waited for.
    pub fn work(&self, models: &dyn Models, watch: &Watch, once: bool) -> Result<(), JobError> {
        let mut worker = QueueWorker { queue: self, models, open: HashMap::new() };
        let mut looked_for_commits: Option<Instant> = None;
        while !watch.stop.load(Ordering::Relaxed) {
            // A commit that is not ready comes back every second, so nobody need look more often.
            if looked_for_commits.is_none_or(|at| at.elapsed() >= COMMIT_AGAIN) {
                if let Some(message) = self.take(&self.commits, None) {
                    worker.handle(&message);
                }
                looked_for_commits = Some(Instant::now());
            }
            let mut taken = self.take(&self.shards, Some(FETCH_WAIT));
            if once && taken.is_none() {
                taken = self.take(&self.commits, Some(FETCH_WAIT));
            }
            match taken {
                Some(message) => worker.handle(&message),
                None if once => return Ok(()),
                None => {}
            }
        }
        Ok(())
    }

    /// The next message, if one comes within `wait`; if none is to be waited for, one that is there. A server that is away
    /// counts as none.
    fn take(&self, consumer: &PullConsumer, wait: Option<Duration>) -> Option<Message> {
        self.runtime.block_on(async {
            let looked = async {
                match wait {
                    Some(wait) => consumer.batch().max_messages(1).expires(wait).messages().await,
                    None => consumer.fetch().max_messages(1).messages().await,
                }
            };
            // The client's own wait has no end while it is not connected.
            let looked = tokio::time::timeout(FETCH_WAIT * 5, looked).await;
            let mut messages = match looked {
                Ok(Ok(messages)) => messages,
                other => {
                    tracing::warn!(is_late = other.is_err(), "the queue does not answer; waiting for it");
                    tokio::time::sleep(FETCH_WAIT).await;
                    return None;
                }
            };
            match tokio::time::timeout(FETCH_WAIT * 5, messages.next()).await {
                Ok(Some(Ok(message))) => Some(message),
                _ => None,
            }
        })
    }

    /// Tells the server what became of a message. If it cannot be told, the message comes again and does no harm.
    fn tell(&self, message: &Message, kind: AckKind) {
        let is_done = matches!(kind, AckKind::Ack);
        let told = self.runtime.block_on(async {
            let told =
                async { if is_done { message.double_ack().await } else { message.ack_with(kind).await } };
            tokio::time::timeout(ACK_WAIT, told).await
        });
        if !matches!(told, Ok(Ok(()))) {
            tracing::warn!("the queue could not be told what became of a shard; it will be handed out again");
        }
    }

    /// Runs `work` while the server hears that it is under way.
    fn while_beating<T>(&self, message: &Message, work: impl FnOnce() -> T) -> T {
        let is_over = Arc::new(AtomicBool::new(false));
        let (over, message) = (Arc::clone(&is_over), message.clone());
        let beating = self.runtime.spawn(async move {
            while !over.load(Ordering::Relaxed) {
                tokio::time::sleep(HEARTBEAT).await;
                // One that is lost is made up for by the next.
                let _ = message.ack_with(AckKind::Progress).await;
            }
        });
        let outcome = work();
        is_over.store(true, Ordering::Relaxed);
        beating.abort();
        outcome
    }
}

/// False where waiting cannot help.
fn may_come(error: &JobError) -> bool {
    use async_nats::ConnectErrorKind as Kind;
    let JobError::Queue { source, .. } = error else { return false };
    let kind = source.downcast_ref::<async_nats::ConnectError>().map(async_nats::ConnectError::kind);
    !matches!(kind, Some(Kind::ServerParse | Kind::Authentication | Kind::AuthorizationViolation | Kind::Tls))
}

/// Job names are parts of subjects, in which dots separate.
fn token(job: &str) -> String {
    job.replace('.', "_")
}

async fn open(address: &str) -> Result<(jetstream::Context, PullConsumer, PullConsumer), async_nats::Error> {
    let options = async_nats::ConnectOptions::new().name("protext");
    let context = jetstream::new(options.connect(address).await?);
    let stream = context
        .get_or_create_stream(Config {
            name: STREAM.to_owned(),
            subjects: vec![format!("{SHARDS}.>"), format!("{COMMITS}.>")],
            retention: RetentionPolicy::WorkQueue,
            duplicate_window: DEDUPE_WINDOW,
            ..Config::default()
        })
        .await?;
    let consumer = |name: &str, subject: &str| pull::Config {
        durable_name: Some(name.to_owned()),
        ack_policy: AckPolicy::Explicit,
        ack_wait: ACK_WAIT,
        // A shard's own counts say when it is given up: they tell failures from deaths.
        max_deliver: -1,
        max_ack_pending: MAX_IN_FLIGHT,
        filter_subject: format!("{subject}.>"),
        ..pull::Config::default()
    };
    let shards = stream.get_or_create_consumer("shards", consumer("shards", SHARDS)).await?;
    let commits = stream.get_or_create_consumer("commits", consumer("commits", COMMITS)).await?;
    Ok((context, shards, commits))
}

/// A worker and the jobs that it has open.
struct QueueWorker<'a> {
    queue: &'a NatsQueue,
    models: &'a dyn Models,
    open: HashMap<(String, String), Arc<OpenJob>>,
}

/// Jobs kept open at once.
const MAX_OPEN: usize = 8;

impl QueueWorker<'_> {
    fn handle(&mut self, message: &Message) {
        let Ok(order) = serde_json::from_slice::<Order>(&message.payload) else {
            tracing::error!("a message of the queue is no order; it is dropped");
            return self.queue.tell(message, AckKind::Term);
        };
        let (folder, job) = match self.job(&order) {
            Ok(found) => found,
            Err(error) => return self.refuse(message, &order, &error),
        };
        let queue = self.queue;
        match order.shard {
            Some(shard) => {
                let answer = queue.while_beating(message, || do_shard(&folder, &job, shard));
                queue.tell(message, answer);
            }
            None => {
                let answer = queue.while_beating(message, || do_commit(&folder, &job));
                queue.tell(message, answer);
            }
        }
    }

    fn job(&mut self, order: &Order) -> Result<(JobFolder, Arc<OpenJob>), JobError> {
        let folder = Jobs::open(&order.place)?.folder(&order.job)?;
        check_cancelled(&folder)?;
        let key = (order.place.clone(), order.job.clone());
        if let Some(job) = self.open.get(&key) {
            return Ok((folder, Arc::clone(job)));
        }
        let job = Arc::new(OpenJob::open(&folder, self.models)?);
        if StateFile::read(&folder)?.state == JobState::Queued {
            StateFile::set(&folder, JobState::Running)?;
        }
        if self.open.len() >= MAX_OPEN {
            self.open.clear();
        }
        self.open.insert(key, Arc::clone(&job));
        Ok((folder, job))
    }

    /// A job that cannot be worked on here: gone, cancelled, done, or for other workers.
    fn refuse(&self, message: &Message, order: &Order, error: &JobError) {
        let answer = match error {
            JobError::Cancelled => {
                if let Ok(folder) = Jobs::open(&order.place).and_then(|jobs| jobs.folder(&order.job)) {
                    record_end(&folder, error);
                }
                AckKind::Ack
            }
            // Its plan goes with its manifest's coming.
            JobError::Unknown { .. } | JobError::Damaged { .. } => AckKind::Ack,
            _ => AckKind::Nak(Some(MACHINE_AGAIN)),
        };
        tracing::warn!(job = order.job, %error, "an order was not carried out");
        self.queue.tell(message, answer);
    }
}

fn do_shard(folder: &JobFolder, job: &OpenJob, shard: u64) -> AckKind {
    // A shard under way is finished even if the worker was asked to stop.
    let watch = Watch::default();
    let tried = match is_settled(job, Stage::Contents, shard) {
        Ok(true) => return AckKind::Ack,
        Ok(false) => attempt(job, Stage::Contents, shard, &watch),
        Err(error) => Err(error),
    };
    match tried {
        Ok(Attempted::Done | Attempted::GivenUp) => AckKind::Ack,
        Ok(Attempted::Failed) => AckKind::Nak(Some(COMMIT_AGAIN)),
        Err(JobError::Cancelled) => {
            record_end(folder, &JobError::Cancelled);
            AckKind::Ack
        }
        Err(error) => {
            note(folder, error.kind(), format!("shard {shard}: {error}"));
            AckKind::Nak(Some(MACHINE_AGAIN))
        }
    }
}

fn do_commit(folder: &JobFolder, job: &OpenJob) -> AckKind {
    let is_ready = || -> Result<bool, JobError> {
        let n_settled = folder.list("out")?.len() + folder.list("given-up")?.len();
        Ok(n_settled >= job.shards.len())
    };
    match is_ready() {
        Ok(true) => {}
        Ok(false) => return AckKind::Nak(Some(COMMIT_AGAIN)),
        Err(_) => return AckKind::Nak(Some(MACHINE_AGAIN)),
    }
    let watch = Watch::default();
    // A further round over the shards, which needs all of the first, is done by whoever commits.
    let rounds = Stage::all(&job.spec).iter().skip(1).try_for_each(|&stage| work(job, stage, &watch));
    match rounds.and_then(|()| commit(job, &watch)) {
        Ok(_) => AckKind::Ack,
        Err(error) => {
            record_end(folder, &error);
            AckKind::Ack
        }
    }
}
