//! One kept-alive connection of the load generator: requests go out as bytes that were made before.
//!
//! The generator runs on the cores that it measures, so it does no more than a client must: write, read the head, read as many
//! bytes as it says.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::load::Request;

/// A request of the mixed load may wait as long as the service allows.
const PATIENCE: Duration = Duration::from_secs(120);

pub(super) struct Connection {
    stream: BufReader<TcpStream>,
}

/// An answer.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Vec<u8>,
    pub(super) took: Duration,
}

impl Connection {
    pub(super) fn open(address: &str) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self { stream: BufReader::with_capacity(64 << 10, stream) })
    }

    /// Sends a request and reads its answer whole.
    pub(super) fn send(&mut self, request: &Request) -> io::Result<Answer> {
        let started = Instant::now();
        self.stream.get_mut().write_all(&request.bytes)?;
        let (status, n_bytes) = self.read_head()?;
        let mut body = vec![0; n_bytes];
        self.stream.read_exact(&mut body)?;
        Ok(Answer { status, body, took: started.elapsed() })
    }

    /// Status and length of the body.
    fn read_head(&mut self) -> io::Result<(u16, usize)> {
        let unreadable =
            || io::Error::new(io::ErrorKind::InvalidData, "the answer has no head that can be read");
        let mut line = String::new();
        self.stream.read_line(&mut line)?;
        let status = line.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or_else(unreadable)?;
        let mut n_bytes = None;
        loop {
            line.clear();
            if self.stream.read_line(&mut line)? == 0 {
                return Err(unreadable());
            }
            let header = line.trim_end();
            if header.is_empty() {
                break;
            }
            if let Some((name, value)) = header.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                n_bytes = value.trim().parse().ok();
            }
        }
        n_bytes.map(|n_bytes| (status, n_bytes)).ok_or_else(unreadable)
    }
}
