//! The scheduler of inference: a bounded queue in front of an encoder's workers.
//!
//! Callers submit a prepared record and wait for its pieces. Each worker owns one session on one thread; it
//! takes the oldest piece and fills the batch with waiting pieces of like length, as long as the batch stays
//! within its budget of padded tokens; where nothing is padded, whatever its length; for encoders that run elsewhere it
//! lists pieces up to the encoder's own limits.
//! The queue is bounded in tokens: past the bound an interactive caller is
//! told to come back, a batch job waits. A caller that left is dropped before any work is done for it.
//!
//! Jobs have a lane of their own with a bound of its own (`Batcher::submit_packed`): a worker takes from it only when no
//! caller waits, so a caller waits for one batch of a job at most, and a job never makes the service busy. Their batches
//! are packed by the records alone, never by what else is there, so that a job gives the same bytes whenever it runs.
//!
//! A worker that has had nothing to do for long enough gives its session back, and opens one when work comes.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use protext_core::{EncodeError, Encoder, EncoderWorker, Packing, Piece, PieceOutput, Prepared};
use tokio::sync::oneshot;

use crate::error::EngineError;
use crate::packed::{PieceAt, pack};

/// How long a batch that is sent elsewhere waits to become full: little beside a request over the network.
const LINGER: Duration = Duration::from_millis(10);

/// How a batcher uses the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatcherSettings {
    /// Sessions, each on a thread of its own.
    pub n_workers: usize,
    /// Most tokens in one batch, padding counted. A piece above it runs alone.
    pub max_batch_tokens: usize,
    /// Most tokens waiting; past it submitters wait or are refused.
    pub max_queued_tokens: usize,
    /// A worker without work for this long gives its session back, with the memory that it takes; `None` keeps it.
    pub unload_after: Option<Duration>,
}

impl Default for BatcherSettings {
    /// One worker a core, batches of up to 256 padded tokens (on CPUs larger ones do not pay: see
    /// `docs/results/speed.md`), and 262,144 tokens of waiting room.
    fn default() -> Self {
        let n_workers = std::thread::available_parallelism().map_or(1, usize::from);
        Self { n_workers, max_batch_tokens: 256, max_queued_tokens: 1 << 18, unload_after: None }
    }
}

impl BatcherSettings {
    /// Two workers for each of `n_gpus`, so that one's batch is computed while the other's is made and handed out, and batches
    /// that keep a GPU busy: of up to 32,768 tokens, padding counted.
    #[must_use]
    pub fn on_gpus(self, n_gpus: usize) -> Self {
        Self { n_workers: 2 * n_gpus, max_batch_tokens: 1 << 15, ..self }
    }
}

/// The outputs of a record's pieces, in order, or why there are none.
pub type Outcome = Result<Vec<PieceOutput>, Arc<EncodeError>>;

/// Runs pieces of many records on an encoder's workers. Dropping it lets queued work finish, then stops.
pub struct Batcher {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
}

/// What the workers of a batcher have run so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BatcherCounts {
    /// Batches.
    pub n_batches: u64,
    /// Of them, those that are done, with an answer or without.
    pub n_done_batches: u64,
    /// Of these, those without.
    pub n_failed_batches: u64,
    /// Tokens of the pieces in them.
    pub n_tokens: u64,
    /// Tokens that only filled shorter pieces up to the longest of their batch.
    pub n_padding_tokens: u64,
    /// Time that workers spent in their sessions, all together.
    pub in_sessions: Duration,
}

#[derive(Default)]
struct Counters {
    n_batches: AtomicU64,
    n_done_batches: AtomicU64,
    n_failed_batches: AtomicU64,
    n_tokens: AtomicU64,
    n_padding_tokens: AtomicU64,
    in_sessions_ns: AtomicU64,
}

impl Counters {
    fn count(&self, batch: &[Task], packing: Packing) {
        let lengths = || batch.iter().map(|task| task.piece.n_tokens());
        let (n_tokens, longest) = (lengths().sum::<usize>(), lengths().max().unwrap_or(0));
        let padded = if packing == Packing::Padded { longest * batch.len() } else { n_tokens };
        self.n_batches.fetch_add(1, Ordering::Relaxed);
        self.n_tokens.fetch_add(n_tokens as u64, Ordering::Relaxed);
        self.n_padding_tokens.fetch_add((padded - n_tokens) as u64, Ordering::Relaxed);
    }
}

