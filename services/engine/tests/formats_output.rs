//! Writing vectors and reading them back; files that appear whole or not at all.

#![expect(clippy::unwrap_used, reason = "what cannot be made ready for a test fails it")]

use std::io::Write as _;
use std::path::Path;

use protext_engine::output::{
    OutputError, OutputFormat, OutputOptions, OutputRow, VectorFileError, VectorMetadata, create,
    read_vectors,
};

const ENDINGS: [&str; 4] = ["parquet", "h5", "npz", "jsonl"];

fn options(dim: usize) -> OutputOptions {
    OutputOptions { dim, metadata: metadata(), ..OutputOptions::default() }
}

fn metadata() -> VectorMetadata {
    VectorMetadata {
        encoder: Some("esm2_t6_8M".into()),
        space: Some("esm2_t6_8M/pooled é".into()),
        fingerprint: Some("ab".repeat(32)),
        pooling: Some("mean".into()),
        protext_version: Some("0.1.0".into()),
    }
}

/// Ids in no order, with some that are awkward; values that are exact in float32.
fn rows(n_rows: usize, dim: usize) -> Vec<(String, Vec<f32>)> {
    let id = |number: usize| match number % 50 {
        7 => format!("sp|P{number}|É {number}"),
        8 => format!("p{number}.npy"),
        _ => format!("P{:05}", number * 7919 % 100_000),
    };
    let value = |number: usize, at: usize| (number * 31 + at) as f32 / 8.0 - 100.0;
    (0..n_rows).map(|number| (id(number), (0..dim).map(|at| value(number, at)).collect())).collect()
}

fn write(path: &Path, options: &OutputOptions, rows: &[(String, Vec<f32>)]) -> u64 {
    let mut writer = create(path, options).unwrap();
    for (id, vector) in rows {
        writer.push(&OutputRow { id, vector, residues: None }).unwrap();
    }
    let summary = writer.finish().unwrap();
    assert_eq!(summary.n_records, rows.len() as u64);
    assert_eq!(summary.n_bytes, std::fs::metadata(path).unwrap().len());
    summary.n_bytes
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn every_format_gives_back_what_was_written() {
    // Past one leaf, one tree node and two levels of the HDF5 tree, past one Parquet batch, and a single row.
    for (n_rows, dim) in [(1, 1), (65, 3), (2_000, 320), (20_000, 5)] {
        let folder = tempfile::tempdir().unwrap();
        let mut rows = rows(n_rows, dim);
        for ending in ENDINGS {
            let path = folder.path().join(format!("x.{ending}"));
            write(&path, &options(dim), &rows);
        }
        for ending in ENDINGS {
            let read = read_vectors(&folder.path().join(format!("x.{ending}"))).unwrap();
            if ending == "h5" {
                rows.sort_by(|a, b| a.0.cmp(&b.0));
            }
            assert_eq!((read.dim, read.n_vectors()), (dim, n_rows), "{ending}");
            assert!(read.ids.iter().eq(rows.iter().map(|row| &row.0)), "{ending}");
            assert!(read.vectors.iter().eq(rows.iter().flat_map(|row| &row.1)), "{ending}");
            assert_eq!(read.vector(n_rows - 1), Some(&rows[n_rows - 1].1[..]), "{ending}");
            let known = if ending == "jsonl" { VectorMetadata::default() } else { metadata() };
            assert_eq!(read.metadata, known, "{ending}");
            rows = self::rows(n_rows, dim);
        }
        assert_eq!(names(folder.path()).len(), ENDINGS.len(), "temporary files remain");
    }
}

#[test]
fn the_same_rows_give_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let rows = rows(300, 16);
    for ending in ENDINGS {
        for per_residue in [false, true] {
            let bytes = ["a", "b"].map(|name| {
                let path = folder.path().join(format!("{name}{per_residue}.{ending}"));
                let mut writer = create(&path, &OutputOptions { per_residue, ..options(8) }).unwrap();
                for (id, values) in &rows {
                    writer.push(&OutputRow { id, vector: &values[..8], residues: Some(values) }).unwrap();
                }
                writer.finish().unwrap();
                std::fs::read(path).unwrap()
            });
            assert!(bytes[0] == bytes[1], "{ending}, per residue: {per_residue}");
        }
    }
}

