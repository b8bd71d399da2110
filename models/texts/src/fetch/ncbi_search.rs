//! Ids of the genes of an organism, from NCBI's E-utilities.
//!
//! Source: NCBI E-utilities, `esearch` of database `gene`, JSON; and NCBI Gene's help on the fields of a search.

use serde::Deserialize;

use super::error::FetchError;
use super::fetcher::Fetcher;
use super::progress::FetchEvent;
use crate::error::TextError;

/// Ids a request; the most that NCBI gives at once.
const PAGE_LEN: usize = 10_000;

impl Fetcher {
    /// Ids of the protein-coding genes of an organism that NCBI keeps as current, in NCBI's order; empty for an organism
    /// that it does not know.
    ///
    /// # Errors
    /// [`FetchError`]; the pages before are kept.
    pub async fn gene_ids(&self, taxon_id: u32) -> Result<Vec<u64>, FetchError> {
        let mut ids = Vec::new();
        for n_pages in 1.. {
            let mut url = self.ncbi.url(&["entrez", "eutils", "esearch.fcgi"]);
            let term = format!(
                "txid{taxon_id}[Organism:noexp] AND alive[prop] AND genetype protein coding[Properties]"
            );
            url.query_pairs_mut()
                .append_pair("db", "gene")
                .append_pair("retmode", "json")
                .append_pair("tool", "protext")
                .append_pair("term", &term)
                .append_pair("retmax", &PAGE_LEN.to_string())
                .append_pair("retstart", &ids.len().to_string());
            let got =
                self.transport.page(&self.ncbi, &url, |body, address| read_page(&body, address)).await?;
            let IdPage { ids: found, total } = got.content;
            let is_last = found.is_empty();
            ids.extend(found);
            self.transport.tell(&FetchEvent::Page {
                source: "NCBI Gene ids",
                n_pages,
                n_records: ids.len() as u64,
                total_records: Some(total),
                n_bytes: got.n_bytes,
                is_cached: got.is_cached,
            });
            if is_last || ids.len() as u64 >= total {
                break;
            }
        }
        Ok(ids)
    }
}

#[derive(Debug, PartialEq, Eq)]
struct IdPage {
    ids: Vec<u64>,
    total: u64,
}

#[derive(Deserialize)]
struct Answer {
    esearchresult: RawPage,
}

/// Numbers come as texts.
#[derive(Deserialize)]
struct RawPage {
    count: Option<String>,
    #[serde(default)]
    idlist: Vec<String>,
    #[serde(rename = "ERROR")]
    error: Option<String>,
}

fn read_page(body: &[u8], address: &str) -> Result<IdPage, TextError> {
    let wrong = |source| TextError::Json { input: address.to_owned(), record: 1, source };
    let broken = |rule: String| TextError::Entry { input: address.to_owned(), record: 1, rule };
    let page = serde_json::from_slice::<Answer>(body).map_err(wrong)?.esearchresult;
    if let Some(error) = page.error {
        return Err(broken(format!("NCBI says {error:?}; ask again later")));
    }
    let number = |text: &str| text.parse().map_err(|_| broken(format!("{text:?} is no id or count")));
    Ok(IdPage {
        ids: page.idlist.iter().map(|id| number(id)).collect::<Result<_, _>>()?,
        total: number(page.count.as_deref().unwrap_or_default())?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_and_their_number_are_read_and_other_answers_refused() {
        let body = br#"{"header":{},"esearchresult":{"count":"3","retmax":"2","idlist":["7157","1"]}}"#;
        assert_eq!(read_page(body, "x").unwrap(), IdPage { ids: vec![7157, 1], total: 3 });
        for body in [
            r#"{"esearchresult":{"ERROR":"Search Backend failed"}}"#,
            r#"{"esearchresult":{"count":"3","idlist":["x"]}}"#,
            r#"{"esearchresult":{}}"#,
            r#"{"result":{}}"#,
            "<html>",
        ] {
            assert!(read_page(body.as_bytes(), "x").is_err(), "{body}");
        }
    }
}
