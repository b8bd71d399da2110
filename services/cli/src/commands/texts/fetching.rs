//! Fetching for `protext texts`: settings from flags and environment, pages in the cache, progress, Ctrl-C.

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use indicatif::ProgressBar;
use protext_registry::Cache;
use protext_texts::fetch::{ApiKey, FetchError, FetchEvent, FetchSettings, Fetcher};
use sha2::{Digest as _, Sha256};

use crate::fault::UsageError;
use crate::{interrupt, progress};

/// How pages are kept; shared by all subcommands that fetch.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct FetchArgs {
    /// Folder for fetched pages, so that a fetch that broke off goes on; by default one in the Protext cache.
    #[arg(long, value_name = "FOLDER")]
    cache: Option<PathBuf>,
    /// Data release or date that names the default folder, such as 2026_01; by default a hash of the question does.
    #[arg(long, value_name = "NAME", conflicts_with = "cache")]
    release: Option<String>,
    /// Mail address or page that the service may turn to.
    #[arg(long, value_name = "WHOM", env = "PROTEXT_CONTACT")]
    contact: Option<String>,
}

/// Environment that says where services are, for the help of each subcommand.
pub(crate) const ENVIRONMENT: &str = "\
Mirrors: PROTEXT_UNIPROT_URL, PROTEXT_NCBI_URL, PROTEXT_GO_URL. NCBI_API_KEY raises NCBI's limit to ten requests a second.";

/// A fetcher at work.
pub(crate) struct Fetching {
    pub(crate) fetcher: Fetcher,
    folder: PathBuf,
    bar: ProgressBar,
    n_cached: Arc<AtomicU64>,
}

impl Fetching {
    /// Sets up for a question, such as a query; the same question finds its pages again.
    pub(crate) fn start(args: &FetchArgs, question: &str) -> anyhow::Result<Self> {
        let folder = folder(args, question)?;
        let environment = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let mut settings = settings(environment);
        settings.cache = Some(folder.clone());
        settings.contact = args.contact.clone();
        let (bar, n_cached) = (progress::rows("fetching"), Arc::new(AtomicU64::new(0)));
        let (shown, counted) = (bar.clone(), Arc::clone(&n_cached));
        let fetcher = Fetcher::new(settings).map_err(name_variable)?;
        let fetcher = fetcher.with_listener(move |event| listen(event, &shown, &counted));
        Ok(Self { fetcher, folder, bar, n_cached })
    }

    /// Runs a fetch to its end, or until Ctrl-C.
    pub(crate) fn run<T>(&self, work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
        let stop = interrupt::flag()?;
        let interrupted = async {
            while !stop.load(Ordering::Relaxed) {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let result = runtime.block_on(async {
            tokio::select! {
                result = work => result,
                () = interrupted => Err(interrupt::Interrupted.into()),
            }
        });
        self.bar.finish_and_clear();
        result
    }

    /// Says where pages came from that were not asked for anew.
    pub(crate) fn tell(&self) {
        let n_cached = self.n_cached.load(Ordering::Relaxed);
        if n_cached > 0 {
            let folder = self.folder.display();
            eprintln!("{n_cached} pages were in {folder}; remove it, or give --release, to ask anew");
        }
    }
}

fn listen(event: &FetchEvent, bar: &ProgressBar, n_cached: &AtomicU64) {
    match event {
        FetchEvent::Page { source, n_records, total_records, is_cached, .. } => {
            if let Some(total) = total_records {
                bar.set_length(*total);
                bar.set_style(progress::counted());
            }
            bar.set_message(*source);
            bar.set_position(*n_records);
            n_cached.fetch_add(u64::from(*is_cached), Ordering::Relaxed);
        }
        // The fetcher logs the reason as a warning.
        FetchEvent::Waiting { n_tries, wait, .. } => {
            bar.set_message(format!("try {} in {:.0} s", n_tries + 1, wait.as_secs_f64().ceil()));
        }
    }
}

/// Services as the environment names them.
fn settings(environment: impl Fn(&str) -> Option<String>) -> FetchSettings {
    let usual = FetchSettings::default();
    let url = |name, usual| environment(name).unwrap_or(usual);
    FetchSettings {
        uniprot_url: url("PROTEXT_UNIPROT_URL", usual.uniprot_url),
        ncbi_url: url("PROTEXT_NCBI_URL", usual.ncbi_url),
        go_url: url("PROTEXT_GO_URL", usual.go_url),
        ncbi_api_key: environment("NCBI_API_KEY").map(ApiKey::new),
        ..FetchSettings::default()
    }
}

/// Which variable a wrong setting came from.
fn name_variable(error: FetchError) -> anyhow::Error {
    let variable = match &error {
        FetchError::Setting { setting: "uniprot_url", .. } => "PROTEXT_UNIPROT_URL",
        FetchError::Setting { setting: "ncbi_url", .. } => "PROTEXT_NCBI_URL",
        FetchError::Setting { setting: "go_url", .. } => "PROTEXT_GO_URL",
        FetchError::Setting { setting: "ncbi_api_key", .. } => "NCBI_API_KEY",
        _ => return error.into(),
    };
    anyhow::Error::from(error).context(format!("the variable {variable} cannot be used"))
}

fn folder(args: &FetchArgs, question: &str) -> anyhow::Result<PathBuf> {
    if let Some(folder) = &args.cache {
        return Ok(folder.clone());
    }
    let name = match &args.release {
        Some(release) => {
            let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
            if release.is_empty() || release.starts_with('.') || !release.chars().all(is_name) {
                let message =
                    format!("--release {release:?}: write letters, digits, _ and -, such as 2026_01");
                return Err(UsageError(message).into());
            }
            release.clone()
        }
        None => hex::encode(&Sha256::digest(question.as_bytes())[..8]),
    };
    let cache = Cache::from_environment()?;
    cache.folder(PathBuf::from("texts").join(name)).context("the pages need a folder; name one by --cache")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_names_services_and_key() {
        let settings =
            settings(|name| (name == "PROTEXT_NCBI_URL").then(|| "https://mirror.example".to_owned()));
        let usual = FetchSettings::default();
        assert_eq!((settings.ncbi_url.as_str(), settings.go_url), ("https://mirror.example", usual.go_url));
        assert!(settings.ncbi_api_key.is_none());
        let error = Fetcher::new(FetchSettings { uniprot_url: "x".to_owned(), ..FetchSettings::default() });
        let message = crate::fault::message(&name_variable(error.unwrap_err()));
        assert!(message.contains("PROTEXT_UNIPROT_URL") && message.contains("https://"), "{message}");
    }

    #[test]
    fn a_release_is_a_plain_name() {
        for release in ["", "..", "../2026", "a/b", ".hidden"] {
            let args = FetchArgs { release: Some(release.to_owned()), ..FetchArgs::default() };
            assert!(folder(&args, "q").unwrap_err().to_string().contains("--release"), "{release}");
        }
    }
}
