//! Gene summaries from NCBI's E-utilities, 200 genes a request.
//!
//! Source: NCBI E-utilities, `esummary` of database `gene`, JSON version 2.0.

use std::collections::{HashMap, HashSet, VecDeque};

use serde::Deserialize;

use super::error::FetchError;
use super::fetcher::Fetcher;
use super::progress::FetchEvent;
use crate::error::TextError;
use crate::gene_text::GeneRecord;

/// Genes a request; keeps addresses short enough for every proxy.
const PAGE_LEN: usize = 200;

/// What NCBI Gene says about a gene.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GeneSummary {
    /// NCBI Gene (Entrez) id.
    pub gene_id: u64,
    /// Symbol.
    pub symbol: String,
    /// Full name; may be empty.
    pub name: String,
    /// Other symbols.
    pub aliases: Vec<String>,
    /// Summary as NCBI gives it, with its closing notes.
    pub summary: Option<String>,
    /// Scientific name of the organism.
    pub organism: Option<String>,
    /// NCBI taxon id of the organism.
    pub taxon_id: Option<u32>,
    /// The gene that replaced this one.
    pub replaced_by: Option<u64>,
}

impl From<GeneSummary> for GeneRecord {
    fn from(gene: GeneSummary) -> Self {
        Self {
            symbol: gene.symbol,
            aliases: gene.aliases,
            name: gene.name,
            summary: gene.summary,
            go_terms: Vec::new(),
        }
    }
}

/// Genes of one request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GenePage {
    /// Genes found, in the order of their ids.
    pub genes: Vec<GeneSummary>,
    /// Ids that NCBI does not know.
    pub unknown_ids: Vec<u64>,
}

/// Pages of summaries.
#[derive(Debug)]
pub struct GenePages<'a> {
    fetcher: &'a Fetcher,
    waiting: VecDeque<Vec<u64>>,
    total_records: u64,
    n_pages: u64,
    n_records: u64,
}

impl<'a> GenePages<'a> {
    pub(super) fn new(fetcher: &'a Fetcher, gene_ids: &[u64]) -> Self {
        let mut seen = HashSet::new();
        let ids: Vec<_> = gene_ids.iter().copied().filter(|id| seen.insert(*id)).collect();
        let waiting = ids.chunks(PAGE_LEN).map(<[u64]>::to_vec).collect();
        Self { fetcher, waiting, total_records: ids.len() as u64, n_pages: 0, n_records: 0 }
    }

    /// The next page; `None` after the last. After an error the same page is asked for again.
    ///
    /// # Errors
    /// [`FetchError`]; the pages before are kept.
    pub async fn next_page(&mut self) -> Result<Option<GenePage>, FetchError> {
        let Some(ids) = self.waiting.front().cloned() else { return Ok(None) };
        let mut url = self.fetcher.ncbi.url(&["entrez", "eutils", "esummary.fcgi"]);
        let list = ids.iter().map(u64::to_string).collect::<Vec<_>>().join(",");
        // Commas are written as they are: they belong to the list.
        url.set_query(Some(&format!("db=gene&retmode=json&tool=protext&id={list}")));
        let n_ids = ids.len() as u64;
        let read = move |body: Vec<u8>, address: &str| read_page(&body, &ids, address);
        let transport = &self.fetcher.transport;
        let got = transport.page(&self.fetcher.ncbi, &url, read).await?;
        self.waiting.pop_front();
        self.n_pages += 1;
        self.n_records += n_ids;
        transport.tell(&FetchEvent::Page {
            source: self.fetcher.ncbi.name,
            n_pages: self.n_pages,
            n_records: self.n_records,
            total_records: Some(self.total_records),
            n_bytes: got.n_bytes,
            is_cached: got.is_cached,
        });
        Ok(Some(got.content))
    }
}

#[derive(Deserialize)]
struct Answer {
    result: HashMap<String, serde_json::Value>,
}

