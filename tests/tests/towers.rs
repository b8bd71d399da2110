//! Two towers of the user's own: trained on a table of pairs, measured through ONNX Runtime, used for search.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde_json::Value;
use support::{is_here, is_ready, run, some_proteins, stderr};

/// Demo proteins with their names as texts: three in four to train on, the others to choose by.
fn pairs(folder: &Path, group: impl Fn(usize) -> String) -> PathBuf {
    let mut table = "accession\tsequence\ttext\tsplit\tgroup\n".to_owned();
    for (number, record) in some_proteins(96).split("\n>").enumerate() {
        let (header, sequence) = record.split_once('\n').unwrap();
        let name = header.split(" OS=").next().unwrap().split_once(' ').unwrap().1;
        let (sequence, split) = (sequence.replace('\n', ""), if number % 4 == 3 { "valid" } else { "train" });
        writeln!(table, "P{number}\t{sequence}\t{name}, number {number}.\t{split}\t{}", group(number))
            .unwrap();
    }
    let path = folder.join("pairs.tsv");
    std::fs::write(&path, table).unwrap();
    path
}

fn train(pairs: &Path, output: &Path, more: &str) -> std::process::Output {
    let (pairs, output) = (pairs.to_str().unwrap(), output.to_str().unwrap());
    let small = "--epochs 3 --hidden-dim 32 --shared-dim 16 --protein-components 24 --members 2";
    let mut arguments = vec!["train", "projection", "--data", pairs, "-o", output, "--id", "mine"];
    if !more.contains("--batch-size") {
        arguments.extend(["--batch-size", "24"]);
    }
    arguments.extend(small.split(' ').chain(more.split_whitespace()));
    run(&arguments)
}

#[test]
fn towers_are_trained_measured_and_searched_and_runs_repeat() {
    check_towers("", "pooled");
}

#[test]
fn towers_that_read_words_are_trained_measured_and_searched_too() {
    check_towers("--word-components 20", "pooled_and_words");
}

fn check_towers(more: &str, text_rows: &str) {
    if !is_ready("towers") || !is_here("all-MiniLM-L6-v2", "towers") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let data = pairs(folder.path(), |number| format!("g{number}"));
    let outputs = ["a", "b"].map(|name| folder.path().join(name));
    for output in &outputs {
        let ran = train(&data, output, more);
        assert!(ran.status.success(), "{}", stderr(&ran));
    }
    for name in ["protein.onnx", "text.onnx", "card.toml", "report.html"] {
        let [first, second] = [0, 1].map(|at| std::fs::read(outputs[at].join(name)).unwrap());
        assert_eq!(first, second, "{name}: one seed, one file");
    }
    let towers = outputs[0].to_str().unwrap();
    let json = folder.path().join("figures.json");
    let evaluate = ["eval", "retrieval", "--data", data.to_str().unwrap(), "--split", "valid"];
    let (page, plot) = (folder.path().join("figures.md"), folder.path().join("confidence.svg"));
    let outputs = ["--json", json.to_str().unwrap(), "--markdown", page.to_str().unwrap()];
    let outputs = [&outputs[..], &["--plot", plot.to_str().unwrap()]].concat();
    let ran = run(&[&evaluate[..], &["--towers", towers], &outputs].concat());
    assert!(ran.status.success(), "{}", stderr(&ran));
    let figures: Value = serde_json::from_slice(&std::fs::read(&json).unwrap()).unwrap();
    assert_eq!(figures["n"], 24);
    // ONNX Runtime gives what training saw: the card has the same figure.
    let card = std::fs::read_to_string(Path::new(towers).join("card.toml")).unwrap();
    assert!(card.contains(&format!("row_kind = \"{text_rows}\"")), "{card}");
    let mrr = card.lines().find_map(|line| line.strip_prefix("valid_protein_to_text_mrr = ")).unwrap();
    let found = figures["protein_to_text"]["mrr"].as_f64().unwrap();
    assert!((mrr.parse::<f64>().unwrap() - found).abs() < 0.02, "{mrr} {found}");
    // Confidences are held against the same pairs, and the page and the diagram show them.
    let confidence = &figures["confidence"];
    let answers: u64 =
        confidence["bins"].as_array().unwrap().iter().map(|bin| bin["n"].as_u64().unwrap()).sum();
    assert_eq!((answers, confidence["n"].as_u64()), (24, Some(24)));
    let page = std::fs::read_to_string(page).unwrap();
    assert!(page.contains("| protein to text |") && page.contains("calibration error"), "{page}");
    assert!(std::fs::read_to_string(plot).unwrap().contains("<circle"));
    search(folder.path(), towers);
}

fn search(folder: &Path, towers: &str) {
    let fasta = folder.join("proteins.fasta");
    std::fs::write(&fasta, some_proteins(20)).unwrap();
    let index = folder.join("proteins.index");
    let index = index.to_str().unwrap();
    let built = run(&["index", "build", fasta.to_str().unwrap(), "-o", index, "--towers", towers]);
    assert!(built.status.success(), "{}", stderr(&built));
    let search = ["search", "--index", index, "--text", "a kinase", "-k", "3"];
    let found = run(&[&search[..], &["--towers", towers]].concat());
    assert!(found.status.success(), "{}", stderr(&found));
    assert_eq!(String::from_utf8(found.stdout).unwrap().lines().count(), 3);
    // A sentence of another joint space does not fit: both are named.
    let mixed = run(&search);
    assert_eq!(mixed.status.code(), Some(2));
}

#[test]
fn leaks_and_empty_parts_are_refused_before_training() {
    if !is_ready("leaks") || !is_here("all-MiniLM-L6-v2", "leaks") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("out");
    let leaky = pairs(folder.path(), |number| format!("g{}", number / 4));
    let ran = train(&leaky, &output, "");
    assert_eq!(ran.status.code(), Some(2));
    assert!(stderr(&ran).contains("of one group (g0)"), "{}", stderr(&ran));
    let whole = pairs(folder.path(), |number| number.to_string());
    for (more, says) in [
        ("--split tset", "no row has split"),
        ("--batch-size 4096", "fewer than one batch"),
        ("--dropout 1", "from 0 to below 1"),
    ] {
        let ran = train(&whole, &output, more);
        assert_eq!(ran.status.code(), Some(2), "{more}");
        assert!(stderr(&ran).contains(says), "{more}: {}", stderr(&ran));
    }
    assert!(!output.join("card.toml").exists());
}