struct Shared {
    encoder: Arc<dyn Encoder>,
    settings: BatcherSettings,
    /// Sessions that are open.
    n_sessions: AtomicUsize,
    counters: Counters,
    packing: Packing,
    queue: Mutex<Queue>,
    /// Signalled when work arrives or the queue closes.
    work: Condvar,
    /// Signalled when room appears.
    room: Condvar,
}

#[derive(Default)]
struct Queue {
    tasks: VecDeque<Task>,
    n_tokens: usize,
    /// Batches of jobs, as they were packed.
    jobs: VecDeque<Vec<Task>>,
    n_job_tokens: usize,
    closed: bool,
}

struct Task {
    piece: Piece,
    index: usize,
    want_hidden: bool,
    record: Arc<Record>,
}

/// A record on its way: where its pieces meet.
struct Record {
    state: Mutex<RecordState>,
}

struct RecordState {
    outputs: Vec<Option<PieceOutput>>,
    n_missing: usize,
    reply: Option<oneshot::Sender<Outcome>>,
}

impl Batcher {
    /// Opens the workers' sessions and starts their threads.
    ///
    /// # Errors
    /// [`EngineError::Encode`] if a session cannot be opened, [`EngineError::Io`] if a thread cannot be started.
    pub fn start(encoder: Arc<dyn Encoder>, settings: BatcherSettings) -> Result<Self, EngineError> {
        let shared = Arc::new(Shared {
            settings,
            n_sessions: AtomicUsize::new(0),
            counters: Counters::default(),
            packing: encoder.packing(),
            queue: Mutex::new(Queue::default()),
            work: Condvar::new(),
            room: Condvar::new(),
            encoder,
        });
        let mut batcher = Self { shared, workers: Vec::new() };
        for number in 0..settings.n_workers.max(1) {
            let shared = Arc::clone(&batcher.shared);
            let session = shared.open_session()?;
            let name = format!("{}-{number}", shared.encoder.id());
            let thread = std::thread::Builder::new().name(name).spawn(move || work(&shared, session));
            batcher
                .workers
                .push(thread.map_err(|source| EngineError::Io { what: "start a worker thread", source })?);
        }
        Ok(batcher)
    }

    /// Submits a record in one or more parts for a caller who would rather be told than wait.
    ///
    /// # Errors
    /// [`EngineError::Busy`] if the waiting room is full.
    pub fn try_submit(
        &self,
        parts: &[Prepared],
        want_hidden: bool,
    ) -> Result<oneshot::Receiver<Outcome>, EngineError> {
        let queue = self.lock();
        if !self.has_room(&queue, tokens_of(parts)) {
            return Err(EngineError::Busy { n_queued_tokens: queue.n_tokens });
        }
        Ok(self.push(queue, parts, want_hidden))
    }

    /// Submits a record, waiting for room. For batch jobs, on threads that may block.
    #[must_use]
    pub fn submit_blocking(&self, parts: &[Prepared], want_hidden: bool) -> oneshot::Receiver<Outcome> {
        let n_tokens = tokens_of(parts);
        let queue = self.shared.room.wait_while(self.lock(), |queue| !self.has_room(queue, n_tokens));
        self.push(queue.unwrap_or_else(PoisonError::into_inner), parts, want_hidden)
    }

    /// Submits records of a job, each in one or more parts, to the lane behind all callers; waits for room there. Pieces
    /// share batches of at most `max_batch_tokens` padded tokens, in the order given: the records decide the batches. Those
    /// that are not `is_wanted` are left out, and must be such that [`goes_alone`]; nobody answers for them.
    #[must_use]
    pub(crate) fn submit_packed(
        &self,
        records: &[Vec<Prepared>],
        is_wanted: &[bool],
        want_hidden: bool,
        max_batch_tokens: usize,
    ) -> Vec<oneshot::Receiver<Outcome>> {
        let (under_way, receivers): (Vec<_>, Vec<_>) =
            records.iter().map(|parts| Record::new(pieces_of(parts).count())).unzip();
        let pieces: Vec<Vec<&Piece>> = records.iter().map(|parts| pieces_of(parts).collect()).collect();
        let batches = pack(&pieces, self.shared.packing, max_batch_tokens).into_iter();
        for batch in batches.filter(|batch| batch.iter().any(|piece| is_wanted[piece.record])) {
            let task = |PieceAt { record, index }: PieceAt| Task {
                piece: pieces[record][index].clone(),
                index,
                want_hidden,
                record: Arc::clone(&under_way[record]),
            };
            let batch: Vec<Task> = batch.into_iter().map(task).collect();
            let n_tokens: usize = batch.iter().map(|task| task.piece.n_tokens()).sum();
            let is_full = |queue: &mut Queue| {
                !queue.jobs.is_empty()
                    && queue.n_job_tokens + n_tokens > self.shared.settings.max_queued_tokens
            };
            let mut queue =
                self.shared.room.wait_while(self.lock(), is_full).unwrap_or_else(PoisonError::into_inner);
            queue.n_job_tokens += n_tokens;
            queue.jobs.push_back(batch);
            drop(queue);
            self.shared.work.notify_all();
        }
        receivers
    }

