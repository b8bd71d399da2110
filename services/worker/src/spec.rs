//! What a job is to do, as it is submitted: one JSON object on the command line's, the service's and the folder's side.
//!
//! [`JobSpec::check`] holds it to the rules before anything is written.

use protext_core::{LongPolicy, Modality};
use protext_engine::Target;
use protext_engine::output::OutputFormat;
use serde::{Deserialize, Serialize};

use crate::error::JobError;

/// Residues (or characters) of a shard at most: about ten seconds of two CPU cores with an 8M-parameter encoder, so a
/// killed worker loses that much.
pub const DEFAULT_SHARD_RESIDUES: u64 = 1 << 17;
/// Contents of a shard at most.
pub const MAX_SHARD_CONTENTS: u64 = 1 << 12;
/// Hours that a finished job is kept.
pub const DEFAULT_KEEP_HOURS: u64 = 24 * 14;
const MAX_K: usize = 10_000;

/// A job, as it is submitted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JobSpec {
    /// Its name, which is also its id; one is made if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What is done with each record.
    pub task: Task,
    /// Files, or objects such as `s3://bucket/proteome.fasta.gz`.
    pub inputs: Vec<String>,
    /// Where the results go: a file, a folder for a collection, or an object. In the job's own folder if unsaid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
    /// Replace an output that exists.
    #[serde(default)]
    pub overwrite: bool,
    /// Models, by the names that the machine of the worker knows them by.
    #[serde(default)]
    pub model: ModelChoice,
    /// How records are treated.
    #[serde(default)]
    pub records: RecordRules,
    /// How the work is cut.
    #[serde(default)]
    pub cutting: Cutting,
    /// Hours that the job is kept once it is finished; its output outside of its folder stays.
    #[serde(default = "default_keep_hours")]
    pub keep_hours: u64,
}

fn default_keep_hours() -> u64 {
    DEFAULT_KEEP_HOURS
}

/// What is done with each record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Task {
    /// Vectors to a file.
    Embed {
        /// Rows of the encoder, or unit vectors of the joint space.
        #[serde(default)]
        space: SpaceChoice,
        /// One row a residue.
        #[serde(default)]
        per_residue: bool,
        /// The format; by default the output's ending tells it, else Parquet.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        format: Option<OutputFormat>,
    },
    /// A collection to search in.
    Index {
        /// What the records are.
        #[serde(default = "proteins")]
        target: Target,
        /// Its index.
        #[serde(default)]
        index: IndexChoice,
    },
    /// The nearest records of a collection for each protein.
    SearchAll {
        /// Folder of the collection, or its name at a service.
        collection: String,
        /// Hits of each protein.
        #[serde(default = "default_hits")]
        k: usize,
        /// Compare with every record.
        #[serde(default)]
        exact: bool,
        /// Lines of the output.
        #[serde(default)]
        format: HitFormat,
    },
    /// Ranked texts for each protein.
    Annotate {
        /// Folder of a collection of texts, or its name at a service; the functions that ship if unsaid.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        collection: Option<String>,
        /// Texts of each protein.
        #[serde(default = "default_annotations")]
        k: usize,
        /// Lines of the output: `tsv` or `json`.
        #[serde(default)]
        format: HitFormat,
    },
    /// The proteins that each protein interacts with most probably: all against all.
    Ppi {
        /// Partners of each protein.
        #[serde(default = "default_hits")]
        k: usize,
        /// Only pairs of at least this probability.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        min_probability: Option<f64>,
        /// Folder of a head instead of the one that ships.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        head: Option<String>,
        /// Lines of the output: `tsv` or `json`.
        #[serde(default)]
        format: HitFormat,
    },
}

fn proteins() -> Target {
    Target::Proteins
}

fn default_hits() -> usize {
    10
}

fn default_annotations() -> usize {
    5
}

/// Which rows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SpaceChoice {
    /// Rows of the encoder.
    #[default]
    Encoder,
    /// Unit vectors that collections are searched with.
    Joint,
}

/// Which index a collection gets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IndexChoice {
    /// Exact for few records, a graph for many.
    #[default]
    Auto,
    /// Every record is compared.
    Exact,
    /// A graph.
    Hnsw,
}

/// Lines of hits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HitFormat {
    /// Tab-separated, as `protext search` prints.
    #[default]
    Tsv,
    /// BLAST's twelve columns, from alignments.
    M8,
    /// One JSON object a protein.
    Json,
}

/// Models, by the names that the machine of the worker knows them by.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ModelChoice {
    /// Encoder; the worker's own default if unsaid.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encoder: Option<String>,
    /// Text encoder, for texts and for the functions that ship.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text_encoder: Option<String>,
    /// Device, such as `cpu`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// Folder of a projection instead of the one that ships.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub projection: Option<String>,
    /// Folder of towers instead of those that ship.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub towers: Option<String>,
}

/// How records are treated.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RecordRules {
    /// Inputs over the window: `window`, `truncate` or `reject`; windows for proteins and a cut for texts if unsaid.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub long: Option<LongPolicy>,
    /// Refuse every residue but the 20 standard ones in upper case.
    pub strict: bool,
    /// Keep the first record of each id without counting further ones as failures.
    pub keep_first: bool,
}

/// How the work is cut, and how often a part is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Cutting {
    /// Residues (or characters) of a shard at most.
    pub shard_residues: u64,
    /// Padded tokens of one batch at most; what the worker's device takes if unsaid: 256 on CPUs, 32,768 on GPUs. It decides
    /// the last bits of what records of less than half of it get.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch_tokens: Option<usize>,
    /// Failures after which a shard is given up.
    pub max_failures: u32,
    /// Deaths of its worker after which a shard is given up: more, because a machine that is switched off is not the
    /// shard's fault.
    pub max_deaths: u32,
}

