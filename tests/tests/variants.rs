//! Variants end to end: scores, scans and heat maps at the command line, `POST /v1/predict/variants`, the evaluation, and
//! what is said of mutants that do not fit.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::{Value, json};
use support::{Service, is_ready, run, stderr};

const SEQUENCE: &str = "MKTAYIAKQRQISFVKSHFSRQLEERLGLIEVQ";

/// A folder with two proteins, `one` and `two`.
struct Lab(tempfile::TempDir);

impl Lab {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let fasta = format!(">one\n{SEQUENCE}\n>two\nMLLKVAAXR\n");
        std::fs::write(folder.path().join("two.fasta"), fasta).unwrap();
        std::fs::write(folder.path().join("one.fasta"), format!(">one\n{SEQUENCE}\n")).unwrap();
        Self(folder)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        std::fs::write(self.path(name), text).unwrap();
        self.path(name)
    }

    fn variants(&self, proteins: &str, args: &[&str]) -> Output {
        let proteins = self.path(proteins);
        run(&[&["variants", proteins.to_str().unwrap()], args].concat())
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Rows of a table of scores: id, mutant, numbers.
fn rows(output: &Output) -> Vec<(String, String, Vec<f64>)> {
    assert!(output.status.success(), "{}", stderr(output));
    let table = String::from_utf8(output.stdout.clone()).unwrap();
    let fields = table.lines().skip(1).map(|line| line.split('\t').collect::<Vec<_>>());
    fields
        .map(|fields| {
            let numbers = fields[2..].iter().map(|number| number.parse().unwrap()).collect();
            (fields[0].to_owned(), fields[1].to_owned(), numbers)
        })
        .collect()
}

#[test]
fn mutants_are_scored_and_several_substitutions_are_summed() {
    if !is_ready("variants") {
        return;
    }
    let lab = Lab::new();
    let mutants = lab.write("m.tsv", "id\tmutant\none\tK2W\ntwo\tL3P\none\tA4G:K2W\none\tA4G\none\tK2K\n");
    let args = ["--mutants", text(&mutants), "--scores", "masked,wild-type,shift"];
    let found = rows(&lab.variants("two.fasta", &args));
    let names: Vec<_> = found.iter().map(|(id, mutant, _)| format!("{id} {mutant}")).collect();
    assert_eq!(names, ["one K2W", "one A4G:K2W", "one A4G", "one K2K", "two L3P"]);
    for column in 0..2 {
        let sum = found[0].2[column] + found[2].2[column];
        assert!((found[1].2[column] - sum).abs() < 1e-4, "{found:?}");
        assert_eq!(found[3].2[column], 0.0);
    }
    assert!(found[0].2[2] > 0.0 && found[3].2[2].abs() < 1e-5, "{found:?}");
    // One mutant a line, no table; alone it has the scores that it has among others.
    let list = lab.write("list.txt", "k2w\n");
    let alone = rows(&lab.variants("one.fasta", &["--mutants", text(&list)]));
    assert!((alone[0].2[0] - found[0].2[0]).abs() < 1e-3, "{alone:?} {found:?}");
}

#[test]
fn a_scan_has_every_substitution_and_a_heat_map() {
    if !is_ready("variant_scan") {
        return;
    }
    let lab = Lab::new();
    for (plot, start) in [("scan.svg", "<svg"), ("scan.html", "<!doctype html>")] {
        let plot = lab.path(plot);
        let args = ["--scan", "--masking", "spread", "--plot", text(&plot)];
        let found = rows(&lab.variants("one.fasta", &args));
        assert_eq!(found.len(), SEQUENCE.len() * 19);
        let drawn = std::fs::read_to_string(&plot).unwrap();
        assert!(drawn.starts_with(start));
        assert_eq!(drawn.matches("<circle").count(), SEQUENCE.len(), "one wild type a position");
        assert!(!drawn.contains("href") && !drawn.contains("<script"), "the map stands alone");
    }
    let refused = lab.variants("one.fasta", &["--scan", "--scores", "shift"]);
    assert_eq!(refused.status.code(), Some(2), "{}", stderr(&refused));
    let refused = lab.variants("one.fasta", &["--scan", "--plot", "scan.png"]);
    assert!(stderr(&refused).contains(".svg or .html"), "{}", stderr(&refused));
}

#[test]
fn every_bad_row_is_told_with_its_line_and_rule() {
    if !is_ready("bad_mutants") {
        return;
    }
    let lab = Lab::new();
    let mutants = lab.write(
        "m.tsv",
        "id\tmutant\none\tK2W\none\tW2K\none\tK99A\none\tK0A\none\tnonsense\none\t\nthree\tK2W\none\tK2*\n\
         one\tK2W:K2A\ntwo\tX8A\none\n",
    );
    let refused = lab.variants("two.fasta", &["--mutants", text(&mutants)]);
    let said = stderr(&refused);
    assert_eq!(refused.status.code(), Some(2), "{said}");
    assert!(refused.stdout.is_empty());
    for part in [
        "m.tsv",
        "10 of 11",
        "line 3, \"W2K\"",
        "has K at position 2, not W",
        "line 4, \"K99A\"",
        "positions 1 to 33",
        "line 5",
        "line 6, \"nonsense\"",
        "not of the form A12V",
        "line 7",
        "is empty",
        "line 8",
        "no protein of the input has the id \"three\"",
        "line 9",
        "none of the 20",
        "line 10",
        "substituted twice",
        "line 11, \"X8A\"",
        "line 12",
    ] {
        assert!(said.contains(part), "{part:?} is not in: {said}");
    }
    let many = "W2K\n".repeat(50);
    let refused = lab.variants("one.fasta", &["--mutants", text(&lab.write("many.txt", &many))]);
    assert!(stderr(&refused).contains("50 of 50") && stderr(&refused).contains("and 30 more"));
    for (name, content, says) in
        [("empty.txt", "", "holds no mutants"), ("header.tsv", "id\tmutant\n", "holds no mutants")]
    {
        let refused = lab.variants("one.fasta", &["--mutants", text(&lab.write(name, content))]);
        assert_eq!(refused.status.code(), Some(2), "{name}");
        assert!(stderr(&refused).contains(says) && stderr(&refused).contains(name), "{}", stderr(&refused));
    }
    let unnamed = lab.variants("two.fasta", &["--mutants", text(&lab.write("list.txt", "K2W\n"))]);
    assert!(stderr(&unnamed).contains("add a column id"), "{}", stderr(&unnamed));
    assert_eq!(lab.variants("one.fasta", &[]).status.code(), Some(2));
}

#[test]
fn proteins_over_the_window_follow_the_policy() {
    if !is_ready("long_variants") {
        return;
    }
    let lab = Lab::new();
    let sequence = SEQUENCE.repeat(40);
    lab.write("long.fasta", &format!(">long\n{sequence}\n"));
    let far = lab.write("far.txt", &format!("K{}W\n", 39 * SEQUENCE.len() + 2));
    let run = |policy| lab.variants("long.fasta", &["--mutants", text(&far), "--long", policy]);
    let windowed = run("window");
    assert!(stderr(&windowed).contains("longer than the window"), "{}", stderr(&windowed));
    assert!(rows(&windowed)[0].2.iter().all(|score| score.is_finite()));
    let cut = run("truncate");
    assert_eq!(cut.status.code(), Some(2));
    assert!(stderr(&cut).contains("1022 residues"), "{}", stderr(&cut));
    assert_ne!(run("reject").status.code(), Some(0));
}

#[test]
fn the_service_scores_scans_and_refuses() {
    if !is_ready("variants_service") {
        return;
    }
    let service = Service::start(&[], &[]);
    let ask = |body: Value| {
        let answer = service.post("/v1/predict/variants", &body);
        let said: Value = answer.json();
        (answer.status, said)
    };
    let (status, answer) = ask(json!({"sequence": SEQUENCE, "mutants": ["K2W", "A4G:K2W"]}));
    assert_eq!(status, 200, "{answer}");
    assert_eq!(answer["variants"][1]["mutant"], "A4G:K2W");
    assert!(answer["variants"][0]["masked_marginal"].is_number(), "{answer}");
    assert!(answer["variants"][0]["wild_type_marginal"].is_number());
    assert!(answer["variants"][0].get("embedding_shift").is_none());
    let (status, answer) = ask(json!({
        "sequence": SEQUENCE, "scan": true, "masking": "spread", "scores": ["masked_marginal"],
    }));
    assert_eq!(status, 200, "{answer}");
    let scan = answer["scan"]["masked_marginal"].as_array().unwrap();
    assert_eq!((scan.len(), scan[0].as_array().unwrap().len()), (SEQUENCE.len(), 20));
    for (body, status, field, says) in [
        (json!({"sequence": SEQUENCE, "mutants": ["K2W", "W2K", "K99A"]}), 422, "mutants", "not W"),
        (json!({"sequence": SEQUENCE}), 422, "mutants", "no mutants"),
        (json!({"mutants": ["K2W"]}), 422, "sequence", "exactly one"),
        (json!({"id": "nobody", "mutants": ["K2W"]}), 404, "id", "nobody"),
        (json!({"sequence": SEQUENCE, "mutants": ["K2W"], "scores": []}), 422, "scores", "at least one"),
        (json!({"sequence": "MK1", "mutants": ["K2W"]}), 422, "sequence", "position 3"),
    ] {
        let (found, problem) = ask(body.clone());
        assert_eq!(found, status, "{body}: {problem}");
        assert_eq!(problem["field"], field, "{problem}");
        assert!(problem["detail"].as_str().unwrap().contains(says), "{problem}");
    }
    let (_, problem) = ask(json!({"sequence": SEQUENCE, "mutants": ["K2W", "W2K"]}));
    assert_eq!(problem["record"], 2);
    assert_eq!(ask(json!({"sequence": SEQUENCE, "mutant": ["K2W"]})).0, 400);
}

#[test]
fn the_evaluation_reports_each_assay_and_its_mean() {
    if !is_ready("eval_variants") {
        return;
    }
    let lab = Lab::new();
    lab.write("dms_assays.tsv", &format!("dms_id\tsequence\nA\t{SEQUENCE}\nB\tMLLKVAARR\n"));
    let mut table = "dms_id\tmutant\tscore\n".to_owned();
    for (position, letter) in SEQUENCE.chars().enumerate() {
        for (index, mutant) in "ADKLW".chars().filter(|&mutant| mutant != letter).enumerate() {
            table += &format!("A\t{letter}{}{mutant}\t{}\n", position + 1, (position * 7 + index * 3) % 11);
        }
    }
    table += "B\tL2A\t1\nB\tL2W\t-1\nB\tK4A\t0.5\nB\tV5A\t0.2\n";
    let data = lab.write("dms_mutants.tsv", &table);
    let markdown = lab.path("variants.md");
    let args = ["eval", "variants", "--data", text(&data), "--json", "-", "--shift-mutants", "5"];
    let measured = run(&[&args[..], &["--markdown", text(&markdown)]].concat());
    assert!(measured.status.success(), "{}", stderr(&measured));
    let said = String::from_utf8(measured.stdout).unwrap();
    let report: Value = serde_json::from_str(&said[said.find('{').unwrap()..]).unwrap();
    assert!(report["spearman"].is_number() && report["spearman_supervised"].is_number(), "{report}");
    assert_eq!(report["n_assays"], 2);
    assert_eq!(report["assays"][1]["n"], 4);
    assert!(report["assays"][0]["supervised"].is_number() && report["assays"][1]["supervised"].is_null());
    for mean in ["masked_marginal", "wild_type_marginal", "blosum62", "hydropathy", "volume"] {
        assert!(report["means"][mean]["low"].is_number(), "{mean}: {report}");
    }
    assert!(std::fs::read_to_string(markdown).unwrap().contains("BLOSUM62"));
    lab.write("dms_mutants.tsv", "dms_id\tmutant\tscore\nA\tW1A\t1\nC\tK2A\t1\n");
    let refused = run(&args);
    assert_eq!(refused.status.code(), Some(2));
    let said = stderr(&refused);
    assert!(said.contains("line 2") && said.contains("line 3") && said.contains("dms_mutants.tsv"), "{said}");
}
