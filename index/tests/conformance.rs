//! One suite for every index: what `VectorIndex` promises, checked for the exact index, for graphs as built (on
//! all cores and serially) and for both as read back from disk.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::collections::HashSet;
use std::sync::{Arc, OnceLock};

use proptest::prelude::*;
use protext_core::{Fingerprint, JointVector, Space, VectorError};
use protext_index::{
    Collection, CollectionBuilder, ExactIndex, HnswIndex, HnswParams, IndexDescription, IndexError,
    IndexKind, Neighbour, RowSet, SearchParams, VectorIndex, VectorTable,
};
use support::{clustered, collection, record, space};

const DIM: usize = 24;
const N_ROWS: usize = 3_000;
const PARAMS: HnswParams = HnswParams { m: 8, ef_construction: 80, parallel: true };

fn vectors() -> &'static [JointVector] {
    static VECTORS: OnceLock<Vec<JointVector>> = OnceLock::new();
    VECTORS.get_or_init(|| clustered(N_ROWS, DIM, 2))
}

fn queries() -> Vec<JointVector> {
    clustered(100, DIM, 3)
}

fn exact() -> &'static ExactIndex {
    static EXACT: OnceLock<ExactIndex> = OnceLock::new();
    EXACT.get_or_init(|| ExactIndex::new(Arc::new(table(vectors()))))
}

fn hnsw() -> &'static HnswIndex {
    static HNSW: OnceLock<HnswIndex> = OnceLock::new();
    HNSW.get_or_init(|| HnswIndex::build(exact().table().clone(), PARAMS, &mut |_| {}).unwrap())
}

fn collections() -> &'static [(Collection, Collection); 2] {
    static BOTH: OnceLock<[(Collection, Collection); 2]> = OnceLock::new();
    BOTH.get_or_init(|| {
        [IndexKind::Exact, IndexKind::Hnsw(HnswParams { parallel: false, ..PARAMS })].map(|kind| {
            let built = collection("P", vectors(), kind);
            let dir = tempfile::tempdir().unwrap();
            built.save(dir.path()).unwrap();
            let reopened = Collection::open(dir.path()).unwrap();
            (built, reopened)
        })
    })
}

/// Every implementation over the same vectors.
fn indexes() -> Vec<(&'static str, &'static dyn VectorIndex)> {
    let [(_, exact_reopened), (serial, serial_reopened)] = collections();
    vec![
        ("exact", exact()),
        ("exact, reopened", exact_reopened.index()),
        ("hnsw, built on all cores", hnsw()),
        ("hnsw, built serially", serial.index()),
        ("hnsw, reopened", serial_reopened.index()),
    ]
}

/// A table of these vectors.
fn table(vectors: &[JointVector]) -> VectorTable {
    let mut table = VectorTable::new(space(vectors[0].as_slice().len())).unwrap();
    vectors.iter().for_each(|vector| assert!(table.push(vector).is_ok()));
    table
}

/// All rows with their cosines in double precision, best first: the definition.
fn definition(query: &JointVector, allowed: impl Fn(u32) -> bool) -> Vec<(u32, f64)> {
    let cosine = |row: &JointVector| -> f64 {
        row.as_slice().iter().zip(query.as_slice()).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
    };
    let mut all: Vec<_> = vectors().iter().enumerate().map(|(row, v)| (row as u32, cosine(v))).collect();
    all.retain(|(row, _)| allowed(*row));
    all.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    all
}

/// Share of the best `k` found; a row as good as the k-th counts.
fn recall(found: &[Neighbour], truth: &[(u32, f64)], k: usize) -> f64 {
    let k = k.min(truth.len());
    if k == 0 {
        return 1.0;
    }
    found.iter().filter(|hit| f64::from(hit.cosine) >= truth[k - 1].1 - 1e-6).count() as f64 / k as f64
}

fn mean_recall(index: &dyn VectorIndex, params: &SearchParams<'_>) -> f64 {
    let queries = queries();
    let sum: f64 = queries
        .iter()
        .map(|query| {
            let found = index.search(query, params).unwrap();
            let allows = |row| params.filter.is_none_or(|filter| filter.contains(row));
            assert!(found.iter().all(|hit| allows(hit.row)), "a hit that the filter does not allow");
            recall(&found, &definition(query, allows), params.k)
        })
        .sum();
    sum / queries.len() as f64
}

