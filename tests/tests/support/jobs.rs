//! A desk for tests of batch jobs: a folder with short proteins and a place for jobs, and processes that are killed with it.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{demo_fasta, protext, stderr};

/// The `n` shortest demo proteins.
pub fn short_proteins(n: usize) -> String {
    let text = std::fs::read_to_string(demo_fasta()).unwrap();
    let mut records: Vec<&str> =
        text.split("\n>").map(|record| record.trim_start_matches('>').trim_end()).collect();
    records.sort_by_key(|record| record.len());
    records.iter().take(n).map(|record| format!(">{record}\n")).collect()
}

pub struct Desk {
    pub folder: tempfile::TempDir,
    /// Further environment, such as address and settings of an object store where jobs lie in one.
    pub environment: Vec<(&'static str, String)>,
}

impl Desk {
    /// With the `n` shortest demo proteins as `in.fasta`.
    pub fn new(n: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("in.fasta"), short_proteins(n)).unwrap();
        Self { folder, environment: Vec::new() }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn text(&self, name: &str) -> String {
        self.path(name).to_string_lossy().into_owned()
    }

    /// `protext` with this desk's place for jobs.
    pub fn protext(&self, args: &[&str]) -> Command {
        let mut command = protext(args);
        command.env("PROTEXT_JOBS", self.path("jobs")).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Embeds `in.fasta` into a file or an object.
    pub fn submit_to(&self, name: &str, output: &str, further: &[&str]) -> Command {
        let input = self.text("in.fasta");
        let args = ["jobs", "submit", "embed", &input, "-o", output, "--name", name];
        self.protext(&[&args, further].concat())
    }

    pub fn status(&self, name: &str) -> Value {
        let shown = self.protext(&["jobs", "show", name, "--json"]).output().unwrap();
        assert!(shown.status.success(), "{}", stderr(&shown));
        serde_json::from_slice(&shown.stdout).unwrap()
    }
}

/// Killed when it is dropped, if it is still there.
pub struct Running(pub Child);

impl Running {
    pub fn start(mut command: Command) -> Self {
        Self(command.stdout(Stdio::null()).stderr(Stdio::null()).stdin(Stdio::null()).spawn().unwrap())
    }

    pub fn kill(&mut self) {
        // SIGKILL, to this child alone.
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub fn wait_for(patience: Duration, what: &str, mut is_there: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_there() {
        assert!(start.elapsed() < patience, "{what} did not come");
        std::thread::sleep(Duration::from_millis(50));
    }
}

pub fn n_files(folder: &Path) -> usize {
    std::fs::read_dir(folder).map_or(0, Iterator::count)
}
