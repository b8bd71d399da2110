//! Settings and listeners for tests that fetch from a local server.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail loudly")]

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use protext_local_server::Server;
use protext_texts::fetch::{FetchEvent, FetchSettings, Fetcher};

/// Settings that ask `server` for everything: impatient, fast, without proxies of the environment.
pub(crate) fn settings_of(server: &Server) -> FetchSettings {
    FetchSettings {
        uniprot_url: server.url.clone(),
        ncbi_url: server.url.clone(),
        go_url: server.url.clone(),
        requests_per_s: 1000.0,
        ncbi_requests_per_s: Some(1000.0),
        connect_timeout: Duration::from_secs(5),
        read_timeout: Duration::from_secs(5),
        n_tries: 3,
        first_wait: Duration::from_millis(5),
        longest_wait: Duration::from_secs(5),
        environment_proxies: false,
        ..FetchSettings::default()
    }
}

/// A fetcher that asks `server` and keeps its pages in `cache`.
pub(crate) fn fetcher_of(server: &Server, cache: &Path) -> Fetcher {
    Fetcher::new(FetchSettings { cache: Some(cache.to_owned()), ..settings_of(server) }).unwrap()
}

/// Hears what a fetcher tells.
#[derive(Debug, Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<FetchEvent>>>);

impl Log {
    pub(crate) fn listen(&self, fetcher: Fetcher) -> Fetcher {
        let log = self.clone();
        fetcher.with_listener(move |event| log.0.lock().unwrap().push(event.clone()))
    }

    pub(crate) fn events(&self) -> Vec<FetchEvent> {
        self.0.lock().unwrap().clone()
    }

    /// Waits before further tries.
    pub(crate) fn waits(&self) -> Vec<Duration> {
        let wait = |event: &FetchEvent| match event {
            FetchEvent::Waiting { wait, .. } => Some(*wait),
            FetchEvent::Page { .. } => None,
        };
        self.events().iter().filter_map(wait).collect()
    }
}

/// All files below `folder`.
pub(crate) fn files_in(folder: &Path) -> Vec<std::path::PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.flat_map(|path| if path.is_dir() { files_in(&path) } else { vec![path] }).collect()
}

/// The error and all its causes.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = format!("{error} {error:?}");
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(&format!(" / {error} {error:?}"));
        source = error.source();
    }
    text
}
