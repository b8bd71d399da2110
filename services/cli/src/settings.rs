//! Settings of `protext serve`: built-in values, then the file, then the environment, then flags.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use protext_engine::Limits;
use protext_onnx::Device;
use serde::Deserialize;

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
    /// Text encoder, for searches by text; none by default.
    pub(crate) text_encoder: Option<String>,
    /// Device for all encoders.
    pub(crate) device: Device,
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
    /// Time that requests under way have after a stop signal, in seconds.
    pub(crate) shutdown_timeout_s: u64,
}

impl Default for ServeSettings {
    fn default() -> Self {
        let limits = Limits::default();
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            encoder: crate::wiring::DEFAULT_PROTEIN_ENCODER.to_owned(),
            projection: None,
            towers: None,
            text_encoder: None,
            device: Device::Auto,
            n_workers: 0,
            collections: BTreeMap::new(),
            max_body_bytes: 8 << 20,
            max_records: limits.max_records,
            max_residues: limits.max_residues,
            max_k: limits.max_k,
            max_rerank: limits.max_rerank,
            max_queued_tokens: 1 << 18,
            shutdown_timeout_s: 20,
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
            "MAX_K" => max_k, "MAX_RERANK" => max_rerank, "MAX_QUEUED_TOKENS" => max_queued_tokens, "SHUTDOWN_TIMEOUT_S" => shutdown_timeout_s
        );
        if let (_, Some(id)) = each("TEXT_ENCODER") {
            self.text_encoder = Some(id);
        }
        if let (_, Some(folder)) = each("TOWERS") {
            self.towers = Some(folder.into());
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
        ];
        for (name, value) in positive {
            if value == 0 {
                bail!("setting {name} is 0, but must be at least 1");
            }
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
