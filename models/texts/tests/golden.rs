//! The readers on real data, where it is: `PROTEXT_SHARED`, or `shared` beside the repository.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail loudly")]

use std::path::{Path, PathBuf};

use protext_texts::gene_text::{GeneRecord, GeneTextOptions, gene_text};
use protext_texts::go::{GoId, Ontology};
use protext_texts::tidy_summary;

/// A file of the shared data; `None`, and loudly, where it is not.
fn shared(test: &str, file: &str) -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared");
    let folder = std::env::var_os("PROTEXT_SHARED").map_or(beside, PathBuf::from);
    let path = folder.join("data").join(file);
    if path.exists() {
        return Some(path);
    }
    eprintln!(
        "NOT RUN: {test}: {} is not here; set PROTEXT_SHARED to the folder that holds data/",
        path.display()
    );
    None
}

fn lines(path: &Path) -> Vec<String> {
    let bytes = std::fs::read(path).unwrap();
    let text = std::io::read_to_string(flate2::read::MultiGzDecoder::new(bytes.as_slice())).unwrap();
    text.lines().map(str::to_owned).collect()
}

#[test]
fn every_go_id_of_the_table_resolves() {
    let Some(path) = shared("every_go_id_of_the_table_resolves", "text/go_terms.tsv.gz") else { return };
    let ontology = Ontology::open(&path).unwrap();
    let ids: Vec<GoId> =
        lines(&path).iter().skip(1).map(|line| line.split('\t').next().unwrap().parse().unwrap()).collect();
    assert!(ids.len() > 40_000, "{} ids", ids.len());
    for id in &ids {
        let term = ontology.get(*id).unwrap_or_else(|| panic!("{id} does not resolve"));
        assert!(!term.name.is_empty(), "{id}");
        assert!(ontology.ancestors(*id).iter().all(|above| ontology.get(*above).is_some()), "{id}");
    }
    assert_eq!(ids.len(), ontology.len() + ontology.merged_ids().count());
    // DNA binding is, by is_a, nucleic acid binding, organic cyclic compound binding or its heir, binding, and the root.
    let above = ontology.ancestors("GO:0003677".parse().unwrap());
    for id in ["GO:0003676", "GO:0005488", "GO:0003674"] {
        assert!(above.contains(&id.parse().unwrap()), "{id}");
    }
}

#[test]
fn no_summary_keeps_its_notes() {
    let Some(path) = shared("no_summary_keeps_its_notes", "genes/gene_summary.tsv.gz") else { return };
    let lines = lines(&path);
    let column = |name: &str| lines[0].split('\t').position(|column| column == name).unwrap();
    let (symbol, summary) = (column("symbol"), column("summary"));
    let mut n_changed = 0;
    for line in &lines[1..] {
        let cells: Vec<_> = line.split('\t').collect();
        let tidy = tidy_summary(cells[summary]);
        for note in ["provided by RefSeq", "supplied by OMIM", "Publication Note", "Sequence Note", "##"] {
            assert!(!tidy.contains(note), "{}: {tidy}", cells[symbol]);
        }
        assert!(
            2 * tidy.len() >= cells[summary].len().min(400),
            "{}: too much was taken: {tidy}",
            cells[symbol]
        );
        n_changed += usize::from(tidy != cells[summary].trim());
        let gene = GeneRecord {
            symbol: cells[symbol].to_owned(),
            summary: Some(cells[summary].to_owned()),
            ..GeneRecord::default()
        };
        let text = gene_text(&gene, &GeneTextOptions::default()).unwrap();
        // A few genes of the file have no symbol.
        assert_eq!(text.starts_with("Gene Symbol "), !cells[symbol].is_empty(), "{text}");
        assert!(text.contains(tidy.trim_end_matches('.')), "{text}");
    }
    println!("{} summaries, {n_changed} changed", lines.len() - 1);
}
