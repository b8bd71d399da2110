//! A service for tests: `POST /v1/embeddings` over plain TCP on 127.0.0.1, with the misbehaviour that tests ask for.
//! `tests/tests/remote.rs` uses it too.
#![allow(
    clippy::needless_pass_by_value,
    clippy::unwrap_used,
    dead_code,
    missing_docs,
    unreachable_pub,
    reason = "each test file uses a part, and helpers of tests fail loudly"
)]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

/// A request as it came in; header names in lower case.
#[derive(Debug, Clone)]
pub struct Request {
    pub path: String,
    pub headers: BTreeMap<String, String>,
    pub body: Value,
    pub at: Instant,
}

impl Request {
    pub fn texts(&self) -> Vec<String> {
        let texts = self.body["input"].as_array().unwrap();
        texts.iter().map(|text| text.as_str().unwrap().to_owned()).collect()
    }
}

/// What to send.
#[derive(Debug, Clone, Default)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: String,
    /// Closes the connection after so many bytes of the body.
    pub cut_after: Option<usize>,
    /// Sends nothing, and keeps the connection.
    pub is_held: bool,
}

#[expect(clippy::needless_pass_by_value, reason = "numbers, texts and JSON are written as they are")]
impl Reply {
    pub fn new(status: u16, body: impl ToString) -> Self {
        Self { status, body: body.to_string(), ..Self::default() }
    }

    pub fn header(mut self, name: &'static str, value: impl ToString) -> Self {
        self.headers.push((name, value.to_string()));
        self
    }

    pub fn held() -> Self {
        Self { is_held: true, ..Self::default() }
    }

    fn send(&self, stream: &mut TcpStream, stop: &AtomicBool) -> std::io::Result<()> {
        let started = Instant::now();
        while self.is_held && !stop.load(Ordering::Relaxed) && started.elapsed() < Duration::from_secs(60) {
            std::thread::sleep(Duration::from_millis(10));
        }
        if self.is_held {
            return Ok(());
        }
        let mut head = format!("HTTP/1.1 {} Test\r\nConnection: close\r\n", self.status);
        self.headers.iter().for_each(|(name, value)| head.push_str(&format!("{name}: {value}\r\n")));
        head.push_str(&format!("Content-Length: {}\r\n\r\n", self.body.len()));
        stream.write_all(head.as_bytes())?;
        stream.write_all(&self.body.as_bytes()[..self.cut_after.unwrap_or(self.body.len())])
    }
}

type Handler = dyn Fn(&Request, usize) -> Reply + Send + Sync;

/// Answers until it is dropped, and remembers what was asked.
pub struct Server {
    /// `http://127.0.0.1:PORT/v1`.
    pub base_url: String,
    requests: Arc<Mutex<Vec<Request>>>,
    stop: Arc<AtomicBool>,
}

impl Server {
    /// `handler` hears the request and its number, from 1.
    pub fn start(handler: impl Fn(&Request, usize) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server =
            Self { base_url: format!("http://{address}/v1"), requests: Arc::default(), stop: Arc::default() };
        let (log, stop) = (Arc::clone(&server.requests), Arc::clone(&server.stop));
        let handler: Arc<Handler> = Arc::new(handler);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                let (handler, log, stop) = (Arc::clone(&handler), Arc::clone(&log), Arc::clone(&stop));
                std::thread::spawn(move || answer(stream, &*handler, &log, &stop));
            }
        });
        server
    }

    /// A service that does as it should.
    pub fn good(dim: usize) -> Self {
        Self::start(move |request, _| good(request, dim))
    }

    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    /// Every text that was sent, in order.
    pub fn texts(&self) -> Vec<String> {
        self.requests().iter().flat_map(Request::texts).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(self.base_url.trim_start_matches("http://").trim_end_matches("/v1"));
    }
}

fn answer(mut stream: TcpStream, handler: &Handler, log: &Mutex<Vec<Request>>, stop: &AtomicBool) {
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        match reader.read_line(&mut line) {
            Ok(0) | Err(_) => return,
            Ok(_) if line == "\r\n" => break,
            Ok(_) => lines.push(line.trim_end().to_owned()),
        }
    }
    let headers = lines[1..].iter().filter_map(|line| line.split_once(": "));
    let headers: BTreeMap<_, _> =
        headers.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect();
    let mut body = vec![0; headers["content-length"].parse().unwrap()];
    if reader.read_exact(&mut body).is_err() {
        return;
    }
    let path = lines[0].split(' ').nth(1).unwrap().to_owned();
    let body = serde_json::from_slice(&body).unwrap();
    let request = Request { path, headers, body, at: Instant::now() };
    let number = {
        let mut log = log.lock().unwrap();
        log.push(request.clone());
        log.len()
    };
    let _ = handler(&request, number).send(&mut stream, stop);
}

/// The row that the service gives a text: unit norm up to rounding, and different for each.
pub fn row_of(text: &str, dim: usize) -> Vec<f32> {
    let mut state = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let mut row: Vec<f32> = (0..dim)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1_u32 << 24) as f32 - 0.5
        })
        .collect();
    let norm = row.iter().map(|value| value * value).sum::<f32>().sqrt();
    row.iter_mut().for_each(|value| *value /= norm);
    row
}

/// A right answer, the rows in reverse order, in the form asked for; each text counts for its words.
pub fn good(request: &Request, dim: usize) -> Reply {
    let texts = request.texts();
    let as_base64 = request.body["encoding_format"] == "base64";
    let embedding = |text: &str| {
        let row = row_of(text, dim);
        if as_base64 {
            let bytes: Vec<u8> = row.iter().flat_map(|value| value.to_le_bytes()).collect();
            json!(STANDARD.encode(bytes))
        } else {
            json!(row)
        }
    };
    let data = texts.iter().enumerate().rev();
    let data: Vec<Value> = data
        .map(|(index, text)| json!({"object": "embedding", "index": index, "embedding": embedding(text)}))
        .collect();
    let n_tokens: usize = texts.iter().map(|text| text.split(' ').count()).sum();
    let usage = json!({"prompt_tokens": n_tokens, "total_tokens": n_tokens});
    Reply::new(200, json!({"object": "list", "model": "m", "data": data, "usage": usage}))
}

/// The error, all its causes, and how they debug.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = format!("{error} {error:?}");
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(&format!(" / {error} {error:?}"));
        source = error.source();
    }
    text
}
