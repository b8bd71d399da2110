//! Reading records: what good files give, and what bad ones say.

#![expect(clippy::unwrap_used, reason = "what cannot be made ready for a test fails it")]

use std::fmt::Write as _;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use flate2::Compression;
use flate2::write::GzEncoder;
use protext_core::Modality;
use protext_engine::input::{
    Duplicates, Format, InputError, InputOptions, InputRecord, RecordError, Rule, Source, open,
};

fn protein() -> InputOptions {
    InputOptions::new(Modality::Protein)
}

fn text() -> InputOptions {
    InputOptions::new(Modality::Text)
}

fn file(folder: &Path, name: &str, bytes: &[u8]) -> Source {
    let path = folder.join(name);
    std::fs::write(&path, bytes).unwrap();
    Source::Path(path)
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn read(name: &str, bytes: &[u8], options: &InputOptions) -> Vec<Result<InputRecord, RecordError>> {
    let folder = tempfile::tempdir().unwrap();
    open(&file(folder.path(), name, bytes), options).unwrap().collect()
}

fn good(name: &str, bytes: &[u8], options: &InputOptions) -> Vec<InputRecord> {
    read(name, bytes, options)
        .into_iter()
        .map(|record| record.unwrap_or_else(|e| panic!("{name}: {e}")))
        .collect()
}

fn pairs(records: &[InputRecord]) -> Vec<(&str, &str)> {
    records.iter().map(|record| (record.id.as_str(), record.payload.as_str())).collect()
}

const THREE: [(&str, &str); 3] = [("a", "MKV"), ("b", "LLA"), ("c", "GG")];

#[test]
fn fasta_in_every_dress_gives_the_same_records() {
    let table: [(&str, &[u8]); 9] = [
        ("plain", b">a\nMKV\n>b\nLLA\n>c\nGG\n"),
        ("no end of line", b">a\nMKV\n>b\nLLA\n>c\nGG"),
        ("wrapped", b">a\nM\nK\nV\n>b\nLL\nA\n>c\nG\nG\n"),
        ("Windows", b">a\r\nMK\r\nV\r\n>b\r\nLLA\r\n>c\r\nGG\r\n"),
        ("old Mac", b">a\rMK\rV\r>b\rLLA\r>c\rGG\r"),
        ("blank lines", b"\n\n>a\n\nMKV\n\n>b\nLLA\n\n\n>c\nGG\n\n"),
        ("comments", b"; made by hand\n>a\n;inside\nMKV\n>b\nLLA\n;\n>c\nGG\n"),
        ("byte order mark", b"\xef\xbb\xbf>a\nMKV\n>b\nLLA\n>c\nGG\n"),
        ("white space", b"> a \n MKV \n>b\t\nLLA\t\n>c\nGG  \n"),
    ];
    for (what, bytes) in table {
        for (name, bytes) in [
            ("x.fasta", bytes.to_vec()),
            ("x", bytes.to_vec()),
            ("x.fa", gzip(bytes)),
            ("x.fa.zst", zstd::encode_all(bytes, 1).unwrap()),
        ] {
            assert_eq!(pairs(&good(name, &bytes, &protein())), THREE, "{what}: {name}");
        }
    }
}

#[test]
fn gzip_is_told_by_its_bytes_and_may_have_many_members() {
    let mut members = gzip(b">a\nMK");
    members.extend(gzip(b"V\n>b\nLLA\n"));
    members.extend(gzip(b">c\nGG\n"));
    for name in ["x.fasta.gz", "x.fasta", "x"] {
        assert_eq!(pairs(&good(name, &members, &protein())), THREE, "{name}");
    }
}

#[test]
fn every_format_gives_the_same_records() {
    let table: [(&str, &[u8]); 5] = [
        ("x.tsv", b"id\tsequence\na\tMKV\nb\tLLA\nc\tGG\n"),
        ("x.tab", b"\xef\xbb\xbfAccession\tLength\tSEQ\r\na\t3\tMKV\r\nb\t3\tLLA\r\n\r\nc\t2\tGG"),
        ("x.csv", b"id,note,sequence\na,\"one, \"\"two\"\"\nthree\",MKV\nb,,LLA\nc,x,\"GG\"\n"),
        ("x.jsonl", b"{\"id\":\"a\",\"sequence\":\"MKV\"}\n\n{\"sequence\":\"LLA\",\"id\":\"b\"}\r\n{\"id\":\"c\",\"seq\":\"GG\"}"),
        ("x.ndjson", b"\xef\xbb\xbf{\"ID\":\"a\",\"Sequence\":\"MKV\"}\n{\"id\":\"b\",\"sequence\":\"LLA\"}\n{\"id\":\"c\",\"sequence\":\"GG\"}\n"),
    ];
    for (name, bytes) in table {
        let zipped = gzip(bytes);
        assert_eq!(pairs(&good(name, bytes, &protein())), THREE, "{name}");
        assert_eq!(pairs(&good(&format!("{name}.gz"), &zipped, &protein())), THREE, "{name}.gz");
        assert_eq!(pairs(&good("x", bytes, &protein())), THREE, "{name}, sniffed");
        assert_eq!(pairs(&good("x.txt", &zipped, &protein())), THREE, "{name}, zipped and sniffed");
    }
}

#[test]
fn an_option_overrides_the_ending() {
    let options = InputOptions { format: Some(Format::Tsv), ..protein() };
    assert_eq!(pairs(&good("x.fasta", b"id\tseq\na\tMKV\n", &options)), [("a", "MKV")]);
}

#[test]
fn uniprot_headers_are_taken_apart() {
    let bytes = b">sp|P02768|ALBU_HUMAN Albumin OS=Homo sapiens OX=9606 GN=ALB PE=1 SV=2\nMKWV\n>NP_1.1 some words\nMK\n";
    let records = good("x.fasta", bytes, &protein());
    let first = &records[0];
    assert_eq!((first.id.as_str(), first.entry_name.as_deref()), ("P02768", Some("ALBU_HUMAN")));
    assert_eq!((first.description.as_str(), first.organism.as_deref()), ("Albumin", Some("Homo sapiens")));
    assert_eq!((first.taxon_id, first.gene.as_deref()), (Some(9606), Some("ALB")));
    assert_eq!((records[1].id.as_str(), records[1].description.as_str()), ("NP_1.1", "some words"));
    assert_eq!(records[1].number, 2);
}

#[test]
fn columns_fill_the_other_fields_and_the_metadata() {
    let options = InputOptions { metadata_columns: vec!["superfamily".into()], ..protein() };
    let tsv = b"domain\tsuperfamily\torganism\ttaxid\tsymbol\tprotein_name\tsequence\nd1\t1.10\tE. coli\t562\trecA\tRecA\tMKV\nd2\t\t\t\t\t\tMK\n";
    let json = br#"{"domain":"d1","superfamily":"1.10","organism":"E. coli","taxon_id":562,"gene":"recA","description":"RecA","sequence":"MKV"}"#;
    for (name, bytes) in [("x.tsv", &tsv[..]), ("x.jsonl", &json[..])] {
        let record = good(name, bytes, &options).remove(0);
        assert_eq!(record.metadata, [("superfamily".to_owned(), "1.10".to_owned())], "{name}");
        assert_eq!((record.organism.as_deref(), record.taxon_id), (Some("E. coli"), Some(562)), "{name}");
        assert_eq!((record.gene.as_deref(), record.description.as_str()), (Some("recA"), "RecA"), "{name}");
    }
    assert_eq!(good("x.tsv", tsv, &options)[1].metadata, []);
}

#[test]
fn given_columns_and_texts_are_read() {
    let options = InputOptions { id_column: Some("key".into()), text_column: Some("Note".into()), ..text() };
    let tsv = b"id\tkey\tnote\tsequence\n1\ta\tone \"quoted\" word\tMK\n";
    assert_eq!(pairs(&good("x.tsv", tsv, &options)), [("a", "one \"quoted\" word")]);
    let json = b"{\"id\":7,\"key\":\"a\",\"note\":\"one\"}\n";
    assert_eq!(pairs(&good("x.jsonl", json, &options)), [("a", "one")]);
    assert_eq!(pairs(&good("x.jsonl", b"{\"id\":7,\"text\":\"one\"}", &text())), [("7", "one")]);
}

/// Each broken record: the name, the bytes, the record's number, and what the message must hold.
const BAD_RECORDS: &[(&str, &[u8], u64, &[&str])] = &[
    ("text.fasta", b"hello\n>a\nMK\n", 1, &["line 1", "not FASTA", "expected '>'", "hello"]),
    ("garbage.fasta", b"\x7fELF\x02\x01\x00\x00\xff\xfe\n\x00", 1, &["not FASTA"]),
    ("blank.fasta", b"\n\n\n", 0, &["no records"]),
    ("comments.fasta", b";nothing\n", 0, &["no records"]),
    ("header.fasta", b">a\n>b\nMK\n", 1, &["line 1", "\"a\"", "without a sequence"]),
    ("last.fasta", b">a\nMK\n>b desc\n", 2, &["line 3", "\"b\"", "without a sequence"]),
    ("noid.fasta", b">\nMK\n", 1, &["line 1", "no id"]),
    ("blankid.fasta", b">a\nMK\n>   \nMK\n", 2, &["line 3", "no id"]),
    ("nul.fasta", b">a\nMK\nV\x00L\n", 1, &["\"a\"", "NUL", "byte 4"]),
    ("nulheader.fasta", b">a\x00b\nMK\n", 1, &["header", "NUL", "byte 2"]),
    ("latin.fasta", b">a M\xfcller\nMK\n", 1, &["header", "UTF-8", "byte 4"]),
    ("latinseq.fasta", b">a\nMK\xfc\n", 1, &["\"a\"", "sequence", "UTF-8", "byte 3"]),
    ("twice.fasta", b">a\nMK\n>b\nMK\n>a\nML\n", 3, &["line 5", "\"a\"", "already used"]),
    ("control.fasta", b">a\x07b\nMK\n", 1, &["control character", "position 2"]),
    ("header.tsv", b"id\tsequence\n", 0, &["no records"]),
    (
        "ragged.tsv",
        b"id\tsequence\na\tMK\nb\tMK\textra\n",
        2,
        &["line 3", "\"b\"", "3 fields", "header has 2"],
    ),
    ("short.csv", b"id,name,sequence\na,b\n", 1, &["line 2", "2 fields", "header has 3"]),
    ("empty.tsv", b"id\tsequence\na\t\n", 1, &["line 2", "\"a\"", "\"sequence\"", "is empty"]),
    ("noid.tsv", b"id\tsequence\n \tMK\n", 1, &["line 2", "no id"]),
    ("nul.tsv", b"id\tsequence\na\tM\x00\n", 1, &["\"a\"", "sequence", "NUL", "byte 2"]),
    ("latin.csv", b"id,sequence\na,M\xff\n", 1, &["sequence", "UTF-8", "byte 2"]),
    ("taxon.tsv", b"id\ttaxon_id\tsequence\na\thuman\tMK\n", 1, &["taxon_id", "human", "9606"]),
    ("twice.csv", b"id,sequence\na,MK\n\na,MK\n", 2, &["line 4", "\"a\"", "already used"]),
    ("broken.jsonl", b"{\"id\":\"a\",\"sequence\":\"MK\"}\n{\"id\":\n", 2, &["line 2", "not a JSON object"]),
    ("array.jsonl", b"{\"id\":\"a\",\"sequence\":\"MK\"}\n[1]\n", 2, &["line 2", "not a JSON object"]),
    (
        "field.jsonl",
        b"{\"id\":\"a\",\"sequence\":5}\n",
        1,
        &["line 1", "\"a\"", "\"sequence\"", "a number", "a string"],
    ),
    (
        "missing.jsonl",
        b"{\"id\":\"a\",\"text\":\"x\"}\n",
        1,
        &["line 1", "\"a\"", "no field for the sequence"],
    ),
    ("noid.jsonl", b"{\"sequence\":\"MK\"}\n", 1, &["line 1", "no field for the id"]),
    ("null.jsonl", b"{\"id\":\"a\",\"sequence\":null}\n", 1, &["line 1", "\"a\"", "is empty"]),
    ("nul.jsonl", b"{\"id\":\"a\",\"sequence\":\"M\x00\"}\n", 1, &["line 1", "NUL"]),
];

#[test]
fn bad_records_say_where_and_why() {
    for (name, bytes, record, parts) in BAD_RECORDS {
        let errors: Vec<RecordError> =
            read(name, bytes, &protein()).into_iter().filter_map(Result::err).collect();
        assert_eq!(errors.len(), 1, "{name}: {errors:?}");
        let message = errors[0].to_string();
        assert_eq!(errors[0].record, *record, "{message}");
        assert!(message.contains(name), "{message}");
        let number = format!("record {record}");
        assert!(*record == 0 || message.contains(&number), "{message}");
        for part in *parts {
            assert!(message.contains(part), "{name}: {message:?} lacks {part:?}");
        }
    }
}

#[test]
fn reading_goes_on_after_a_bad_record() {
    let fasta = b">a\nMKV\n>bad\n>\nMK\n>b\nLLA\n>a\nXX\n>c\nGG\n";
    let results = read("x.fasta", fasta, &protein());
    assert_eq!(results.iter().filter(|result| result.is_err()).count(), 3);
    let records: Vec<InputRecord> = results.into_iter().filter_map(Result::ok).collect();
    assert_eq!(pairs(&records), THREE);
    assert_eq!(records.iter().map(|record| record.number).collect::<Vec<_>>(), [1, 4, 6]);
}

#[test]
fn repeated_ids_can_be_passed_over() {
    let options = InputOptions { duplicates: Duplicates::KeepFirst, ..protein() };
    let folder = tempfile::tempdir().unwrap();
    let source = file(folder.path(), "x.fasta", b">a\nMKV\n>a\nXX\n>b\nLLA\n>c\nGG\n>b\nYY\n");
    let mut reader = open(&source, &options).unwrap();
    let records: Vec<InputRecord> = reader.by_ref().map(Result::unwrap).collect();
    assert_eq!(pairs(&records), THREE);
    assert_eq!(reader.n_duplicates_passed(), 2);
}

#[test]
fn unusable_inputs_are_refused_when_opened() {
    let folder = tempfile::tempdir().unwrap();
    let table: &[(&str, &[u8], &InputOptions, &[&str])] = &[
        ("empty.fasta", b"", &protein(), &["is empty"]),
        ("empty.fasta.gz", &gzip(b""), &protein(), &["is empty"]),
        ("x", b"hello there\n", &protein(), &["not recognised", "FASTA"]),
        ("y", b"\x00\x01\x02\x03,\t", &protein(), &["not recognised"]),
        ("x.fa.zst", b"\x28\xb5\x2f\xfd....", &protein(), &["cannot read"]),
        ("x.fa.bz2", b"BZh91AY", &protein(), &["bzip2"]),
        ("x.zip", b"PK\x03\x04....", &protein(), &["zip"]),
        ("x.fa.xz", b"\xfd7zXZ\0..", &protein(), &["xz"]),
        ("x.tsv", b"name\tlength\na\t3\n", &protein(), &["sequence", "name, length"]),
        ("y.tsv", b"key\tsequence\na\tMK\n", &protein(), &["id", "key, sequence"]),
        ("z.csv", b"id,sequence\na,MK\n", &text(), &["text", "id, sequence"]),
        ("n.tsv", b"id\tse\xffquence\n", &protein(), &["line 1", "UTF-8"]),
        ("x.fasta", b">a\nMK\n", &text(), &["FASTA", "texts"]),
        ("x.parquet", b"PAR1 but no more", &protein(), &["Parquet"]),
        ("x.parquet.gz", &gzip(b"PAR1"), &protein(), &["x.parquet.gz", "cannot be read as Parquet"]),
        ("broken.fasta.gz", &gzip(b">a\nMK\n")[..5], &protein(), &["cannot read"]),
    ];
    for (name, bytes, options, parts) in table {
        let error = open(&file(folder.path(), name, bytes), options).map(|_| ()).expect_err(name).to_string();
        assert!(error.contains(name), "{error}");
        for part in *parts {
            assert!(error.contains(part), "{name}: {error:?} lacks {part:?}");
        }
    }
    let missing = open(&Source::Path(folder.path().join("none.fasta")), &protein());
    assert!(matches!(missing, Err(InputError::Open { .. })));
    let itself = open(&Source::Path(folder.path().to_owned()), &protein());
    assert!(matches!(itself, Err(InputError::Folder { .. })));
    assert_eq!(Source::from_arg("-"), Source::Stdin);
    assert_eq!(Source::from_arg("x"), Source::Path(PathBuf::from("x")));
}

/// Records that compress badly, so that a cut falls between many of them.
fn many_records(n_records: usize) -> String {
    let mut fasta = String::new();
    let mut state = 1_u64;
    for number in 0..n_records {
        let residue = |state: &mut u64| {
            *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            char::from(b"ACDEFGHIKLMNPQRSTVWY"[(*state >> 33) as usize % 20])
        };
        let sequence: String = (0..300).map(|_| residue(&mut state)).collect();
        writeln!(fasta, ">p{number}\n{sequence}").unwrap();
    }
    fasta
}

#[test]
fn a_cut_gzip_gives_its_good_records_then_one_fatal_error() {
    let fasta = many_records(2_000);
    let whole = good("x.fasta", fasta.as_bytes(), &protein());
    let zipped = gzip(fasta.as_bytes());
    for n_bytes in [zipped.len() / 2, zipped.len() - 4, zipped.len() - 9] {
        let mut results = read("x.fasta.gz", &zipped[..n_bytes], &protein());
        let error = results.pop().unwrap().unwrap_err();
        assert!(error.is_fatal() && matches!(error.rule, Rule::Truncated { .. }), "{error}");
        let records: Vec<InputRecord> = results.into_iter().map(Result::unwrap).collect();
        assert_eq!(error.record as usize, records.len() + 1);
        assert!(records.len() > 500);
        assert_eq!(records, whole[..records.len()]);
    }
    let mut broken = zipped;
    let middle = broken.len() / 2;
    broken[middle..middle + 64].fill(0xaa);
    let results = read("x.fasta.gz", &broken, &protein());
    let n_errors = results.iter().filter(|result| result.is_err()).count();
    assert!(n_errors >= 1 && results.last().unwrap().as_ref().is_err_and(RecordError::is_fatal));
}

#[test]
fn ten_megabytes_on_one_line_break_the_limit_only_there() {
    let mut fasta = b">a\nMK\n>long\n".to_vec();
    fasta.extend(vec![b'A'; 10_000_000]);
    fasta.extend(b"\n>b\nLLA\n");
    let results = read("x.fasta", &fasta, &protein());
    let error = results[1].as_ref().unwrap_err().to_string();
    assert!(error.contains("record 2") && error.contains("1000000 bytes"), "{error}");
    let wide = InputOptions { max_record_bytes: 20_000_000, ..protein() };
    assert_eq!(good("x.fasta", &fasta, &wide)[1].payload.as_str().len(), 10_000_000);
}

#[test]
fn the_limit_is_exact() {
    let options = InputOptions { max_record_bytes: 4, ..protein() };
    let table: [(&str, &[u8], &[u8]); 3] = [
        ("x.fasta", b">a\nMK\nVL\n", b">a\nMK\nVLL\n"),
        ("x.tsv", b"id\tsequence\na\tMKVL\n", b"id\tsequence\na\tMKVLL\n"),
        ("x.jsonl", b"{\"id\":\"a\",\"sequence\":\"MKVL\"}", b"{\"id\":\"a\",\"sequence\":\"MKVLL\"}"),
    ];
    for (name, fits, too_long) in table {
        assert_eq!(pairs(&good(name, fits, &options)), [("a", "MKVL")], "{name}");
        let error = read(name, too_long, &options).remove(0).unwrap_err();
        assert!(matches!(error.rule, Rule::TooLong { max_bytes: 4, .. }), "{error}");
    }
}

fn parquet(columns: Vec<(&str, ArrayRef)>, rows_in_group: usize) -> Vec<u8> {
    let batch =
        RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(n, c)| (n, c, true))).unwrap();
    let properties = parquet::file::properties::WriterProperties::builder()
        .set_max_row_group_row_count(Some(rows_in_group))
        .build();
    let mut writer =
        parquet::arrow::ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.into_inner().unwrap()
}

