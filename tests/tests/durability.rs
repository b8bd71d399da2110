//! Writes over HTTP that were acknowledged survive the end of the process, whenever it comes.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use support::{Service, is_ready, try_post};

fn start(data: &Path) -> Service {
    Service::start(&[], &[("PROTEXT_DATA", data.to_str().unwrap())])
}

/// Ids of all records.
fn ids(service: &Service) -> BTreeSet<String> {
    let lines = service.send("GET", "/v1/collections/c/records", &[("accept", "application/x-ndjson")], b"");
    let id = |line: &str| serde_json::from_str::<Value>(line).unwrap()["id"].as_str().unwrap().to_owned();
    lines.text().lines().map(id).collect()
}

/// A record with a vector of its own in each space, so that writing is fast.
fn record(spaces: &[Value], id: &str, number: usize) -> Value {
    let vector = |space: &Value| {
        let dim = space["dim"].as_u64().unwrap() as usize;
        let values: Vec<f64> = (0..dim).map(|at| if at == number % dim { 1.0 } else { 0.01 }).collect();
        json!({"space": space["fingerprint"], "values": values})
    };
    json!({"id": id, "vectors": spaces.iter().map(vector).collect::<Vec<_>>()})
}

#[test]
fn acknowledged_writes_survive_kill_9() {
    if !is_ready("kill_9") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut service = start(folder.path());
    let made = service.post("/v1/collections", &json!({"name": "c"}));
    assert_eq!(made.status, 201, "{}", made.text());
    let spaces = made.json()["spaces"].as_array().unwrap().clone();
    let (kept, gone) = (Arc::new(Mutex::new(BTreeSet::new())), Arc::new(Mutex::new(BTreeSet::new())));
    for round in 0..3 {
        let stop = Arc::new(AtomicBool::new(false));
        let writers: Vec<_> = (0..2)
            .map(|writer| {
                let (address, spaces, stop) =
                    (service.address().to_owned(), spaces.clone(), Arc::clone(&stop));
                let (kept, gone) = (Arc::clone(&kept), Arc::clone(&gone));
                std::thread::spawn(move || {
                    for number in 0.. {
                        if stop.load(Ordering::Relaxed) {
                            return;
                        }
                        let batch: Vec<String> =
                            (0..3).map(|at| format!("{round}-{writer}-{number}-{at}")).collect();
                        let records: Vec<Value> = batch
                            .iter()
                            .enumerate()
                            .map(|(at, id)| record(&spaces, id, number * 3 + at))
                            .collect();
                        let path = "/v1/collections/c/records";
                        if try_post("POST", &address, path, &json!({"records": records})) == Some(200) {
                            kept.lock().unwrap().extend(batch.clone());
                        }
                        if number % 4 == 3 {
                            // A record is no longer counted on from the moment on that its deletion is asked for.
                            kept.lock().unwrap().remove(&batch[0]);
                            if try_post("DELETE", &address, path, &json!({"ids": [batch[0]]})) == Some(200) {
                                gone.lock().unwrap().insert(batch[0].clone());
                            }
                        }
                    }
                })
            })
            .collect();
        std::thread::sleep(Duration::from_millis(700 + 400 * round));
        drop(service);
        stop.store(true, Ordering::Relaxed);
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        service = start(folder.path());
        let there = ids(&service);
        let (kept, gone) = (kept.lock().unwrap(), gone.lock().unwrap());
        assert!(!kept.is_empty(), "nothing was acknowledged in round {round}");
        let lost: Vec<_> = kept.difference(&there).collect();
        assert!(lost.is_empty(), "round {round}: {} of {} lost: {:?}", lost.len(), kept.len(), &lost[..1]);
        let back: Vec<_> = gone.intersection(&there).collect();
        assert!(back.is_empty(), "round {round}: deleted, and back: {back:?}");
        // A batch is there whole or not at all, less what was deleted of it.
        for id in &there {
            let batch = id.rsplit_once('-').unwrap().0;
            assert!(there.contains(&format!("{batch}-1")) && there.contains(&format!("{batch}-2")), "{id}");
        }
        let asked = kept.iter().next().unwrap();
        let found = service.post("/v1/search", &json!({"id": asked, "collection": "c", "k": 1}));
        assert_eq!(found.status, 200, "{}", found.text());
    }
    assert_eq!(service.terminate(), Some(0));
}
