//! Settings of `protext serve`: built-in values, then the file, then the environment, then flags.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use protext_engine::{BatcherSettings, Limits};
use protext_onnx::{Device, DeviceChoice};
use serde::Deserialize;

use crate::embedding_cache::EmbeddingCacheArgs;
use crate::qdrant::QdrantLayout;
use crate::wiring::ModelArgs;

/// What the service runs with; every field may stand in the file, the scalar ones also in `PROTEXT_<NAME>`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ServeSettings {
    /// Address to listen on.
    pub(crate) listen: SocketAddr,
    /// Protein encoder.
    pub(crate) encoder: String,
    /// Folder of a projection instead of the one that ships for the encoder.
    pub(crate) projection: Option<PathBuf>,
    /// Folder of towers instead of those that ship.
    pub(crate) towers: Option<PathBuf>,
    /// Folder of a head that predicts interactions instead of the one that ships.
    pub(crate) ppi_head: Option<PathBuf>,
    /// Text encoder, for searches by text; none by default.
    pub(crate) text_encoder: Option<String>,
    /// Device for all encoders, such as `cpu`, or with its numbers, such as `openvino:fp32`.
    pub(crate) device: DeviceChoice,
    /// Sessions of each encoder; 0 takes one a core for proteins and one for texts.
    pub(crate) n_workers: usize,
    /// Collections: name and folder.
    pub(crate) collections: BTreeMap<String, PathBuf>,
    /// Largest request body, in bytes.
    pub(crate) max_body_bytes: usize,
    /// Most records in one request.
    pub(crate) max_records: usize,
    /// Longest sequence, in residues.
    pub(crate) max_residues: usize,
    /// Most hits of one query.
    pub(crate) max_k: usize,
    /// Most hits that a query has ordered anew; 0 allows none.
    pub(crate) max_rerank: usize,
    /// Most tokens waiting for an encoder.
    pub(crate) max_queued_tokens: usize,
    /// Time without work after which a model gives back its memory, in seconds; 0 keeps it.
    pub(crate) unload_after_s: u64,
    /// File that embeddings are kept in, on a local disk; one beside the models by default.
    pub(crate) embedding_cache: Option<PathBuf>,
    /// Its size in MiB; 0 keeps none.
    pub(crate) embedding_cache_mib: u64,
    /// Qdrant server, such as `qdrant://qdrant:6333`, whose collections are served and in which new ones are made.
    pub(crate) index: Option<String>,
    /// How new collections are laid out there.
    pub(crate) qdrant: QdrantLayout,
    /// Where jobs are kept: a folder; by default `jobs` in the data folder, else one of this address beside the user's data.
    /// `none` for no jobs.
    pub(crate) jobs: Option<String>,
    /// Queue whose workers run the jobs, such as `nats://queue:4222`; this process by default.
    pub(crate) queue: Option<String>,
    /// Folder below which callers may name inputs of jobs; none by default.
    pub(crate) job_inputs: Option<PathBuf>,
    /// Largest upload of a job, in bytes.
    pub(crate) max_upload_bytes: u64,
    /// Time that requests under way have after a stop signal, in seconds.
    pub(crate) shutdown_timeout_s: u64,
    /// Time that a client has to send the head of a request, in seconds.
    pub(crate) request_timeout_s: u64,
    /// Time that a client has to send a body, in seconds.
    pub(crate) body_timeout_s: u64,
    /// Time that an answer may take, in seconds.
    pub(crate) deadline_s: u64,
    /// Time between two looks at whether the models answer, in seconds.
    pub(crate) watch_interval_s: u64,
    /// HTTP threads.
    pub(crate) n_http_workers: usize,
    /// Folder for collections that are made over HTTP, and for snapshots.
    pub(crate) data: Option<PathBuf>,
    /// Go on without the data folder where it cannot be had.
    #[serde(skip)]
    pub(crate) data_is_optional: bool,
    /// Open the collections of the settings for reading only.
    pub(crate) read_only: bool,
    /// File of keys; with one, a key is asked for on every address.
    pub(crate) keys: Option<PathBuf>,
    /// Serve other addresses than this machine's own without keys.
    pub(crate) without_keys: bool,
    /// File that writes are noted in; `audit.jsonl` in the data folder unless named.
    pub(crate) audit_log: Option<PathBuf>,
    /// Origins whose pages may call the service.
    pub(crate) cors_origins: Vec<String>,
    /// PEM file with the certificate chain, to serve HTTPS.
    pub(crate) tls_certificate: Option<PathBuf>,
    /// PEM file with its private key.
    pub(crate) tls_key: Option<PathBuf>,
    /// Share of the searches that are answered exactly, too, to estimate recall; 0 for none.
    pub(crate) recall_sample: f64,
}

