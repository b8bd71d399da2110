//! Which object store an address means, and whether its credentials can be had.
//!
//! | address | store | credentials, from the environment |
//! |---|---|---|
//! | `s3://bucket/prefix` | S3, or what speaks its language | `AWS_*` |
//! | `gs://bucket/prefix` | Google Cloud Storage | `GOOGLE_APPLICATION_CREDENTIALS` or another `GOOGLE_*` |
//! | `az://container/prefix` | Azure Blob Storage | `AZURE_STORAGE_ACCOUNT_NAME` and a key, token or identity in `AZURE_*` |
//!
//! A client without credentials asks the machine that it runs on for an identity, and waits for minutes where there is none.
//! For Google and Azure that is therefore done only where it is asked for.

use std::sync::Arc;

use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::{ObjectStore, RetryConfig};

use crate::error::{BoxedError, StoreFault};

/// Why a store cannot be opened.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) fault: StoreFault,
    pub(super) source: BoxedError,
}

impl Refusal {
    fn new(fault: StoreFault, source: impl Into<BoxedError>) -> Self {
        Self { fault, source: source.into() }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Amazon,
    Google,
    Azure,
}

/// An address taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Bucket<'a> {
    kind: Kind,
    /// Bucket or container.
    name: &'a str,
    /// Without slashes at its ends; may be empty.
    pub(super) prefix: &'a str,
}

/// Variables any of which says how to get in.
const GOOGLE: [&str; 6] = [
    "GOOGLE_APPLICATION_CREDENTIALS",
    "GOOGLE_SERVICE_ACCOUNT",
    "GOOGLE_SERVICE_ACCOUNT_PATH",
    "GOOGLE_SERVICE_ACCOUNT_KEY",
    "GOOGLE_SKIP_SIGNATURE",
    "PROTEXT_GOOGLE_INSTANCE",
];
const AZURE: [&str; 11] = [
    "AZURE_STORAGE_ACCOUNT_KEY",
    "AZURE_STORAGE_ACCESS_KEY",
    "AZURE_STORAGE_SAS_KEY",
    "AZURE_STORAGE_SAS_TOKEN",
    "AZURE_STORAGE_TOKEN",
    "AZURE_CLIENT_SECRET",
    "AZURE_STORAGE_CLIENT_SECRET",
    "AZURE_FEDERATED_TOKEN_FILE",
    "AZURE_USE_AZURE_CLI",
    "AZURE_SKIP_SIGNATURE",
    "PROTEXT_AZURE_INSTANCE",
];
const AZURE_ACCOUNT: [&str; 2] = ["AZURE_STORAGE_ACCOUNT_NAME", "AZURE_STORAGE_USE_EMULATOR"];