    /// Tokens waiting now, those of jobs aside.
    #[must_use]
    pub fn n_queued_tokens(&self) -> usize {
        self.lock().n_tokens
    }

    /// What was run so far.
    #[must_use]
    pub fn counts(&self) -> BatcherCounts {
        let counters = &self.shared.counters;
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        BatcherCounts {
            // Read first, so that never more are done than were begun.
            n_done_batches: read(&counters.n_done_batches),
            n_failed_batches: read(&counters.n_failed_batches),
            n_batches: read(&counters.n_batches),
            n_tokens: read(&counters.n_tokens),
            n_padding_tokens: read(&counters.n_padding_tokens),
            in_sessions: Duration::from_nanos(read(&counters.in_sessions_ns)),
        }
    }

    /// Sessions that are open now: fewer than workers where some had nothing to do for long.
    #[must_use]
    pub fn n_sessions(&self) -> usize {
        self.shared.n_sessions.load(Ordering::SeqCst)
    }

    /// What it was started with.
    #[must_use]
    pub fn settings(&self) -> BatcherSettings {
        self.shared.settings
    }

    fn has_room(&self, queue: &Queue, n_tokens: usize) -> bool {
        // A record larger than the whole room is admitted when it would be alone.
        queue.tasks.is_empty() || queue.n_tokens + n_tokens <= self.shared.settings.max_queued_tokens
    }

    fn push(
        &self,
        mut queue: MutexGuard<'_, Queue>,
        parts: &[Prepared],
        want_hidden: bool,
    ) -> oneshot::Receiver<Outcome> {
        let (record, receiver) = Record::new(pieces_of(parts).count());
        for (index, piece) in pieces_of(parts).enumerate() {
            queue.n_tokens += piece.n_tokens();
            queue.tasks.push_back(Task {
                piece: piece.clone(),
                index,
                want_hidden,
                record: Arc::clone(&record),
            });
        }
        drop(queue);
        self.shared.work.notify_all();
        receiver
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.shared.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Batcher {
    fn drop(&mut self) {
        self.lock().closed = true;
        self.shared.work.notify_all();
        for worker in self.workers.drain(..) {
            // A worker thread has no result, and a panic in it was already reported to its callers.
            let _ = worker.join();
        }
    }
}

fn pieces_of(parts: &[Prepared]) -> impl Iterator<Item = &Piece> {
    parts.iter().flat_map(|part| &part.pieces)
}

fn tokens_of(parts: &[Prepared]) -> usize {
    pieces_of(parts).map(Piece::n_tokens).sum()
}

/// A session; counted for as long as it is open. The last one that goes takes with it what all shared.
struct Session<'a> {
    worker: Option<Box<dyn EncoderWorker>>,
    shared: &'a Shared,
}

impl Shared {
    fn open_session(&self) -> Result<Box<dyn EncoderWorker>, EncodeError> {
        // Counted first, so that nobody else takes itself for the last one meanwhile.
        self.n_sessions.fetch_add(1, Ordering::SeqCst);
        self.encoder.open_worker().inspect_err(|_| self.close_session())
    }

    fn close_session(&self) {
        if self.n_sessions.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.encoder.release();
        }
    }
}

impl Session<'_> {
    fn run(&mut self, batch: &[Task]) {
        if self.worker.is_none() {
            match self.shared.open_session() {
                Ok(worker) => self.worker = Some(worker),
                Err(error) => return fail(self.shared, batch, error),
            }
        }
        if let Some(worker) = &mut self.worker {
            run(self.shared, &mut **worker, batch);
        }
    }

    fn close(&mut self) {
        if self.worker.take().is_some() {
            self.shared.close_session();
        }
    }
}

