//! The fetcher: set up once, asks all three services.

use std::io::Cursor;
use std::sync::Arc;

use protext_http::Patience;
use reqwest::{Client, redirect};

use super::cache::PageCache;
use super::error::FetchError;
use super::ncbi::GenePages;
use super::pace::Pace;
use super::progress::{FetchEvent, Listener};
use super::settings::{FetchSettings, base_url, check_key};
use super::transport::{Service, Transport};
use super::uniprot::UniprotPages;
use crate::go::Ontology;

/// Asks UniProt, NCBI and the GO project.
#[derive(Debug)]
pub struct Fetcher {
    pub(super) transport: Transport,
    pub(super) uniprot: Service,
    pub(super) ncbi: Service,
    go: Service,
    page_len: u32,
}

impl Fetcher {
    /// Sets up the client. Nothing is sent yet.
    ///
    /// # Errors
    /// [`FetchError::Setting`] or [`FetchError::Client`].
    #[expect(clippy::needless_pass_by_value, reason = "settings are given away once")]
    pub fn new(settings: FetchSettings) -> Result<Self, FetchError> {
        settings.check()?;
        let slow = || Pace::new(settings.requests_per_s, settings.burst);
        let service = |name, base, pace, key, has_redirects| Service { name, base, pace, key, has_redirects };
        let ncbi_url = base_url("ncbi_url", &settings.ncbi_url)?;
        if let Some(key) = &settings.ncbi_api_key {
            check_key(key, &ncbi_url)?;
        }
        let ncbi_pace = Pace::new(settings.ncbi_rate(), settings.burst);
        Ok(Self {
            uniprot: service("UniProt", base_url("uniprot_url", &settings.uniprot_url)?, slow(), None, false),
            ncbi: service("NCBI Gene", ncbi_url, ncbi_pace, settings.ncbi_api_key.clone(), false),
            go: service("GO", base_url("go_url", &settings.go_url)?, slow(), None, true),
            page_len: settings.uniprot_page_len,
            transport: Transport {
                http: http_client(&settings)?,
                cache: settings.cache.clone().map(PageCache::new),
                patience: Patience {
                    n_tries: settings.n_tries,
                    first_wait: settings.first_wait,
                    longest_wait: settings.longest_wait,
                },
                max_bytes: settings.max_response_bytes,
                listener: None,
            },
        })
    }

    /// Tells `listener` of every page and every wait.
    #[must_use]
    pub fn with_listener(mut self, listener: impl Fn(&FetchEvent) + Send + Sync + 'static) -> Self {
        self.transport.listener = Some(Listener(Arc::new(listener)));
        self
    }

    /// Entries that match a UniProtKB query, such as `organism_id:9606 AND reviewed:true`.
    ///
    /// # Errors
    /// [`FetchError::Setting`] for an empty query.
    pub fn uniprot(&self, query: &str) -> Result<UniprotPages<'_>, FetchError> {
        UniprotPages::new(self, query, self.page_len)
    }

    /// Summaries of genes by NCBI Gene (Entrez) id, in the order given; an id given twice is asked for once.
    #[must_use]
    pub fn gene_summaries(&self, gene_ids: &[u64]) -> GenePages<'_> {
        GenePages::new(self, gene_ids)
    }

    /// The text of `go-basic.obo`.
    ///
    /// # Errors
    /// [`FetchError`]; a file that is no whole ontology is refused and not kept.
    pub async fn go_obo(&self) -> Result<Vec<u8>, FetchError> {
        self.go(|_, obo| obo).await
    }

    /// The Gene Ontology, read from `go-basic.obo`.
    ///
    /// # Errors
    /// As [`Fetcher::go_obo`].
    pub async fn go_ontology(&self) -> Result<Ontology, FetchError> {
        self.go(|ontology, _| ontology).await
    }

    async fn go<T: Send + 'static>(&self, take: fn(Ontology, Vec<u8>) -> T) -> Result<T, FetchError> {
        let url = self.go.url(&["ontology", "go-basic.obo"]);
        let read = move |obo: Vec<u8>, address: &str| {
            let ontology = Ontology::from_obo(Cursor::new(obo.clone()), address)?;
            Ok((ontology.len() as u64, take(ontology, obo)))
        };
        let got = self.transport.page(&self.go, &url, read).await?;
        let (n_records, content) = got.content;
        self.transport.tell(&FetchEvent::Page {
            source: self.go.name,
            n_pages: 1,
            n_records,
            total_records: Some(n_records),
            n_bytes: got.n_bytes,
            is_cached: got.is_cached,
        });
        Ok(content)
    }
}

fn http_client(settings: &FetchSettings) -> Result<Client, FetchError> {
    protext_http::install_crypto_provider();
    let mut builder = Client::builder()
        .redirect(redirect::Policy::none())
        .connect_timeout(settings.connect_timeout)
        .read_timeout(settings.read_timeout)
        .user_agent(settings.user_agent()?);
    if !settings.environment_proxies {
        builder = builder.no_proxy();
    }
    builder.build().map_err(|source| FetchError::Client { source })
}
