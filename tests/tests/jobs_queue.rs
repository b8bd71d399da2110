//! Batch jobs through a real NATS server and an object store: workers and the server itself killed, the network cut.
//!
//! The server is Debian's `nats-server`; where it is not installed these tests say loudly that they did not run.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::jobs::{Desk, Running, n_files, wait_for};
use support::{Service, is_ready, stderr};

/// Longest wait for anything: a dead worker's shard comes again after 30 s, and the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(300);
/// How long the network is cut.
const CUT: Duration = Duration::from_secs(15);

/// A NATS server with JetStream on a port of its own.
struct Nats {
    running: Running,
    store: PathBuf,
    port: u16,
}

impl Nats {
    /// `None` where it is not installed.
    fn start(folder: &Path, test: &str) -> Option<Self> {
        let is_here = Command::new("nats-server").arg("--version").output().is_ok();
        if !is_here {
            let _ = writeln!(
                std::io::stderr(),
                "NOT RUN: {test}: nats-server is not installed; apt-get install nats-server"
            );
            return None;
        }
        let (store, ports) = (folder.join("nats"), folder.join("ports"));
        std::fs::create_dir_all(&ports).unwrap();
        let mut command = Self::command(&store, "-1");
        command.arg("--ports_file_dir").arg(&ports);
        let running = Running::start(command);
        let mut port = None;
        wait_for(PATIENCE, "the port of nats-server", || {
            let file = std::fs::read_dir(&ports).unwrap().flatten().next();
            let text = file.and_then(|file| std::fs::read_to_string(file.path()).ok()).unwrap_or_default();
            let told: Value = serde_json::from_str(&text).unwrap_or_default();
            let url = told["nats"][0].as_str().unwrap_or_default().to_owned();
            port = url.rsplit(':').next().and_then(|port| port.parse().ok());
            port.is_some()
        });
        Some(Self { running, store, port: port.unwrap() })
    }

    fn command(store: &Path, port: &str) -> Command {
        let mut command = Command::new("nats-server");
        command.args(["--addr", "127.0.0.1", "--port", port, "--jetstream", "--store_dir"]).arg(store);
        command
    }

    fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// `kill -9`, and a new one on the same disk and port.
    fn restart(&mut self) {
        self.running.kill();
        self.running = Running::start(Self::command(&self.store, &self.port.to_string()));
    }

    /// Stopped, it answers nobody for a while, as behind a cable that was pulled out.
    fn cut(&self, time: Duration) {
        let pid = self.running.0.id().cast_signed();
        // SAFETY: the process is our own child and has not been waited for.
        unsafe { libc::kill(pid, libc::SIGSTOP) };
        std::thread::sleep(time);
        // SAFETY: as above.
        unsafe { libc::kill(pid, libc::SIGCONT) };
    }
}

impl Desk {
    fn submit(&self, name: &str, output: &str, further: &[&str]) -> Command {
        self.submit_to(name, output, &[&["--shard-residues", "1500"], further].concat())
    }

    fn worker(&self, queue: &str) -> Running {
        Running::start(self.protext(&["worker", "--queue", queue, "--workers", "1"]))
    }
}

