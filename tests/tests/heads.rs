//! Heads for records and residues, trained by the real program on the demo proteins.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use support::{is_ready, run, some_proteins, stderr};

/// A table whose labels follow from the sequences.
fn table() -> String {
    let mut text = "id\tsequence\tkind\tlysines\tss\tgroup\tone\n".to_owned();
    for (at, record) in some_proteins(24).split('>').filter(|record| !record.is_empty()).enumerate() {
        let (head, rest) = record.split_once('\n').unwrap();
        let sequence: String = rest.split_whitespace().collect();
        let lysines = sequence.matches('K').count();
        let ss: String = sequence.chars().map(|c| if "AELKMQ".contains(c) { 'H' } else { 'C' }).collect();
        let kind = if lysines.is_multiple_of(2) { "even" } else { "odd" };
        let id = head.split_whitespace().next().unwrap();
        text += &format!("{id}\t{sequence}\t{kind}\t{lysines}\t{ss}\tg{}\tsame\n", at / 2);
    }
    text
}

#[test]
fn classes_numbers_and_residues_are_learned_and_faults_named() {
    if !is_ready("classes_numbers_and_residues_are_learned_and_faults_named") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let data = path("table.tsv");
    std::fs::write(&data, table()).unwrap();
    let train = |task: &str, label: &str, further: &[&str], name: &str| {
        let output = path(name);
        let fixed = ["train", "head", "--task", task, "--data", &data, "--label", label, "-o", &output];
        run(&[&fixed, further].concat())
    };
    let pooled = ["--features", "pooled", "--folds", "3", "--penalty", "1,100", "--method"];
    for (task, label, further, figure) in [
        ("classify", "kind", [&pooled[..], &["logistic"]].concat(), "cv_auroc"),
        ("regress", "lysines", [&pooled[..], &["ridge"]].concat(), "cv_spearman_lysines"),
        (
            "residue",
            "ss",
            vec!["--split-shares", "0.6,0.2,0.2", "--method", "logistic", "--penalty", "10"],
            "validation",
        ),
    ] {
        let ran = train(task, label, &further, task);
        assert!(ran.status.success(), "{task}: {}", stderr(&ran));
        let card = std::fs::read_to_string(folder.path().join(task).join("card.toml")).unwrap();
        for said in [figure, "fingerprint", "head.onnx", &format!("task = \"{task}\"")] {
            assert!(card.contains(said), "{task} {said}: {card}");
        }
        assert!(folder.path().join(task).join("head.onnx").exists());
    }
    for (task, label, further, said) in [
        ("classify", "one", vec![], "class \"same\""),
        ("regress", "kind", vec![], "must be a finite number"),
        ("residue", "kind", vec![], "one letter a residue"),
        ("classify", "nothing", vec![], "nothing"),
        ("regress", "lysines", vec!["--method", "logistic"], "for classes"),
    ] {
        let ran = train(task, label, &further, "none");
        assert_eq!(ran.status.code(), Some(2), "{task} {label}: {}", stderr(&ran));
        assert!(stderr(&ran).contains(said), "{task} {label}: {}", stderr(&ran));
    }
}
