//! Fetching from services that behave, and from services that do not.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail loudly")]

mod support;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use protext_local_server::{Counter, Reply, Request, Server, bounded};
use protext_texts::fetch::{ApiKey, FetchError, FetchEvent, FetchSettings, Fetcher};
use support::{Log, chain, fetcher_of, files_in, settings_of};

const KEY: &str = "c0ffee5ecret0123456789";
const OBO: &str = "format-version: 1.2\n\n[Term]\nid: GO:0008150\nname: biological_process\nnamespace: biological_process\n";

/// Accessions of page 1, 2 and 3.
const PAGES: [&[&str]; 3] = [&["P1", "P2"], &["P3", "P4"], &["P5"]];

fn n_page(request: &Request) -> usize {
    request.parameter("cursor").map_or(1, |cursor| cursor.parse().unwrap())
}

/// A page of UniProt's search.
fn search_page(request: &Request) -> Reply {
    let n = n_page(request);
    let entries: Vec<_> =
        PAGES[n - 1].iter().map(|accession| format!(r#"{{"primaryAccession":"{accession}"}}"#)).collect();
    let reply = Reply::new(200, format!(r#"{{"results":[{}]}}"#, entries.join(",")))
        .header("X-Total-Results", "5")
        .header("X-UniProt-Release", "2026_01");
    match n {
        3 => reply,
        _ => {
            let link = format!(
                "<{}/uniprotkb/search?query=q&cursor={}&size=2>; rel=\"next\"",
                request.origin(),
                n + 1
            );
            reply.header("Link", link)
        }
    }
}

/// All accessions that a search brings.
async fn search(fetcher: &Fetcher) -> Result<Vec<String>, FetchError> {
    let mut accessions = Vec::new();
    let mut pages = fetcher.uniprot("organism_id:9606 AND reviewed:true")?;
    while let Some(entries) = pages.next_page().await? {
        accessions.extend(entries.into_iter().map(|entry| entry.accession));
    }
    Ok(accessions)
}

const ALL: [&str; 5] = ["P1", "P2", "P3", "P4", "P5"];

/// NCBI's answer, one gene an id.
fn gene_page(request: &Request) -> Reply {
    let ids = request.parameter("id").unwrap().split(',');
    let genes = ids.map(|id| format!(r#""{id}":{{"uid":"{id}","name":"G{id}","summary":"Does {id}."}}"#));
    Reply::new(200, format!(r#"{{"result":{{"uids":[],{}}}}}"#, genes.collect::<Vec<_>>().join(",")))
}

#[tokio::test]
async fn a_search_follows_the_cursor_to_its_end() {
    let server = Server::start(search_page).await;
    let log = Log::default();
    let settings = FetchSettings { contact: Some("me@example.org".to_owned()), ..settings_of(&server) };
    let fetcher = log.listen(Fetcher::new(settings).unwrap());
    assert_eq!(bounded(search(&fetcher)).await.unwrap(), ALL);
    let requests = server.requests();
    assert_eq!(requests.iter().map(n_page).collect::<Vec<_>>(), [1, 2, 3]);
    let first = &requests[0];
    assert!(
        first.path.starts_with("/uniprotkb/search?query=organism_id%3A9606+AND+reviewed%3Atrue&format=json")
    );
    assert_eq!(first.parameter("size"), Some("500"));
    let agent = format!("protext/{} (+me@example.org)", env!("CARGO_PKG_VERSION"));
    assert!(requests.iter().all(|request| request.headers["user-agent"] == agent));
    let last = log.events().pop().unwrap();
    let FetchEvent::Page { n_pages, n_records, total_records, is_cached, .. } = last else {
        panic!("{last:?}")
    };
    assert_eq!((n_pages, n_records, total_records, is_cached), (3, 5, Some(5), false));
}

#[tokio::test]
async fn links_that_lead_elsewhere_or_in_a_circle_are_refused() {
    type Link = fn(&Request) -> String;
    let links: [(Link, &str); 4] = [
        (|_| "http://127.0.0.1:9/uniprotkb/search?cursor=2".to_owned(), "another server"),
        (
            |request| request.origin().replace("http:", "https:") + "/uniprotkb/search?cursor=2",
            "another server",
        ),
        (|request| request.origin() + &request.path, "back to a page before"),
        (|_| "http://[".to_owned(), "no address"),
    ];
    for (link, problem) in links {
        let answer = move |request: &Request| {
            Reply::new(200, r#"{"results":[]}"#).header("Link", format!("<{}>; rel=\"next\"", link(request)))
        };
        let server = Server::start(answer).await;
        let fetcher = Fetcher::new(settings_of(&server)).unwrap();
        let error = bounded(search(&fetcher)).await.unwrap_err();
        assert!(error.to_string().contains(problem), "{error}");
        assert_eq!(server.requests().len(), 1);
    }
}

#[tokio::test]
async fn a_busy_service_is_waited_for_as_long_as_it_asks() {
    let in_seconds: fn() -> String = || "1".to_owned();
    let as_date: fn() -> String = || httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(2));
    for (asks, least) in [(in_seconds, Duration::from_secs(1)), (as_date, Duration::from_millis(1))] {
        let count = Counter::default();
        let server = Server::start(move |request| match count.next() {
            1 => Reply::new(429, "slow down").header("Retry-After", asks()),
            _ => search_page(request),
        })
        .await;
        let log = Log::default();
        let fetcher = log.listen(Fetcher::new(settings_of(&server)).unwrap());
        assert_eq!(bounded(search(&fetcher)).await.unwrap(), ALL);
        let waits = log.waits();
        assert!(
            waits.len() == 1 && waits[0] >= least && waits[0] <= Duration::from_millis(2500),
            "{waits:?}"
        );
        assert_eq!(server.requests().len(), 4);
    }
}

#[tokio::test]
async fn a_service_that_asks_for_more_patience_than_there_is_ends_the_fetch() {
    let server = Server::start(|_| Reply::new(503, "").header("Retry-After", "3600")).await;
    let fetcher = Fetcher::new(settings_of(&server)).unwrap();
    let error = bounded(search(&fetcher)).await.unwrap_err();
    let FetchError::Busy { status: 503, n_tries: 1, retry_after_s: Some(3600), .. } = error else {
        panic!("{error}")
    };
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn failures_that_pass_are_tried_again_and_others_are_not() {
    type Answer = fn(&Request) -> Reply;
    let passing: [Answer; 6] = [
        |_| Reply::new(500, "oops"),
        |_| Reply::new(503, ""),
        |request| search_page(request).cut_after(10),
        |request| search_page(request).chunked().cut_after(10),
        |_| Reply::new(429, "").header("Retry-After", "nonsense"),
        |_| Reply::new(408, ""),
    ];
    for (n, bad) in passing.into_iter().enumerate() {
        let count = Counter::default();
        let server = Server::start(move |request| match count.next() {
            1 | 3 => bad(request),
            _ => search_page(request),
        })
        .await;
        let log = Log::default();
        let fetcher = log.listen(Fetcher::new(settings_of(&server)).unwrap());
        assert_eq!(bounded(search(&fetcher)).await.unwrap(), ALL, "failure {n}");
        assert_eq!((log.waits().len(), server.requests().len()), (2, 5), "failure {n}");
    }
    for status in [400, 401, 404, 301] {
        let server = Server::start(move |_| Reply::new(status, "bad query").header("Location", "/x")).await;
        let error = bounded(search(&Fetcher::new(settings_of(&server)).unwrap())).await.unwrap_err();
        assert!(matches!(error, FetchError::Refused { .. } | FetchError::Protocol { .. }), "{error}");
        assert_eq!(server.requests().len(), 1, "{status}");
    }
}

#[tokio::test]
async fn a_service_that_never_answers_whole_ends_after_all_tries() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(|_| Reply::new(500, "")).await;
    let error = bounded(search(&fetcher_of(&server, folder.path()))).await.unwrap_err();
    assert!(matches!(error, FetchError::Busy { status: 500, n_tries: 3, .. }), "{error}");
    let server = Server::start(|request| search_page(request).cut_after(20)).await;
    let error = bounded(search(&fetcher_of(&server, folder.path()))).await.unwrap_err();
    assert!(matches!(error, FetchError::Transport { n_tries: 3, .. }), "{error}");
    assert_eq!(server.requests().len(), 3);
    let server = Server::start(|request| search_page(request).held()).await;
    let settings = FetchSettings { read_timeout: Duration::from_millis(100), ..settings_of(&server) };
    let error = bounded(search(&Fetcher::new(settings).unwrap())).await.unwrap_err();
    assert!(matches!(error, FetchError::Transport { n_tries: 3, .. }), "{error}");
    assert!(files_in(folder.path()).is_empty(), "no part of a page is kept");
}

#[tokio::test]
async fn a_killed_fetch_goes_on_where_it_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let is_stuck = Arc::new(AtomicBool::new(true));
    let reached = Arc::new(tokio::sync::Notify::new());
    let (stuck, reach) = (Arc::clone(&is_stuck), Arc::clone(&reached));
    let server = Server::start(move |request| {
        if n_page(request) == 3 && stuck.load(Ordering::SeqCst) {
            reach.notify_one();
            return search_page(request).held();
        }
        search_page(request)
    })
    .await;
    let fetcher = fetcher_of(&server, folder.path());
    // Dropped in the middle of page 3.
    bounded(async {
        tokio::select! {
            result = search(&fetcher) => panic!("ended: {result:?}"),
            () = reached.notified() => {}
        }
    })
    .await;
    assert_eq!(server.requests().len(), 3);
    is_stuck.store(false, Ordering::SeqCst);
    let log = Log::default();
    let fetcher = log.listen(fetcher_of(&server, folder.path()));
    assert_eq!(bounded(search(&fetcher)).await.unwrap(), ALL);
    assert_eq!(server.requests().iter().map(n_page).collect::<Vec<_>>(), [1, 2, 3, 3]);
    let cached =
        log.events().into_iter().filter(|event| matches!(event, FetchEvent::Page { is_cached: true, .. }));
    assert_eq!(cached.count(), 2);
    // Whole: not one more request.
    assert_eq!(bounded(search(&fetcher)).await.unwrap(), ALL);
    assert_eq!(server.requests().len(), 4);
}

#[tokio::test]
async fn a_damaged_page_is_fetched_again() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(search_page).await;
    let fetcher = fetcher_of(&server, folder.path());
    bounded(search(&fetcher)).await.unwrap();
    let pages = files_in(folder.path());
    assert_eq!(pages.len(), 3);
    for (n, damage) in [b"".as_slice(), b"garbage", b"{}\n{}"].into_iter().enumerate() {
        std::fs::write(&pages[n], damage).unwrap();
        assert_eq!(bounded(search(&fetcher)).await.unwrap(), ALL);
        assert_eq!(server.requests().len(), 4 + n);
    }
}

#[tokio::test]
async fn an_answer_that_cannot_be_read_is_refused_and_not_kept() {
    let folder = tempfile::tempdir().unwrap();
    for body in
        ["<html>log in</html>", r#"{"results":[{"primaryAccession":"P1"#, r#"{"results":[{}]}"#, "\u{1}"]
    {
        let count = Counter::default();
        let server = Server::start(move |request| match count.next() {
            1 => Reply::new(200, body),
            _ => search_page(request),
        })
        .await;
        let fetcher = fetcher_of(&server, folder.path());
        let mut pages = fetcher.uniprot("q").unwrap();
        let error = bounded(pages.next_page()).await.unwrap_err();
        assert!(matches!(error, FetchError::Page { .. }), "{error}");
        assert!(chain(&error).contains("/uniprotkb/search?"), "{error}");
        assert_eq!(
            bounded(pages.next_page()).await.unwrap().unwrap().len(),
            2,
            "the same page, asked for again"
        );
    }
}

#[tokio::test]
async fn answers_past_the_limit_are_refused_declared_or_not() {
    let long = r#"{"results":[]}"#.to_owned() + &" ".repeat(5000);
    for is_chunked in [false, true] {
        let reply = if is_chunked { Reply::new(200, &long).chunked() } else { Reply::new(200, &long) };
        let server = Server::start(move |_| reply.clone()).await;
        let settings = FetchSettings { max_response_bytes: 4000, ..settings_of(&server) };
        let error = bounded(search(&Fetcher::new(settings).unwrap())).await.unwrap_err();
        assert!(matches!(error, FetchError::TooLarge { limit_bytes: 4000, .. }), "{error}");
        assert_eq!(server.requests().len(), 1);
    }
}

#[tokio::test]
async fn pages_of_two_releases_are_not_mixed() {
    let server = Server::start(|request| match n_page(request) {
        3 => Reply::new(200, r#"{"results":[]}"#).header("X-UniProt-Release", "2026_02"),
        _ => search_page(request),
    })
    .await;
    let error = bounded(search(&Fetcher::new(settings_of(&server)).unwrap())).await.unwrap_err();
    assert!(
        matches!(&error, FetchError::ReleaseChanged { before, now, .. } if before == "2026_01" && now == "2026_02")
    );
}

#[tokio::test]
async fn genes_are_asked_for_by_two_hundreds_in_their_order() {
    let server = Server::start(gene_page).await;
    let fetcher = Fetcher::new(settings_of(&server)).unwrap();
    let ids: Vec<u64> = (1..=450).rev().chain([7, 7]).collect();
    let mut pages = fetcher.gene_summaries(&ids);
    let mut genes = Vec::new();
    while let Some(page) = bounded(pages.next_page()).await.unwrap() {
        assert!(page.unknown_ids.is_empty());
        genes.extend(page.genes);
    }
    assert!(genes.iter().map(|gene| gene.gene_id).eq((1..=450).rev()));
    let lens: Vec<_> =
        server.requests().iter().map(|request| request.parameter("id").unwrap().split(',').count()).collect();
    assert_eq!(lens, [200, 200, 50]);
    let path = &server.requests()[2].path;
    assert!(path.starts_with("/entrez/eutils/esummary.fcgi?db=gene&retmode=json"), "{path}");
    assert!(!path.contains("api_key"));
    assert!(bounded(fetcher.gene_summaries(&[]).next_page()).await.unwrap().is_none());
}

/// Fetcher with a key whose every trace is searched for the key.
async fn keyed(server: &Server, cache: &Path) -> (Log, Result<(), FetchError>) {
    let log = Log::default();
    let settings = FetchSettings {
        cache: Some(cache.to_owned()),
        ncbi_api_key: Some(ApiKey::new(KEY)),
        read_timeout: Duration::from_millis(500),
        ..settings_of(server)
    };
    let fetcher = log.listen(Fetcher::new(settings).unwrap());
    assert!(!format!("{fetcher:?}").contains(KEY));
    let result = bounded(fetcher.gene_summaries(&[1, 2]).next_page()).await.map(|_| ());
    (log, result)
}

#[tokio::test]
async fn the_api_key_goes_to_the_service_and_nowhere_else() {
    let echo = |request: &Request| {
        format!(r#"{{"error":"API key invalid","api-key":"{}"}}"#, request.parameter("api_key").unwrap())
    };
    let gone = "http://127.0.0.1:1/";
    type Answer = Box<dyn Fn(&Request) -> Reply + Send + Sync>;
    let answers: Vec<Answer> = vec![
        Box::new(gene_page),
        Box::new(move |request| Reply::new(400, echo(request))),
        Box::new(move |request| Reply::new(429, echo(request))),
        Box::new(move |request| Reply::new(200, echo(request))),
        Box::new(|request| gene_page(request).cut_after(5)),
        Box::new(|request| gene_page(request).held()),
        Box::new(move |request| Reply::new(302, echo(request)).header("Location", gone)),
    ];
    for (n, answer) in answers.into_iter().enumerate() {
        let folder = tempfile::tempdir().unwrap();
        let server = Server::start(answer).await;
        let (log, result) = keyed(&server, folder.path()).await;
        assert!(server.requests().iter().all(|request| request.parameter("api_key") == Some(KEY)));
        assert_eq!(result.is_ok(), n == 0);
        if let Err(error) = &result {
            assert!(!chain(error).contains(KEY), "answer {n}: {}", chain(error));
            assert!(chain(error).contains("/entrez/eutils/esummary.fcgi?db=gene"), "{error}");
        }
        assert!(!format!("{:?}", log.events()).contains(KEY), "answer {n}");
        let files = files_in(folder.path());
        assert_eq!(files.len(), usize::from(n == 0));
        for file in files {
            assert!(!file.display().to_string().contains(KEY));
            assert!(!String::from_utf8_lossy(&std::fs::read(&file).unwrap()).contains(KEY));
        }
    }
}

#[tokio::test]
async fn pages_kept_with_one_key_serve_without_it() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(gene_page).await;
    keyed(&server, folder.path()).await.1.unwrap();
    let page = bounded(fetcher_of(&server, folder.path()).gene_summaries(&[1, 2]).next_page())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(page.genes[1].symbol, "G2");
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn the_ontology_comes_through_a_redirect_and_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(|request| match request.path.as_str() {
        "/ontology/go-basic.obo" => Reply::new(302, "").header("Location", "/releases/go-basic.obo"),
        "/releases/go-basic.obo" => Reply::new(200, OBO),
        _ => Reply::new(404, ""),
    })
    .await;
    let fetcher = fetcher_of(&server, folder.path());
    assert_eq!(bounded(fetcher.go_ontology()).await.unwrap().len(), 1);
    assert_eq!(bounded(fetcher.go_obo()).await.unwrap(), OBO.as_bytes());
    assert_eq!(server.requests().len(), 2);
}

#[tokio::test]
async fn redirects_without_end_and_files_that_are_no_ontology_are_refused() {
    let server = Server::start(|_| Reply::new(302, "").header("Location", "/again")).await;
    let error = bounded(Fetcher::new(settings_of(&server)).unwrap().go_obo()).await.unwrap_err();
    assert!(matches!(error, FetchError::Protocol { .. }), "{error}");
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(|_| Reply::new(200, &OBO[..60])).await;
    let error = bounded(fetcher_of(&server, folder.path()).go_obo()).await.unwrap_err();
    assert!(matches!(error, FetchError::Page { .. }), "{error}");
    assert!(files_in(folder.path()).is_empty());
}

#[tokio::test]
async fn wrong_settings_are_named() {
    let wrong = [
        (FetchSettings { uniprot_url: "rest".to_owned(), ..FetchSettings::default() }, "uniprot_url"),
        (FetchSettings { go_url: "ftp://x".to_owned(), ..FetchSettings::default() }, "go_url"),
        (FetchSettings { contact: Some("\n".repeat(2) + "x\ny"), ..FetchSettings::default() }, "contact"),
        (
            FetchSettings {
                ncbi_url: "http://mirror.example.org".to_owned(),
                ncbi_api_key: Some(ApiKey::new(KEY)),
                ..FetchSettings::default()
            },
            "ncbi_api_key",
        ),
    ];
    for (settings, name) in wrong {
        let error = Fetcher::new(settings).unwrap_err();
        assert!(error.to_string().starts_with(name), "{error}");
        assert!(!chain(&error).contains(KEY));
    }
    let fetcher = Fetcher::new(FetchSettings::default()).unwrap();
    assert!(fetcher.uniprot(" ").unwrap_err().to_string().starts_with("query"));
}
