//! Many connections at once: each sends one request after the other until the time is over.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::connection::Connection;

/// Between two looks at the service's memory.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A request, as its bytes.
pub(super) struct Request {
    pub(super) bytes: Vec<u8>,
}

impl Request {
    pub(super) fn get(path: &str) -> Self {
        Self { bytes: format!("GET {path} HTTP/1.1\r\nhost: bench\r\n\r\n").into_bytes() }
    }

    pub(super) fn post(path: &str, body: &Value) -> Self {
        let body = body.to_string();
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        Self { bytes: [head.as_bytes(), body.as_bytes()].concat() }
    }
}

/// How a load was borne.
#[derive(Default)]
pub(super) struct Outcome {
    /// Of every answer, sorted.
    pub(super) latency_ms: Vec<f64>,
    pub(super) n_good: u64,
    /// Told to come back later.
    pub(super) n_busy: u64,
    /// Any other answer, and connections that broke.
    pub(super) n_errors: u64,
    pub(super) seconds: f64,
}

/// Sends `requests`, over and over, from `n_clients` connections; `look` is called each second.
pub(super) fn run_load(
    address: &str,
    requests: &[Request],
    n_clients: usize,
    time: Duration,
    look: &mut dyn FnMut(),
) -> Outcome {
    let started = Instant::now();
    let mut whole = Outcome::default();
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..n_clients)
            .map(|number| {
                // Each begins elsewhere, so that they do not ask for the same thing at once.
                let first = number * requests.len() / n_clients.max(1);
                scope.spawn(move || one_client(address, requests, first, started + time))
            })
            .collect();
        while started.elapsed() < time {
            std::thread::sleep(LOOK_EVERY.min(time.saturating_sub(started.elapsed())));
            look();
        }
        for client in clients {
            match client.join() {
                Ok(outcome) => whole.add(outcome),
                Err(_) => whole.n_errors += 1,
            }
        }
    });
    whole.seconds = started.elapsed().as_secs_f64();
    whole.latency_ms.sort_by(f64::total_cmp);
    whole
}

fn one_client(address: &str, requests: &[Request], first: usize, until: Instant) -> Outcome {
    let mut outcome = Outcome::default();
    let mut connection = None;
    for request in requests.iter().cycle().skip(first) {
        if Instant::now() >= until {
            break;
        }
        let sent = match &mut connection {
            Some(open) => Connection::send(open, request),
            closed => Connection::open(address).and_then(|open| closed.insert(open).send(request)),
        };
        match sent {
            Ok(answer) => {
                outcome.latency_ms.push(answer.took.as_secs_f64() * 1e3);
                match answer.status {
                    200 => outcome.n_good += 1,
                    429 => outcome.n_busy += 1,
                    _ => outcome.n_errors += 1,
                }
            }
            Err(_) => {
                outcome.n_errors += 1;
                connection = None;
            }
        }
    }
    outcome
}

impl Outcome {
    fn add(&mut self, other: Self) {
        self.latency_ms.extend(other.latency_ms);
        self.n_good += other.n_good;
        self.n_busy += other.n_busy;
        self.n_errors += other.n_errors;
    }
}
