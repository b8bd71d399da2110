//! Wire forms of types that live below this crate, which knows no OpenAPI: a space, a target, reports.
//!
//! They are for the description alone. The test that fuzzes the service holds every real answer against them, so one that
//! drifts away from its type fails there.

#![expect(dead_code, reason = "only their descriptions are used")]

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What a collection holds.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Target {
    Proteins,
    Texts,
    Genes,
}

/// What to do with inputs over the model's window.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LongPolicy {
    Window,
    Truncate,
    Reject,
}

/// What an encoder reads.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Modality {
    Protein,
    Text,
}

/// A vector's home. Vectors of different fingerprints cannot be compared.
#[derive(Serialize, ToSchema)]
pub(crate) struct Space {
    name: String,
    /// Components of a vector.
    #[schema(minimum = 1)]
    dim: usize,
    /// Its identity: 64 hexadecimal digits.
    #[schema(pattern = "^[0-9a-f]{64}$")]
    fingerprint: String,
}

/// Index of a collection.
#[derive(Serialize, ToSchema)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub(crate) enum Index {
    /// Every record is compared.
    Exact,
    /// A neighbour graph.
    Hnsw { m: usize, ef_construction: usize },
    /// A Qdrant server's graph, in parts that so many nodes hold each.
    Qdrant { shards: u32, replicas: u32 },
}

/// Recall of the answers, estimated from a sampled share of the searches.
#[derive(Serialize, ToSchema)]
pub(crate) struct Recall {
    #[schema(minimum = 0, maximum = 1)]
    recall: f64,
    /// Lower end of the 95% Wilson interval.
    low: f64,
    /// Upper end.
    high: f64,
    /// Sampled searches.
    n_searches: usize,
}

/// A copy of a collection.
#[derive(Serialize, ToSchema)]
pub(crate) struct Snapshot {
    #[schema(minimum = 1)]
    number: u64,
    n_bytes: u64,
    /// In seconds since 1970.
    created_unix_s: u64,
}

/// What was done with an input over the model's window.
#[derive(Serialize, ToSchema)]
#[serde(tag = "policy", rename_all = "snake_case")]
pub(crate) enum LongReport {
    /// It fitted.
    Whole,
    /// Covered by overlapping windows.
    Windowed { n_windows: usize },
    /// Cut off.
    Truncated { kept: usize, length: usize },
}

/// What the residue rules did to a sequence.
#[derive(Serialize, ToSchema)]
pub(crate) struct ResidueNotes {
    n_lower_case: usize,
    n_gaps: usize,
    n_stops: usize,
    n_replaced: usize,
    n_ambiguous: usize,
    n_rare: usize,
    looks_like_nucleotides: bool,
}

/// How an answer was found.
#[derive(Serialize, ToSchema)]
pub(crate) struct Explanation {
    space: Space,
    /// True if every record was compared.
    exact: bool,
    n_records: usize,
    encode_ms: f64,
    search_ms: f64,
    rerank_ms: f64,
}

/// A local alignment (Smith-Waterman, BLOSUM62). Ranges are first and last residue, counted from 1.
#[derive(Serialize, ToSchema)]
pub(crate) struct LocalAlignment {
    #[schema(minimum = 0, maximum = 100)]
    identity_percent: f64,
    n_columns: usize,
    n_mismatches: usize,
    n_gap_opens: usize,
    #[schema(min_items = 2, max_items = 2)]
    query_range: Vec<usize>,
    #[schema(min_items = 2, max_items = 2)]
    target_range: Vec<usize>,
    score: i32,
    bit_score: f64,
    e_value: f64,
}

/// What one caller may ask for at once.
#[derive(Serialize, ToSchema)]
pub(crate) struct Limits {
    max_records: usize,
    max_residues: usize,
    max_k: usize,
    max_rerank: usize,
}

/// Columns over the records of a map; the same place in each is one record.
#[derive(Serialize, ToSchema)]
pub(crate) struct CollectionMap {
    /// Records of the collection; those below are evenly spread among them.
    n_records: usize,
    ids: Vec<String>,
    /// Left to right, -1 to 1.
    x: Vec<f32>,
    /// Bottom to top, -1 to 1.
    y: Vec<f32>,
    names: Vec<String>,
    genes: Vec<String>,
    organisms: Vec<String>,
    lengths: Vec<u32>,
}

/// The training protein that a head finds most like another.
#[derive(Serialize, ToSchema)]
pub(crate) struct NearestProtein {
    id: String,
    /// Cosine.
    similarity: f32,
}

/// How positions are masked.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Masking {
    Each,
    Spread,
}

/// Scores of mutants, and of every substitution where a scan was asked for.
#[derive(Serialize, ToSchema)]
pub(crate) struct VariantsAnswer {
    model: String,
    lm_head: Option<String>,
    length: usize,
    variants: Vec<Variant>,
    scan: Option<Scan>,
    #[schema(value_type = LongReport)]
    long: serde_json::Value,
    residues: Option<ResidueNotes>,
}

/// Scores of one mutant; those that were not asked for are absent.
#[derive(Serialize, ToSchema)]
pub(crate) struct Variant {
    mutant: String,
    /// Higher is fitter.
    masked_marginal: Option<f64>,
    /// Higher is fitter.
    wild_type_marginal: Option<f64>,
    /// Higher is further.
    embedding_shift: Option<f64>,
}

