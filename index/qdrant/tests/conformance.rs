//! One suite over every kind of collection: the embedded one, and the one on a Qdrant server.
//!
//! With `PROTEXT_TEST_QDRANT=qdrant://host:6333` (and `PROTEXT_QDRANT_API_KEY`) it runs over that server, else over the local mode
//! of Qdrant's own client library, which has Qdrant's semantics and not its server. What can be had neither way says so.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[allow(dead_code, reason = "each file of tests uses a part")]
mod support;

use std::collections::{BTreeMap, HashSet};
use std::io::Write as _;
use std::ops::ControlFlow;
use std::sync::Arc;

use protext_core::Space;
use protext_index::{
    CollectionBuilder, CollectionStore, CollectionView, Filter, FilterFault, IndexError, IndexKind, Record,
    Store, StoreError, StoreOptions, Taxonomy, Upsert, Wanted,
};
use protext_local_server::qdrant::QdrantLocal;
use protext_qdrant::{QdrantAddress, QdrantBuild, QdrantSettings, QdrantStore};
use support::{address, record, settings, space, upsert, vector};

const N: u32 = 40;
const NODES: &str = "1|1\n2|1\n562|2\n2759|1\n9606|2759\n";

/// A collection with the records 0 to 39 and a taxonomy, and what must outlive it.
struct Subject {
    store: Arc<dyn CollectionStore>,
    _held: Box<dyn std::any::Any>,
}

fn spaces() -> Vec<Space> {
    vec![space("main", 16), space("joint", 8)]
}

fn metadata() -> BTreeMap<String, String> {
    [("encoder".to_owned(), "test-encoder".to_owned()), ("holds".to_owned(), "proteins".to_owned())].into()
}

fn embedded() -> Subject {
    let (spaces, folder) = (spaces(), tempfile::tempdir().unwrap());
    let mut builder = CollectionBuilder::new(spaces[0].clone(), IndexKind::Auto).unwrap();
    builder.add_space(spaces[1].clone()).unwrap();
    for (key, value) in metadata() {
        builder.set_metadata(key, value);
    }
    builder.set_taxonomy(Taxonomy::read(NODES.as_bytes()).unwrap());
    for row in 0..N {
        let Upsert { record, vectors } = upsert(row, &spaces);
        builder.push_in_all(record, &vectors.iter().collect::<Vec<_>>()).unwrap();
    }
    builder.build(&mut |_| ()).unwrap().save(folder.path()).unwrap();
    let store = Store::open_with(folder.path(), StoreOptions::default()).unwrap();
    Subject { store: Arc::new(store), _held: Box::new(folder) }
}

fn build(address: &QdrantAddress, settings: &QdrantSettings, rows: std::ops::Range<u32>) -> usize {
    let (spaces, taxonomy) = (spaces(), Taxonomy::read(NODES.as_bytes()).unwrap());
    let mut build = QdrantBuild::begin(address, settings, &spaces, metadata(), Some(taxonomy)).unwrap();
    for row in rows {
        let Upsert { record, vectors } = upsert(row, &spaces);
        build.push(record, vectors).unwrap();
    }
    build.finish().unwrap()
}

/// On the server that the environment names.
fn on_server(test: &str) -> Option<Subject> {
    let Ok(server) = std::env::var("PROTEXT_TEST_QDRANT") else {
        let _ = writeln!(
            std::io::stderr(),
            "NOT RUN: {test} on a Qdrant server: PROTEXT_TEST_QDRANT names none (qdrant://host:6333)"
        );
        return None;
    };
    let settings = QdrantSettings { key: None, allow_http: true, ..settings() };
    let settings = settings.with_key_of(|name| std::env::var(name).ok()).unwrap();
    let address = address(server.trim_start_matches("qdrant://"));
    assert_eq!(build(&address, &settings, 0..N), N as usize);
    let store = QdrantStore::open(&address, &settings, Some(&spaces()[0])).unwrap();
    Some(Subject { store: Arc::new(store), _held: Box::new(()) })
}