/// A worker's life: take a batch, run it, hand the outputs out.
fn work(shared: &Shared, worker: Box<dyn EncoderWorker>) {
    let mut session = Session { worker: Some(worker), shared };
    loop {
        match next_batch(shared, session.worker.is_some()) {
            Next::Batch(batch) => {
                shared.room.notify_all();
                shared.counters.count(&batch, shared.packing);
                let began = Instant::now();
                session.run(&batch);
                let took = u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX);
                shared.counters.in_sessions_ns.fetch_add(took, Ordering::Relaxed);
                shared.counters.n_done_batches.fetch_add(1, Ordering::Relaxed);
            }
            Next::Idle => session.close(),
            Next::Closed => return session.close(),
        }
    }
}

/// Runs a batch and hands its outputs out. One piece that fails does not spoil the others: they are run apart.
fn run(shared: &Shared, worker: &mut dyn EncoderWorker, batch: &[Task]) {
    let pieces: Vec<&Piece> = batch.iter().map(|task| &task.piece).collect();
    let ran = catch_unwind(AssertUnwindSafe(|| worker.run(&pieces, batch[0].want_hidden)));
    // A panic inside an encoder is the failure of its batch: the thread and its session go on.
    let panicked = |_| {
        let source = "the encoder panicked; the log says where".into();
        Err(EncodeError::Runtime { encoder: shared.encoder.id().to_owned(), source })
    };
    match ran.unwrap_or_else(panicked) {
        Ok(outputs) => {
            for (task, output) in batch.iter().zip(outputs) {
                task.record.deliver(task.index, output);
            }
        }
        // An encoder that cannot be reached fails for each of them alike.
        Err(error) if batch.len() > 1 && !matches!(error, EncodeError::Unavailable { .. }) => {
            let (first, second) = batch.split_at(batch.len() / 2);
            run(shared, worker, first);
            run(shared, worker, second);
        }
        Err(error) => fail(shared, batch, error),
    }
}

fn fail(shared: &Shared, batch: &[Task], error: EncodeError) {
    shared.counters.n_failed_batches.fetch_add(1, Ordering::Relaxed);
    let error = Arc::new(error);
    batch.iter().for_each(|task| task.record.fail(&error));
}

/// What a worker does next.
enum Next {
    Batch(Vec<Task>),
    /// There has been nothing to do for long.
    Idle,
    /// The batcher is closed and the queue is empty.
    Closed,
}

/// Waits for work; with a session not for ever, if sessions are to be given back.
fn next_batch(shared: &Shared, has_session: bool) -> Next {
    let unload_after = shared.settings.unload_after.filter(|_| has_session);
    let idle_from = Instant::now();
    let mut queue = shared.queue.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        if matches!(shared.packing, Packing::Listed { .. }) && !queue.tasks.is_empty() {
            let may_grow =
                |queue: &mut Queue| !queue.closed && !queue.tasks.is_empty() && !queue.fills(shared.packing);
            let waited = shared.work.wait_timeout_while(queue, LINGER, may_grow);
            queue = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        let batch = match shared.packing {
            packing @ (Packing::Padded | Packing::Unpadded { .. }) => {
                queue.take_batch(packing, shared.settings.max_batch_tokens)
            }
            Packing::Listed { max_pieces, max_tokens } => queue.take_list(max_pieces, max_tokens),
        };
        if let Some(batch) = batch.or_else(|| queue.take_job_batch()) {
            return Next::Batch(batch);
        }
        if queue.closed {
            return Next::Closed;
        }
        queue = match unload_after.map(|after| after.saturating_sub(idle_from.elapsed())) {
            None => shared.work.wait(queue).unwrap_or_else(PoisonError::into_inner),
            Some(Duration::ZERO) => return Next::Idle,
            Some(left) => shared.work.wait_timeout(queue, left).unwrap_or_else(PoisonError::into_inner).0,
        };
    }
}

impl Queue {
    /// How many waiting pieces are looked at when a batch is filled, at least.
    const LOOK_AHEAD: usize = 64;
    /// And for each so many tokens that it may have, one: a wide batch needs many pieces to find those alike in length.
    const TOKENS_PER_LOOK: usize = 8;