#[test]
fn hits_are_ordered_distinct_and_truly_scored() {
    for (name, index) in indexes() {
        for query in queries() {
            let hits = index.search(&query, &SearchParams::new(25)).unwrap();
            assert_eq!(hits.len(), 25, "{name}");
            let in_order = |pair: &[Neighbour]| {
                pair[0].cosine > pair[1].cosine
                    || pair[0].cosine == pair[1].cosine && pair[0].row < pair[1].row
            };
            assert!(hits.windows(2).all(in_order), "{name}: {hits:?}");
            assert_eq!(hits.iter().map(|hit| hit.row).collect::<HashSet<_>>().len(), 25, "{name}");
            for hit in hits {
                let truth = vectors()[hit.row as usize].cosine(&query);
                assert!((hit.cosine - truth).abs() < 1e-6, "{name}: {hit:?} {truth}");
                assert!((-1.0..=1.0).contains(&hit.cosine), "{name}: {hit:?}");
            }
        }
    }
}

#[test]
fn recall_at_10_is_at_least_0_98_and_1_where_exact() {
    for (name, index) in indexes() {
        let found = mean_recall(index, &SearchParams::new(10));
        let least = if name.starts_with("exact") { 1.0 } else { 0.98 };
        assert!(found >= least, "{name}: {found}");
    }
}

#[test]
fn more_candidates_find_more_and_fewer_than_k_are_never_kept() {
    let truth: Vec<_> = queries().iter().map(|query| definition(query, |_| true)).collect();
    let mean = |ef| {
        let hits: Vec<_> = queries()
            .iter()
            .map(|query| hnsw().search(query, &SearchParams::new(10).with_ef(ef)).unwrap())
            .collect();
        assert!(hits.iter().all(|hits| hits.len() == 10));
        hits.iter().zip(&truth).map(|(hits, truth)| recall(hits, truth, 10)).sum::<f64>() / 100.0
    };
    let (few, many) = (mean(1), mean(90));
    println!("recall {few} with 10 candidates, {many} with 90");
    assert!(few >= 0.7 && many >= 0.98 && many >= few, "{few} {many}");
    assert!(few < 1.0, "too easy: this would not show that a graph is walked");
}

#[test]
fn asked_to_be_exact_every_index_gives_the_same_bytes() {
    for (name, index) in indexes() {
        for query in &queries()[..10] {
            let params = SearchParams::new(40).exactly();
            let expected = exact().search(query, &params).unwrap();
            assert_eq!(index.search(query, &params).unwrap(), expected, "{name}");
        }
    }
}

#[test]
fn k_decides_how_many_come_back() {
    let query = &queries()[0];
    for (name, index) in indexes() {
        assert_eq!(index.search(query, &SearchParams::new(0)), Err(IndexError::ZeroK), "{name}");
        for k in [1, 2, 100, N_ROWS - 1, N_ROWS, N_ROWS + 1, usize::MAX] {
            let hits = index.search(query, &SearchParams::new(k)).unwrap();
            assert_eq!(hits.len(), k.min(N_ROWS), "{name}, k = {k}");
        }
        let hits = index.search(query, &SearchParams::new(3).with_ef(usize::MAX)).unwrap();
        assert_eq!(hits.len(), 3, "{name}");
    }
}

#[test]
fn filters_cost_no_recall() {
    let all = RowSet::all(N_ROWS);
    let half = RowSet::where_true(N_ROWS, |row| row % 2 == 1);
    let five = RowSet::where_true(N_ROWS, |row| row % 600 == 7);
    let one = RowSet::where_true(N_ROWS, |row| row == 1_234);
    let none = RowSet::none(N_ROWS);
    for (name, index) in indexes() {
        for (filter, least) in [(&all, 0.98), (&half, 0.98), (&five, 1.0), (&one, 1.0)] {
            let found = mean_recall(index, &SearchParams::new(10).with_filter(filter));
            assert!(found >= least, "{name}, {} allowed: {found}", filter.count());
        }
        // Few enough candidates that a graph is walked although half the rows may not be returned.
        let found = mean_recall(index, &SearchParams::new(10).with_filter(&half).with_ef(20));
        assert!(found >= 0.95, "{name}, walking under a filter: {found}");
        for query in &queries()[..5] {
            let search = |filter| index.search(query, &SearchParams::new(10).with_filter(filter)).unwrap();
            assert_eq!(search(&none), [], "{name}");
            assert_eq!(search(&one).len(), 1, "{name}");
            assert_eq!(search(&five).len(), 5, "{name}");
            assert_eq!(search(&all), index.search(query, &SearchParams::new(10)).unwrap(), "{name}");
        }
        let foreign = RowSet::all(N_ROWS + 1);
        let refused = index.search(&queries()[0], &SearchParams::new(1).with_filter(&foreign));
        assert_eq!(refused, Err(IndexError::FilterRows { found: N_ROWS + 1, expected: N_ROWS }), "{name}");
    }
}

