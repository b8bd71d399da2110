//! Memory of reading: a file or record of any size costs no more than the limits. One test alone in its program,
//! because it looks at the memory of the whole process.

use std::io::Read;

use protext_core::Modality;
use protext_engine::input::{InputOptions, open_stream};

const MIB: usize = 1 << 20;

/// `head`, then `n_fill` times the bytes of `fill`, then `tail`.
struct Long {
    head: &'static [u8],
    fill: &'static [u8],
    n_fill: usize,
    tail: &'static [u8],
    at: usize,
}

impl Read for Long {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if !self.head.is_empty() {
            return self.head.read(buffer);
        }
        let left = self.n_fill * self.fill.len() - self.at;
        if left == 0 {
            return self.tail.read(buffer);
        }
        let n_bytes = buffer.len().min(left);
        for byte in &mut buffer[..n_bytes] {
            *byte = self.fill[self.at % self.fill.len()];
            self.at += 1;
        }
        Ok(n_bytes)
    }
}

#[test]
fn memory_does_not_grow_with_records_or_files() {
    let options = InputOptions::new(Modality::Protein);
    let read = |head, fill, n_fill, tail| {
        let stream = Long { head, fill, n_fill, tail, at: 0 };
        open_stream("long".into(), Box::new(stream), &options).unwrap()
    };
    let before = resident_bytes();
    let table: [(&'static [u8], &'static [u8]); 5] = [
        (b">a\nMK\n>long\n", b"\n>b\nLLA\n"),
        (b">a\nMK\n>long ", b"\nMK\n>b\nLLA\n"),
        (b"id\tsequence\na\tMK\nlong\t", b"\nb\tLLA\n"),
        (b"id,sequence\na,MK\nlong,\"", b"\"\nb,LLA\n"),
        (
            b"{\"id\":\"a\",\"sequence\":\"MK\"}\n{\"id\":\"long\",\"sequence\":\"",
            b"\"}\n{\"id\":\"b\",\"sequence\":\"LLA\"}\n",
        ),
    ];
    for (head, tail) in table {
        let results: Vec<_> = read(head, b"A", 30 * MIB, tail).collect();
        assert_eq!(results.len(), 3, "{results:?}");
        let error = results[1].as_ref().unwrap_err();
        assert!(error.record == 2 && error.to_string().contains("limit"), "{error}");
        assert_eq!(results[2].as_ref().unwrap().id, "b");
    }
    // Many records in one file: each but the first repeats its id and is an error, so no id is kept either.
    let mut n_records = 0;
    for result in read(b">a\nMK\n", b">a\nMKVLLAGGMKVLLAGGMKVLLAGGMKVLLAGGMKVLLAGG\n", 30 * MIB / 45, b"") {
        n_records += usize::from(result.is_err());
    }
    assert_eq!(n_records, 30 * MIB / 45);
    let grown = resident_bytes().saturating_sub(before);
    assert!(grown < 20 * MIB, "{grown} bytes more are resident after inputs of 30 MB");
}

/// Most memory that this process has had; 0 where the system does not tell.
fn resident_bytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    peak.and_then(|peak| peak.trim().strip_suffix(" kB")?.parse::<usize>().ok()).unwrap_or(0) * 1024
}
