//! Records: what a collection knows about each vector.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{self, Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize};

use crate::error::IndexError;
use crate::filter::Field;

/// Longest id, in bytes.
pub const MAX_ID_BYTES: usize = 512;
/// Most free fields of one record.
pub const MAX_FIELDS: usize = 1_000;
/// Longest name of a free field, in bytes.
pub const MAX_FIELD_NAME_BYTES: usize = 200;

/// One protein, gene or text of a collection.
///
/// Fields that a later version adds are skipped when an earlier one reads the collection.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Unique in the collection, 1 to [`MAX_ID_BYTES`] bytes.
    pub id: String,
    /// What it is, in words; may be empty.
    #[serde(default)]
    pub description: String,
    /// Organism's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub organism: Option<String>,
    /// NCBI taxonomy id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taxon_id: Option<u32>,
    /// Gene symbol.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gene: Option<String>,
    /// Residues; 0 for a text.
    #[serde(default)]
    pub length: u32,
    /// The sequence, if the collection keeps it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sequence: Option<String>,
    /// The text that was embedded, if it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// File or database that it came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// What else is known, by name. Names are kept in lower case, values as text; a value that reads as a number is
    /// compared as one where a filter asks for a number.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "read_fields")]
    pub fields: BTreeMap<String, String>,
}

impl Record {
    /// The record as collections keep it: names of free fields in lower case and without white space around them,
    /// fields without a value left out. `number` is the record's, 1-based, for messages.
    ///
    /// # Errors
    /// [`IndexError::EmptyId`], [`IndexError::LongId`] or [`IndexError::RecordField`].
    pub(crate) fn checked(mut self, number: usize) -> Result<Self, IndexError> {
        ensure_id(&self.id, number)?;
        if !self.fields.is_empty() {
            let named = std::mem::take(&mut self.fields).into_iter();
            let tidy = named.map(|(name, value)| (name.trim().to_ascii_lowercase(), value));
            self.fields = tidy.filter(|(_, value)| !value.is_empty()).collect();
        }
        let refuse = |field: &str, rule| {
            let field = field.chars().take(40).collect();
            Err(IndexError::RecordField { record: number, field, rule })
        };
        if self.fields.len() > MAX_FIELDS {
            return refuse("fields", "a record has at most 1000 free fields");
        }
        for name in self.fields.keys() {
            if name.is_empty() || name.len() > MAX_FIELD_NAME_BYTES || name.chars().any(char::is_control) {
                return refuse(name, "a name has 1 to 200 bytes and no control characters");
            }
            if Self::has_field_of_its_own(name) {
                return refuse(
                    name,
                    "every record has a field of that name of its own; give the value there, or use another name",
                );
            }
        }
        if let Some((name, _)) = self.texts().find(|(_, text)| text.contains('\0')) {
            return refuse(name, "a value holds no NUL character");
        }
        Ok(self)
    }

    /// Whether every record can have a field of this name, in lower case, so that no free field may.
    #[must_use]
    pub fn has_field_of_its_own(name: &str) -> bool {
        Field::own(name).is_some()
    }

    /// What filters and keywords read, by name.
    fn texts(&self) -> impl Iterator<Item = (&str, &str)> {
        let optional = [("organism", &self.organism), ("gene", &self.gene), ("source", &self.source)];
        let optional = optional.into_iter().filter_map(|(name, text)| Some((name, text.as_deref()?)));
        let text = self.text.as_deref().map(|text| ("text", text));
        let free = self.fields.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let always = [("id", self.id.as_str()), ("description", self.description.as_str())];
        always.into_iter().chain(optional).chain(text).chain(free)
    }
}

/// The rules of an id.
pub(crate) fn ensure_id(id: &str, record: usize) -> Result<(), IndexError> {
    match id.len() {
        0 => Err(IndexError::EmptyId { record }),
        n_bytes if n_bytes > MAX_ID_BYTES => {
            Err(IndexError::LongId { record, n_bytes, max_bytes: MAX_ID_BYTES })
        }
        _ => Ok(()),
    }
}