    /// The oldest task whose caller is still there.
    fn take_oldest(&mut self) -> Option<Task> {
        loop {
            let task = self.tasks.pop_front()?;
            self.n_tokens -= task.piece.n_tokens();
            if task.record.is_wanted() {
                return Some(task);
            }
        }
    }

    /// Whether what waits is enough for a list.
    fn fills(&self, packing: Packing) -> bool {
        match packing {
            Packing::Padded | Packing::Unpadded { .. } => true,
            Packing::Listed { max_pieces, max_tokens } => {
                self.tasks.len() >= max_pieces || self.n_tokens >= max_tokens
            }
        }
    }

    /// The oldest pieces up to the limits, in their order.
    fn take_list(&mut self, max_pieces: usize, max_tokens: usize) -> Option<Vec<Task>> {
        let first = self.take_oldest()?;
        let mut n_tokens = first.piece.n_tokens();
        let mut list = vec![first];
        while list.len() < max_pieces
            && self.tasks.front().is_some_and(|task| n_tokens + task.piece.n_tokens() <= max_tokens)
        {
            let Some(task) = self.tasks.pop_front() else { break };
            self.n_tokens -= task.piece.n_tokens();
            if task.record.is_wanted() {
                n_tokens += task.piece.n_tokens();
                list.push(task);
            }
        }
        Some(list)
    }

    /// The oldest batch of a job, whole: what another piece does must not change the batch that a piece is in.
    fn take_job_batch(&mut self) -> Option<Vec<Task>> {
        loop {
            let batch = self.jobs.pop_front()?;
            self.n_job_tokens -= batch.iter().map(|task| task.piece.n_tokens()).sum::<usize>();
            if batch.iter().any(|task| task.record.is_wanted()) {
                return Some(batch);
            }
        }
    }

    fn take_batch(&mut self, packing: Packing, max_batch_tokens: usize) -> Option<Vec<Task>> {
        let first = self.take_oldest()?;
        let (mut longest, want_hidden) = (first.piece.n_tokens(), first.want_hidden);
        let mut n_batch_tokens = longest;
        let mut batch = vec![first];
        let mut index = 0;
        let look_ahead = Self::LOOK_AHEAD.max(max_batch_tokens / Self::TOKENS_PER_LOOK);
        while index < self.tasks.len().min(look_ahead) {
            let task = &self.tasks[index];
            let n_tokens = task.piece.n_tokens();
            let fits = match packing {
                Packing::Padded => {
                    let padded = longest.max(n_tokens) * (batch.len() + 1);
                    // At most an eighth of a row may be padding.
                    let alike = longest.abs_diff(n_tokens) * 8 <= longest.max(n_tokens);
                    alike && padded <= max_batch_tokens
                }
                Packing::Unpadded { max_pieces } | Packing::Listed { max_pieces, .. } => {
                    batch.len() < max_pieces && n_batch_tokens + n_tokens <= max_batch_tokens
                }
            };
            if !fits || task.want_hidden != want_hidden {
                index += 1;
                continue;
            }
            longest = longest.max(n_tokens);
            n_batch_tokens += n_tokens;
            self.n_tokens -= n_tokens;
            batch.extend(self.tasks.remove(index).filter(|task| task.record.is_wanted()));
        }
        Some(batch)
    }
}

impl Record {
    /// A record of so many pieces on its way, and where its outcome will be told.
    fn new(n_pieces: usize) -> (Arc<Self>, oneshot::Receiver<Outcome>) {
        let (reply, receiver) = oneshot::channel();
        let state = RecordState { outputs: vec![None; n_pieces], n_missing: n_pieces, reply: Some(reply) };
        (Arc::new(Self { state: Mutex::new(state) }), receiver)
    }

    fn lock(&self) -> MutexGuard<'_, RecordState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// False when the caller has left or another piece has already failed.
    fn is_wanted(&self) -> bool {
        self.lock().reply.as_ref().is_some_and(|reply| !reply.is_closed())
    }

    fn deliver(&self, index: usize, output: PieceOutput) {
        let mut state = self.lock();
        state.outputs[index] = Some(output);
        state.n_missing -= 1;
        if state.n_missing == 0 {
            let outputs = state.outputs.drain(..).flatten().collect();
            if let Some(reply) = state.reply.take() {
                // The caller may have left in the meantime.
                let _ = reply.send(Ok(outputs));
            }
        }
    }

