//! One worker's line to the service: a request, its answer, further tries where they may help.
//!
//! Each worker has a client and an event loop of its own, because connections live in the loop that opened them.
//! Redirects are not followed: a key goes to the address of the manifest and nowhere else.

use std::sync::Arc;
use std::time::{Duration, Instant};

use reqwest::header::{AUTHORIZATION, HeaderValue};
use reqwest::{Url, redirect};
use serde::Serialize;
use tokio::runtime::{Builder, Runtime};

use crate::answer::{Answer, AnswerProblem, max_answer_bytes};
use crate::error::RemoteError;
use crate::refusal::{Asked, Refusal};
use crate::spec::{NumberFormat, RemoteSpec, bearer};
use crate::spend::SpendAccount;

/// Limit for opening a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// Connections that rest longer are not used again: services close them without a word.
const IDLE_TIMEOUT: Duration = Duration::from_secs(15);

/// Asks for rows.
pub(crate) struct Client {
    runtime: Runtime,
    http: reqwest::Client,
    spec: Arc<RemoteSpec>,
    account: Arc<SpendAccount>,
    endpoint: Url,
    authorization: Option<HeaderValue>,
}

#[derive(Serialize)]
struct Request<'a> {
    model: &'a str,
    input: &'a [&'a str],
    #[serde(skip_serializing_if = "Option::is_none")]
    encoding_format: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dimensions: Option<usize>,
}

/// Why a try failed.
enum Failure {
    Final(RemoteError),
    Passing { status: u16, asked: Option<Duration>, detail: String },
    Transport(reqwest::Error),
}

impl From<reqwest::Error> for Failure {
    fn from(error: reqwest::Error) -> Self {
        Self::Transport(error.without_url())
    }
}

impl Client {
    /// Sets up the client. Nothing is sent yet.
    pub(crate) fn new(
        spec: Arc<RemoteSpec>,
        account: Arc<SpendAccount>,
        endpoint: Url,
    ) -> Result<Self, RemoteError> {
        protext_http::install_crypto_provider();
        let mut builder = reqwest::Client::builder()
            .redirect(redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_idle_timeout(IDLE_TIMEOUT)
            .timeout(spec.timeout)
            .user_agent(concat!("protext/", env!("CARGO_PKG_VERSION")));
        if !spec.environment_proxies {
            builder = builder.no_proxy();
        }
        let http = builder.build().map_err(|source| RemoteError::Client { source })?;
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|source| RemoteError::Start { source })?;
        let authorization = spec.key.as_ref().and_then(bearer);
        Ok(Self { runtime, http, spec, account, endpoint, authorization })
    }

    /// Rows of `texts` in their order; `n_tokens` is what they are taken for. Blocks.
    pub(crate) fn embed(&self, texts: &[&str], n_tokens: usize) -> Result<Vec<Vec<f32>>, RemoteError> {
        self.runtime.block_on(self.until_answered(texts, n_tokens as u64))
    }

    async fn until_answered(&self, texts: &[&str], n_tokens: u64) -> Result<Vec<Vec<f32>>, RemoteError> {
        let mut n_tries = 0;
        loop {
            n_tries += 1;
            let failure = match self.paid_attempt(texts, n_tokens).await {
                Ok(rows) => return Ok(rows),
                Err(failure) => failure,
            };
            let endpoint = self.endpoint.to_string();
            let asked = match &failure {
                Failure::Passing { asked, .. } => *asked,
                _ => None,
            };
            let wait = self.spec.patience.wait(n_tries, asked, rand::random::<f64>());
            let error = match failure {
                Failure::Final(error) => return Err(error),
                Failure::Passing { status, asked, detail } => {
                    let retry_after_s = asked.map(|asked| asked.as_secs_f64());
                    RemoteError::Busy { endpoint, status, n_tries, retry_after_s, detail }
                }
                Failure::Transport(source) => RemoteError::Transport { endpoint, n_tries, source },
            };
            let Some(wait) = wait else { return Err(error) };
            let (encoder, wait_ms) = (&self.spec.id, wait.as_millis() as u64);
            tracing::warn!(encoder, n_tries, wait_ms, %error, "texts are sent again");
            tokio::time::sleep(wait).await;
        }
    }

    /// One try, on the account.
    async fn paid_attempt(&self, texts: &[&str], n_tokens: u64) -> Result<Vec<Vec<f32>>, Failure> {
        let reserved = self.account.reserve(n_tokens, self.spec.usd_per_token());
        let reserved = reserved.map_err(|over| Failure::Final(over.into()))?;
        let started = Instant::now();
        match self.attempt(texts).await {
            Ok(answer) => {
                reserved.settle(answer.n_tokens);
                let (encoder, ms) = (&self.spec.id, started.elapsed().as_millis() as u64);
                tracing::info!(
                    encoder,
                    n_texts = texts.len(),
                    n_tokens = answer.n_tokens,
                    ms,
                    "texts were encoded"
                );
                answer.rows.map_err(|problem| Failure::Final(self.wrong(problem)))
            }
            Err(Failure::Transport(error)) => {
                if !error.is_connect() {
                    reserved.keep();
                }
                Err(Failure::Transport(error))
            }
            Err(failure) => Err(failure),
        }
    }

    async fn attempt(&self, texts: &[&str]) -> Result<Answer, Failure> {
        let spec = &*self.spec;
        let request = Request {
            model: &spec.model,
            input: texts,
            encoding_format: match spec.number_format {
                NumberFormat::Unsaid => None,
                NumberFormat::Float => Some("float"),
                NumberFormat::Base64 => Some("base64"),
            },
            dimensions: spec.asks_dim.then_some(spec.dim),
        };
        let mut post = self.http.post(self.endpoint.clone()).json(&request);
        if let Some(value) = &self.authorization {
            post = post.header(AUTHORIZATION, value.clone());
        }
        let mut response = post.send().await?;
        if !response.status().is_success() {
            let endpoint = self.endpoint.as_str();
            let (key, key_variable) = (spec.key.as_ref(), spec.key_variable.as_deref());
            return Err(match (Asked { endpoint, key, key_variable }).refusal(response).await {
                Refusal::Passing { status, asked, detail } => Failure::Passing { status, asked, detail },
                Refusal::Final(error) => Failure::Final(error),
            });
        }
        let limit_bytes = max_answer_bytes(texts.len(), spec.dim);
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await? {
            body.extend_from_slice(&chunk);
            if body.len() > limit_bytes {
                return Ok(Answer { rows: Err(AnswerProblem::TooLarge { limit_bytes }), n_tokens: None });
            }
        }
        Ok(Answer::read(&body, texts.len(), spec.dim))
    }

    fn wrong(&self, problem: AnswerProblem) -> RemoteError {
        RemoteError::Answer { endpoint: self.endpoint.to_string(), problem }
    }
}