fn strings<const N: usize>(values: [Option<&str>; N]) -> ArrayRef {
    Arc::new(StringArray::from(values.to_vec()))
}

#[test]
fn parquet_columns_are_found_and_read_across_row_groups() {
    let bytes = parquet(
        vec![
            ("superfamily", strings([Some("1.10"), None, Some("")])),
            ("taxon_id", Arc::new(Int64Array::from(vec![Some(9606), None, Some(562)]))),
            ("Sequence", strings([Some("MKV"), Some("LLA"), Some("GG")])),
            ("unused", Arc::new(Int64Array::from(vec![1, 2, 3]))),
            ("accession", strings([Some("a"), Some("b"), Some("c")])),
        ],
        2,
    );
    let options = InputOptions { metadata_columns: vec!["superfamily".into()], ..protein() };
    for name in ["x.parquet", "x"] {
        let records = good(name, &bytes, &options);
        assert_eq!(pairs(&records), THREE, "{name}");
        assert_eq!(records.iter().map(|r| r.taxon_id).collect::<Vec<_>>(), [Some(9606), None, Some(562)]);
        assert_eq!(records[0].metadata, [("superfamily".to_owned(), "1.10".to_owned())]);
        assert_eq!((&records[1].metadata, &records[2].metadata), (&vec![], &vec![]));
    }
    let numbers: ArrayRef = Arc::new(Int64Array::from(vec![7]));
    let numbered = parquet(vec![("entrez_id", numbers), ("summary", strings([Some("one")]))], 9);
    assert_eq!(pairs(&good("x.parquet", &numbered, &text())), [("7", "one")]);
}

