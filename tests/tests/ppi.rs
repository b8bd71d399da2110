//! Interactions: a small head is trained by the real program on made-up pairs, then asked in every way.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::{Value, json};
use support::{Service, is_ready, run, some_proteins, stderr};

/// Proteins of the two parts.
const N_PROTEINS: usize = 24;

/// Id and sequence of the first demo proteins.
fn proteins() -> Vec<(String, String)> {
    let text = some_proteins(N_PROTEINS);
    let records = text.split('>').filter(|record| !record.is_empty());
    records
        .map(|record| {
            let (head, sequence) = record.split_once('\n').unwrap();
            let name = head.split_whitespace().next().unwrap();
            let id = name.split('|').nth(1).unwrap_or(name);
            (id.to_owned(), sequence.split_whitespace().collect())
        })
        .collect()
}

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        let table: String = proteins().iter().map(|(id, sequence)| format!("{id}\t{sequence}\n")).collect();
        folder.file("proteins.tsv", &format!("accession\tsequence\n{table}"));
        folder
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
    }

    /// Pairs among some proteins; labels follow from the lengths, so that there is something to learn.
    fn pairs(&self, name: &str, places: std::ops::Range<usize>) -> String {
        let proteins = proteins();
        let mut text = "protein_a\tprotein_b\tlabel\n".to_owned();
        for a in places.clone() {
            for b in a + 1..places.end {
                let label = u8::from((proteins[a].1.len() + proteins[b].1.len()).is_multiple_of(2));
                text += &format!("{}\t{}\t{label}\n", proteins[a].0, proteins[b].0);
            }
        }
        self.file(name, &text).to_str().unwrap().to_owned()
    }

    /// Trains a head on the first two thirds and chooses on the rest.
    fn train(&self) -> String {
        let (train, valid) = (self.pairs("train.tsv", 0..16), self.pairs("valid.tsv", 16..N_PROTEINS));
        let head = self.path("head");
        let ran = run(&[
            "train",
            "head",
            "--task",
            "pair",
            "--data",
            &train,
            "--valid",
            &valid,
            "--sequences",
            &self.path("proteins.tsv"),
            "--features",
            "pooled",
            "--epochs",
            "2",
            "--members",
            "2",
            "--hidden-dim",
            "16",
            "--code-dim",
            "4",
            "--pair-dim",
            "4",
            "--batch-size",
            "32",
            "--calibration-folds",
            "2",
            "-o",
            &head,
        ]);
        assert!(ran.status.success(), "{}", stderr(&ran));
        head
    }

    fn ppi(&self, arguments: &[&str]) -> Output {
        run(&[&["ppi"], arguments].concat())
    }
}

fn lines(output: &Output) -> Vec<Vec<String>> {
    assert!(output.status.success(), "{}", stderr(output));
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    text.lines().skip(1).map(|line| line.split('\t').map(str::to_owned).collect()).collect()
}

fn fasta(places: std::ops::Range<usize>) -> String {
    proteins()[places].iter().map(|(id, sequence)| format!(">{id}\n{sequence}\n")).collect()
}

