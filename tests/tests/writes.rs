//! A collection that is added to, deleted from, compacted, exported and copied on the command line.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::path::Path;

use support::{is_ready, run, some_proteins, stderr};

/// Runs a command that must succeed; what it printed.
fn done(args: &[&str]) -> String {
    let ran = run(args);
    assert!(ran.status.success(), "{args:?}: {}", stderr(&ran));
    String::from_utf8(ran.stdout).unwrap()
}

/// Runs a command that must be refused as wrong input; what it said.
fn refused(args: &[&str]) -> String {
    let ran = run(args);
    assert_eq!(ran.status.code(), Some(2), "{args:?}: {}", stderr(&ran));
    stderr(&ran)
}

fn path(folder: &Path, name: &str) -> String {
    folder.join(name).to_str().unwrap().to_owned()
}

#[test]
fn records_are_added_deleted_compacted_exported_and_copied() {
    if !is_ready("records_are_added_deleted_compacted_exported_and_copied") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| path(folder.path(), name);
    let (index, all, first, last) =
        (file("p.index"), file("all.fasta"), file("first.fasta"), file("last.fasta"));
    let proteins = some_proteins(20);
    let records: Vec<String> = proteins
        .trim_end()
        .split("\n>")
        .map(|part| format!(">{}\n", part.trim_matches(['>', '\n'])))
        .collect();
    // UniProt's headers: the accession stands between bars.
    let id = |number: usize| records[number].split('|').nth(1).unwrap();
    std::fs::write(&all, records.concat()).unwrap();
    std::fs::write(&first, records[..12].concat()).unwrap();
    std::fs::write(&last, records[8..].concat()).unwrap();
    done(&["index", "build", &first, "-o", &index]);
    let said = stderr(&run(&["index", "add", &index, &last]));
    assert!(said.contains("8 proteins added, 4 replaced; 20 now"), "{said}");

    let top = |query: &str| done(&["search", query, "--index", &index, "-k", "1"]);
    assert_eq!(
        top(&all).lines().filter(|line| line.split('\t').next() == line.split('\t').nth(2)).count(),
        20
    );
    let said = stderr(&run(&["index", "delete", &index, id(0), id(15), "nobody"]));
    assert!(said.contains("\"nobody\"") && said.contains("2 deleted, 1 not there; 18 now"), "{said}");
    std::fs::write(file("ids.txt"), format!("{}\n\n{}\n", id(1), id(1))).unwrap();
    done(&["index", "delete", &index, "--ids-from", &file("ids.txt")]);
    assert!(done(&["index", "info", &index]).contains("records     17"));
    for _ in 0..2 {
        let found = done(&["search", &all, "--index", &index, "-k", "100"]);
        assert_eq!(found.lines().count(), 20 * 17, "k over the number of records gives all");
        for gone in [0, 1, 15].map(id) {
            assert!(!found.lines().any(|line| line.split('\t').nth(2) == Some(gone)), "{gone} was deleted");
        }
        assert!(done(&["index", "verify", &index]).contains("sound"));
        done(&["index", "compact", &index]);
    }

    done(&["index", "export", &index, "-o", &file("out.fasta")]);
    let exported = std::fs::read_to_string(file("out.fasta")).unwrap();
    assert_eq!(exported.matches('>').count(), 17);
    done(&["index", "export", &index, "-o", &file("out.jsonl")]);
    assert_eq!(std::fs::read_to_string(file("out.jsonl")).unwrap().lines().count(), 17);
    assert!(refused(&["index", "export", &index, "-o", &file("out.fasta")]).contains("--overwrite"));
    // What was exported is read again, and finds itself.
    assert_eq!(done(&["search", &file("out.fasta"), "--index", &index, "-k", "1"]).lines().count(), 17);

    done(&["index", "copy", &index, &file("copy.index")]);
    assert!(done(&["index", "info", &file("copy.index")]).contains("records     17"));
    assert!(refused(&["index", "copy", &index, &file("copy.index")]).contains("not empty"));
    assert!(refused(&["index", "add", &file("nowhere"), &all]).contains("holds no collection"));
    assert!(refused(&["index", "delete", &index]).contains("--ids-from"));
}
