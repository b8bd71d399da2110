//! The service that is measured: this program's own demo, on a free port, ended with the run.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context as _;

use super::connection::Connection;
use super::load::Request;

/// Demo data may have to be embedded first.
const START_WAIT: Duration = Duration::from_secs(300);

pub(super) struct Service {
    child: Child,
    address: String,
}

impl Service {
    pub(super) fn start() -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("cannot find this program")?;
        let mut command = Command::new(program);
        command.args(["demo", "--listen", "127.0.0.1:0"]).stdin(Stdio::null()).stdout(Stdio::piped());
        // What an earlier run encoded is encoded again.
        command.env("PROTEXT_EMBEDDING_CACHE_MIB", "0");
        let mut child = command.spawn().context("cannot start the demo")?;
        let lines = BufReader::new(child.stdout.take().context("the demo has no output")?).lines();
        let mut service = Self { child, address: String::new() };
        let mut lines = lines.map_while(Result::ok);
        let listening = lines.find_map(|line| line.strip_prefix("listening on http://").map(str::to_owned));
        service.address = listening.context("the demo ended before it listened; run `protext demo`")?;
        // What it goes on to print must not fill the pipe.
        std::thread::spawn(move || lines.for_each(drop));
        let started = Instant::now();
        while started.elapsed() < START_WAIT {
            let asked =
                Connection::open(&service.address).and_then(|mut open| open.send(&Request::get("/readyz")));
            if asked.is_ok_and(|answer| answer.status == 200) {
                return Ok(service);
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        anyhow::bail!("the demo did not become ready within {} s", START_WAIT.as_secs())
    }

    /// Processor time of service and load generator together, in seconds, where the system tells.
    pub(super) fn processor_s(&self) -> Option<f64> {
        Some(processor_s(&self.child.id().to_string())? + processor_s("self")?)
    }

    pub(super) fn address(&self) -> &str {
        &self.address
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// User and system time of a process. Source: proc_pid_stat(5), fields 14 and 15, in hundredths of a second on Linux.
fn processor_s(process: &str) -> Option<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name of the program stands in brackets and may hold spaces.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |at: usize| fields.get(at)?.parse::<f64>().ok();
    Some((ticks(11)? + ticks(12)?) / 100.0)
}
