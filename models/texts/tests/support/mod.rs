//! A service for tests: HTTP/1.1 over plain TCP on 127.0.0.1, with the misbehaviour that tests ask for.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail loudly")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use protext_texts::fetch::{FetchEvent, FetchSettings, Fetcher};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// A request as it came in; header names in lower case.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    /// Path and query.
    pub(crate) path: String,
    pub(crate) headers: BTreeMap<String, String>,
}

impl Request {
    /// Value of a query parameter, still percent-encoded.
    pub(crate) fn parameter(&self, name: &str) -> Option<&str> {
        let (_, query) = self.path.split_once('?')?;
        query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
    }

    /// Address of the server that was asked.
    pub(crate) fn origin(&self) -> String {
        format!("http://{}", self.headers["host"])
    }
}

/// What to send.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    cut_after: Option<usize>,
    is_chunked: bool,
    is_held: bool,
}

impl Reply {
    pub(crate) fn new(status: u16, body: impl AsRef<[u8]>) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: body.as_ref().to_vec(),
            cut_after: None,
            is_chunked: false,
            is_held: false,
        }
    }

    pub(crate) fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// Closes the connection after so many bytes of the body.
    pub(crate) fn cut_after(mut self, n_bytes: usize) -> Self {
        self.cut_after = Some(n_bytes);
        self
    }

    /// Sends the body in chunks, without a length.
    pub(crate) fn chunked(mut self) -> Self {
        self.is_chunked = true;
        self
    }

    /// Sends half of the body, then nothing more, and keeps the connection.
    pub(crate) fn held(mut self) -> Self {
        self.is_held = true;
        self
    }

    async fn send(&self, stream: &mut TcpStream) -> std::io::Result<()> {
        let mut head = format!("HTTP/1.1 {} Test\r\nConnection: close\r\n", self.status);
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str(&match self.is_chunked {
            true => "Transfer-Encoding: chunked\r\n\r\n".to_owned(),
            false => format!("Content-Length: {}\r\n\r\n", self.body.len()),
        });
        stream.write_all(head.as_bytes()).await?;
        let sent = &self.body[..self.cut_after.unwrap_or(self.body.len()).min(self.body.len())];
        if self.is_held {
            stream.write_all(&sent[..sent.len() / 2]).await?;
            std::future::pending::<()>().await;
        } else if self.is_chunked {
            for chunk in sent.chunks(1000) {
                stream.write_all(format!("{:x}\r\n", chunk.len()).as_bytes()).await?;
                stream.write_all(chunk).await?;
                stream.write_all(b"\r\n").await?;
            }
            if self.cut_after.is_none() {
                stream.write_all(b"0\r\n\r\n").await?;
            }
        } else {
            stream.write_all(sent).await?;
        }
        stream.shutdown().await
    }
}

type Handler = dyn Fn(&Request) -> Reply + Send + Sync;

/// Answers until it is dropped, and remembers what was asked.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) url: String,
    requests: Arc<Mutex<Vec<Request>>>,
    task: JoinHandle<()>,
}

impl Server {
    pub(crate) async fn start(handler: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&requests);
        let handler: Arc<Handler> = Arc::new(handler);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(answer(stream, Arc::clone(&handler), Arc::clone(&log)));
            }
        });
        Self { url, requests, task }
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    /// Settings that ask this server for everything: impatient, fast, without proxies of the environment.
    pub(crate) fn settings(&self) -> FetchSettings {
        FetchSettings {
            uniprot_url: self.url.clone(),
            ncbi_url: self.url.clone(),
            go_url: self.url.clone(),
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

    /// A fetcher that keeps its pages in `cache`.
    pub(crate) fn fetcher(&self, cache: &Path) -> Fetcher {
        Fetcher::new(FetchSettings { cache: Some(cache.to_owned()), ..self.settings() }).unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer(mut stream: TcpStream, handler: Arc<Handler>, log: Arc<Mutex<Vec<Request>>>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    let text = String::from_utf8(head).unwrap();
    let mut lines = text.lines();
    let path = lines.next().unwrap().split(' ').nth(1).unwrap().to_owned();
    let headers = lines.filter_map(|line| line.split_once(": "));
    let headers = headers.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect();
    let request = Request { path, headers };
    let reply = handler(&request);
    log.lock().unwrap().push(request);
    let _ = reply.send(&mut stream).await;
}

/// Counts calls, for handlers that answer differently the first times.
#[derive(Debug, Clone, Default)]
pub(crate) struct Counter(Arc<AtomicUsize>);

impl Counter {
    /// 1 at the first call.
    pub(crate) fn next(&self) -> usize {
        self.0.fetch_add(1, Ordering::SeqCst) + 1
    }
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

/// No test waits for ever.
pub(crate) async fn bounded<T>(test: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), test).await.expect("the test ends within its time")
}