impl Default for Cutting {
    fn default() -> Self {
        Self { shard_residues: DEFAULT_SHARD_RESIDUES, batch_tokens: None, max_failures: 3, max_deaths: 25 }
    }
}

impl JobSpec {
    /// A job with defaults.
    #[must_use]
    pub fn new(task: Task, inputs: Vec<String>) -> Self {
        Self {
            name: None,
            task,
            inputs,
            output: None,
            overwrite: false,
            model: ModelChoice::default(),
            records: RecordRules::default(),
            cutting: Cutting::default(),
            keep_hours: DEFAULT_KEEP_HOURS,
        }
    }

    /// Holds the job to the rules that need no file and no model.
    ///
    /// # Errors
    /// [`JobError::BadName`] or [`JobError::Field`].
    pub fn check(&self) -> Result<(), JobError> {
        let field = |field, rule: &str| Err(JobError::Field { field, rule: rule.to_owned() });
        if let Some(name) = &self.name {
            check_name(name)?;
        }
        if self.inputs.is_empty() {
            return field("inputs", "is empty; name at least one file");
        }
        if self.cutting.shard_residues == 0 || self.cutting.batch_tokens == Some(0) {
            return field("cutting", "shard_residues and batch_tokens must be at least 1");
        }
        if self.cutting.max_failures == 0 || self.cutting.max_deaths == 0 {
            return field("cutting", "max_failures and max_deaths must be at least 1");
        }
        match &self.task {
            Task::Embed { per_residue: true, format: Some(OutputFormat::AnnData), .. } => {
                field("format", "AnnData holds one vector a record; leave per_residue out")
            }
            Task::Embed { space: SpaceChoice::Joint, per_residue: true, .. } => {
                field("per_residue", "gives rows of the encoder; leave space \"joint\" out")
            }
            Task::SearchAll { k, .. } | Task::Annotate { k, .. } | Task::Ppi { k, .. }
                if *k == 0 || *k > MAX_K =>
            {
                field("k", "must be 1 to 10000")
            }
            Task::Annotate { format: HitFormat::M8, .. } => {
                field("format", "texts have no alignment; ask for tsv or json")
            }
            Task::Ppi { format: HitFormat::M8, .. } => {
                field("format", "pairs have no alignment; ask for tsv or json")
            }
            Task::Ppi { min_probability: Some(least), .. } if !(0.0..=1.0).contains(least) => {
                field("min_probability", "must be from 0 to 1")
            }
            _ => Ok(()),
        }
    }

    /// What its records must hold, given what the named encoder reads.
    #[must_use]
    pub fn modality(&self, of_encoder: Modality) -> Modality {
        match &self.task {
            Task::Embed { .. } => of_encoder,
            Task::Index { target, .. } => target.modality(),
            Task::SearchAll { .. } | Task::Annotate { .. } | Task::Ppi { .. } => Modality::Protein,
        }
    }

    /// Whether vectors of joint spaces are needed. A head for pairs says itself what it reads.
    #[must_use]
    pub fn needs_joint(&self) -> bool {
        !matches!(self.task, Task::Embed { space: SpaceChoice::Encoder, .. } | Task::Ppi { .. })
    }

    /// Whether its shards are gone through a second time, to pair them.
    #[must_use]
    pub fn is_of_pairs(&self) -> bool {
        matches!(self.task, Task::Ppi { .. })
    }
}

impl Task {
    /// Its kind, as in JSON.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Task::Embed { .. } => "embed",
            Task::Index { .. } => "index",
            Task::SearchAll { .. } => "search_all",
            Task::Annotate { .. } => "annotate",
            Task::Ppi { .. } => "ppi",
        }
    }
}

/// Names are folders and parts of addresses.
pub(crate) fn check_name(name: &str) -> Result<(), JobError> {
    let refused = |rule| Err(JobError::BadName { name: name.chars().take(80).collect(), rule });
    match name.as_bytes() {
        [] => refused("is empty"),
        bytes if bytes.len() > 64 => refused("is longer than 64 characters"),
        [first, ..] if !first.is_ascii_alphanumeric() => refused("begins with another character"),
        bytes if bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(byte)) => Ok(()),
        _ => refused("holds another character"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spec_is_read_with_defaults_and_mistakes_are_named() {
        let spec: JobSpec =
            serde_json::from_str(r#"{"task": {"kind": "embed"}, "inputs": ["a.fasta"]}"#).unwrap();
        assert_eq!(spec.cutting, Cutting::default());
        assert!(spec.check().is_ok());
        assert!(
            serde_json::from_str::<JobSpec>(r#"{"task": {"kind": "embed", "spice": 1}, "inputs": []}"#)
                .is_err()
        );
        for (json, word) in [
            (r#"{"task": {"kind": "embed"}, "inputs": []}"#, "inputs"),
            (r#"{"task": {"kind": "embed"}, "inputs": ["a"], "name": "../x"}"#, "begins"),
            (r#"{"task": {"kind": "search_all", "collection": "c", "k": 0}, "inputs": ["a"]}"#, "k"),
            (
                r#"{"task": {"kind": "embed", "space": "joint", "per_residue": true}, "inputs": ["a"]}"#,
                "joint",
            ),
        ] {
            let spec: JobSpec = serde_json::from_str(json).unwrap();
            let error = spec.check().unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
    }
}