#[test]
fn a_head_is_trained_and_answers_pairs_one_against_all_and_all_against_all() {
    if !is_ready("a_head_is_trained_and_answers_pairs_one_against_all_and_all_against_all") {
        return;
    }
    let folder = Folder::new();
    let head = folder.train();
    let card = std::fs::read_to_string(Path::new(&head).join("card.toml")).unwrap();
    for said in ["task = \"pair\"", "valid_auprc", "pair.onnx", "training.bin", "fingerprint", "calibration"]
    {
        assert!(card.contains(said), "{said}: {card}");
    }
    // Sixteen training proteins in two folds of eight: 28 pairs in each; eight proteins to validate on have as many.
    assert!(card.contains("28 validation pairs and to 56 pairs of training proteins"), "{card}");
    let proteins = proteins();
    let (a, b) = (&proteins[0].0, &proteins[20].0);
    let both = folder.file("both.csv", &format!("id_a,id_b\n{a},{b}\n{b},{}\n", proteins[1].0));
    let swapped = folder.file("swapped.csv", &format!("id_a,id_b\n{b},{a}\n"));
    let sequences = folder.path("proteins.tsv");
    let ask = |pairs: &Path| {
        lines(&folder.ppi(&[pairs.to_str().unwrap(), "--sequences", &sequences, "--head", &head]))
    };
    let (found, turned) = (ask(&both), ask(&swapped));
    assert_eq!((found.len(), found[0][2..4].to_vec()), (2, turned[0][2..4].to_vec()), "(a, b) and (b, a)");
    // The first was trained on and is its own nearest protein; the other was not.
    assert_eq!((found[0][4].as_str(), &found[0][5]), ("yes", a));
    // Codes of training proteins are kept in eight bits.
    assert!(found[0][6].parse::<f64>().unwrap() > 0.99, "{:?}", found[0]);
    assert_eq!(found[0][7], "no");
    let all = folder.file("all.fasta", &fasta(10..22));
    let best = lines(&folder.ppi(&["--all", all.to_str().unwrap(), "--top", "3", "--head", &head]));
    assert_eq!(best.len(), 12 * 3);
    assert!(best.chunks(3).all(|of_one| of_one.iter().all(|line| line[0] == of_one[0][0])));
    let every = folder.ppi(&[
        "--all",
        all.to_str().unwrap(),
        "--min-probability",
        "0",
        "--head",
        &head,
        "--format",
        "json",
    ]);
    assert!(every.status.success(), "{}", stderr(&every));
    let text = String::from_utf8(every.stdout).unwrap();
    let every: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(every.len(), 12 * 11 / 2, "each pair once");
    let (query, against) = (folder.file("q.fasta", &fasta(0..1)), folder.file("t.fasta", &fasta(5..15)));
    let found = lines(&folder.ppi(&[
        "--query",
        query.to_str().unwrap(),
        "--against",
        against.to_str().unwrap(),
        "--top",
        "4",
        "--head",
        &head,
    ]));
    assert_eq!(found.len(), 4);
    assert!(
        found.windows(2).all(|pair| pair[0][2].parse::<f64>().unwrap() >= pair[1][2].parse::<f64>().unwrap())
    );
    let measured = run(&[
        "eval",
        "ppi",
        "--data",
        &folder.path("valid.tsv"),
        "--sequences",
        &sequences,
        "--head",
        &head,
        "--json",
        "-",
    ]);
    assert!(measured.status.success(), "{}", stderr(&measured));
    let report: Value = serde_json::from_slice(&measured.stdout).unwrap();
    for key in ["n", "auprc", "auroc", "accuracy", "f1", "ece"] {
        assert!(report[key].is_number(), "{key}: {report}");
    }
    assert_eq!(report["n"], 8 * 7 / 2);
    assert!(report["baselines"].as_object().unwrap().len() >= 2);
    assert_eq!(report["n_proteins_in_training"], 0);
    served(&head);
}

