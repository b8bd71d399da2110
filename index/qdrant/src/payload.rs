//! What is stored of a record beside its vectors.
//!
//! ```text
//! id       the record's id; the point has a UUID made of it
//! record   the record whole, as JSON
//! t        text to filter by, ASCII letters in lower case: {"organism": "homo sapiens", "gene": ..., "x_ec": ...}
//! n        numbers to filter by: {"taxon": 9606, "length": 142, "x_resolution": 2.5}
//! lineage  the taxon and all above it
//! ```
//!
//! Free fields stand under `x_` and their name, in which everything but letters and digits is written as `_` and two
//! hexadecimal digits, so that no name has a meaning in Qdrant's paths.

use protext_index::{Field, Record, number_in};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

/// The point that describes the collection. No record has it: those of records hash other bytes.
pub(crate) fn about_point() -> String {
    uuid(&[b"protext/about"])
}

/// The point of a record.
pub(crate) fn point_of(id: &str) -> String {
    uuid(&[b"record/", id.as_bytes()])
}

/// 122 bits of a hash, in the form of a UUID of version 8 (RFC 9562).
fn uuid(parts: &[&[u8]]) -> String {
    let mut hasher = Sha256::new();
    parts.iter().for_each(|part| hasher.update(part));
    let hash = hasher.finalize();
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash[..16]);
    bytes[6] = (bytes[6] & 0x0f) | 0x80;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    let hex = hex::encode(bytes);
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

/// The name of a free field as a key.
pub(crate) fn key_of(name: &str) -> String {
    let mut key = String::with_capacity(name.len() + 2);
    key.push_str("x_");
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() {
            key.push(char::from(byte));
        } else {
            key.push_str(&format!("_{byte:02x}"));
        }
    }
    key
}

/// The name under which a field's values stand in `t` and `n`; `None` for the id, which stands by itself.
pub(crate) fn field_key(field: &Field) -> Option<String> {
    Some(match field {
        Field::Id => return None,
        Field::Description => "description".to_owned(),
        Field::Organism => "organism".to_owned(),
        Field::Taxon => "taxon".to_owned(),
        Field::Gene => "gene".to_owned(),
        Field::Length => "length".to_owned(),
        Field::Source => "source".to_owned(),
        Field::Free(name) => key_of(name),
    })
}

/// Text as it is compared: ASCII letters in lower case.
pub(crate) fn folded(text: &str) -> String {
    text.to_ascii_lowercase()
}

/// What is stored of a record that stands at `lineage` in the taxonomy.
pub(crate) fn payload_of(record: &Record, lineage: &[u32]) -> Value {
    let (mut texts, mut numbers) = (Map::new(), Map::new());
    let own = [
        ("description", Some(&record.description)),
        ("organism", record.organism.as_ref()),
        ("gene", record.gene.as_ref()),
        ("source", record.source.as_ref()),
    ];
    for (key, text) in own {
        if let Some(text) = text.filter(|text| !text.is_empty()) {
            texts.insert(key.to_owned(), folded(text).into());
        }
    }
    if let Some(taxon) = record.taxon_id {
        numbers.insert("taxon".to_owned(), taxon.into());
    }
    if record.length > 0 {
        numbers.insert("length".to_owned(), record.length.into());
    }
    for (name, text) in record.fields.iter().filter(|(_, text)| !text.is_empty()) {
        let key = key_of(name);
        if let Some(number) = number_in(text) {
            numbers.insert(key.clone(), number.into());
        }
        texts.insert(key, folded(text).into());
    }
    let mut payload = json!({"id": record.id, "record": record, "t": texts, "n": numbers});
    if !lineage.is_empty() {
        payload["lineage"] = json!(lineage);
    }
    payload
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_have_the_form_of_uuids_and_differ() {
        let point = point_of("P69905");
        let lengths: Vec<usize> = point.split('-').map(str::len).collect();
        assert_eq!(lengths, [8, 4, 4, 4, 12]);
        assert!(point[14..].starts_with('8') && "89ab".contains(&point[19..20]));
        assert!(point_of("a") != point_of("b") && point_of("a") == point_of("a"));
        assert!(about_point() != point_of("protext/about") && about_point() != point_of(""));
    }

    #[test]
    fn names_of_fields_have_no_meaning_in_paths() {
        assert_eq!(key_of("ec"), "x_ec");
        assert_eq!(key_of("a.b[0] \"\u{e9}_"), "x_a_2eb_5b0_5d_20_22_c3_a9_5f");
    }

    #[test]
    fn text_is_folded_and_numbers_are_kept_as_both() {
        let fields = [("resolution".to_owned(), "2.50".to_owned()), ("ec".to_owned(), "1.A".to_owned())];
        let record = Record {
            id: "P1".into(),
            organism: Some("Homo Sapiens".into()),
            taxon_id: Some(9606),
            gene: Some(String::new()),
            fields: fields.into(),
            ..Record::default()
        };
        let payload = payload_of(&record, &[9606, 1]);
        assert_eq!(payload["t"], json!({"organism": "homo sapiens", "x_ec": "1.a", "x_resolution": "2.50"}));
        assert_eq!(payload["n"], json!({"taxon": 9606, "x_resolution": 2.5}));
        assert_eq!((&payload["id"], &payload["lineage"]), (&json!("P1"), &json!([9606, 1])));
        let back: Record = serde_json::from_value(payload["record"].clone()).unwrap();
        assert_eq!(back, record);
        assert!(payload_of(&Record { id: "x".into(), ..Record::default() }, &[]).get("lineage").is_none());
    }
}