#[test]
fn bad_parquet_says_where_and_why() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |columns: Vec<(&str, ArrayRef)>| {
        let source = file(folder.path(), "x.parquet", &parquet(columns, 9));
        open(&source, &protein()).map(|_| ()).unwrap_err().to_string()
    };
    let ids = || strings([Some("a"), Some("b")]);
    let missing = refused(vec![("id", ids()), ("name", ids())]);
    assert!(missing.contains("sequence") && missing.contains("id, name"), "{missing}");
    let numbers: ArrayRef = Arc::new(Int64Array::from(vec![1, 2]));
    let typed = refused(vec![("id", ids()), ("sequence", numbers)]);
    assert!(typed.contains("\"sequence\" holds Int64; strings are needed"), "{typed}");

    let columns = vec![
        ("id", strings([Some("a"), None, Some("c"), Some("a")])),
        ("sequence", strings([Some("MK"), Some("MK"), None, Some("MK")])),
    ];
    let results = read("x.parquet", &parquet(columns, 9), &protein());
    let messages: Vec<String> =
        results.iter().map(|r| r.as_ref().err().map_or_else(String::new, ToString::to_string)).collect();
    assert!(messages[0].is_empty());
    assert!(
        messages[1].ends_with("x.parquet: record 2: has no id; give every record one"),
        "{}",
        messages[1]
    );
    assert!(messages[2].contains("record 3 (id \"c\"): field \"sequence\" is empty"), "{}", messages[2]);
    assert!(messages[3].contains("record 4 (id \"a\"): id was already used"), "{}", messages[3]);
}