impl Default for ServeSettings {
    fn default() -> Self {
        let limits = Limits::default();
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            encoder: crate::wiring::DEFAULT_PROTEIN_ENCODER.to_owned(),
            projection: None,
            towers: None,
            ppi_head: None,
            text_encoder: None,
            device: Device::Auto.into(),
            n_workers: 0,
            collections: BTreeMap::new(),
            max_body_bytes: 8 << 20,
            max_records: limits.max_records,
            max_residues: limits.max_residues,
            max_k: limits.max_k,
            max_rerank: limits.max_rerank,
            max_queued_tokens: 1 << 18,
            unload_after_s: 0,
            embedding_cache: None,
            embedding_cache_mib: EmbeddingCacheArgs::DEFAULT_MIB,
            index: None,
            qdrant: QdrantLayout::default(),
            jobs: None,
            queue: None,
            job_inputs: None,
            max_upload_bytes: 1 << 30,
            shutdown_timeout_s: 20,
            request_timeout_s: 10,
            body_timeout_s: 30,
            deadline_s: 60,
            watch_interval_s: 10,
            n_http_workers: 2,
            data: None,
            data_is_optional: false,
            read_only: false,
            keys: None,
            without_keys: false,
            audit_log: None,
            cors_origins: Vec::new(),
            tls_certificate: None,
            tls_key: None,
            recall_sample: 0.01,
        }
    }
}

impl ServeSettings {
    /// The protein encoder with its projection and towers.
    pub(crate) fn protein_model(&self) -> ModelArgs {
        ModelArgs {
            encoder: self.encoder.clone(),
            device: self.device,
            workers: self.n_workers,
            projection: self.projection.clone(),
            towers: self.towers.clone(),
        }
    }

    pub(crate) fn batcher(&self) -> BatcherSettings {
        BatcherSettings {
            max_queued_tokens: self.max_queued_tokens,
            unload_after: (self.unload_after_s > 0).then(|| Duration::from_secs(self.unload_after_s)),
            ..BatcherSettings::default()
        }
    }

    pub(crate) fn embedding_cache(&self) -> EmbeddingCacheArgs {
        EmbeddingCacheArgs { file: self.embedding_cache.clone(), mib: self.embedding_cache_mib }
    }

    /// Reads `file` if given, then the environment.
    ///
    /// # Errors
    /// Names the file or variable and what is wrong with it.
    pub(crate) fn load(
        file: Option<&Path>,
        environment: impl Fn(&str) -> Option<String>,
    ) -> anyhow::Result<Self> {
        let mut settings = match file {
            None => Self::default(),
            Some(path) => {
                let text = std::fs::read_to_string(path)
                    .with_context(|| format!("cannot read {}", path.display()))?;
                toml::from_str(&text).with_context(|| format!("in {}", path.display()))?
            }
        };
        settings.apply(environment)?;
        settings.validate()?;
        Ok(settings)
    }

    fn apply(&mut self, environment: impl Fn(&str) -> Option<String>) -> anyhow::Result<()> {
        fn set<T: std::str::FromStr>(name: &str, value: Option<String>, field: &mut T) -> anyhow::Result<()>
        where
            T::Err: std::fmt::Display,
        {
            if let Some(value) = value {
                *field = value.parse().map_err(|error| anyhow::anyhow!("{name}={value:?}: {error}"))?;
            }
            Ok(())
        }
        let each = |name: &str| (format!("PROTEXT_{name}"), environment(&format!("PROTEXT_{name}")));
        macro_rules! read {
            ($($variable:literal => $field:ident),*) => {
                $(let (name, value) = each($variable); set(&name, value, &mut self.$field)?;)*
            };
        }
        read!(
            "LISTEN" => listen, "ENCODER" => encoder, "DEVICE" => device, "N_WORKERS" => n_workers,
            "MAX_BODY_BYTES" => max_body_bytes, "MAX_RECORDS" => max_records, "MAX_RESIDUES" => max_residues,
            "MAX_K" => max_k, "MAX_RERANK" => max_rerank, "MAX_QUEUED_TOKENS" => max_queued_tokens, "SHUTDOWN_TIMEOUT_S" => shutdown_timeout_s,
            "REQUEST_TIMEOUT_S" => request_timeout_s, "BODY_TIMEOUT_S" => body_timeout_s, "DEADLINE_S" => deadline_s,
            "WATCH_INTERVAL_S" => watch_interval_s, "N_HTTP_WORKERS" => n_http_workers, "READ_ONLY" => read_only, "WITHOUT_KEYS" => without_keys,
            "RECALL_SAMPLE" => recall_sample, "MAX_UPLOAD_BYTES" => max_upload_bytes,
            "UNLOAD_AFTER_S" => unload_after_s, "EMBEDDING_CACHE_MIB" => embedding_cache_mib
        );
        let layout = &mut self.qdrant;
        for (variable, field) in [
            ("QDRANT_SHARDS", &mut layout.shards),
            ("QDRANT_REPLICAS", &mut layout.replicas),
            ("QDRANT_WRITE_CONSISTENCY", &mut layout.write_consistency),
        ] {
            let (name, value) = each(variable);
            set(&name, value, field)?;
        }
        let (name, value) = each("QDRANT_QUANTIZATION");
        set(&name, value, &mut layout.quantization)?;
        // Empty where a stack passes on what nobody has set.
        if let (_, Some(address)) = each("INDEX")
            && !address.trim().is_empty()
        {
            self.index = Some(address);
        }
        let files = [
            ("DATA", &mut self.data),
            ("EMBEDDING_CACHE", &mut self.embedding_cache),
            ("JOB_INPUTS", &mut self.job_inputs),
            ("KEYS", &mut self.keys),
            ("AUDIT_LOG", &mut self.audit_log),
            ("TLS_CERTIFICATE", &mut self.tls_certificate),
            ("TLS_KEY", &mut self.tls_key),
        ];
        for (variable, field) in files {
            if let (_, Some(path)) = each(variable) {
                *field = Some(path.into());
            }
        }
        if let (_, Some(place)) = each("JOBS") {
            self.jobs = Some(place);
        }
        if let (_, Some(address)) = each("QUEUE") {
            self.queue = Some(address);
        }
        if let (_, Some(origins)) = each("CORS_ORIGINS") {
            self.cors_origins = origins.split(',').map(|origin| origin.trim().to_owned()).collect();
        }
        if let (_, Some(id)) = each("TEXT_ENCODER") {
            self.text_encoder = Some(id);
        }
        if let (_, Some(folder)) = each("TOWERS") {
            self.towers = Some(folder.into());
        }
        if let (_, Some(folder)) = each("PPI_HEAD") {
            self.ppi_head = Some(folder.into());
        }
        if let (_, Some(folder)) = each("PROJECTION") {
            self.projection = Some(folder.into());
        }
        Ok(())
    }