fn in_local_mode(test: &str) -> Option<Subject> {
    let local = QdrantLocal::start(test)?;
    let address = address(&local.authority);
    assert_eq!(build(&address, &settings(), 0..N), N as usize);
    let store = QdrantStore::open(&address, &settings(), Some(&spaces()[0])).unwrap();
    Some(Subject { store: Arc::new(store), _held: Box::new(local) })
}

/// Runs `check` on a fresh collection of each kind.
fn on_each(test: &str, check: impl Fn(&dyn CollectionStore)) {
    check(&*embedded().store);
    let others = [in_local_mode(test), on_server(test)];
    others.into_iter().flatten().for_each(|subject| check(&*subject.store));
}

/// Ids that a filter allows, by a search for everything, and by counting.
fn allowed(view: &dyn CollectionView, filter: &str) -> Vec<String> {
    let chosen = view.choose(&Filter::parse(filter).unwrap()).unwrap();
    let wanted = Wanted { within: Some(&chosen), exact: true, ..Wanted::new(1_000) };
    let hits = view.find(&spaces()[0], &vector(16, 77), &wanted).unwrap();
    assert_eq!(hits.len(), chosen.count(), "{filter}");
    let mut ids: Vec<String> = hits.iter().map(|hit| hit.record.id.clone()).collect();
    ids.sort();
    ids
}

fn rows(is_wanted: impl Fn(&Record) -> bool) -> Vec<String> {
    let mut ids: Vec<String> = (0..N).map(record).filter(is_wanted).map(|record| record.id).collect();
    ids.sort();
    ids
}

#[test]
fn hits_are_those_of_comparing_every_vector() {
    on_each("searches", |store| {
        let (view, spaces) = (store.state(), spaces());
        assert_eq!((view.len(), view.is_empty()), (N as usize, false));
        for (at, space) in spaces.iter().enumerate() {
            for seed in [1, 5, 900, 901] {
                let query = vector(space.dim, seed);
                let mut expected: Vec<(f32, String)> = (0..N)
                    .map(|row| (upsert(row, &spaces).vectors[at].cosine(&query), format!("P{row}")))
                    .collect();
                expected.sort_by(|one, other| other.0.total_cmp(&one.0));
                for k in [1, 7, 1_000] {
                    for exact in [false, true] {
                        let wanted = Wanted { exact, ..Wanted::new(k) };
                        let hits = view.find(space, &query, &wanted).unwrap();
                        assert_eq!(hits.len(), k.min(N as usize));
                        for (rank, (hit, (cosine, id))) in hits.iter().zip(&expected).enumerate() {
                            assert_eq!((hit.rank, &hit.record.id), (rank + 1, id));
                            assert!((hit.cosine - cosine).abs() < 1e-5, "{} {cosine}", hit.cosine);
                        }
                    }
                }
                let (cosines, best) = view.compare_all(space, &query, 3).unwrap();
                assert_eq!((cosines.len(), best.len()), (N as usize, 3));
                assert!(cosines.windows(2).all(|pair| pair[0] >= pair[1]));
                assert_eq!(best[0].record.id, expected[0].1);
            }
        }
    });
}

#[test]
fn records_come_back_as_they_were_stored() {
    on_each("records", |store| {
        let (view, spaces) = (store.state(), spaces());
        for row in [0, 7, 39] {
            let (found, stored) = (view.get(&format!("P{row}")).unwrap().unwrap(), upsert(row, &spaces));
            assert_eq!(*found.record, stored.record);
            for (found, stored) in found.vectors.iter().zip(&stored.vectors) {
                assert!((found.cosine(stored) - 1.0).abs() < 1e-6);
            }
            assert_eq!(found.vectors.len(), 2);
        }
        assert!(view.get("p1").unwrap().is_none() && view.get("").unwrap().is_none());
        assert_eq!(view.first_of_gene("gENE15").unwrap().unwrap().record.id, "P15");
        assert!(view.first_of_gene("Gene1").unwrap().is_none());
        let (mut all, mut late) = (Vec::new(), Vec::new());
        let see = |into: &mut Vec<String>, with_vectors: bool, offset| {
            view.each((offset, 1), with_vectors, &mut |stored| {
                assert_eq!(stored.vectors.len(), if with_vectors { 2 } else { 0 });
                into.push(stored.record.id.clone());
                ControlFlow::Continue(())
            })
            .unwrap();
        };
        see(&mut all, true, 0);
        see(&mut late, false, 33);
        assert_eq!((all.len(), all.iter().collect::<HashSet<_>>().len()), (N as usize, N as usize));
        assert_eq!(late, all[33..]);
        see(&mut late, false, 40);
        see(&mut late, false, 4_000);
        assert_eq!(late.len(), 7);
        let mut thinned = Vec::new();
        view.each((2, 9), true, &mut |stored| {
            thinned.push(stored.record.id.clone());
            ControlFlow::Continue(())
        })
        .unwrap();
        assert_eq!(thinned, all.iter().skip(2).step_by(9).cloned().collect::<Vec<_>>());
        let mut n_seen = 0;
        view.each((0, 1), false, &mut |_| {
            n_seen += 1;
            if n_seen == 5 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })
        .unwrap();
        assert_eq!(n_seen, 5);
        let info = view.info();
        assert_eq!((info.metadata, info.n_records), (metadata(), u64::from(N)));
        assert_eq!(view.n_residues(), (0..u64::from(N)).map(|row| 100 + row).sum::<u64>());
    });
}