#[derive(Deserialize)]
struct RawGene {
    name: Option<String>,
    description: Option<String>,
    #[serde(default)]
    otheraliases: String,
    #[serde(default)]
    summary: String,
    organism: Option<RawOrganism>,
    /// A number, or a text that may be empty.
    currentid: Option<serde_json::Value>,
    error: Option<String>,
}

#[derive(Deserialize)]
struct RawOrganism {
    scientificname: Option<String>,
    taxid: Option<u32>,
}

fn read_page(body: &[u8], ids: &[u64], address: &str) -> Result<GenePage, TextError> {
    let wrong = |record, source| TextError::Json { input: address.to_owned(), record, source };
    let mut answer: Answer = serde_json::from_slice(body).map_err(|source| wrong(1, source))?;
    let mut page = GenePage::default();
    for (id, record) in ids.iter().zip(1..) {
        let raw = answer.result.remove(&id.to_string()).map(serde_json::from_value::<RawGene>);
        match raw.transpose().map_err(|source| wrong(record, source))?.and_then(|raw| raw.into_gene(*id)) {
            Some(gene) => page.genes.push(gene),
            None => page.unknown_ids.push(*id),
        }
    }
    Ok(page)
}

impl RawGene {
    /// `None` for a record that says only that there is none.
    fn into_gene(self, gene_id: u64) -> Option<GeneSummary> {
        let symbol = self.name.filter(|_| self.error.is_none())?;
        let replaced_by = self.currentid.and_then(|id| match id {
            serde_json::Value::String(text) => text.parse().ok(),
            other => other.as_u64(),
        });
        let (organism, taxon_id) =
            self.organism.map_or((None, None), |organism| (organism.scientificname, organism.taxid));
        let aliases = self.otheraliases.split(',').map(str::trim).filter(|alias| !alias.is_empty());
        Some(GeneSummary {
            gene_id,
            symbol,
            name: self.description.unwrap_or_default(),
            aliases: aliases.map(str::to_owned).collect(),
            summary: Some(self.summary).filter(|summary| !summary.trim().is_empty()),
            organism,
            taxon_id,
            replaced_by: replaced_by.filter(|id| *id != 0),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn records_errors_and_gaps() {
        let body = br#"{"header": {"type": "esummary"}, "result": {"uids": ["7157", "2", "3"],
            "7157": {"uid": "7157", "name": "TP53", "description": "tumor protein p53", "status": "", "currentid": "",
                "otheraliases": "BCC7, LFS1", "summary": "Responds to stress. [provided by RefSeq, Dec 2016]",
                "organism": {"scientificname": "Homo sapiens", "commonname": "human", "taxid": 9606}},
            "2": {"uid": "2", "name": "OLD", "currentid": 99, "summary": ""},
            "3": {"uid": "3", "error": "cannot get document summary"}}}"#;
        let page = read_page(body, &[2, 7157, 3, 4], "x").unwrap();
        assert_eq!(page.unknown_ids, [3, 4]);
        assert_eq!((page.genes[0].symbol.as_str(), page.genes[0].replaced_by), ("OLD", Some(99)));
        assert_eq!(page.genes[0].summary, None);
        let gene = &page.genes[1];
        assert_eq!((gene.gene_id, gene.taxon_id, gene.replaced_by), (7157, Some(9606), None));
        assert_eq!(gene.aliases, ["BCC7", "LFS1"]);
        let text = crate::gene_text::gene_text(&gene.clone().into(), &Default::default()).unwrap();
        assert_eq!(text, "Gene Symbol TP53 tumor protein p53. Also called BCC7, LFS1. Responds to stress.");
    }

    #[test]
    fn other_answers_are_refused() {
        for body in [
            "",
            "<html>",
            "[]",
            "{}",
            r#"{"error": "x"}"#,
            r#"{"result": {"1": {"name": 5}}}"#,
            r#"{"result":"#,
        ] {
            assert!(matches!(read_page(body.as_bytes(), &[1], "x"), Err(TextError::Json { .. })), "{body}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = read_page(&bytes, &[1], "x");
        }
    }
}