    fn validate(&self) -> anyhow::Result<()> {
        let positive = [
            ("max_body_bytes", self.max_body_bytes),
            ("max_records", self.max_records),
            ("max_residues", self.max_residues),
            ("max_k", self.max_k),
            ("max_queued_tokens", self.max_queued_tokens),
            ("n_http_workers", self.n_http_workers),
            ("deadline_s", self.deadline_s as usize),
            ("watch_interval_s", self.watch_interval_s as usize),
            ("body_timeout_s", self.body_timeout_s as usize),
            ("request_timeout_s", self.request_timeout_s as usize),
        ];
        for (name, value) in positive {
            if value == 0 {
                bail!("setting {name} is 0, but must be at least 1");
            }
        }
        if !(0.0..=1.0).contains(&self.recall_sample) {
            bail!("setting recall_sample is {}, but must be from 0 to 1", self.recall_sample);
        }
        let is_origin = |origin: &String| {
            let rest = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"));
            rest.is_some_and(|host| !host.is_empty() && !host.contains(['/', '*', ' ']))
        };
        if let Some(wrong) = self.cors_origins.iter().find(|origin| !is_origin(origin)) {
            bail!("setting cors_origins: {wrong:?} is no origin; write one like https://lab.example.org");
        }
        Ok(())
    }

    /// The engine's part of the limits.
    pub(crate) fn limits(&self) -> Limits {
        Limits {
            max_records: self.max_records,
            max_residues: self.max_residues,
            max_k: self.max_k,
            max_rerank: self.max_rerank,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_overrides_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("protext.toml");
        std::fs::write(
            &file,
            "listen = \"127.0.0.1:9000\"\nmax_k = 5\n[collections]\ndemo = \"demo.index\"\n",
        )
        .unwrap();
        let environment = |name: &str| (name == "PROTEXT_MAX_K").then(|| "7".to_owned());
        let settings = ServeSettings::load(Some(&file), environment).unwrap();
        assert_eq!((settings.listen.port(), settings.max_k), (9000, 7));
        assert_eq!(settings.collections["demo"], PathBuf::from("demo.index"));
    }

    #[test]
    fn mistakes_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("protext.toml");
        std::fs::write(&file, "lisen = \"127.0.0.1:9000\"\n").unwrap();
        let error = format!("{:#}", ServeSettings::load(Some(&file), |_| None).unwrap_err());
        assert!(error.contains("protext.toml") && error.contains("lisen"), "{error}");
        let environment = |name: &str| (name == "PROTEXT_DEVICE").then(|| "tpu".to_owned());
        let error = ServeSettings::load(None, environment).unwrap_err().to_string();
        assert!(error.contains("PROTEXT_DEVICE") && error.contains("tpu"), "{error}");
        let environment = |name: &str| (name == "PROTEXT_MAX_K").then(|| "0".to_owned());
        let error = ServeSettings::load(None, environment).unwrap_err().to_string();
        assert!(error.contains("max_k"), "{error}");
    }
}
