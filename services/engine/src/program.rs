//! Programs of others, run with a bound on their time; what they said last is kept for the error.

use std::io::{Read as _, Seek as _, SeekFrom};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Bytes of a program's last words that an error shows.
const LAST_WORDS_BYTES: u64 = 2_000;

/// Runs `command` to its end. The error says why it failed, with the end of what it wrote to standard error.
pub(crate) fn run_bounded(mut command: Command, timeout: Duration) -> Result<(), String> {
    let said = tempfile::tempfile().map_err(|error| error.to_string())?;
    let stderr = said.try_clone().map_err(|error| error.to_string())?;
    let started = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr).spawn();
    let mut child = started.map_err(|error| error.to_string())?;
    let deadline = Instant::now() + timeout;
    loop {
        match child.try_wait().map_err(|error| error.to_string())? {
            Some(status) if status.success() => return Ok(()),
            Some(status) => return Err(format!("{status}{}", last_words(said))),
            None if Instant::now() > deadline => {
                // A child that is already gone needs no killing.
                let _ = child.kill();
                let _ = child.wait();
                return Err(format!("it took more than {} s{}", timeout.as_secs(), last_words(said)));
            }
            None => std::thread::sleep(Duration::from_millis(50)),
        }
    }
}

fn last_words(mut said: std::fs::File) -> String {
    let mut bytes = Vec::new();
    let n_bytes = said.metadata().map_or(0, |metadata| metadata.len());
    let start = SeekFrom::Start(n_bytes.saturating_sub(LAST_WORDS_BYTES));
    let read = said.seek(start).and_then(|_| said.read_to_end(&mut bytes));
    match (read, String::from_utf8_lossy(&bytes).trim()) {
        (Ok(_), words) if !words.is_empty() => format!("; it said: {words}"),
        _ => String::new(),
    }
}
