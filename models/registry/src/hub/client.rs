//! The client: set up once, shared by all downloads; decides what to expect and when to try again.

use std::path::Path;
use std::time::Duration;

use reqwest::{Client, redirect};

use super::download::{Expected, Try};
use super::error::HubError;
use super::lock::HubLock;
use super::partial::PartialPaths;
use super::request::{Endpoint, Failure};
use super::settings::HubSettings;
use super::{Downloaded, HubFile};
use crate::progress::Progress;

/// A try that brought this much makes up for the failed ones before it, so that a large file on a bad line arrives.
const WORTHWHILE_BYTES: u64 = 1 << 20;

/// Downloads files from one endpoint.
#[derive(Debug)]
pub struct HubClient {
    endpoint: Endpoint,
    lock: Option<HubLock>,
    n_tries: u32,
    first_wait: Duration,
    longest_wait: Duration,
}

impl HubClient {
    /// A client with the settings that the environment gives ([`HubSettings::from_environment`]).
    ///
    /// # Errors
    /// As [`HubClient::new`].
    pub fn from_environment() -> Result<Self, HubError> {
        Self::new(HubSettings::from_environment())
    }

    /// A client with the settings given. Nothing is sent yet.
    ///
    /// # Errors
    /// [`HubError::Endpoint`], [`HubError::Token`] or [`HubError::Client`].
    pub fn new(settings: HubSettings) -> Result<Self, HubError> {
        let url = settings.endpoint_url()?;
        let token = settings.token.as_ref().map(super::settings::Token::header).transpose()?;
        protext_http::install_crypto_provider();
        let mut builder = Client::builder()
            .redirect(redirect::Policy::none())
            .connect_timeout(settings.connect_timeout)
            .read_timeout(settings.read_timeout)
            .user_agent(concat!("protext/", env!("CARGO_PKG_VERSION")));
        if !settings.environment_proxies {
            builder = builder.no_proxy();
        }
        let http = builder.build().map_err(|source| HubError::Client { source })?;
        Ok(Self {
            endpoint: Endpoint { http, url, token },
            lock: settings.lock.map(HubLock::at),
            n_tries: settings.n_tries.max(1),
            first_wait: settings.first_wait,
            longest_wait: settings.longest_wait,
        })
    }

    /// Brings `file` to `destination`, whose folder is created if needed. `destination` is replaced only by a whole
    /// and verified file. Two calls for the same destination must not run at the same time.
    ///
    /// # Errors
    /// [`HubError`]; after [`HubError::Unreachable`], [`HubError::Interrupted`] and [`HubError::Busy`] another call
    /// goes on where this one stopped.
    pub async fn download(
        &self,
        file: &HubFile<'_>,
        destination: &Path,
        progress: &dyn Progress,
    ) -> Result<Downloaded, HubError> {
        let expected = Expected::of(file, self.lock.as_ref()).await?;
        let paths = PartialPaths::of(destination);
        let mut most_bytes = paths.len().await;
        let mut n_tries = 0;
        loop {
            n_tries += 1;
            let endpoint = &self.endpoint;
            let lock = self.lock.as_ref();
            let attempt = Try { endpoint, lock, file, expected: &expected, paths: &paths, progress, n_tries };
            let (error, retry_after) = match attempt.run().await {
                Ok(downloaded) => return Ok(downloaded),
                Err(Failure::Final(error)) => return Err(error),
                Err(Failure::Transient { error, retry_after }) => (error, retry_after),
            };
            let n_bytes = paths.len().await;
            if n_bytes >= most_bytes.saturating_add(WORTHWHILE_BYTES) {
                most_bytes = n_bytes;
                n_tries = 1;
            }
            if n_tries >= self.n_tries {
                return Err(error);
            }
            let wait = self.wait(n_tries, retry_after);
            tracing::warn!(file = %file, n_tries, wait_ms = wait.as_millis() as u64, %error, "download is tried again");
            tokio::time::sleep(wait).await;
        }
    }

    /// Doubles from try to try; a server may ask for more, within the limit.
    fn wait(&self, n_tries: u32, retry_after: Option<Duration>) -> Duration {
        let doubled = self.first_wait.saturating_mul(2_u32.saturating_pow(n_tries - 1));
        doubled.max(retry_after.unwrap_or_default()).min(self.longest_wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_limit() {
        let settings = HubSettings {
            first_wait: Duration::from_millis(500),
            longest_wait: Duration::from_secs(3),
            ..HubSettings::default()
        };
        let client = HubClient::new(settings).unwrap();
        let asked = |seconds| Some(Duration::from_secs(seconds));
        let cases = [
            (1, None, 500),
            (2, None, 1000),
            (3, None, 2000),
            (4, None, 3000),
            (99, None, 3000),
            (1, asked(2), 2000),
            (1, asked(3600), 3000),
            (3, asked(0), 2000),
        ];
        for (n_tries, retry_after, expected_ms) in cases {
            assert_eq!(client.wait(n_tries, retry_after), Duration::from_millis(expected_ms), "{n_tries}");
        }
    }
}