#[test]
fn damaged_parquet_ends_with_an_error_and_never_a_panic() {
    let texts: Vec<String> = (0..500).map(|number| format!("p{number}")).collect();
    let column = || -> ArrayRef { Arc::new(StringArray::from(texts.clone())) };
    let bytes = parquet(vec![("id", column()), ("sequence", column())], 100);
    let mut n_fatal = 0;
    for at in (0..bytes.len()).step_by(37) {
        let mut broken = bytes.clone();
        broken[at] ^= 0xff;
        let folder = tempfile::tempdir().unwrap();
        let Ok(reader) = open(&file(folder.path(), "x.parquet", &broken), &protein()) else { continue };
        let results: Vec<_> = reader.collect();
        let fatal: Vec<usize> =
            (0..results.len()).filter(|&n| results[n].as_ref().is_err_and(RecordError::is_fatal)).collect();
        assert!(fatal.is_empty() || fatal == [results.len() - 1], "byte {at}");
        n_fatal += fatal.len();
    }
    assert!(n_fatal > 0);
}

#[test]
fn a_metadata_column_may_be_missing_and_parquet_may_be_zipped() {
    let folder = tempfile::tempdir().unwrap();
    let optional = InputOptions {
        metadata_columns: vec!["split".into(), "group".into()],
        metadata_optional: true,
        ..text()
    };
    let column = |value: &str| Arc::new(StringArray::from(vec![value])) as ArrayRef;
    let parquet_bytes =
        parquet(vec![("id", column("A")), ("text", column("binds")), ("group", column("g"))], 1);
    for (name, bytes) in [
        ("a.tsv", b"id\ttext\tgroup\nA\tbinds\tg\n".to_vec()),
        ("a.parquet", parquet_bytes.clone()),
        ("a.parquet.gz", gzip(&parquet_bytes)),
    ] {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        let records: Vec<_> = open(&Source::Path(path), &optional).unwrap().map(Result::unwrap).collect();
        assert_eq!(records.len(), 1, "{name}");
        assert_eq!(records[0].metadata, [("group".to_owned(), "g".to_owned())], "{name}");
    }
}
