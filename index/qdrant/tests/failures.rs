//! A server that is gone, slow, busy or wrong, another key, another space, another program's collections.
//!
//! Over the local mode of Qdrant's own client library, which the tests make misbehave.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[allow(dead_code, reason = "each file of tests uses a part")]
mod support;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use protext_core::Space;
use protext_http::ApiKey;
use protext_index::{
    CollectionHost as _, CollectionStore as _, CollectionView as _, IndexError, RemoteError, StoreError,
    Wanted,
};
use protext_local_server::qdrant::{KEY, QdrantLocal};
use protext_qdrant::{QdrantAddress, QdrantBuild, QdrantServer, QdrantSettings, QdrantStore, Quantization};
use serde_json::json;
use support::{address, collections, foreign_collection, settings, space, upsert, vector};

fn spaces() -> Vec<Space> {
    vec![space("main", 16)]
}

fn build(address: &QdrantAddress, settings: &QdrantSettings, rows: std::ops::Range<u32>) -> QdrantStore {
    let mut build = QdrantBuild::begin(address, settings, &spaces(), BTreeMap::new(), None).unwrap();
    for row in rows {
        let one = upsert(row, &spaces());
        build.push(one.record, one.vectors).unwrap();
    }
    build.finish().unwrap();
    QdrantStore::open(address, settings, None).unwrap()
}

fn batch(rows: std::ops::Range<u32>) -> Vec<protext_index::Upsert> {
    rows.map(|row| upsert(row, &spaces())).collect()
}

fn remote(error: StoreError) -> RemoteError {
    match error {
        StoreError::Remote(error) => error,
        other => panic!("{other}"),
    }
}

#[test]
fn what_passes_is_tried_again_and_what_does_not_is_told() {
    let Some(local) = QdrantLocal::start("a server that is busy") else { return };
    let store = build(&address(&local.authority), &settings(), 0..10);
    // Twice refused, then taken: three tries are allowed.
    for fault in
        [json!({"status": 503}), json!({"status": 429}), json!({"drop": true}), json!({"late": true})]
    {
        let mut fault = fault;
        fault["path"] = json!("/points$");
        fault["method"] = json!("PUT");
        fault["times"] = json!(2);
        local.spoil(&json!([fault]).to_string());
        store.write(batch(10..20)).unwrap();
    }
    assert_eq!(store.state().len(), 20, "what was sent twice is there once");
    local.spoil(&json!([{"path": "/points$", "method": "PUT", "status": 500, "times": 3}]).to_string());
    let busy = remote(store.write(batch(20..30)).unwrap_err());
    assert!(matches!(busy, RemoteError::Busy { status: 500, n_tries: 3, .. }), "{busy}");
    local.spoil(&json!([{"path": "/points/query$", "status": 400, "times": 1}]).to_string());
    let refused = store.view().find(&spaces()[0], &vector(16, 1), &Wanted::new(1)).unwrap_err();
    assert!(matches!(refused, IndexError::Remote(RemoteError::Refused { status: 400, .. })), "{refused}");
    assert_eq!(store.write(batch(20..30)).unwrap().n_inserted, 10);
}

#[test]
fn a_server_that_goes_in_the_middle_of_a_write_leaves_a_batch_that_can_be_sent_again() {
    let Some(mut local) = QdrantLocal::start("a server that goes") else { return };
    let store = build(&address(&local.authority), &settings(), 0..5);
    // The first 256 records pass, then nobody answers.
    local.spoil(
        &json!([{"path": "/points$", "method": "PUT", "after": 1, "drop": true, "times": 100}]).to_string(),
    );
    let cut = remote(store.write(batch(0..600)).unwrap_err());
    let RemoteError::Partial { n_written: 256, n_records: 600, source } = &cut else { panic!("{cut}") };
    assert!(matches!(**source, RemoteError::Unreachable { n_tries: 3, .. }), "{source}");
    local.spoil(&json!([]).to_string());
    let report = store.write(batch(0..600)).unwrap();
    assert_eq!((report.n_inserted, report.n_replaced, store.state().len()), (344, 256, 600));
    assert_eq!(store.state().n_residues(), (0..600).map(|row| 100 + row).sum::<u64>());
    local.kill();
    let gone = store.view().find(&spaces()[0], &vector(16, 1), &Wanted::new(1)).unwrap_err();
    assert!(matches!(gone, IndexError::Remote(RemoteError::Unreachable { .. })), "{gone}");
}