#[test]
fn a_file_without_rows_is_still_a_file() {
    let folder = tempfile::tempdir().unwrap();
    for ending in ENDINGS {
        let path = folder.path().join(format!("x.{ending}"));
        create(&path, &options(4)).unwrap().finish().unwrap();
        assert!(matches!(read_vectors(&path), Err(VectorFileError::Empty { .. })), "{ending}");
    }
}

#[test]
fn per_residue_files_hold_matrices_and_are_not_taken_for_vectors() {
    let folder = tempfile::tempdir().unwrap();
    let matrix: Vec<f32> = (0..12).map(|v| v as f32).collect();
    for ending in ENDINGS {
        let path = folder.path().join(format!("x.{ending}"));
        let mut writer = create(&path, &OutputOptions { per_residue: true, ..options(4) }).unwrap();
        for id in ["a", "b"] {
            writer.push(&OutputRow { id, vector: &[], residues: Some(&matrix) }).unwrap();
        }
        let none = writer.push(&OutputRow { id: "c", vector: &[1.0; 4], residues: None }).unwrap_err();
        assert!(matches!(none, OutputError::NoResidues { .. }));
        for n_values in [0, 3, 5] {
            let wrong = writer.push(&OutputRow { id: "c", vector: &[], residues: Some(&matrix[..n_values]) });
            assert!(matches!(wrong, Err(OutputError::ResidueShape { dim: 4, .. })), "{wrong:?}");
        }
        assert_eq!(writer.finish().unwrap().n_records, 2);
        let error = read_vectors(&path).unwrap_err();
        // An archive of matrices has neither ids nor vectors, so that is what is said.
        let said = matches!(error, VectorFileError::PerResidue { .. }) || ending == "npz";
        assert!(said, "{ending}: {error}");
    }
    let file = hdf5_pure::File::open(folder.path().join("x.h5")).unwrap();
    let dataset = file.dataset("b").unwrap();
    assert_eq!((dataset.shape().unwrap(), dataset.read_f32().unwrap()), (vec![3, 4], matrix));
}

#[test]
fn bad_rows_are_refused_and_the_writer_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    for ending in ENDINGS {
        let path = folder.path().join(format!("x.{ending}"));
        let mut writer = create(&path, &options(2)).unwrap();
        let mut refused = |id: &str, vector: &[f32]| {
            let error = writer.push(&OutputRow { id, vector, residues: None }).err();
            assert!(error.as_ref().is_none_or(OutputError::is_row_error), "{error:?}");
            error.map(|error| error.to_string())
        };
        assert_eq!(refused("a", &[1.0, 2.0]), None);
        assert!(
            refused("w", &[1.0]).unwrap().contains("\"w\": the vector has 1 components, the file's have 2")
        );
        assert!(refused("n", &[1.0, f32::NAN]).unwrap().contains("\"n\": value 1 is not a finite number"));
        assert!(refused("i", &[f32::INFINITY, 1.0]).unwrap().contains("value 0"));
        assert!(refused("", &[1.0, 1.0]).unwrap().contains("empty"));
        assert!(refused("x\0y", &[1.0, 1.0]).unwrap().contains("NUL"));
        let named = ending == "h5";
        assert_eq!(
            refused("b/c", &[1.0, 1.0]).is_some_and(|e| e.contains("'/' separates groups")),
            named,
            "{ending}"
        );
        assert_eq!(refused(".", &[1.0, 1.0]).is_some(), named, "{ending}");
        assert_eq!(
            refused("a", &[3.0, 4.0]).is_some_and(|e| e.contains("already written")),
            named,
            "{ending}"
        );
        assert_eq!(refused("z", &[5.0, 6.0]), None);
        let n_records = writer.finish().unwrap().n_records;
        assert_eq!(n_records, if named { 2 } else { 5 }, "{ending}");
    }
}

#[test]
fn nothing_appears_before_the_end_and_nothing_stays_after_a_drop() {
    for ending in ENDINGS {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(format!("x.{ending}"));
        let mut writer = create(&path, &options(2)).unwrap();
        writer.push(&OutputRow { id: "a", vector: &[1.0, 2.0], residues: None }).unwrap();
        let partial = names(folder.path());
        assert!(partial.len() == 1 && partial[0].starts_with(&format!(".x.{ending}.")), "{partial:?}");
        assert!(partial[0].ends_with(".partial"));
        drop(writer);
        assert_eq!(names(folder.path()), Vec::<String>::new(), "{ending}");
    }
}