#[test]
fn workers_of_a_queue_share_a_job_and_outlive_the_server_and_each_other() {
    let desk = Desk::new(400);
    let Some(mut nats) = Nats::start(desk.folder.path(), "jobs through NATS") else { return };
    if !is_ready("jobs through NATS") {
        return;
    }
    let undisturbed = desk.submit("undisturbed", &desk.text("a.npz"), &[]).output().unwrap();
    assert!(undisturbed.status.success(), "{}", stderr(&undisturbed));
    let queue = nats.url();
    let handed =
        desk.submit("shared", &desk.text("b.npz"), &["--queue", &queue, "--no-run"]).output().unwrap();
    assert!(handed.status.success(), "{}", stderr(&handed));
    // A worker of the folder leaves to the queue what is the queue's.
    let of_folder = desk.protext(&["worker", "--once"]).output().unwrap();
    assert!(of_folder.status.success(), "{}", stderr(&of_folder));
    assert_eq!(desk.status("shared")["shards"]["n_done"], 0);
    let out = desk.path("jobs/shared/out");
    let mut workers = [desk.worker(&queue), desk.worker(&queue)];
    let progress = |what: &str| {
        let before = n_files(&out);
        wait_for(PATIENCE, what, || n_files(&out) > before || desk.path("b.npz").exists());
    };
    progress("the first shards");
    workers[0].kill();
    workers[0] = desk.worker(&queue);
    progress("shards after a worker died");
    nats.restart();
    progress("shards after the server died");
    nats.cut(CUT);
    progress("shards after the network was cut");
    wait_for(PATIENCE, "the output", || desk.status("shared")["state"] == "done");
    assert_eq!(std::fs::read(desk.path("b.npz")).unwrap(), std::fs::read(desk.path("a.npz")).unwrap());
    let status = desk.status("shared");
    assert_eq!((&status["manifest"]["n_done"], &status["manifest"]["n_failed"]), (&json!(400), &json!(0)));
    // Two workers; each interruption makes each of them repeat one shard at most.
    assert!(status["shards"]["n_retries"].as_u64().unwrap() <= 6, "{status}");
    // Asked to stop, a worker finishes what it is at and leaves.
    let pid = workers[1].0.id().cast_signed();
    // SAFETY: the process is our own child and has not been waited for.
    unsafe { libc::kill(pid, libc::SIGTERM) };
    let start = Instant::now();
    while workers[1].0.try_wait().unwrap().is_none() {
        assert!(start.elapsed() < Duration::from_secs(60), "the worker does not leave");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(workers[1].0.wait().unwrap().code(), Some(0));
}

#[test]
fn a_service_hands_its_jobs_to_the_workers_of_a_queue() {
    let desk = Desk::new(30);
    let Some(nats) = Nats::start(desk.folder.path(), "a service with a queue") else { return };
    if !is_ready("a service with a queue") {
        return;
    }
    let (jobs, queue) = (desk.text("jobs"), nats.url());
    let service = Service::start(&[], &[("PROTEXT_JOBS", &jobs), ("PROTEXT_QUEUE", &queue)]);
    let body = std::fs::read(desk.path("in.fasta")).unwrap();
    let headers = [("content-type", "text/x-fasta")];
    let submitted = service.send("POST", "/v1/jobs?kind=embed&name=far&format=npz", &headers, &body);
    assert_eq!(submitted.status, 202, "{}", submitted.text());
    wait_for(PATIENCE, "the queue", || service.get("/v1/jobs/far").json()["queue"].is_string());
    let _worker = desk.worker(&queue);
    wait_for(PATIENCE, "the result", || service.get("/v1/jobs/far").json()["state"] == "done");
    assert_eq!(service.get("/v1/jobs/far/results").status, 200);
}

#[test]
fn an_absent_queue_is_told_and_the_job_goes_on_later() {
    if !is_ready("an absent queue") {
        return;
    }
    let desk = Desk::new(5);
    let output = desk.text("a.npz");
    let refused = desk.submit("alone", &output, &["--queue", "nats://127.0.0.1:1"]).output().unwrap();
    assert_eq!(refused.status.code(), Some(1), "{}", stderr(&refused));
    assert!(stderr(&refused).contains("queue"), "{}", stderr(&refused));
    let resumed = desk.protext(&["jobs", "resume", "alone"]).output().unwrap();
    assert!(resumed.status.success(), "{}", stderr(&resumed));
    assert!(desk.path("a.npz").exists());
}

#[test]
fn a_worker_that_starts_before_the_queue_waits_for_it() {
    let desk = Desk::new(5);
    let Some(mut nats) = Nats::start(desk.folder.path(), "a worker before the queue") else { return };
    if !is_ready("a worker before the queue") {
        return;
    }
    let queue = nats.url();
    let handed =
        desk.submit("early", &desk.text("a.npz"), &["--queue", &queue, "--no-run"]).output().unwrap();
    assert!(handed.status.success(), "{}", stderr(&handed));
    nats.running.kill();
    let mut worker = desk.worker(&queue);
    std::thread::sleep(Duration::from_secs(5));
    assert!(worker.0.try_wait().unwrap().is_none(), "the worker has given up");
    nats.running = Running::start(Nats::command(&nats.store, &nats.port.to_string()));
    wait_for(PATIENCE, "the output", || desk.status("early")["state"] == "done");
    // Where waiting cannot help, it is told at once.
    let wrong = desk.protext(&["worker", "--queue", "nats://:::"]).output().unwrap();
    assert!(!wrong.status.success(), "{}", stderr(&wrong));
}

/// A small object store that speaks S3's language: `tests/clients/object_store.py`.
struct ObjectStore {
    _running: Running,
    url: String,
    cut: PathBuf,
}

impl ObjectStore {
    fn start(folder: &Path) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/object_store.py");
        let cut = folder.join("cut");
        let mut command = Command::new("python3");
        command.arg(script).arg(&cut).stdout(Stdio::piped()).stdin(Stdio::null());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self { _running: Running(child), url: line.trim().to_owned(), cut }
    }

    fn settings(&self, key: &str) -> Vec<(&'static str, String)> {
        vec![
            ("AWS_ENDPOINT", self.url.clone()),
            ("AWS_ALLOW_HTTP", "true".to_owned()),
            ("AWS_ACCESS_KEY_ID", key.to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "secret".to_owned()),
            ("AWS_REGION", "us-east-1".to_owned()),
        ]
    }
}