#[test]
fn a_filter_whose_rows_lie_far_from_the_query_costs_no_recall() {
    for query in &queries()[..20] {
        let far: HashSet<u32> =
            definition(query, |_| true)[N_ROWS / 5..].iter().map(|(row, _)| *row).collect();
        let allowed = RowSet::where_true(N_ROWS, |row| far.contains(&row));
        let truth = definition(query, |row| far.contains(&row));
        for (name, index) in indexes() {
            let params = SearchParams::new(10).with_filter(&allowed).with_ef(50);
            let hits = index.search(query, &params).unwrap();
            assert_eq!(hits.len(), 10, "{name}");
            assert!(recall(&hits, &truth, 10) >= 0.9, "{name}");
        }
    }
}

#[test]
fn a_batch_answers_like_its_queries_alone() {
    let half = RowSet::where_true(N_ROWS, |row| row % 2 == 0);
    let few = RowSet::where_true(N_ROWS, |row| row % 100 == 0);
    for (name, index) in indexes() {
        for n in [0, 1, 3, 5, 37, 100] {
            let queries = &queries()[..n];
            let plain = SearchParams::new(7);
            for params in [plain, plain.exactly(), plain.with_filter(&half), plain.with_filter(&few)] {
                let alone: Vec<_> = queries.iter().map(|q| index.search(q, &params).unwrap()).collect();
                assert_eq!(index.search_batch(queries, &params).unwrap(), alone, "{name}, {n} queries");
            }
        }
    }
}

#[test]
fn searches_run_at_once_and_agree() {
    for (name, index) in indexes() {
        let queries = queries();
        let search = || -> Vec<_> {
            queries.iter().map(|query| index.search(query, &SearchParams::new(10)).unwrap()).collect()
        };
        let expected = search();
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(search)).collect();
            for thread in threads {
                assert_eq!(thread.join().unwrap(), expected, "{name}");
            }
        });
    }
}

#[test]
fn reading_back_changes_no_hit_and_no_record() {
    for (built, reopened) in collections() {
        let records = |collection: &Collection| collection.records().collect::<Result<Vec<_>, _>>().unwrap();
        assert_eq!(records(built), records(reopened));
        assert_eq!(built.info(), reopened.info());
        let params = SearchParams::new(10);
        for query in queries() {
            let found = built.search(built.space(), &query, &params).unwrap();
            assert_eq!(found, reopened.search(built.space(), &query, &params).unwrap());
            assert_eq!(found.iter().map(|hit| hit.rank).collect::<Vec<_>>(), (1..=10).collect::<Vec<_>>());
            assert!(found.iter().all(|hit| hit.record.id == format!("P{}", hit.row)));
        }
        assert_eq!(reopened.by_id("P17"), Ok(Some(17)));
        let hits = reopened.search(built.space(), &reopened.vector_of("P17").unwrap(), &params).unwrap();
        assert!(hits[0].cosine > 0.999_999 && hits[0].row == 17);
        assert_eq!(reopened.vector_of("Q"), Err(IndexError::UnknownId { id: "Q".into() }));
    }
}

#[test]
fn a_query_of_another_space_or_width_is_refused() {
    let other =
        Space { fingerprint: Fingerprint::of(["another encoder"]), name: "other".into(), ..space(DIM) };
    let query = &queries()[0];
    let wide = JointVector::normalized(vec![1.0; DIM + 1]).unwrap();
    for (collection, _) in collections() {
        let refused = collection.search(&other, query, &SearchParams::new(1)).unwrap_err().to_string();
        assert!(refused.contains("the collection lives in test/24"), "{refused}");
        assert!(refused.contains("the query in other"), "{refused}");
        let batch = collection.search_batch(&other, std::slice::from_ref(query), &SearchParams::new(1));
        assert!(matches!(batch, Err(IndexError::Space(_))));
    }
    for (name, index) in indexes() {
        let alone = index.search(&wide, &SearchParams::new(1)).unwrap_err();
        assert!(matches!(alone, IndexError::WrongDim { found: 25, .. }), "{name}: {alone}");
        let batch = index.search_batch(&[query.clone(), wide.clone()], &SearchParams::new(1));
        assert_eq!(batch, Err(alone), "{name}");
        assert!(matches!(index.vector(N_ROWS as u32), Err(IndexError::UnknownRow { .. })), "{name}");
        assert!(index.vector(7).unwrap().cosine(&vectors()[7]) > 0.999_999, "{name}");
    }
}