#[test]
fn an_existing_output_stays_unless_it_may_be_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.jsonl");
    std::fs::write(&path, "mine").unwrap();
    let refused = create(&path, &options(2)).unwrap_err();
    assert!(matches!(refused, OutputError::Exists { .. }), "{refused}");
    let replacing = OutputOptions { overwrite: true, ..options(2) };
    drop(create(&path, &replacing).unwrap());
    assert_eq!(std::fs::read(&path).unwrap(), b"mine");
    write(&path, &replacing, &rows(1, 2));
    assert_eq!(read_vectors(&path).unwrap().n_vectors(), 1);

    let late = folder.path().join("late.jsonl");
    let writer = create(&late, &options(2)).unwrap();
    std::fs::write(&late, "came in between").unwrap();
    assert!(matches!(writer.finish(), Err(OutputError::Exists { .. })));
    assert_eq!(std::fs::read(&late).unwrap(), b"came in between");
    assert_eq!(names(folder.path()), ["late.jsonl", "x.jsonl"]);
}

#[test]
fn unusable_outputs_are_refused_when_created() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    assert!(matches!(create(&at("x.txt"), &options(2)), Err(OutputError::UnknownFormat { .. })));
    assert!(matches!(create(&at("none/x.npz"), &options(2)), Err(OutputError::Create { .. })));
    assert!(matches!(create(&at("x.npz"), &options(0)), Err(OutputError::Dim { dim: 0, .. })));
    assert!(matches!(create(&at("x.npz"), &options(1 << 21)), Err(OutputError::Dim { .. })));
    std::fs::create_dir(at("folder.npz")).unwrap();
    assert!(matches!(create(&at("folder.npz"), &options(2)), Err(OutputError::Folder { .. })));
    let named = OutputOptions { format: Some(OutputFormat::Npz), ..options(2) };
    write(&at("x.txt"), &named, &rows(3, 2));
    assert_eq!(read_vectors(&at("x.txt")).unwrap().n_vectors(), 3);
}

#[test]
fn unusable_vector_files_say_why() {
    let folder = tempfile::tempdir().unwrap();
    let table: [(&str, &[u8], &[&str]); 10] = [
        ("empty", b"", &["holds no vectors"]),
        ("x.txt", b"hello", &["not Parquet, HDF5, NPZ or JSON lines"]),
        (
            "a.jsonl",
            b"{\"id\":\"a\",\"vector\":[1,2]}\n{\"id\":\"b\",\"vector\":[1]}\n",
            &["\"b\"", "1 components", "2"],
        ),
        ("b.jsonl", b"{\"id\":\"a\",\"vector\":[1,1e99]}\n", &["line 1", "out of range"]),
        ("c.jsonl", b"{\"id\":\"a\",\"vector\":[1]}\n{\"id\":\"a\",\"vector\":[2]}\n", &["\"a\"", "twice"]),
        ("d.jsonl", b"{\"id\":\"a\"}\n", &["line 1", "vector"]),
        ("e.jsonl", b"{\"id\":\"a\",\"vector\":[1]}\n\n{\"id\":", &["line 3"]),
        ("f.jsonl", b"{\"id\":\"a\",\"vector\":\"no\"}\n", &["line 1", "vector"]),
        ("x.parquet", b"PAR1PAR1", &["Parquet", "whole"]),
        ("x.h5", b"\x89HDF\r\n\x1a\nnot really", &["HDF5", "whole"]),
    ];
    for (name, bytes, parts) in table {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        let error = read_vectors(&path).unwrap_err().to_string();
        assert!(error.contains(name), "{error}");
        for part in parts {
            assert!(error.contains(part), "{name}: {error:?} lacks {part:?}");
        }
    }
    let missing = read_vectors(&folder.path().join("none.npz"));
    assert!(matches!(missing, Err(VectorFileError::Read { .. })));
}

#[test]
fn a_cut_file_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    for ending in ["parquet", "h5", "npz"] {
        let path = folder.path().join(format!("x.{ending}"));
        let n_bytes = write(&path, &options(4), &rows(100, 4));
        let bytes = std::fs::read(&path).unwrap();
        for n_left in [n_bytes - 1, n_bytes / 2, 9] {
            std::fs::write(&path, &bytes[..n_left as usize]).unwrap();
            let error = read_vectors(&path).map(|file| file.n_vectors());
            assert!(error.is_err(), "{ending} cut to {n_left} bytes gives {error:?}");
        }
    }
}