#[test]
fn filters_mean_the_same() {
    let number =
        |record: &Record, name: &str| record.fields.get(name).and_then(|text| text.parse::<f64>().ok());
    on_each("filters", |store| {
        let view = store.state();
        let holds = |filter: &str, is_wanted: &dyn Fn(&Record) -> bool| {
            assert_eq!(allowed(&*view, filter), rows(is_wanted), "{filter}");
        };
        let is_human = |record: &Record| record.organism.is_some();
        holds(r#"organism = "homo SAPIENS""#, &is_human);
        holds(r#"organism != "homo sapiens""#, &|record| !is_human(record));
        holds("organism exists", &is_human);
        holds("not gene exists", &|record| record.gene.is_none());
        holds("gene in (gene5, GENE10, none)", &|record| ["P5", "P10"].contains(&record.id.as_str()));
        holds("id = P3", &|record| record.id == "P3");
        holds("id = p3", &|_| false);
        holds("id in (P3, P4, p5)", &|record| ["P3", "P4"].contains(&record.id.as_str()));
        holds("length between 110 and 120", &|record| (110..=120).contains(&record.length));
        holds("length < 105 or length >= 135", &|record| record.length < 105 || record.length >= 135);
        holds("length in (101, 102, 99)", &|record| [101, 102].contains(&record.length));
        holds("length = 101.5", &|_| false);
        holds("taxon = 562 and length <= 110", &|record| {
            record.taxon_id == Some(562) && record.length <= 110
        });
        holds("taxon under 2759", &|record| record.taxon_id == Some(9606));
        holds("taxon under 9606", &|record| record.taxon_id == Some(9606));
        holds("taxon under 1 and not taxon under 2", &|record| record.taxon_id == Some(9606));
        holds("resolution > 1", &|record| number(record, "resolution").is_some_and(|found| found > 1.0));
        holds("resolution = 2.50", &|record| number(record, "resolution") == Some(2.5));
        holds(r#"resolution = "2.50""#, &|_| false);
        holds(r#""ec number" = "1.2.a""#, &|record| {
            record.fields.get("ec number").is_some_and(|ec| ec == "1.2.A")
        });
        holds(r#"not "ec number" = "1.2.a""#, &|record| {
            record.fields.get("ec number").is_none_or(|ec| ec != "1.2.A")
        });
        holds("not (organism exists or (length > 110 and not length > 120))", &|record| {
            !(is_human(record) || (record.length > 110 && record.length <= 120))
        });
        for unknown in ["colour = red", "length = long"] {
            let filter = Filter::parse(unknown).unwrap();
            assert!(matches!(view.choose(&filter), Err(IndexError::Filter(_))), "{unknown}");
            assert!(matches!(view.ensure_takes(&filter), Err(IndexError::Filter(_))), "{unknown}");
        }
        let fault = view.choose(&Filter::parse("colour = red").unwrap()).unwrap_err();
        let IndexError::Filter(error) = fault else { panic!("{fault}") };
        assert!(
            matches!(&error.fault, FilterFault::UnknownField { known, .. } if known.contains("ec number"))
        );
        // Few records are all found, whatever the index would do.
        let chosen = view.choose(&Filter::parse("id in (P1, P2)").unwrap()).unwrap();
        let wanted = Wanted { within: Some(&chosen), ..Wanted::new(10) };
        assert_eq!(view.find(&spaces()[0], &vector(16, 3), &wanted).unwrap().len(), 2);
    });
}

#[test]
fn writes_are_found_replaced_and_deleted() {
    on_each("writes", |store| {
        let spaces = spaces();
        let mut new = upsert(100, &spaces);
        new.record.fields.insert("Ligand".into(), "Heme".into());
        let mut changed = upsert(3, &spaces);
        changed.record.length = 1_000;
        changed.vectors = upsert(50, &spaces).vectors;
        let report = store.write(vec![new.clone(), changed.clone()]).unwrap();
        assert_eq!((report.n_inserted, report.n_replaced, store.state().len()), (1, 1, 41));
        let view = store.state();
        assert_eq!(view.get("P3").unwrap().unwrap().record.length, 1_000);
        for (space, query) in spaces.iter().zip(&changed.vectors) {
            let best = &view.find(space, query, &Wanted::new(1)).unwrap()[0];
            assert!(best.record.id == "P3" && best.cosine > 0.9999);
        }
        // A field that only a later record has can be asked for, and so can the place of its taxon.
        assert_eq!(allowed(&*view, "ligand = heme"), ["P100"]);
        assert!(allowed(&*view, "taxon under 2759").contains(&"P100".to_owned()));
        let sum: u64 = (0..u64::from(N)).map(|row| 100 + row).sum();
        assert_eq!(view.n_residues(), sum + 200 + 1_000 - 103);

        let report = store.remove(&["P3", "nobody", "P100", "P3"]).unwrap();
        assert_eq!((report.n_deleted, report.unknown), (2, vec!["nobody".to_owned()]));
        let view = store.state();
        assert_eq!((view.len(), view.n_residues()), (39, sum - 103));
        assert!(view.get("P3").unwrap().is_none());
        assert!(
            view.find(&spaces[0], &vector(16, 1), &Wanted::new(99))
                .unwrap()
                .iter()
                .all(|hit| hit.record.id != "P3")
        );
        assert_eq!(store.write(vec![upsert(3, &spaces)]).unwrap().n_inserted, 1);
        assert_eq!(store.write(Vec::new()).unwrap(), store.remove(&[]).unwrap());
    });
}

#[test]
fn bad_input_is_refused_whole_and_typed() {
    on_each("bad input", |store| {
        let spaces = spaces();
        let (good, mut bad) = (upsert(200, &spaces), upsert(201, &spaces));
        bad.vectors[1] = vector(9, 1);
        let wrong = store.write(vec![good.clone(), bad]).unwrap_err();
        assert!(
            matches!(
                &wrong,
                StoreError::Record { record: 2, source: IndexError::WrongDim { found: 9, .. }, .. }
            ),
            "{wrong}"
        );
        let twice = store.write(vec![good.clone(), good.clone()]).unwrap_err();
        assert!(
            matches!(twice, StoreError::DuplicateId { first_record: 1, second_record: 2, .. }),
            "{twice}"
        );
        let mut one_vector = good.clone();
        one_vector.vectors.pop();
        assert!(matches!(store.write(vec![one_vector]), Err(StoreError::VectorCount { expected: 2, .. })));
        let mut nameless = good;
        nameless.record.id.clear();
        assert!(matches!(store.write(vec![nameless]), Err(StoreError::Record { .. })));
        let view = store.state();
        assert!(view.len() == N as usize && view.get("P200").unwrap().is_none());
        let query = vector(16, 1);
        assert!(matches!(view.find(&spaces[0], &query, &Wanted::new(0)), Err(IndexError::ZeroK)));
        let narrow = vector(8, 1);
        assert!(matches!(
            view.find(&spaces[0], &narrow, &Wanted::new(1)),
            Err(IndexError::WrongDim { found: 8, .. })
        ));
        let foreign = space("foreign", 16);
        assert!(matches!(view.find(&foreign, &query, &Wanted::new(1)), Err(IndexError::Space(_))));
    });
}