    fn fail(&self, error: &Arc<EncodeError>) {
        if let Some(reply) = self.lock().reply.take() {
            let _ = reply.send(Err(Arc::clone(error)));
        }
    }
}

#[cfg(test)]
mod tests {
    use protext_core::{Encoded, EncoderInput, LongPolicy, LongReport, Modality, RowKind, Space};

    use super::*;

    /// Answers with the first token's id; records the batches it saw. Waits for `gate` before each batch.
    struct Echo {
        batches: Arc<Mutex<Vec<Vec<usize>>>>,
        gate: Arc<(Mutex<bool>, Condvar)>,
    }

    impl EncoderWorker for Echo {
        fn run(&mut self, pieces: &[&Piece], _: bool) -> Result<Vec<PieceOutput>, EncodeError> {
            let (open, changed) = &*self.gate;
            drop(changed.wait_while(open.lock().unwrap(), |open| !*open).unwrap());
            self.batches.lock().unwrap().push(pieces.iter().map(|piece| piece.n_tokens()).collect());
            if pieces.iter().any(|piece| piece.token_ids[0] == -1) {
                return Err(EncodeError::NotFinite { encoder: "echo".into() });
            }
            if pieces.iter().any(|piece| piece.token_ids[0] == -2) {
                return Err(EncodeError::Refused { encoder: "echo".into(), source: "bad".into() });
            }
            let output = |piece: &&Piece| PieceOutput {
                mean: vec![piece.token_ids[0] as f32],
                layer_means: vec![],
                layer_variances: vec![],
                hidden: None,
            };
            Ok(pieces.iter().map(output).collect())
        }
    }

    #[derive(Clone)]
    struct EchoEncoder {
        batches: Arc<Mutex<Vec<Vec<usize>>>>,
        gate: Arc<(Mutex<bool>, Condvar)>,
        packing: Packing,
        n_released: Arc<AtomicUsize>,
    }

