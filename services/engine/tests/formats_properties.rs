//! Reading anything: no input makes a reader panic or go on without end.

use std::io::Cursor;

use proptest::prelude::*;
use protext_core::Modality;
use protext_engine::input::{Format, InputOptions, Payload, open_stream};
use protext_engine::output::{OutputOptions, OutputRow, create, read_vectors};

const FORMATS: [Format; 4] = [Format::Fasta, Format::Tsv, Format::Csv, Format::JsonLines];

/// Bytes that look enough like a format to get past its first check.
fn plausible() -> impl Strategy<Value = Vec<u8>> {
    let pieces = prop::sample::select(vec![
        &b">"[..],
        b"\n",
        b"\r",
        b"\t",
        b",",
        b"\"",
        b";",
        b"{",
        b"}",
        b"id",
        b"sequence",
        b"a",
        b"MKV",
        b"\0",
        b"\xff",
        b"\xef\xbb\xbf",
        b":",
        b" ",
        b"[",
        b"\\",
        b"1",
        b"sp|P1|X_Y OS=a OX=",
        b"{\"id\":\"a\",\"sequence\":\"MK\"}\n",
        b"id\tsequence\n",
        b"id,sequence\n",
        b">a\nMK\n",
    ]);
    prop::collection::vec(pieces, 0..60).prop_map(|pieces| pieces.concat())
}

fn ends(bytes: &[u8], options: &InputOptions) -> Result<(), TestCaseError> {
    let stream = Box::new(Cursor::new(bytes.to_vec()));
    if let Ok(reader) = open_stream("random".into(), stream, options) {
        let results: Vec<_> = reader.take(bytes.len() + 2).collect();
        prop_assert!(results.len() <= bytes.len() + 1, "a reader goes on without end");
        let n_fatal = results.iter().filter(|r| r.as_ref().is_err_and(|e| e.is_fatal())).count();
        prop_assert!(
            n_fatal <= 1 && results.iter().rev().skip(1).all(|r| !r.as_ref().is_err_and(|e| e.is_fatal()))
        );
        for error in results.iter().filter_map(|result| result.as_ref().err()) {
            prop_assert!(error.to_string().starts_with("random: "));
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(600) })]

    #[test]
    fn random_bytes_end(bytes in prop::collection::vec(any::<u8>(), 0..300), format in 0..5_usize) {
        let format = FORMATS.get(format).copied();
        ends(&bytes, &InputOptions { format, ..InputOptions::new(Modality::Protein) })?;
    }

    #[test]
    fn plausible_bytes_end(bytes in plausible(), format in 0..5_usize, max_record_bytes in 1..20_usize) {
        let format = FORMATS.get(format).copied();
        ends(&bytes, &InputOptions { format, max_record_bytes, ..InputOptions::new(Modality::Protein) })?;
    }

    #[test]
    fn damaged_gzip_ends(at in 0..2000_usize, value: u8, cut in 0..2000_usize) {
        use std::io::Write;
        let fasta: String = (0..200).map(|n| format!(">p{n}\nMKV{}\n", "LAG".repeat(n % 30))).collect();
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(fasta.as_bytes()).unwrap();
        let mut bytes = encoder.finish().unwrap();
        let n_bytes = bytes.len();
        bytes[at % n_bytes] = value;
        bytes.truncate(n_bytes - cut % n_bytes);
        let stream = Box::new(Cursor::new(bytes));
        let options = InputOptions { format: Some(Format::Fasta), ..InputOptions::new(Modality::Protein) };
        if let Ok(reader) = open_stream("damaged".into(), stream, &options) {
            prop_assert!(reader.take(100_000).count() < 100_000);
        }
    }

    #[test]
    fn written_fasta_is_read_back(
        records in prop::collection::vec(("[A-Za-z0-9_.:-]{1,20}", "[a-z ]{0,20}", "[A-Z*]{1,200}"), 1..20),
        width in 1..80_usize,
        end in prop::sample::select(vec!["\n", "\r\n", "\r"]),
    ) {
        let mut fasta = String::new();
        for (number, (id, description, sequence)) in records.iter().enumerate() {
            fasta += &format!(">{number}_{id} {description}{end}");
            let lines: Vec<&str> = sequence.as_bytes().chunks(width).map(|l| std::str::from_utf8(l).unwrap()).collect();
            fasta += &(lines.join(end) + end);
        }
        let stream = Box::new(Cursor::new(fasta.into_bytes()));
        let options = InputOptions { format: Some(Format::Fasta), ..InputOptions::new(Modality::Protein) };
        let read: Vec<_> = open_stream("x".into(), stream, &options).unwrap().map(Result::unwrap).collect();
        prop_assert_eq!(read.len(), records.len());
        for (number, (record, (id, description, sequence))) in read.iter().zip(&records).enumerate() {
            prop_assert_eq!(&record.id, &format!("{number}_{id}"));
            prop_assert_eq!(record.description.as_str(), description.trim());
            prop_assert_eq!(&record.payload, &Payload::Sequence(sequence.clone()));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(60) })]

    /// A file of vectors with some bytes changed is read, or refused with a reason: never a panic that leaves.
    #[test]
    fn damaged_vector_files_are_refused_or_read(
        ending in prop::sample::select(vec!["parquet", "h5", "npz", "jsonl"]),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(format!("x.{ending}"));
        let mut writer = create(&path, &OutputOptions { dim: 4, ..OutputOptions::default() }).unwrap();
        for number in 0..70 {
            let id = format!("p{number}");
            writer.push(&OutputRow { id: &id, vector: &[number as f32; 4], residues: None }).unwrap();
        }
        writer.finish().unwrap();
        let mut bytes = std::fs::read(&path).unwrap();
        for (at, value) in damage {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        std::fs::write(&path, bytes).unwrap();
        if let Err(error) = read_vectors(&path) {
            prop_assert!(error.to_string().contains(ending), "{}", error);
        }
        // As input the same bytes are no better: Parquet lacks a sequence, the others are no records.
        if let Ok(reader) = protext_engine::input::open(
            &protext_engine::input::Source::Path(path),
            &InputOptions { sequence_column: Some("id".into()), ..InputOptions::new(Modality::Protein) },
        ) {
            prop_assert!(reader.take(10_000).count() < 10_000);
        }
    }
}
