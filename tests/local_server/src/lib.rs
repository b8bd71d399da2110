//! A service for tests: HTTP/1.1 over plain TCP on 127.0.0.1, with the misbehaviour that tests ask for.
//!
//! Tests of the registry, of the fetchers and of the whole program answer requests here; nothing but tests depends on it.
#![allow(clippy::unwrap_used, clippy::missing_panics_doc, reason = "helpers of tests fail loudly")]

pub mod qdrant;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// A request as it came in; header names in lower case.
#[derive(Debug, Clone)]
pub struct Request {
    /// Path and query.
    pub path: String,
    /// By name in lower case.
    pub headers: BTreeMap<String, String>,
    /// As long as its header says.
    pub body: Vec<u8>,
}

impl Request {
    /// Value of a query parameter, still percent-encoded.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<&str> {
        let (_, query) = self.path.split_once('?')?;
        query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
    }

    /// Where the part that is asked for starts, in bytes.
    #[must_use]
    pub fn range_start(&self) -> Option<usize> {
        self.headers.get("range")?.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok()
    }

    /// Address of the server that was asked.
    #[must_use]
    pub fn origin(&self) -> String {
        format!("http://{}", self.headers["host"])
    }
}

/// What to send.
#[derive(Debug, Clone)]
pub struct Reply {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    cut_after: Option<usize>,
    is_chunked: bool,
    is_held: bool,
}

impl Reply {
    /// An answer with a body.
    #[must_use]
    pub fn new(status: u16, body: impl AsRef<[u8]>) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: body.as_ref().to_vec(),
            cut_after: None,
            is_chunked: false,
            is_held: false,
        }
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// Closes the connection after so many bytes of the body.
    #[must_use]
    pub fn cut_after(mut self, n_bytes: usize) -> Self {
        self.cut_after = Some(n_bytes);
        self
    }

    /// Sends the body in chunks, without a length.
    #[must_use]
    pub fn chunked(mut self) -> Self {
        self.is_chunked = true;
        self
    }

    /// Sends half of the body, then nothing more, and keeps the connection.
    #[must_use]
    pub fn held(mut self) -> Self {
        self.is_held = true;
        self
    }

    /// The file, or the part that the request asks for.
    #[must_use]
    pub fn part_of(file: &[u8], request: &Request) -> Self {
        let reply = |status, part| Self::new(status, part).header("Accept-Ranges", "bytes");
        match request.range_start() {
            None => reply(200, file),
            Some(start) if start >= file.len() => {
                reply(416, b"").header("Content-Range", format!("bytes */{}", file.len()))
            }
            Some(start) => {
                let range = format!("bytes {start}-{}/{}", file.len() - 1, file.len());
                reply(206, &file[start..]).header("Content-Range", range)
            }
        }
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
pub struct Server {
    /// Its address, without a slash at the end.
    pub url: String,
    requests: Arc<Mutex<Vec<Request>>>,
    task: JoinHandle<()>,
}

impl Server {
    /// Answers with what `handler` says.
    pub async fn start(handler: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
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

    /// All requests so far.
    #[must_use]
    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
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
    let headers: BTreeMap<_, _> =
        headers.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect();
    let mut body = vec![0; headers.get("content-length").map_or(0, |n_bytes| n_bytes.parse().unwrap())];
    if stream.read_exact(&mut body).await.is_err() {
        return;
    }
    let request = Request { path, headers, body };
    let reply = handler(&request);
    log.lock().unwrap().push(request);
    let _ = reply.send(&mut stream).await;
}

/// Counts calls, for handlers that answer differently the first times.
#[derive(Debug, Clone, Default)]
pub struct Counter(Arc<AtomicUsize>);

impl Counter {
    /// 1 at the first call.
    #[must_use]
    pub fn next(&self) -> usize {
        self.0.fetch_add(1, Ordering::SeqCst) + 1
    }
}

/// No test waits for ever.
pub async fn bounded<T>(test: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), test).await.expect("the test ends within its time")
}