impl<'a> Bucket<'a> {
    /// Takes an address apart.
    pub(super) fn parse(address: &'a str) -> Result<Self, Refusal> {
        let (scheme, rest) = address.split_once("://").unwrap_or(("", address));
        let kind = match scheme {
            "s3" => Kind::Amazon,
            "gs" => Kind::Google,
            "az" => Kind::Azure,
            _ => {
                let known = "only s3://bucket/..., gs://bucket/... and az://container/... are known here";
                return Err(Refusal::new(StoreFault::Other, known));
            }
        };
        let (name, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        if name.is_empty() {
            return Err(Refusal::new(StoreFault::Missing, "the address names no bucket"));
        }
        Ok(Self { kind, name, prefix: prefix.trim_matches('/') })
    }

    /// A client for it. Nothing is asked of the store yet.
    pub(super) fn open(&self, retry: RetryConfig) -> Result<Arc<dyn ObjectStore>, Refusal> {
        self.ensure_credentials(|name| std::env::var(name).ok(), has_google_default)?;
        let refused = |error: object_store::Error| Refusal::new(StoreFault::Other, error);
        Ok(match self.kind {
            Kind::Amazon => {
                let builder = AmazonS3Builder::from_env().with_bucket_name(self.name).with_retry(retry);
                Arc::new(builder.build().map_err(refused)?)
            }
            Kind::Google => {
                let builder = GoogleCloudStorageBuilder::from_env().with_bucket_name(self.name);
                Arc::new(builder.with_retry(retry).build().map_err(refused)?)
            }
            Kind::Azure => {
                let builder = MicrosoftAzureBuilder::from_env().with_container_name(self.name);
                Arc::new(builder.with_retry(retry).build().map_err(refused)?)
            }
        })
    }

    fn ensure_credentials(
        &self,
        environment: impl Fn(&str) -> Option<String>,
        has_default: impl Fn() -> bool,
    ) -> Result<(), Refusal> {
        let is_any_set = |names: &[&str]| {
            names.iter().any(|name| environment(name).is_some_and(|value| !value.is_empty()))
        };
        let missing = match self.kind {
            Kind::Google if !is_any_set(&GOOGLE) && !has_default() => {
                "no credentials are set: name the key file of a service account in GOOGLE_APPLICATION_CREDENTIALS, or set \
                 PROTEXT_GOOGLE_INSTANCE=true on a machine of Google's cloud, whose own identity is used then"
            }
            Kind::Azure if !is_any_set(&AZURE_ACCOUNT) => {
                "no account is set: AZURE_STORAGE_ACCOUNT_NAME names it"
            }
            Kind::Azure if !is_any_set(&AZURE) && !is_any_set(&AZURE_ACCOUNT[1..]) => {
                "no credentials are set: AZURE_STORAGE_ACCOUNT_KEY holds the account's key, or set \
                 PROTEXT_AZURE_INSTANCE=true on a machine of Azure, whose own identity is used then"
            }
            _ => return Ok(()),
        };
        Err(Refusal::new(StoreFault::Denied, missing))
    }
}

/// Whether Google's own tools have left credentials for programs.
fn has_google_default() -> bool {
    let home = std::env::var_os("HOME").map(std::path::PathBuf::from);
    home.is_some_and(|home| home.join(".config/gcloud/application_default_credentials.json").exists())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_taken_apart() {
        for (address, kind, name, prefix) in [
            ("s3://lab/jobs/2026/", Kind::Amazon, "lab", "jobs/2026"),
            ("gs://lab", Kind::Google, "lab", ""),
            ("az://container/a/b.npz", Kind::Azure, "container", "a/b.npz"),
        ] {
            assert_eq!(Bucket::parse(address).unwrap(), Bucket { kind, name, prefix }, "{address}");
        }
        for address in ["ftp://lab/x", "lab/x", "gcs://lab/x", "://x"] {
            let refusal = Bucket::parse(address).unwrap_err();
            assert!(refusal.source.to_string().contains("gs://bucket"), "{address}");
        }
        assert_eq!(Bucket::parse("az:///x").unwrap_err().fault, StoreFault::Missing);
    }

    #[test]
    fn missing_credentials_are_told_before_anything_is_asked() {
        let judged = |address: &str, set: &[&str], has_default: bool| {
            let environment = |name: &str| set.contains(&name).then(|| "x".to_owned());
            Bucket::parse(address).unwrap().ensure_credentials(environment, || has_default)
        };
        let google = judged("gs://lab/x", &[], false).unwrap_err();
        assert_eq!(google.fault, StoreFault::Denied);
        assert!(google.source.to_string().contains("GOOGLE_APPLICATION_CREDENTIALS"));
        judged("gs://lab/x", &[], true).unwrap();
        judged("gs://lab/x", &["GOOGLE_SERVICE_ACCOUNT_KEY"], false).unwrap();
        let azure = judged("az://lab/x", &["AZURE_STORAGE_ACCOUNT_KEY"], false).unwrap_err();
        assert!(azure.source.to_string().contains("AZURE_STORAGE_ACCOUNT_NAME"));
        let azure = judged("az://lab/x", &["AZURE_STORAGE_ACCOUNT_NAME"], false).unwrap_err();
        assert!(azure.source.to_string().contains("AZURE_STORAGE_ACCOUNT_KEY"));
        judged("az://lab/x", &["AZURE_STORAGE_ACCOUNT_NAME", "AZURE_CLIENT_SECRET"], false).unwrap();
        judged("az://lab/x", &["AZURE_STORAGE_USE_EMULATOR"], false).unwrap();
        // S3 stays as its own tools have it: a machine's identity is asked for last.
        judged("s3://lab/x", &[], false).unwrap();
    }
}