#[test]
fn inputs_and_outputs_may_be_objects_and_what_is_wrong_with_them_is_told() {
    if !is_ready("jobs with objects") {
        return;
    }
    let mut desk = Desk::new(20);
    let store = ObjectStore::start(desk.folder.path());
    desk.environment = store.settings("tests");
    let first = desk.submit("up", "s3://lab/vectors.npz", &[]).output().unwrap();
    assert!(first.status.success(), "{}", stderr(&first));
    // It is there now, so a second one is refused before any work is done.
    let second = desk.submit("again", "s3://lab/vectors.npz", &[]).output().unwrap();
    assert_eq!(second.status.code(), Some(2));
    assert!(stderr(&second).contains("exists already"), "{}", stderr(&second));
    collections_go_to_the_store_and_back(&desk);
    let absent =
        ["jobs", "submit", "embed", "s3://lab/absent.fasta", "-o", "s3://lab/x.npz", "--name", "absent"];
    let absent = desk.protext(&absent).output().unwrap();
    assert_eq!(absent.status.code(), Some(2), "{}", stderr(&absent));
    assert_eq!(desk.status("absent")["error"]["kind"], "missing");
    desk.environment = store.settings("wrong");
    let denied = desk.submit("denied", "s3://lab/y.npz", &[]).output().unwrap();
    assert_eq!(denied.status.code(), Some(2), "{}", stderr(&denied));
    assert!(stderr(&denied).contains("credentials"), "{}", stderr(&denied));
}

fn collections_go_to_the_store_and_back(desk: &Desk) {
    let run = |args: &[&str], code: i32| {
        let ran = desk.protext(args).output().unwrap();
        assert_eq!(ran.status.code(), Some(code), "{args:?}: {}", stderr(&ran));
        stderr(&ran)
    };
    let (index, back) = (desk.text("here.index"), desk.text("back.index"));
    run(&["index", "build", &desk.text("in.fasta"), "-o", &index], 0);
    let fasta = std::fs::read_to_string(desk.path("in.fasta")).unwrap();
    let first = fasta.split('|').nth(1).unwrap();
    run(&["index", "delete", &index, first], 0);
    run(&["index", "copy", &index, "s3://lab/proteome"], 0);
    let refused = run(&["index", "copy", &index, "s3://lab/proteome"], 2);
    assert!(refused.contains("copies replace nothing"), "{refused}");
    run(&["index", "copy", "s3://lab/proteome", &back], 0);
    let exported = |index: &str, to: &str| {
        run(&["index", "export", index, "-o", &desk.text(to)], 0);
        std::fs::read(desk.path(to)).unwrap()
    };
    assert_eq!(exported(&index, "here.jsonl"), exported(&back, "back.jsonl"), "snapshot and log came back");
    let refused = run(&["index", "copy", "s3://lab/proteome", &back], 2);
    assert!(refused.contains("not empty"), "{refused}");
    let refused = run(&["index", "copy", "s3://lab/nothing", &desk.text("none.index")], 2);
    assert!(refused.contains("holds no collection"), "{refused}");
}

#[test]
fn jobs_in_an_object_store_are_shared_through_a_queue_while_the_network_is_cut() {
    let mut desk = Desk::new(200);
    let Some(nats) = Nats::start(desk.folder.path(), "jobs in an object store") else { return };
    if !is_ready("jobs in an object store") {
        return;
    }
    let undisturbed = desk.submit("undisturbed", &desk.text("a.npz"), &[]).output().unwrap();
    assert!(undisturbed.status.success(), "{}", stderr(&undisturbed));
    let store = ObjectStore::start(desk.folder.path());
    desk.environment = store.settings("tests");
    desk.environment.push(("PROTEXT_JOBS", "s3://lab/jobs".to_owned()));
    let queue = nats.url();
    let handed = desk.submit("far", "s3://lab/far.npz", &["--queue", &queue, "--no-run"]).output().unwrap();
    assert!(handed.status.success(), "{}", stderr(&handed));
    let _workers = [desk.worker(&queue), desk.worker(&queue)];
    wait_for(PATIENCE, "a shard", || desk.status("far")["shards"]["n_done"].as_u64().unwrap_or(0) > 0);
    std::fs::write(&store.cut, "").unwrap();
    std::thread::sleep(CUT);
    std::fs::remove_file(&store.cut).unwrap();
    wait_for(PATIENCE, "the output", || desk.status("far")["state"] == "done");
    let result = desk.status("far")["manifest"]["results"][0].clone();
    assert_eq!((&result["place"], &result["format"]), (&json!("s3://lab/far.npz"), &json!("npz")));
    let of_a = desk.status_of_folder("undisturbed");
    assert_eq!(result["sha256"], of_a["manifest"]["results"][0]["sha256"]);
}

impl Desk {
    /// A job of the desk's folder, wherever other jobs lie.
    fn status_of_folder(&self, name: &str) -> Value {
        let jobs = self.text("jobs");
        let shown = self.protext(&["jobs", "show", name, "--json", "--jobs", &jobs]).output().unwrap();
        assert!(shown.status.success(), "{}", stderr(&shown));
        serde_json::from_slice(&shown.stdout).unwrap()
    }
}