/// Scores of all substitutions of one protein.
#[derive(Serialize, ToSchema)]
pub(crate) struct Scan {
    sequence: String,
    /// Columns of the scores.
    amino_acids: String,
    masked_marginal: Option<Vec<Vec<f32>>>,
    wild_type_marginal: Option<Vec<Vec<f32>>>,
}

/// What is predicted for one set of genes.
#[derive(Serialize, ToSchema)]
pub(crate) struct PerturbationAnswer {
    head: String,
    /// What a prediction is a change of.
    unit: String,
    genes: Vec<AskedGene>,
    n_outputs: usize,
    /// Largest first.
    movers: Vec<PredictedChange>,
}

/// What is predicted for many sets of genes.
#[derive(Serialize, ToSchema)]
pub(crate) struct PerturbationAnswers {
    results: Vec<PerturbationAnswer>,
}

/// One prediction, or many.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum PerturbationAnswerOrAnswers {
    One(PerturbationAnswer),
    Many(PerturbationAnswers),
}

/// A gene as it was understood.
#[derive(Serialize, ToSchema)]
pub(crate) struct AskedGene {
    asked: String,
    symbol: String,
    entrez_id: String,
    resolved_by: String,
    in_training: bool,
    nearest: Option<NearestGene>,
}

/// The training gene most like another.
#[derive(Serialize, ToSchema)]
pub(crate) struct NearestGene {
    symbol: String,
    similarity: f32,
    distance: f32,
}

/// One output.
#[derive(Serialize, ToSchema)]
pub(crate) struct PredictedChange {
    name: String,
    predicted: f32,
    /// Ends of an interval that held 95% of the residuals of cross-validation.
    low: f32,
    high: f32,
    training_mean: f32,
    /// Ridge regression on text alone.
    text_ridge: f32,
}

/// A job to submit.
#[derive(Serialize, ToSchema)]
pub(crate) struct NewJob {
    /// `kind` (`embed`, `index`, `search_all`, `annotate`, `ppi`) with the fields of that kind, as in the query of an upload.
    task: serde_json::Map<String, serde_json::Value>,
    /// Paths below the service's folder of inputs.
    #[schema(min_items = 1)]
    inputs: Vec<String>,
    name: Option<String>,
    /// `encoder`, `text_encoder`.
    model: Option<serde_json::Map<String, serde_json::Value>>,
    /// `long`, `strict`, `keep_first`.
    records: Option<serde_json::Map<String, serde_json::Value>>,
    /// `shard_residues`, `batch_tokens`, `max_failures`, `max_deaths`.
    cutting: Option<serde_json::Map<String, serde_json::Value>>,
    /// Hours that the finished job is kept.
    keep_hours: Option<u64>,
}

/// What a job does with each record.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum JobKind {
    Embed,
    Index,
    SearchAll,
    Annotate,
    Ppi,
}

/// Rows of the encoder, or unit vectors.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum JobSpace {
    Encoder,
    Joint,
}

/// Which index a collection gets.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum JobIndex {
    Auto,
    Exact,
    Hnsw,
}

/// What a job is doing.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum JobState {
    Submitted,
    Planning,
    Queued,
    Running,
    Committing,
    Interrupted,
    Done,
    Failed,
    Cancelled,
}

/// An event of a stream, as parsers of server-sent events give it.
#[derive(Serialize, ToSchema)]
pub(crate) struct JobEvent {
    /// `progress`, at last `end`, or `gone`.
    #[schema(example = "end")]
    event: String,
    /// A job as JSON; of `gone`, what happened.
    #[schema(example = "{\"id\": \"proteome\", \"state\": \"done\"}")]
    data: String,
}

/// What is known of a job. Times are in seconds since 1970.
#[derive(Serialize, ToSchema)]
pub(crate) struct Job {
    id: String,
    kind: JobKind,
    state: JobState,
    submitted_unix_s: u64,
    started_unix_s: Option<u64>,
    finished_unix_s: Option<u64>,
    /// When it will be removed.
    expires_unix_s: Option<u64>,
    /// Why it failed.
    error: Option<JobFault>,
    shards: JobShards,
    /// Residues (or characters) of the distinct contents.
    n_residues: u64,
    n_residues_done: u64,
    /// What was submitted.
    spec: serde_json::Map<String, serde_json::Value>,
    /// What it works on, once that is known: version, model, spaces, inputs with hashes, counts.
    plan: Option<serde_json::Map<String, serde_json::Value>>,
    /// What came of it, once it is done.
    manifest: Option<JobManifest>,
    /// The last things that were refused, or went wrong and were tried again.
    notes: Option<Vec<JobNote>>,
}

/// Why a job failed.
#[derive(Serialize, ToSchema)]
pub(crate) struct JobFault {
    /// A short word for programs.
    kind: String,
    message: String,
}

/// Shards by what became of them.
#[derive(Serialize, ToSchema)]
pub(crate) struct JobShards {
    n: u64,
    n_done: u64,
    n_failed: u64,
    n_retries: u64,
}

/// Something that was refused, or went wrong and was tried again.
#[derive(Serialize, ToSchema)]
pub(crate) struct JobNote {
    at_unix_s: u64,
    kind: String,
    message: String,
}

/// What came of a job.
#[derive(Serialize, ToSchema)]
pub(crate) struct JobManifest {
    id: String,
    plan: serde_json::Map<String, serde_json::Value>,
    spec: serde_json::Map<String, serde_json::Value>,
    n_done: u64,
    n_failed: u64,
    shards: JobShards,
    /// Place, format, size and sha256 of each file.
    results: Vec<serde_json::Map<String, serde_json::Value>>,
}
