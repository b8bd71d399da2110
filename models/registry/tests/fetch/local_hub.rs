//! A hub for tests: HTTP/1.1 over plain TCP on 127.0.0.1, with the misbehaviour that tests ask for.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use protext_registry::Progress;
use protext_registry::hub::{HubClient, HubFile, HubSettings, Token};
use sha1::Digest;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

pub(crate) const REPO: &str = "owner/model";
pub(crate) const REVISION: &str = "0123456789abcdef0123456789abcdef01234567";
pub(crate) const TOKEN: &str = "hf_testsecret";

/// A request as it came in; header names in lower case.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) path: String,
    pub(crate) headers: BTreeMap<String, String>,
}

impl Request {
    pub(crate) fn range_start(&self) -> Option<usize> {
        self.headers.get("range")?.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok()
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
}

impl Reply {
    pub(crate) fn new(status: u16, body: &[u8]) -> Self {
        Self { status, headers: Vec::new(), body: body.to_vec(), cut_after: None, is_chunked: false }
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

    /// The file, or the part that the request asks for.
    pub(crate) fn part_of(file: &[u8], request: &Request) -> Self {
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
        if self.is_chunked {
            for chunk in sent.chunks(1000) {
                stream.write_all(format!("{:x}\r\n", chunk.len()).as_bytes()).await?;
                stream.write_all(chunk).await?;
                stream.write_all(b"\r\n").await?;
            }
            stream.write_all(b"0\r\n\r\n").await?;
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

/// A hub and the storage that its large files lie on.
#[derive(Debug)]
pub(crate) struct Hub {
    pub(crate) front: Server,
    pub(crate) storage: Server,
}

impl Hub {
    /// States the sha256 of `stated` and redirects to a storage that answers as `storage` says.
    pub(crate) async fn with_storage(
        stated: &[u8],
        storage: impl Fn(&Request) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let (sha256, n_bytes) = (sha256(stated), stated.len());
        let storage = Server::start(storage).await;
        let target = format!("{}/blobs/{sha256}?signature=secret", storage.url);
        let front = Server::start(move |_| redirect(&sha256, n_bytes, &target)).await;
        Self { front, storage }
    }

    /// A hub that behaves.
    pub(crate) async fn of(file: &[u8]) -> Self {
        let content = file.to_vec();
        Self::with_storage(file, move |request| Reply::part_of(&content, request)).await
    }

    pub(crate) fn client(&self) -> HubClient {
        client(&self.front.url)
    }
}

/// The hub's answer for a large file.
pub(crate) fn redirect(sha256: &str, n_bytes: usize, target: &str) -> Reply {
    Reply::new(302, b"")
        .header("Location", target)
        .header("X-Repo-Commit", REVISION)
        .header("X-Linked-Etag", format!("\"{sha256}\""))
        .header("X-Linked-Size", n_bytes.to_string())
        .header("ETag", format!("\"{}\"", "ef".repeat(20)))
        .header("Accept-Ranges", "bytes")
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

/// Impatient settings, without proxies of the environment.
pub(crate) fn settings(endpoint: &str) -> HubSettings {
    HubSettings {
        endpoint: endpoint.to_owned(),
        token: Some(Token::new(TOKEN)),
        connect_timeout: Duration::from_secs(2),
        read_timeout: Duration::from_secs(2),
        n_tries: 3,
        first_wait: Duration::from_millis(5),
        longest_wait: Duration::from_millis(50),
        environment_proxies: false,
        ..HubSettings::default()
    }
}

pub(crate) fn client(endpoint: &str) -> HubClient {
    HubClient::new(settings(endpoint)).unwrap()
}

pub(crate) fn file(path: &'static str) -> HubFile<'static> {
    HubFile { repo: REPO, revision: REVISION, path, sha256: None }
}

/// Bytes without a period, so that a part at the wrong place shows.
pub(crate) fn content(n_bytes: usize) -> Vec<u8> {
    let mut state = 1_u64;
    std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33) as u8
    })
    .take(n_bytes)
    .collect()
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    hex::encode(sha2::Sha256::digest(bytes))
}

pub(crate) fn git_blob(bytes: &[u8]) -> String {
    hex::encode(sha1::Sha1::new_with_prefix(format!("blob {}\0", bytes.len())).chain_update(bytes).finalize())
}

/// Names of the files in a folder, sorted.
pub(crate) fn names_in(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Adds up what it hears.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) n_begun: AtomicU64,
    pub(crate) n_ended: AtomicU64,
    pub(crate) total_bytes: AtomicU64,
    pub(crate) n_bytes: AtomicU64,
}

impl Progress for Tally {
    fn begin(&self, _name: &str, total_bytes: Option<u64>) {
        self.n_begun.fetch_add(1, Ordering::SeqCst);
        self.total_bytes.store(total_bytes.unwrap_or(0), Ordering::SeqCst);
        self.n_bytes.store(0, Ordering::SeqCst);
    }

    fn advance(&self, n_bytes: u64) {
        self.n_bytes.fetch_add(n_bytes, Ordering::SeqCst);
    }

    fn end(&self) {
        self.n_ended.fetch_add(1, Ordering::SeqCst);
    }
}

/// No test waits for ever.
pub(crate) async fn bounded<T>(test: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), test).await.expect("the test ends within its time")
}