/// A value of a free field as JSON writes it: text, a number or a truth value; all are kept as text.
struct FieldValue(Option<String>);

impl<'de> Deserialize<'de> for FieldValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Value;
        impl Visitor<'_> for Value {
            type Value = FieldValue;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("text, a number, true or false")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<FieldValue, E> {
                Ok(FieldValue(Some(text.to_owned())))
            }

            fn visit_bool<E: de::Error>(self, truth: bool) -> Result<FieldValue, E> {
                Ok(FieldValue(Some(truth.to_string())))
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<FieldValue, E> {
                Ok(FieldValue(Some(number.to_string())))
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<FieldValue, E> {
                Ok(FieldValue(Some(number.to_string())))
            }

            fn visit_f64<E: de::Error>(self, number: f64) -> Result<FieldValue, E> {
                Ok(FieldValue(Some(number.to_string())))
            }

            fn visit_unit<E: de::Error>(self) -> Result<FieldValue, E> {
                Ok(FieldValue(None))
            }
        }
        deserializer.deserialize_any(Value)
    }
}

fn read_fields<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, String>, D::Error> {
    struct Fields;
    impl<'de> Visitor<'de> for Fields {
        type Value = BTreeMap<String, String>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object of names and values")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut fields = BTreeMap::new();
            while let Some((name, value)) = map.next_entry::<String, FieldValue>()? {
                if let Some(value) = value.0 {
                    fields.insert(name, value);
                }
            }
            Ok(fields)
        }
    }
    deserializer.deserialize_map(Fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_field(name: &str, value: &str) -> Record {
        Record { id: "P1".into(), fields: [(name.into(), value.into())].into(), ..Record::default() }
    }

    #[test]
    fn later_fields_are_skipped_and_missing_ones_have_defaults() {
        let read: Record = serde_json::from_str(r#"{"id":"P1","length":7,"ligand":"heme"}"#).unwrap();
        assert_eq!(read, Record { id: "P1".into(), length: 7, ..Record::default() });
        assert_eq!(serde_json::to_string(&read).unwrap(), r#"{"id":"P1","description":"","length":7}"#);
    }

    #[test]
    fn free_fields_are_kept_as_text() {
        let json =
            r#"{"id":"P1","fields":{"EC":"1.1.1.1","resolution":2.5,"n":3,"reviewed":true,"none":null}}"#;
        let read: Record = serde_json::from_str(json).unwrap();
        let kept = read.checked(1).unwrap().fields;
        let kept: Vec<_> = kept.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(kept, [("ec", "1.1.1.1"), ("n", "3"), ("resolution", "2.5"), ("reviewed", "true")]);
        assert!(serde_json::from_str::<Record>(r#"{"id":"P1","fields":{"a":[1]}}"#).is_err());
    }

    #[test]
    fn fields_that_break_a_rule_are_named() {
        let rule_of = |record: Record| match record.checked(3) {
            Err(IndexError::RecordField { record: 3, rule, .. }) => rule,
            other => panic!("{other:?}"),
        };
        assert!(rule_of(with_field(" Organism ", "x")).contains("every record has"));
        assert!(rule_of(with_field("  ", "x")).contains("1 to 200 bytes"));
        assert!(rule_of(with_field(&"x".repeat(201), "x")).contains("1 to 200 bytes"));
        assert!(rule_of(with_field("a\nb", "x")).contains("control"));
        assert!(rule_of(with_field("a", "x\0")).contains("NUL"));
        let many = (0..1_001).map(|n| (format!("f{n}"), "x".to_owned())).collect();
        assert!(rule_of(Record { fields: many, ..with_field("a", "x") }).contains("at most 1000"));
        assert!(with_field("a", "").checked(1).unwrap().fields.is_empty());
    }
}
