//! Where jobs are: a folder, an object store, or a service.

use std::path::PathBuf;

use anyhow::Context as _;
use protext_worker::Jobs;

use super::api::Api;

/// Which jobs are meant.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct PlaceArgs {
    /// Where jobs are kept: a folder, or s3://bucket/prefix, gs://... or az://...; by default a folder beside the user's data.
    #[arg(long, value_name = "PLACE", env = "PROTEXT_JOBS")]
    jobs: Option<String>,
    /// A service whose jobs are meant instead, such as http://127.0.0.1:8080.
    #[arg(long, value_name = "URL")]
    url: Option<String>,
}

/// `$XDG_DATA_HOME/protext/jobs`, else `~/.local/share/protext/jobs`.
pub(crate) fn default_place() -> anyhow::Result<String> {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let data = variable("XDG_DATA_HOME").or_else(|| variable("HOME").map(|home| home.join(".local/share")));
    let data = data.context("no home folder is set; say where jobs are kept: --jobs FOLDER")?;
    Ok(data.join("protext/jobs").to_string_lossy().into_owned())
}

impl PlaceArgs {
    pub(super) fn url(&self) -> Option<&str> {
        self.url.as_deref()
    }

    pub(crate) fn open(&self) -> anyhow::Result<Jobs> {
        let place = self.jobs.clone().map_or_else(default_place, Ok)?;
        Ok(Jobs::open(&place)?)
    }

    pub(super) fn api(&self) -> anyhow::Result<Option<Api>> {
        self.url.as_deref().map(Api::open).transpose()
    }
}