    impl Encoder for EchoEncoder {
        fn id(&self) -> &str {
            "echo"
        }
        fn modality(&self) -> Modality {
            Modality::Protein
        }
        fn space(&self, _: RowKind) -> Option<&Space> {
            None
        }
        fn window(&self) -> usize {
            10
        }
        fn packing(&self) -> Packing {
            self.packing
        }
        fn prepare(&self, _: &EncoderInput, _: LongPolicy) -> Result<Prepared, EncodeError> {
            unreachable!("tests prepare by hand")
        }
        fn open_worker(&self) -> Result<Box<dyn EncoderWorker>, EncodeError> {
            Ok(Box::new(Echo { batches: Arc::clone(&self.batches), gate: Arc::clone(&self.gate) }))
        }
        fn join(&self, _: &Prepared, _: Vec<PieceOutput>) -> Result<Encoded, EncodeError> {
            unreachable!("tests look at pieces")
        }
        fn release(&self) {
            self.n_released.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn start(encoder: &EchoEncoder, settings: BatcherSettings) -> Result<Batcher, EngineError> {
        Batcher::start(Arc::new(encoder.clone()), settings)
    }

    fn record(lengths: &[usize], token: i64) -> [Prepared; 1] {
        let piece = |&n| Piece { start: 0, token_ids: vec![token; n], weights: vec![1.0; n], text: None };
        [Prepared { pieces: lengths.iter().map(piece).collect(), report: LongReport::Whole }]
    }

    fn settings(max_batch_tokens: usize, max_queued_tokens: usize) -> BatcherSettings {
        BatcherSettings { n_workers: 1, max_batch_tokens, max_queued_tokens, unload_after: None }
    }

    fn closed_gate() -> EchoEncoder {
        let gate = Arc::new((Mutex::new(false), Condvar::new()));
        EchoEncoder { batches: Arc::default(), gate, packing: Packing::Padded, n_released: Arc::default() }
    }

    fn listing(max_pieces: usize, max_tokens: usize) -> EchoEncoder {
        EchoEncoder { packing: Packing::Listed { max_pieces, max_tokens }, ..closed_gate() }
    }

    fn open(encoder: &EchoEncoder) {
        *encoder.gate.0.lock().unwrap() = true;
        encoder.gate.1.notify_all();
    }

    /// Occupies the only worker, so that what follows is queued.
    fn occupy(batcher: &Batcher) -> oneshot::Receiver<Outcome> {
        let busy = batcher.try_submit(&record(&[1], 0), false).unwrap();
        while batcher.n_queued_tokens() > 0 {
            std::thread::yield_now();
        }
        busy
    }

    #[test]
    fn pieces_come_back_to_their_record_in_order() {
        let encoder = closed_gate();
        open(&encoder);
        let batcher = start(&encoder, settings(8, 1000)).unwrap();
        let first = batcher.submit_blocking(&record(&[3, 3, 9], 1), false);
        let second = batcher.submit_blocking(&record(&[2], 2), false);
        assert_eq!(first.blocking_recv().unwrap().unwrap().len(), 3);
        assert_eq!(second.blocking_recv().unwrap().unwrap()[0].mean, [2.0]);
    }

    #[test]
    fn batches_keep_the_budget_of_padded_tokens_and_like_lengths() {
        let encoder = closed_gate();
        let batcher = start(&encoder, settings(20, 10_000)).unwrap();
        let busy = occupy(&batcher);
        let lengths = [9, 1, 9, 10, 1, 30, 1];
        let waiting: Vec<_> = lengths.map(|n| batcher.try_submit(&record(&[n], 1), false).unwrap()).into();
        open(&encoder);
        busy.blocking_recv().unwrap().unwrap();
        waiting.into_iter().for_each(|reply| drop(reply.blocking_recv().unwrap().unwrap()));
        let batches = encoder.batches.lock().unwrap().clone();
        assert_eq!(batches, vec![vec![1], vec![9, 9], vec![1, 1, 1], vec![10], vec![30]]);
    }

    #[test]
    fn where_nothing_is_padded_batches_take_whatever_fits() {
        let encoder = EchoEncoder { packing: Packing::Unpadded { max_pieces: 4 }, ..closed_gate() };
        let batcher = start(&encoder, settings(20, 10_000)).unwrap();
        let busy = occupy(&batcher);
        let lengths = [9, 1, 9, 10, 1, 30, 1, 1, 1, 1];
        let waiting: Vec<_> = lengths.map(|n| batcher.try_submit(&record(&[n], 1), false).unwrap()).into();
        open(&encoder);
        busy.blocking_recv().unwrap().unwrap();
        waiting.into_iter().for_each(|reply| drop(reply.blocking_recv().unwrap().unwrap()));
        let batches = encoder.batches.lock().unwrap().clone();
        assert_eq!(batches, vec![vec![1], vec![9, 1, 9, 1], vec![10, 1, 1, 1], vec![30], vec![1]]);
        assert_eq!(batcher.counts().n_padding_tokens, 0);
    }

    #[test]
    fn a_full_room_refuses_and_a_lone_giant_is_admitted() {
        let encoder = closed_gate();
        let batcher = start(&encoder, settings(8, 10)).unwrap();
        let busy = occupy(&batcher);
        let giant = batcher.try_submit(&record(&[50], 1), false).unwrap();
        let refused = batcher.try_submit(&record(&[1], 1), false);
        assert!(matches!(refused, Err(EngineError::Busy { n_queued_tokens: 50 })));
        open(&encoder);
        busy.blocking_recv().unwrap().unwrap();
        giant.blocking_recv().unwrap().unwrap();
    }

    #[test]
    fn work_of_callers_that_left_is_dropped() {
        let encoder = closed_gate();
        let batcher = start(&encoder, settings(1, 1000)).unwrap();
        let busy = occupy(&batcher);
        drop(batcher.try_submit(&record(&[5], 1), false).unwrap());
        let stays = batcher.try_submit(&record(&[7], 1), false).unwrap();
        open(&encoder);
        busy.blocking_recv().unwrap().unwrap();
        stays.blocking_recv().unwrap().unwrap();
        assert_eq!(*encoder.batches.lock().unwrap(), vec![vec![1], vec![7]]);
    }

    #[test]
    fn lists_keep_their_limits_and_their_order_whatever_the_lengths() {
        let encoder = listing(3, 20);
        let batcher = start(&encoder, settings(1, 10_000)).unwrap();
        let busy = occupy(&batcher);
        let lengths = [9, 1, 5, 10, 1, 30, 1];
        let waiting: Vec<_> = lengths.map(|n| batcher.try_submit(&record(&[n], 1), false).unwrap()).into();
        open(&encoder);
        busy.blocking_recv().unwrap().unwrap();
        waiting.into_iter().for_each(|reply| drop(reply.blocking_recv().unwrap().unwrap()));
        let batches = encoder.batches.lock().unwrap().clone();
        assert_eq!(batches, vec![vec![1], vec![9, 1, 5], vec![10, 1], vec![30], vec![1]]);
    }

    #[test]
    fn a_refused_piece_does_not_spoil_its_neighbours() {
        let encoder = listing(8, 100);
        let batcher = start(&encoder, settings(1, 10_000)).unwrap();
        let busy = occupy(&batcher);
        let tokens = [1, 2, -2, 4, 5];
        let waiting = tokens.map(|token| batcher.try_submit(&record(&[1], token), false).unwrap());
        open(&encoder);
        busy.blocking_recv().unwrap().unwrap();
        for (token, reply) in tokens.into_iter().zip(waiting) {
            match reply.blocking_recv().unwrap() {
                Ok(outputs) => assert_eq!(outputs[0].mean, [token as f32]),
                Err(error) => assert!(token == -2 && matches!(*error, EncodeError::Refused { .. })),
            }
        }
    }

    #[test]
    fn a_failure_reaches_its_caller_and_the_worker_goes_on() {
        let encoder = closed_gate();
        open(&encoder);
        let batcher = start(&encoder, settings(1, 1000)).unwrap();
        let failed = batcher.submit_blocking(&record(&[2, 2], -1), false).blocking_recv().unwrap();
        assert!(matches!(*failed.unwrap_err(), EncodeError::NotFinite { .. }));
        let good = batcher.submit_blocking(&record(&[2], 4), false).blocking_recv().unwrap();
        assert_eq!(good.unwrap()[0].mean, [4.0]);
    }

    #[test]
    fn callers_go_before_jobs_and_jobs_make_nobody_wait_for_room() {
        let encoder = closed_gate();
        let batcher = start(&encoder, settings(8, 10)).unwrap();
        let busy = occupy(&batcher);
        let job: Vec<Vec<Prepared>> = vec![record(&[4], 1).into(), record(&[4], 1).into()];
        let of_job = batcher.submit_packed(&job, &[true; 2], false, 8);
        // The room of callers is as empty as before.
        assert_eq!(batcher.n_queued_tokens(), 0);
        let of_callers = [9, 1].map(|n| batcher.try_submit(&record(&[n], 2), false).unwrap());
        open(&encoder);
        busy.blocking_recv().unwrap().unwrap();
        for reply in of_job.into_iter().chain(of_callers) {
            reply.blocking_recv().unwrap().unwrap();
        }
        assert_eq!(*encoder.batches.lock().unwrap(), vec![vec![1], vec![9], vec![1], vec![4, 4]]);
    }

    #[test]
    fn a_bad_record_of_a_job_fails_alone() {
        let encoder = closed_gate();
        open(&encoder);
        let batcher = start(&encoder, settings(8, 1000)).unwrap();
        let job = [1, -1, 3].map(|token| record(&[2], token).into());
        let outcomes = batcher
            .submit_packed(&job, &[true; 3], false, 8)
            .into_iter()
            .map(|reply| reply.blocking_recv().unwrap());
        let is_ok: Vec<bool> = outcomes.map(|outcome| outcome.is_ok()).collect();
        assert_eq!(is_ok, [true, false, true]);
    }

    #[test]
    fn sessions_are_given_back_and_opened_again() {
        let encoder = closed_gate();
        open(&encoder);
        let unload_after = Some(Duration::from_millis(20));
        let batcher =
            start(&encoder, BatcherSettings { n_workers: 3, unload_after, ..settings(8, 1000) }).unwrap();
        for round in 1..4 {
            while batcher.n_sessions() > 0 {
                std::thread::yield_now();
            }
            // The last session took the shared weights with it, once.
            while encoder.n_released.load(Ordering::SeqCst) < round {
                std::thread::yield_now();
            }
            let good = batcher.submit_blocking(&record(&[2], 4), false).blocking_recv().unwrap();
            assert_eq!(good.unwrap()[0].mean, [4.0]);
            assert_eq!(encoder.n_released.load(Ordering::SeqCst), round);
        }
        let kept = start(&encoder, settings(8, 1000)).unwrap();
        std::thread::sleep(Duration::from_millis(60));
        assert_eq!(kept.n_sessions(), 1);
    }
}
