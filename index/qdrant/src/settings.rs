//! How a server is talked to, and how collections are laid out on it.

use std::fmt;
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use protext_http::{ApiKey, Patience};
use protext_index::RemoteError;
use serde::Deserialize;
use serde_json::{Value, json};

/// Most shards or replicas that may be asked for.
const MAX_PARTS: u32 = 1_024;

/// Coarser copies of vectors that the server walks its graph by; hits are compared again with their full vectors.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Quantization {
    /// Full vectors only.
    #[default]
    None,
    /// Eight bits a component: a quarter of the memory.
    Int8,
    /// One bit a component: a 32nd of the memory; for wide spaces.
    Binary,
}

impl Quantization {
    /// Candidates looked at for each hit wanted, before they are compared again.
    /// Source: Qdrant's documentation on quantization, which has 2.0 for scalar and 3.0 for binary codes.
    pub(crate) fn oversampling(self) -> Option<f32> {
        match self {
            Self::None => None,
            Self::Int8 => Some(2.0),
            Self::Binary => Some(3.0),
        }
    }

    pub(crate) fn config(self) -> Option<Value> {
        match self {
            Self::None => None,
            Self::Int8 => Some(json!({"scalar": {"type": "int8", "always_ram": true}})),
            Self::Binary => Some(json!({"binary": {"always_ram": true}})),
        }
    }
}

impl fmt::Display for Quantization {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Int8 => "int8",
            Self::Binary => "binary",
        })
    }
}

impl FromStr for Quantization {
    type Err = &'static str;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        [Self::None, Self::Int8, Self::Binary]
            .into_iter()
            .find(|one| one.to_string() == word)
            .ok_or("write none, int8 or binary")
    }
}

/// Settings of a server and of the collections made there.
#[derive(Debug, Clone, PartialEq)]
pub struct QdrantSettings {
    /// Parts that a new collection is cut into, over the nodes of a cluster; 1 to 1,024.
    pub shards: u32,
    /// Nodes that hold each part; 1 to 1,024.
    pub replicas: u32,
    /// Nodes that must have a write before it is acknowledged; 1 to `replicas`.
    pub write_consistency: u32,
    /// Coarser copies of vectors.
    pub quantization: Quantization,
    /// The secret that the server asks for.
    pub key: Option<ApiKey>,
    /// Send the key also without TLS, to other machines.
    pub allow_http: bool,
    /// Longest time that one answer may take.
    pub timeout: Duration,
    /// Further tries where they may help.
    pub patience: Patience,
}

impl Default for QdrantSettings {
    /// One shard, one replica, full vectors, no key, 30 s for an answer, five tries over about three seconds.
    fn default() -> Self {
        Self {
            shards: 1,
            replicas: 1,
            write_consistency: 1,
            quantization: Quantization::None,
            key: None,
            allow_http: false,
            timeout: Duration::from_secs(30),
            patience: Patience {
                n_tries: 5,
                first_wait: Duration::from_millis(200),
                longest_wait: Duration::from_secs(10),
            },
        }
    }
}

impl QdrantSettings {
    /// Takes the key from its variable, or from the file that the other variable names.
    ///
    /// # Errors
    /// [`RemoteError::Key`] for a file that cannot be read.
    pub fn with_key_of(mut self, environment: impl Fn(&str) -> Option<String>) -> Result<Self, RemoteError> {
        let set = |name: &str| environment(name).filter(|value| !value.trim().is_empty());
        if let Some(key) = set("PROTEXT_QDRANT_API_KEY") {
            self.key = Some(ApiKey::new(key));
        } else if let Some(file) = set("PROTEXT_QDRANT_API_KEY_FILE") {
            let unread = |error: std::io::Error| RemoteError::Key {
                place: "Qdrant".to_owned(),
                what: format!("{file}: {error}"),
            };
            self.key = Some(ApiKey::new(std::fs::read_to_string(Path::new(&file)).map_err(unread)?));
        }
        self.allow_http |= set("PROTEXT_QDRANT_ALLOW_HTTP").is_some_and(|value| value.trim() == "true");
        Ok(self)
    }

    /// # Errors
    /// [`RemoteError::Setting`].
    pub(crate) fn check(&self) -> Result<(), RemoteError> {
        let ranges = [
            ("qdrant shards", self.shards, MAX_PARTS),
            ("qdrant replicas", self.replicas, MAX_PARTS),
            ("qdrant write_consistency", self.write_consistency, self.replicas),
        ];
        match ranges.into_iter().find(|(_, value, max)| !(1..=*max).contains(value)) {
            Some((name, value, max)) => {
                Err(RemoteError::Setting { name, value: value.into(), min: 1, max: max.into() })
            }
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_checked() {
        QdrantSettings::default().check().unwrap();
        let wrong = [
            QdrantSettings { shards: 0, ..Default::default() },
            QdrantSettings { replicas: 5_000, ..Default::default() },
            QdrantSettings { replicas: 2, write_consistency: 3, ..Default::default() },
        ];
        for settings in wrong {
            assert!(matches!(settings.check(), Err(RemoteError::Setting { .. })), "{settings:?}");
        }
        assert_eq!("int8".parse(), Ok(Quantization::Int8));
        assert!("int4".parse::<Quantization>().is_err());
    }

    #[test]
    fn a_key_comes_from_a_variable_or_a_file_and_is_not_shown() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("key");
        std::fs::write(&file, "from-file\n").unwrap();
        let name = file.to_str().unwrap().to_owned();
        let of = |pairs: &[(&str, &str)]| {
            let pairs: Vec<(String, String)> =
                pairs.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
            QdrantSettings::default().with_key_of(move |asked| {
                pairs.iter().find(|(name, _)| name == asked).map(|(_, value)| value.clone())
            })
        };
        let found = of(&[("PROTEXT_QDRANT_API_KEY_FILE", &name)]).unwrap();
        assert_eq!(found.key.as_ref().map(ApiKey::secret), Some("from-file"));
        assert!(!format!("{found:?}").contains("from-file"));
        let found =
            of(&[("PROTEXT_QDRANT_API_KEY", "direct"), ("PROTEXT_QDRANT_API_KEY_FILE", &name)]).unwrap();
        assert_eq!(found.key.as_ref().map(ApiKey::secret), Some("direct"));
        assert!(of(&[("PROTEXT_QDRANT_API_KEY_FILE", "/nowhere")]).is_err());
        assert_eq!(of(&[("PROTEXT_QDRANT_API_KEY", " ")]).unwrap().key, None);
    }
}
