//! What the service counts, in Prometheus' words (`GET /metrics`).
//!
//! Requests and stages are counted as they happen; queues, models, collections and memory are read when they are asked for.

use std::sync::atomic::{AtomicI64, AtomicU64};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, text::encode};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use protext_engine::search::Explanation;

use crate::state::AppState;

/// Upper bounds of the time buckets, in seconds: a look-up takes less than a millisecond, a request at most its deadline.
const SECONDS: [f64; 15] =
    [0.000_25, 0.000_5, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0, 20.0, 60.0];

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RouteLabels {
    route: String,
    method: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct AnswerLabels {
    route: String,
    method: String,
    status: u16,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct StageLabels {
    stage: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct EncoderLabels {
    encoder: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct DeviceLabels {
    encoder: String,
    device_asked: String,
    provider: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct CollectionLabels {
    collection: String,
}

type Seconds = fn() -> Histogram;
type PerEncoder = Family<EncoderLabels, Gauge<i64, AtomicI64>>;
type PerCollection = Family<CollectionLabels, Gauge<i64, AtomicI64>>;
type Estimate = Family<CollectionLabels, Gauge<f64, AtomicU64>>;

/// Everything that is counted.
pub(crate) struct Metrics {
    answers: Family<AnswerLabels, Counter>,
    seconds: Family<RouteLabels, Histogram, Seconds>,
    stages: Family<StageLabels, Histogram, Seconds>,
    under_way: Gauge,
    /// Read when asked for; one reader at a time.
    read: Mutex<ReadGauges>,
}

struct ReadGauges {
    registry: Registry,
    queue_tokens: PerEncoder,
    batches: PerEncoder,
    failed_batches: PerEncoder,
    batch_tokens: PerEncoder,
    padding_tokens: PerEncoder,
    cache_hits: PerEncoder,
    cache_misses: PerEncoder,
    sessions: PerEncoder,
    kept_hits: PerEncoder,
    kept_misses: PerEncoder,
    devices: Family<DeviceLabels, Gauge>,
    records: PerCollection,
    changes: PerCollection,
    vector_bytes: PerCollection,
    recall: Estimate,
    recall_low: Estimate,
    recall_high: Estimate,
    recall_searches: PerCollection,
    recall_dropped: Gauge,
    resident: Gauge,
    ready: Gauge,
}

fn in_seconds() -> Histogram {
    Histogram::new(SECONDS)
}

impl Default for Metrics {
    fn default() -> Self {
        let (answers, under_way) = (Family::default(), Gauge::default());
        let seconds = Family::new_with_constructor(in_seconds as Seconds);
        let stages = Family::new_with_constructor(in_seconds as Seconds);
        let mut registry = Registry::with_prefix("protext");
        registry.register("http_requests", "Requests answered", Family::clone(&answers));
        let help = "Time from the head of a request to the head of its answer";
        registry.register_with_unit("http_request", help, Unit::Seconds, Family::clone(&seconds));
        let help = "Time of the stages of searches: encode (with waiting), search, rerank";
        registry.register_with_unit("stage", help, Unit::Seconds, Family::clone(&stages));
        registry.register("http_requests_under_way", "Requests being answered", Gauge::clone(&under_way));
        Self { answers, seconds, stages, under_way, read: Mutex::new(ReadGauges::new(registry)) }
    }
}

impl ReadGauges {
    fn new(registry: Registry) -> Self {
        let mut gauges = Self {
            registry,
            queue_tokens: Family::default(),
            batches: Family::default(),
            failed_batches: Family::default(),
            batch_tokens: Family::default(),
            padding_tokens: Family::default(),
            cache_hits: Family::default(),
            cache_misses: Family::default(),
            sessions: Family::default(),
            kept_hits: Family::default(),
            kept_misses: Family::default(),
            devices: Family::default(),
            records: Family::default(),
            changes: Family::default(),
            vector_bytes: Family::default(),
            recall: Family::default(),
            recall_low: Family::default(),
            recall_high: Family::default(),
            recall_searches: Family::default(),
            recall_dropped: Gauge::default(),
            resident: Gauge::default(),
            ready: Gauge::default(),
        };
        gauges.register();
        gauges
    }

    fn register(&mut self) {
        let of_encoders: [(&str, &str, &PerEncoder); 10] = [
            ("queue_tokens", "Tokens waiting for an encoder", &self.queue_tokens),
            ("batches_run", "Batches that an encoder has run since the start", &self.batches),
            (
                "batches_failed",
                "Batches that an encoder gave no answer to since the start",
                &self.failed_batches,
            ),
            ("batch_tokens_run", "Tokens in these batches, without padding", &self.batch_tokens),
            ("batch_padding_tokens_run", "Padding in these batches, in tokens", &self.padding_tokens),
            (
                "query_cache_hits",
                "Queries whose encoding was still in memory, since the start",
                &self.cache_hits,
            ),
            (
                "query_cache_misses",
                "Queries whose encoding was not in memory, since the start",
                &self.cache_misses,
            ),
            ("encoder_sessions", "Sessions of an encoder that are open now", &self.sessions),
            ("embedding_cache_hits", "Encodings found in the cache on disk since the start", &self.kept_hits),
            (
                "embedding_cache_misses",
                "Encodings looked for there in vain since the start",
                &self.kept_misses,
            ),
        ];
        for (name, help, family) in of_encoders {
            self.registry.register(name, help, Family::clone(family));
        }
        let of_collections: [(&str, &str, &PerCollection); 4] = [
            ("collection_records", "Records of a collection", &self.records),
            ("collection_changes", "Changes since the snapshot of a collection", &self.changes),
            (
                "collection_vector_bytes",
                "Bytes of a collection's vectors in all of its spaces",
                &self.vector_bytes,
            ),
            ("recall_searches", "Sampled searches behind the estimate of recall", &self.recall_searches),
        ];
        for (name, help, family) in of_collections {
            self.registry.register(name, help, Family::clone(family));
        }
        let estimates: [(&str, &str, &Estimate); 3] = [
            (
                "recall_estimate",
                "Share of the true neighbours that searches find, of sampled ones",
                &self.recall,
            ),
            ("recall_estimate_low", "Lower end of its 95% Wilson interval", &self.recall_low),
            ("recall_estimate_high", "Upper end of its 95% Wilson interval", &self.recall_high),
        ];
        for (name, help, family) in estimates {
            self.registry.register(name, help, Family::clone(family));
        }
        let help = "1 for each loaded encoder, with the device asked for and the provider that runs it";
        self.registry.register("encoder_device", help, Family::clone(&self.devices));
        let help = "Sampled searches that were not compared because too many waited";
        self.registry.register("recall_dropped", help, Gauge::clone(&self.recall_dropped));
        self.registry.register("resident_bytes", "Memory of the process", Gauge::clone(&self.resident));
        self.registry.register("ready", "1 once each model has answered", Gauge::clone(&self.ready));
    }

    fn read(&mut self, state: &AppState) {
        for embedder in state.engine.embedders() {
            let labels = EncoderLabels { encoder: embedder.encoder().id().to_owned() };
            let counts = embedder.batcher().counts();
            let set = |family: &PerEncoder, n: u64| family.get_or_create(&labels).set(as_i64(n));
            set(&self.queue_tokens, embedder.batcher().n_queued_tokens() as u64);
            set(&self.batches, counts.n_batches);
            set(&self.failed_batches, counts.n_failed_batches);
            set(&self.batch_tokens, counts.n_tokens);
            set(&self.padding_tokens, counts.n_padding_tokens);
            set(&self.sessions, embedder.batcher().n_sessions() as u64);
            let (hits, misses) = embedder.cache_counts();
            set(&self.cache_hits, hits);
            set(&self.cache_misses, misses);
            if let Some((hits, misses)) = embedder.kept_counts() {
                set(&self.kept_hits, hits);
                set(&self.kept_misses, misses);
            }
        }
        for encoder in &state.encoders {
            let labels = DeviceLabels {
                encoder: encoder.id.clone(),
                device_asked: encoder.device_asked.clone(),
                provider: encoder.provider.clone(),
            };
            self.devices.get_or_create(&labels).set(1);
        }
        self.read_collections(state);
        self.resident.set(as_i64(resident_bytes().unwrap_or(0)));
        self.ready.set(i64::from(state.watched.is_ready()));
    }

    fn read_collections(&mut self, state: &AppState) {
        // Collections come and go, so what is gone must not stay.
        for family in [&self.records, &self.changes, &self.vector_bytes, &self.recall_searches] {
            family.clear();
        }
        for family in [&self.recall, &self.recall_low, &self.recall_high] {
            family.clear();
        }
        for (name, open) in state.engine.collections().iter() {
            let labels = CollectionLabels { collection: name.clone() };
            let view = open.view();
            let row_bytes: usize = view.spaces().iter().map(|space| space.dim * size_of::<f32>()).sum();
            let set = |family: &PerCollection, n: usize| family.get_or_create(&labels).set(as_i64(n as u64));
            set(&self.records, view.len());
            set(&self.changes, view.n_changes());
            set(&self.vector_bytes, view.len() * row_bytes);
            let Some(monitor) = state.engine.recall() else { continue };
            self.recall_dropped.set(as_i64(monitor.n_dropped()));
            let Some(estimate) = monitor.estimate(name) else { continue };
            self.recall.get_or_create(&labels).set(estimate.recall);
            self.recall_low.get_or_create(&labels).set(estimate.low);
            self.recall_high.get_or_create(&labels).set(estimate.high);
            set(&self.recall_searches, estimate.n_searches);
        }
    }
}

fn as_i64(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

impl Metrics {
    pub(crate) fn began(&self) {
        self.under_way.inc();
    }

    pub(crate) fn ended(&self) {
        self.under_way.dec();
    }

    pub(crate) fn answered(&self, route: &str, method: &str, status: u16, took: Duration) {
        let (route, method) = (route.to_owned(), method.to_owned());
        let labels = RouteLabels { route: route.clone(), method: method.clone() };
        self.seconds.get_or_create(&labels).observe(took.as_secs_f64());
        self.answers.get_or_create(&AnswerLabels { route, method, status }).inc();
    }

    pub(crate) fn searched(&self, explanation: &Explanation) {
        let Explanation { encode_ms, search_ms, rerank_ms, .. } = explanation;
        for (stage, ms) in [("encode", encode_ms), ("search", search_ms), ("rerank", rerank_ms)] {
            if *ms > 0.0 {
                self.stages.get_or_create(&StageLabels { stage }).observe(ms / 1e3);
            }
        }
    }

    /// Everything, in Prometheus' text format.
    pub(crate) fn text(&self, state: &AppState) -> String {
        let mut gauges = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        gauges.read(state);
        let mut text = String::new();
        if let Err(error) = encode(&mut text, &gauges.registry) {
            tracing::error!(%error, "the metrics cannot be written");
        }
        text
    }
}

/// Memory of this process, where the system tells.
#[must_use]
pub fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    Some(kib * 1024)
}