/// The usual Python libraries open what we write, bit for bit, and we read what they write.
#[test]
fn python_libraries_read_our_files_and_we_read_theirs() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let libraries = std::env::var("PROTEXT_TEST_CLIENTS").unwrap_or_default();
    if !Path::new(&libraries).join("h5py").exists() {
        let _ = writeln!(
            std::io::stderr(),
            "NOT RUN: python_libraries: PROTEXT_TEST_CLIENTS names no folder with them; `make test` does"
        );
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    write_all_formats(folder.path());
    let mut python = std::process::Command::new("python3");
    python.arg(here.join("../../tests/clients/vector_files.py")).arg(folder.path());
    let ran = python.env("PYTHONPATH", libraries).output().unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    read_python_files(&folder.path().join("python"));
}

fn write_all_formats(folder: &Path) {
    let rows = rows(20_000, 24);
    for ending in ENDINGS {
        let at = |name: &str| folder.join(format!("{name}.{ending}"));
        write(&at("pooled"), &options(24), &rows);
        create(&at("none"), &options(24)).unwrap().finish().unwrap();
        let mut writer = create(&at("residues"), &OutputOptions { per_residue: true, ..options(8) }).unwrap();
        for (number, (id, values)) in rows.iter().take(500).enumerate() {
            let residues = &values[..8 * (1 + number % 3)];
            writer.push(&OutputRow { id, vector: &[], residues: Some(residues) }).unwrap();
        }
        writer.finish().unwrap();
    }
    write(&folder.join("pooled.h5ad"), &options(24), &rows);
    create(&folder.join("none.h5ad"), &options(24)).unwrap().finish().unwrap();
    let refused = create(&folder.join("x.h5ad"), &OutputOptions { per_residue: true, ..options(8) });
    assert!(matches!(refused, Err(OutputError::NoResiduesIn { .. })));
}

/// Ids p0, p1, ... and values number + component / 4.
fn read_python_files(folder: &Path) {
    let mut n_files = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let read = read_vectors(&path).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!((read.n_vectors(), read.dim), (300, 6), "{}", path.display());
        for (index, id) in read.ids.iter().enumerate() {
            let number: usize = id.strip_prefix('p').unwrap().parse().unwrap();
            let wanted: Vec<f32> = (0..6).map(|at| number as f32 + at as f32 / 4.0).collect();
            assert_eq!(read.vector(index), Some(&wanted[..]), "{}: {id}", path.display());
        }
        n_files += 1;
    }
    assert!(n_files >= 8, "only {n_files} files");
}

#[test]
fn groups_of_an_hdf5_file_are_looked_into() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("groups.h5");
    let mut builder = hdf5_pure::FileBuilder::new();
    builder.create_dataset("P1").with_f32_data(&[1.0, 2.0]).with_shape(&[2]);
    let mut species = builder.create_group("yeast");
    species.create_dataset("P2").with_f32_data(&[3.0, 4.0]).with_shape(&[2]);
    builder.add_group(species.finish());
    let mut protein = builder.create_group("P3");
    protein.create_dataset("embedding").with_f32_data(&[5.0, 6.0]).with_shape(&[2]);
    builder.add_group(protein.finish());
    builder.write(&path).unwrap();
    let file = read_vectors(&path).unwrap();
    let vector = |id: &str| file.vector(file.ids.iter().position(|found| found == id).unwrap()).unwrap();
    assert_eq!(
        (vector("P1"), vector("P2"), vector("P3")),
        (&[1.0, 2.0][..], &[3.0, 4.0][..], &[5.0, 6.0][..])
    );
    let path = folder.path().join("twice.h5");
    let mut builder = hdf5_pure::FileBuilder::new();
    for name in ["human", "yeast"] {
        let mut species = builder.create_group(name);
        species.create_dataset("P1").with_f32_data(&[1.0]).with_shape(&[1]);
        builder.add_group(species.finish());
    }
    builder.write(&path).unwrap();
    assert!(matches!(read_vectors(&path), Err(VectorFileError::DuplicateId { .. })));
}