/// The same head behind the service.
fn served(head: &str) {
    let service = Service::start(&[], &[("PROTEXT_PPI_HEAD", head)]);
    let proteins = proteins();
    let of = |at: usize| json!({"id": proteins[at].0, "sequence": proteins[at].1});
    let post = |body: Value| service.post("/v1/predict/ppi", &body);
    let one = post(json!({"pairs": [{"a": of(0), "b": of(20)}]})).json();
    let other = post(json!({"pairs": [{"a": of(20), "b": of(0)}]})).json();
    let (one, other) = (&one["predictions"][0], &other["predictions"][0]);
    assert_eq!((&one["score"], &one["probability"]), (&other["score"], &other["probability"]));
    assert_eq!((&one["a"]["in_training"], &one["b"]["in_training"]), (&json!(true), &json!(false)));
    let all: Vec<Value> = (0..6).map(of).collect();
    let answer = post(json!({"all": all, "top": 2})).json();
    assert_eq!(answer["predictions"].as_array().unwrap().len(), 12);
    let body = json!({"one": of(0), "against": [of(1), of(2), of(3)], "top": 2}).to_string();
    let headers = [("content-type", "application/json"), ("accept", "application/x-ndjson")];
    let streamed = service.send("POST", "/v1/predict/ppi", &headers, body.as_bytes());
    assert_eq!((streamed.status, streamed.text().lines().count()), (200, 2));
    for (body, status, said) in [
        (json!({"pairs": [{"a": of(0), "b": of(0)}]}), 422, "with itself"),
        (json!({"pairs": [{"a": {"id": "nobody"}, "b": of(0)}]}), 404, "nobody"),
        (json!({"pairs": [{"a": {}, "b": of(0)}]}), 422, "sequence"),
        (json!({"all": [of(0)]}), 422, "1 were sent"),
        (json!({"pairs": [{"a": {"sequence": "MK1"}, "b": of(0)}]}), 422, "residue"),
        (json!({"top": 3}), 422, "give pairs"),
        (json!({"all": [of(0), of(1)], "top": 0}), 422, "top"),
    ] {
        let answer = post(body);
        assert!(
            answer.status == status && answer.text().contains(said),
            "{} {}",
            answer.status,
            answer.text()
        );
    }
}

#[test]
fn bad_pairs_are_refused_by_row_and_without_a_model() {
    let folder = Folder::new();
    let proteins = proteins();
    let (a, b) = (&proteins[0].0, &proteins[1].0);
    let sequences = folder.path("proteins.tsv");
    let refused = |text: &str, command: &[&str], said: &[&str]| {
        let pairs = folder.file("bad.tsv", text).to_str().unwrap().to_owned();
        let arguments: Vec<&str> =
            command.iter().map(|word| if *word == "FILE" { pairs.as_str() } else { *word }).collect();
        let ran = run(&[arguments.as_slice(), &["--sequences", &sequences]].concat());
        assert_eq!(ran.status.code(), Some(2), "{text}: {}", stderr(&ran));
        said.iter().for_each(|said| assert!(stderr(&ran).contains(said), "{said}: {}", stderr(&ran)));
    };
    let ppi = ["ppi", "FILE"];
    let measure = ["eval", "ppi", "--data", "FILE"];
    let head = folder.path("none");
    let train = ["train", "head", "--task", "pair", "--data", "FILE", "--valid", "FILE", "-o", head.as_str()];
    refused(&format!("protein_a\tprotein_b\n{a}\t{b}\n{a}\t{a}\n"), &ppi, &["record 2", a, "with itself"]);
    refused(&format!("protein_a\tprotein_b\n{a}\tNOBODY\n"), &ppi, &["record 1", "NOBODY", "--sequences"]);
    refused("left\tright\nA\tB\n", &ppi, &["protein_a and protein_b"]);
    let labelled = "protein_a\tprotein_b\tlabel\n";
    refused(&format!("{labelled}{a}\t{b}\tmaybe\n"), &measure, &["record 1", "maybe"]);
    refused(&format!("{labelled}{a}\t{b}\t1\n"), &measure, &["class \"1\""]);
    refused(&format!("{labelled}{a}\tNOBODY\t1\n"), &measure, &["NOBODY", "--sequences"]);
    refused(&format!("{labelled}{a}\t{b}\t1\n{b}\t{a}\t0\n"), &measure, &["record 2", "record 1"]);
    let split = format!("protein_a\tprotein_b\tlabel\tsplit\n{a}\t{b}\t1\ttrain\n");
    refused(&split, &measure, &["split \"test\"", "train"]);
    refused(&format!("{labelled}{a}\t{b}\t1\n"), &train, &[a, "one side"]);
    let one_fold = [&train[..], &["--calibration-folds", "1"]].concat();
    refused(&format!("{labelled}{a}\t{b}\t1\n"), &one_fold, &["--calibration-folds 1", "2 or more"]);
}