#[test]
fn many_equal_vectors_are_all_found() {
    let mut vectors = clustered(1_500, DIM, 5);
    let twin = vectors[0].clone();
    vectors.splice(300..1_100, vec![twin.clone(); 800]);
    for parallel in [false, true] {
        let params = HnswParams { m: 4, ef_construction: 20, parallel };
        let hnsw = HnswIndex::build(Arc::new(table(&vectors)), params, &mut |_| {}).unwrap();
        let hits = hnsw.search(&twin, &SearchParams::new(50)).unwrap();
        assert!(hits.iter().all(|hit| hit.cosine > 0.999_999), "{hits:?}");
        let expected = hnsw.exact_twin().search(&twin, &SearchParams::new(5)).unwrap();
        assert_eq!(expected.iter().map(|hit| hit.row).collect::<Vec<_>>(), [0, 300, 301, 302, 303]);
        let others = RowSet::where_true(1_500, |row| !(300..1_100).contains(&row) && row != 0);
        let hits = hnsw.search(&twin, &SearchParams::new(10).with_filter(&others)).unwrap();
        assert_eq!(hits.len(), 10);
    }
}

#[test]
fn small_and_empty_collections_answer() {
    let query = &queries()[0];
    for kind in [IndexKind::Exact, IndexKind::Auto, IndexKind::Hnsw(PARAMS)] {
        let mut reports = Vec::new();
        let empty =
            CollectionBuilder::new(space(DIM), kind).unwrap().build(&mut |n| reports.push(n)).unwrap();
        assert_eq!(reports, [0]);
        let dir = tempfile::tempdir().unwrap();
        empty.save(dir.path()).unwrap();
        for empty in [&empty, &Collection::open(dir.path()).unwrap()] {
            assert!(empty.is_empty() && empty.index().is_empty());
            assert_eq!(empty.search(&space(DIM), query, &SearchParams::new(5)).unwrap(), []);
            assert_eq!(
                empty.index().search_batch(&queries()[..9], &SearchParams::new(5)).unwrap(),
                vec![vec![]; 9]
            );
        }
        for n in [1, 2, 3, 20] {
            let few = collection("P", &vectors()[..n], kind);
            assert_eq!(few.search(&space(DIM), query, &SearchParams::new(10)).unwrap().len(), n.min(10));
        }
    }
}

#[test]
fn auto_takes_the_exact_index_for_small_collections() {
    assert_eq!(collection("P", &vectors()[..50], IndexKind::Auto).info().index, IndexDescription::Exact);
    let axis = |row: usize| JointVector::normalized(vec![1.0, row as f32 / 10_001.0]).unwrap();
    let many: Vec<_> = (0..10_001).map(axis).collect();
    let info = collection("P", &many, IndexKind::Auto).info();
    assert!(matches!(info.index, IndexDescription::Hnsw { m: 16, ef_construction: 200 }), "{info:?}");
}

#[test]
fn parameters_that_the_builder_cannot_take_are_refused() {
    let refuse = |m, ef_construction| {
        let params = HnswParams { m, ef_construction, parallel: true };
        let by_builder = CollectionBuilder::new(space(DIM), IndexKind::Hnsw(params)).unwrap_err();
        let table = Arc::new(table(&vectors()[..10]));
        assert_eq!(HnswIndex::build(table, params, &mut |_| {}).unwrap_err(), by_builder);
        by_builder.to_string()
    };
    assert_eq!(refuse(300, 400), "m = 300 is out of range; use 2 to 256");
    assert_eq!(refuse(257, 400), "m = 257 is out of range; use 2 to 256");
    assert_eq!(refuse(1, 400), "m = 1 is out of range; use 2 to 256");
    assert_eq!(refuse(16, 15), "ef_construction = 15 is out of range; use 16 to 4096");
    assert_eq!(refuse(16, 5_000), "ef_construction = 5000 is out of range; use 16 to 4096");
    for m in [2, 256] {
        let params = HnswParams { m, ef_construction: 256, parallel: true };
        let built = HnswIndex::build(Arc::new(table(&vectors()[..300])), params, &mut |_| {}).unwrap();
        assert_eq!(built.len(), 300);
    }
}