#[test]
fn slow_answers_end_in_time() {
    let Some(local) = QdrantLocal::start("a slow server") else { return };
    let address = address(&local.authority);
    build(&address, &settings(), 0..5);
    let hasty = QdrantSettings { timeout: Duration::from_secs(1), ..settings() };
    let store = QdrantStore::open(&address, &hasty, None).unwrap();
    local.spoil(&json!([{"path": "/points/query$", "delay_s": 4, "times": 3}]).to_string());
    let start = Instant::now();
    let slow = store.view().find(&spaces()[0], &vector(16, 1), &Wanted::new(1)).unwrap_err();
    assert!(matches!(slow, IndexError::Remote(RemoteError::Slow { n_tries: 3, .. })), "{slow}");
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    assert_eq!(store.view().find(&spaces()[0], &vector(16, 1), &Wanted::new(1)).unwrap().len(), 1);
}

#[test]
fn a_wrong_key_is_told_without_showing_it() {
    let Some(local) = QdrantLocal::start("a wrong key") else { return };
    let address = address(&local.authority);
    build(&address, &settings(), 0..1);
    for key in [None, Some(ApiKey::new("a-wrong-secret"))] {
        let denied = QdrantStore::open(&address, &QdrantSettings { key, ..settings() }, None).unwrap_err();
        assert!(matches!(denied, IndexError::Remote(RemoteError::Denied { status: 401, .. })), "{denied}");
        let said = format!("{denied} {denied:?}");
        assert!(!said.contains("a-wrong-secret") && !said.contains(KEY), "{said}");
    }
}

#[test]
fn another_space_and_other_programs_collections_are_refused() {
    let Some(local) = QdrantLocal::start("another space") else { return };
    let first = address(&local.authority);
    let store = build(&first, &settings(), 0..3);
    let other = space("other", 16);
    let refused = QdrantStore::open(&first, &settings(), Some(&other)).unwrap_err();
    assert!(matches!(refused, IndexError::Space(_)), "{refused}");
    // Built anew in another space under the same name: those who have it open are told, and get no hits of it.
    let mut anew = QdrantBuild::begin(&first, &settings(), &[other], BTreeMap::new(), None).unwrap();
    anew.push(upsert(1, &spaces()).record, vec![vector(16, 2)]).unwrap();
    anew.finish().unwrap();
    let refused = store.view().find(&spaces()[0], &vector(16, 1), &Wanted::new(1)).unwrap_err();
    assert!(matches!(refused, IndexError::Space(_)), "{refused}");

    let nobody = address(&local.authority);
    let missing = QdrantStore::open(&nobody, &settings(), None).unwrap_err();
    assert!(matches!(missing, IndexError::Remote(RemoteError::NoCollection { .. })), "{missing}");
    foreign_collection(&local, nobody.name().unwrap());
    for refused in [
        QdrantStore::open(&nobody, &settings(), None).map(|_| ()).unwrap_err(),
        QdrantBuild::begin(&nobody, &settings(), &spaces(), BTreeMap::new(), None).map(|_| ()).unwrap_err(),
        QdrantServer::new(&nobody, &settings()).unwrap().delete(nobody.name().unwrap()).unwrap_err(),
    ] {
        assert!(matches!(refused, IndexError::Remote(RemoteError::Foreign { .. })), "{refused}");
    }
}

#[test]
fn a_rebuild_switches_in_one_step_and_leaves_nothing_over() {
    let Some(local) = QdrantLocal::start("a rebuild") else { return };
    let address = address(&local.authority);
    let layout = QdrantSettings { shards: 3, quantization: Quantization::Int8, ..settings() };
    let store = build(&address, &layout, 0..10);
    let mut anew = QdrantBuild::begin(&address, &layout, &spaces(), BTreeMap::new(), None).unwrap();
    for row in 5..25 {
        let one = upsert(row, &spaces());
        anew.push(one.record, one.vectors).unwrap();
    }
    let first = upsert(5, &spaces());
    let twice = anew.push(first.record, first.vectors).unwrap_err();
    assert!(matches!(twice, StoreError::DuplicateId { first_record: 1, second_record: 21, .. }), "{twice}");
    let seen = |id: &str| store.view().get(id).unwrap().is_some();
    assert!(seen("P0") && !seen("P20"), "the old one serves until the new one is whole");
    assert_eq!(anew.finish().unwrap(), 20);
    assert!(!seen("P0") && seen("P20"));
    // One that is given up leaves nothing, and takes nothing away.
    drop(QdrantBuild::begin(&address, &layout, &spaces(), BTreeMap::new(), None).unwrap());
    assert!(seen("P20"));
    let name = address.name().unwrap();
    assert_eq!(collections(&local, name), [format!("{name}-000002")]);

    let server = QdrantServer::new(&address, &layout).unwrap();
    let names: Vec<String> = server.open_all().unwrap().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, [name]);
    server.delete(name).unwrap();
    assert!(collections(&local, name).is_empty() && server.open_all().unwrap().is_empty());
    let empty = server.create(name, &spaces(), BTreeMap::new()).unwrap();
    assert!(empty.state().is_empty());
    assert_eq!(empty.write(batch(0..2)).unwrap().n_inserted, 2);
}
