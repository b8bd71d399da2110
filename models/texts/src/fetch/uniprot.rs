//! UniProtKB searches: page after page by the cursor that each answer names.

use std::collections::HashSet;
use std::io::Cursor;

use reqwest::Url;

use super::error::FetchError;
use super::fetcher::Fetcher;
use super::progress::FetchEvent;
use super::transport::protocol;
use crate::uniprot::{Entries, Entry};

/// What an [`Entry`] needs; whole entries are twenty times as long. Source: UniProt REST API, return fields.
const FIELDS: &str =
    "accession,id,protein_name,gene_primary,organism_name,organism_id,sequence,cc_function,go_id";

/// Pages of a search.
#[derive(Debug)]
pub struct UniprotPages<'a> {
    fetcher: &'a Fetcher,
    next: Option<Url>,
    asked: HashSet<Url>,
    release: Option<String>,
    n_pages: u64,
    n_records: u64,
}

impl<'a> UniprotPages<'a> {
    pub(super) fn new(fetcher: &'a Fetcher, query: &str, page_len: u32) -> Result<Self, FetchError> {
        if query.trim().is_empty() {
            let rule = "is empty; write one such as organism_id:9606 AND reviewed:true".to_owned();
            return Err(FetchError::Setting { setting: "query", rule });
        }
        let mut url = fetcher.uniprot.url(&["uniprotkb", "search"]);
        url.query_pairs_mut()
            .append_pair("query", query.trim())
            .append_pair("format", "json")
            .append_pair("fields", FIELDS)
            .append_pair("size", &page_len.to_string());
        Ok(Self { fetcher, next: Some(url), asked: HashSet::new(), release: None, n_pages: 0, n_records: 0 })
    }

    /// The next page's entries, also those without a function comment; `None` after the last page. After an error the
    /// same page is asked for again.
    ///
    /// # Errors
    /// [`FetchError`]; the pages before are kept.
    pub async fn next_page(&mut self) -> Result<Option<Vec<Entry>>, FetchError> {
        let Some(url) = self.next.clone() else { return Ok(None) };
        let read =
            |body, address: &str| Entries::new(Cursor::new(body), address)?.collect::<Result<Vec<_>, _>>();
        let transport = &self.fetcher.transport;
        let got = transport.page(&self.fetcher.uniprot, &url, read).await?;
        self.check_release(&url, got.facts.release)?;
        let next = got.facts.next.map(|next| self.check_next(&url, &next)).transpose()?;
        self.asked.insert(url);
        self.next = next;
        self.n_pages += 1;
        self.n_records += got.content.len() as u64;
        transport.tell(&FetchEvent::Page {
            source: self.fetcher.uniprot.name,
            n_pages: self.n_pages,
            n_records: self.n_records,
            total_records: got.facts.total,
            n_bytes: got.n_bytes,
            is_cached: got.is_cached,
        });
        Ok(Some(got.content))
    }

    /// The cursor of one release means nothing in the next.
    fn check_release(&mut self, url: &Url, release: Option<String>) -> Result<(), FetchError> {
        match (&self.release, release) {
            (Some(before), Some(now)) if *before != now => {
                Err(FetchError::ReleaseChanged { url: url.to_string(), before: before.clone(), now })
            }
            (None, Some(now)) => {
                self.release = Some(now);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// The next page lies on the same server and was not asked for yet.
    fn check_next(&self, url: &Url, next: &str) -> Result<Url, FetchError> {
        let next = url
            .join(next)
            .map_err(|_| protocol(url, "its link to the next page is no address".to_owned()))?;
        if next.origin() != url.origin() {
            let host = next.host_str().unwrap_or_default();
            return Err(protocol(url, format!("its link to the next page leads to another server ({host})")));
        }
        if next == *url || self.asked.contains(&next) {
            return Err(protocol(url, "its link to the next page leads back to a page before".to_owned()));
        }
        Ok(next)
    }
}