#[test]
fn vectors_that_the_builder_cannot_take_are_refused() {
    let not_finite = Err(VectorError::NotFinite { index: 1 });
    assert_eq!(JointVector::normalized(vec![1.0, f32::NAN]), not_finite);
    let refuse = |values: &[f32]| VectorTable::from_matrix(space(2), values).unwrap_err();
    assert!(matches!(refuse(&[1.0, 0.0, 0.0, f32::INFINITY]), IndexError::Vector { row: 1, .. }));
    assert!(matches!(refuse(&[3.0, 4.0]), IndexError::NotUnit { row: 0, .. }));
    assert!(matches!(refuse(&[1.0, 0.0, 1.0]), IndexError::RaggedMatrix { .. }));
    let mut builder = CollectionBuilder::new(space(2), IndexKind::Auto).unwrap();
    let wide = JointVector::normalized(vec![1.0; 3]).unwrap();
    assert!(matches!(builder.push(record("P", 0), &wide), Err(IndexError::WrongDim { found: 3, .. })));
    assert!(builder.is_empty(), "a refused record leaves nothing behind");

    // Norms a rounding away from 1 make the distances of `hnsw_rs` negative, and it panics on those.
    let rows: Vec<f32> =
        (0..2_000).flat_map(|i| if i % 2 == 0 { [1.000_000_2, 0.0] } else { [0.0, 1.0] }).collect();
    let table = Arc::new(VectorTable::from_matrix(space(2), &rows).unwrap());
    let hnsw = HnswIndex::build(table, HnswParams::default(), &mut |_| {}).unwrap();
    let query = JointVector::normalized(vec![1.0, 0.0]).unwrap();
    let hits = hnsw.search(&query, &SearchParams::new(3)).unwrap();
    assert!(hits.iter().all(|hit| hit.cosine == 1.0 && hit.row % 2 == 0), "{hits:?}");
}

#[test]
fn ids_that_repeat_are_refused_with_both_records() {
    let mut builder = CollectionBuilder::new(space(DIM), IndexKind::Auto).unwrap();
    for row in 0..3 {
        builder.push(record("P", row), &vectors()[row]).unwrap();
    }
    let refused = builder.push(record("P", 1), &vectors()[3]).unwrap_err();
    assert_eq!(refused.to_string(), "records 2 and 4 both have the id \"P1\"; ids must be unique");
    assert_eq!(builder.push(record("P", 3), &vectors()[3]).unwrap(), 3);
}

#[test]
fn serial_building_is_reproducible_and_progress_is_told() {
    let graph = || {
        let params = HnswParams { parallel: false, ..PARAMS };
        let mut reports = Vec::new();
        let mut builder = CollectionBuilder::new(space(DIM), IndexKind::Hnsw(params)).unwrap();
        for (row, vector) in vectors()[..600].iter().enumerate() {
            builder.push(record("P", row), vector).unwrap();
        }
        let built = builder.build(&mut |n| reports.push(n)).unwrap();
        assert_eq!(reports.last(), Some(&600));
        let dir = tempfile::tempdir().unwrap();
        built.save(dir.path()).unwrap();
        std::fs::read(dir.path().join("snapshot-000001/graph.bin")).unwrap()
    };
    assert_eq!(graph(), graph());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn exact_search_is_the_definition(
        n in 1_usize..200, dim in 1_usize..40, k in 1_usize..60, keep in 1_u32..7, seed in 0_u64..1_000,
    ) {
        let vectors = clustered(n + 6, dim, seed);
        let (rows, queries) = vectors.split_at(n);
        let index = ExactIndex::new(Arc::new(table(rows)));
        let filter = RowSet::where_true(n, |row| row % keep == 0);
        let params = SearchParams::new(k).with_filter(&filter);
        for (query, hits) in queries.iter().zip(index.search_batch(queries, &params).unwrap()) {
            let mut truth: Vec<f32> = filter.iter().map(|row| rows[row as usize].cosine(query)).collect();
            truth.sort_by(|a, b| b.total_cmp(a));
            truth.truncate(k);
            prop_assert_eq!(hits.len(), truth.len());
            for (hit, truth) in hits.iter().zip(truth) {
                prop_assert!((hit.cosine - truth).abs() < 2e-6 && filter.contains(hit.row));
            }
        }
    }
}
