//! What bounds the program: a full disk, memory whatever the input's size, a full waiting room.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::json;
use support::{Service, is_ready, protext, run, some_proteins, stderr};

/// A file system of `size`, unmounted when dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// `None`, said loudly, where this user may not mount.
    fn mount(test: &str, at: &Path, size: &str) -> Option<Self> {
        let options = format!("size={size}");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(at).output();
        if mounted.is_ok_and(|ran| ran.status.success()) {
            return Some(Self(at.to_owned()));
        }
        let _ = writeln!(
            std::io::stderr(),
            "NOT RUN: {test}: a small file system cannot be mounted by this user"
        );
        None
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_is_named_and_what_stood_there_stays() {
    if !is_ready("full_disk") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("proteins.fasta");
    std::fs::write(&input, some_proteins(200)).unwrap();
    let disk = folder.path().join("disk");
    std::fs::create_dir(&disk).unwrap();
    let Some(_mounted) = SmallDisk::mount("full_disk", &disk, "64k") else { return };
    std::fs::write(disk.join("out.jsonl"), "precious").unwrap();
    for name in ["new.parquet", "new.h5", "new.npz", "out.jsonl"] {
        let output = disk.join(name);
        let ran = run(&["embed", input.to_str().unwrap(), "-o", output.to_str().unwrap(), "--overwrite"]);
        let said = stderr(&ran);
        assert_eq!(ran.status.code(), Some(2), "{name}: {said}");
        assert!(said.contains("no space") && said.contains(name), "{name}: {said}");
    }
    let index = disk.join("new.index");
    let ran = run(&["index", "build", input.to_str().unwrap(), "-o", index.to_str().unwrap()]);
    assert_eq!(ran.status.code(), Some(2), "{}", stderr(&ran));
    let said = stderr(&ran);
    assert!(said.contains("No space left") || said.contains("disk is full"), "{said}");
    assert_eq!(std::fs::read_to_string(disk.join("out.jsonl")).unwrap(), "precious");
    let left: Vec<_> = std::fs::read_dir(&disk).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| name == "out.jsonl" || name == "new.index"), "{left:?}");
    assert!(!run(&["index", "info", index.to_str().unwrap()]).status.success(), "half a collection opened");
}

/// Most memory that `protext embed` of `n` short proteins with 4 kB headers ever held, in MiB.
fn peak_mib(folder: &Path, n: usize) -> i64 {
    let input = folder.join(format!("{n}.fasta"));
    let header = "protein of unknown function ".repeat(150);
    let record = |index: usize| format!(">p{index} {header}\nMKTAYIAKQR\n");
    std::fs::write(&input, (0..n).map(record).collect::<String>()).unwrap();
    let output = folder.join(format!("{n}.parquet"));
    let args = ["embed", input.to_str().unwrap(), "-o", output.to_str().unwrap()];
    #[expect(clippy::zombie_processes, reason = "wait4 waits for it and tells its memory, too")]
    let child = protext(&args).stderr(Stdio::null()).spawn().unwrap();
    // SAFETY: all-zero bytes are a valid `rusage`, and the process is our own child, not waited for.
    let (usage, status) = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        let mut status = 0;
        assert!(libc::wait4(child.id().cast_signed(), &raw mut status, 0, &raw mut usage) > 0);
        (usage, status)
    };
    assert_eq!(status, 0);
    usage.ru_maxrss / 1024
}

#[test]
fn memory_does_not_grow_with_the_input() {
    if !is_ready("memory") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (few, many) = (peak_mib(folder.path(), 500), peak_mib(folder.path(), 8_000));
    // Held whole, headers and rows would take 42 MiB more; the runtime's own arenas vary by 15.
    assert!(many < few + 24, "{few} MiB for 500 records, {many} MiB for 8,000");
}

#[test]
fn a_full_waiting_room_is_429_and_recovers() {
    if !is_ready("waiting_room") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let fasta = folder.path().join("proteins.fasta");
    std::fs::write(&fasta, some_proteins(5)).unwrap();
    let index = folder.path().join("proteins.index");
    let built = run(&["index", "build", fasta.to_str().unwrap(), "-o", index.to_str().unwrap()]);
    assert!(built.status.success(), "{}", stderr(&built));
    let settings = [("PROTEXT_MAX_QUEUED_TOKENS", "600"), ("PROTEXT_N_WORKERS", "1")];
    let service = Service::start(&[format!("proteins={}", index.display())], &settings);
    let query = json!({"sequence": "MKTAYIAKQRQISFVKSHFS".repeat(25)});
    let many = service.post("/v1/search", &json!({"queries": vec![query.clone(); 60]}));
    assert_eq!(many.status, 429, "{}", many.text());
    assert!(many.head.contains("retry-after: "), "{}", many.head);
    assert!(many.text().contains("waiting"), "{}", many.text());
    let one = service.post("/v1/search", &query);
    assert_eq!(one.status, 200, "{}", one.text());
    assert_eq!(service.terminate(), Some(0));
}

#[test]
fn a_service_on_a_full_disk_goes_on_searching_and_writes_again_once_there_is_room() {
    if !is_ready("service_on_full_disk") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let disk = folder.path().join("disk");
    std::fs::create_dir(&disk).unwrap();
    let Some(_mounted) = SmallDisk::mount("service_on_full_disk", &disk, "2m") else { return };
    let data = disk.join("data");
    let service = Service::start(&[], &[("PROTEXT_DATA", data.to_str().unwrap())]);
    assert_eq!(service.post("/v1/collections", &json!({"name": "c"})).status, 201);
    let write = |id: &str| {
        let record =
            json!({"id": id, "sequence": "MKTAYIAKQRQISFVKSHFSRQ", "description": "x".repeat(1_000)});
        service.post("/v1/collections/c/records", &json!({"records": [record]}))
    };
    assert_eq!(write("first").status, 200);
    let filler = disk.join("filler");
    let mut file = std::fs::File::create(&filler).unwrap();
    while file.write_all(&[0; 4096]).is_ok() {}
    drop(file);
    // What is left of the last page may take one or two more.
    let refused =
        (0..20).map(|number| write(&format!("late{number}"))).find(|answer| answer.status != 200).unwrap();
    assert_eq!(refused.status, 503, "{}", refused.text());
    assert!(refused.text().contains("disk") && !refused.text().contains("/data"), "{}", refused.text());
    assert_eq!(service.post("/v1/collections", &json!({"name": "d"})).status, 503);
    assert_eq!(service.post("/v1/search", &json!({"id": "first"})).status, 200);
    assert_eq!(service.get("/readyz").status, 200);
    std::fs::remove_file(&filler).unwrap();
    let again = write("again");
    assert_eq!(again.status, 200, "{}", again.text());
    assert_eq!(service.get("/v1/collections/c/records/again").status, 200);
    assert_eq!(service.terminate(), Some(0));
}
