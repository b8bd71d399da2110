//! A server for the tests: one that runs already (`PROTEXT_TEST_QDRANT`), or Qdrant's own client library in local mode behind
//! the same routes (`tests/clients/qdrant_local.py`), which `make test` installs.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use protext_core::{Fingerprint, JointVector, Space};
use protext_http::{ApiKey, Patience};
use protext_index::{Record, Upsert};
use protext_local_server::qdrant::{KEY, QdrantLocal};
use protext_qdrant::{QdrantAddress, QdrantSettings};
use serde_json::Value;

/// Settings with the tests' key and little patience.
pub(crate) fn settings() -> QdrantSettings {
    QdrantSettings {
        key: Some(ApiKey::new(KEY)),
        timeout: Duration::from_secs(20),
        patience: Patience {
            n_tries: 3,
            first_wait: Duration::from_millis(20),
            longest_wait: Duration::from_millis(500),
        },
        ..QdrantSettings::default()
    }
}

/// An address that no other test uses.
pub(crate) fn address(authority: &str) -> QdrantAddress {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let (process, number) = (std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    QdrantAddress::parse(&format!("qdrant://{authority}/test-{process}-{number}")).unwrap()
}

pub(crate) fn space(name: &str, dim: usize) -> Space {
    Space { name: name.to_owned(), dim, fingerprint: Fingerprint::of(["test", name, &dim.to_string()]) }
}

/// Unit vectors that are the same each time, no two alike.
pub(crate) fn vector(dim: usize, seed: u64) -> JointVector {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5bf0_3635;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1_u32 << 24) as f32 - 0.5
    };
    JointVector::normalized((0..dim).map(|_| next()).collect()).unwrap()
}

/// A record with something in every field.
pub(crate) fn record(row: u32) -> Record {
    let fields = [
        ("resolution".to_owned(), format!("{}.5", row % 4)),
        ("ec number".to_owned(), format!("1.{}.A", row % 3)),
    ];
    Record {
        id: format!("P{row}"),
        description: format!("protein \"{row}\"\non two lines"),
        organism: row.is_multiple_of(2).then(|| "Homo Sapiens".into()),
        taxon_id: Some(if row.is_multiple_of(2) { 9606 } else { 562 }),
        gene: row.is_multiple_of(5).then(|| format!("Gene{row}")),
        length: 100 + row,
        sequence: Some("MKV".into()),
        fields: if row.is_multiple_of(7) { Default::default() } else { fields.into() },
        ..Record::default()
    }
}

pub(crate) fn upsert(row: u32, spaces: &[Space]) -> Upsert {
    let vectors = spaces.iter().enumerate();
    let vectors = vectors.map(|(at, space)| vector(space.dim, u64::from(row) * 10 + at as u64 + 1));
    Upsert { record: record(row), vectors: vectors.collect() }
}

/// Makes a collection as another program would.
pub(crate) fn foreign_collection(local: &QdrantLocal, name: &str) {
    let body = serde_json::json!({"vectors": {"x": {"size": 4, "distance": "Dot"}}});
    assert!(local.ask("PUT", &format!("/collections/{name}"), &body.to_string()).contains("\"ok\""));
}

/// Names of collections that begin so.
pub(crate) fn collections(local: &QdrantLocal, prefix: &str) -> Vec<String> {
    let answer = local.ask("GET", "/collections", "null");
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    let told: Value = serde_json::from_str(body).unwrap();
    let names = told["result"]["collections"].as_array().unwrap().iter();
    let names = names.map(|one| one["name"].as_str().unwrap().to_owned());
    names.filter(|name| name.starts_with(prefix)).collect()
}
