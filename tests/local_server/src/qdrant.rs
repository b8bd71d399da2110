//! Qdrant's own client library in local mode behind the routes of its REST API (`tests/clients/qdrant_local.py`), which `make test`
//! installs.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// The key that it is started with.
pub const KEY: &str = "key-of-the-tests";

/// A server in a process of its own, killed when it is dropped.
#[derive(Debug)]
pub struct QdrantLocal {
    process: Child,
    /// `host:port`.
    pub authority: String,
}

impl QdrantLocal {
    /// Starts one; `None`, said loudly, where Qdrant's client library is not installed.
    #[must_use]
    pub fn start(test: &str) -> Option<Self> {
        let libraries = std::env::var("PROTEXT_TEST_CLIENTS").unwrap_or_default();
        if !Path::new(&libraries).join("qdrant_client").exists() {
            let _ = writeln!(
                std::io::stderr(),
                "NOT RUN: {test}: PROTEXT_TEST_CLIENTS names no folder with qdrant_client; `make test` gets it"
            );
            return None;
        }
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../clients/qdrant_local.py");
        let mut command = Command::new("python3");
        command.arg(script).args(["--key", KEY]).env("PYTHONPATH", libraries);
        let mut process = command.stdout(Stdio::piped()).stdin(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let authority = line.trim().trim_start_matches("http://").to_owned();
        assert!(!authority.is_empty(), "the local server did not start");
        Some(Self { process, authority })
    }

    /// Makes the server misbehave as `faults`, a JSON object, says; the script says how.
    pub fn spoil(&self, faults: &str) {
        let told = self.ask("POST", "/-/faults", faults);
        assert!(told.starts_with("HTTP/1.1 200"), "{told}");
    }

    /// The whole answer to a request with a body of JSON.
    #[must_use]
    pub fn ask(&self, method: &str, path: &str, body: &str) -> String {
        let mut stream = std::net::TcpStream::connect(&self.authority).unwrap();
        let length = body.len();
        let head = format!("{method} {path} HTTP/1.1\r\nHost: x\r\napi-key: {KEY}\r\nConnection: close");
        write!(stream, "{head}\r\nContent-Length: {length}\r\n\r\n{body}").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    /// Ends it as a power cut would.
    pub fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

impl Drop for QdrantLocal {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
