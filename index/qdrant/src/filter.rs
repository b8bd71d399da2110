//! Our filters in Qdrant's words.
//!
//! A condition on a field that a record does not have is not met, here as there, so `and`, `or` and `not` translate as they
//! stand. Text is compared as it is stored, in lower case; numbers are compared with the numbers beside it.

use protext_index::{Comparison, Condition, Expression, Field, Holds, IndexError, Operand, RemoteError};
use serde_json::{Map, Value, json};

use crate::payload::{about_point, field_key, folded};

/// A filter with the given conditions for its parts.
///
/// # Errors
/// [`IndexError::Remote`] where text is to be ordered, which Qdrant does not do.
pub(crate) fn translated(expression: &Expression<Condition>) -> Result<Value, IndexError> {
    let all = |parts: &[Expression<Condition>]| parts.iter().map(translated).collect::<Result<Vec<_>, _>>();
    Ok(match expression {
        Expression::All(parts) => json!({"must": all(parts)?}),
        Expression::Any(parts) => json!({"should": all(parts)?}),
        Expression::Not(part) => json!({"must_not": [translated(part)?]}),
        Expression::Condition(one) => json!({"must": [condition(one)?]}),
    })
}

/// Records only, and of them those that `filter` allows.
pub(crate) fn records_only(filter: Option<&Value>) -> Value {
    let mut whole = Map::new();
    whole.insert("must_not".to_owned(), json!([{"has_id": [about_point()]}]));
    if let Some(filter) = filter {
        whole.insert("must".to_owned(), json!([filter]));
    }
    Value::Object(whole)
}

fn condition(condition: &Condition) -> Result<Value, IndexError> {
    let field = &condition.field;
    Ok(match &condition.holds {
        Holds::Exists => json!({"must_not": [{"is_empty": {"key": stored_at(field)}}]}),
        Holds::Compares(comparison, with) => compared(field, *comparison, with)?,
        Holds::OneOf(all) => one_of(field, all)?,
        Holds::Between(low, high) => {
            let ends =
                [compared(field, Comparison::AtLeast, low)?, compared(field, Comparison::AtMost, high)?];
            json!({"must": ends})
        }
        Holds::Under(taxon) => json!({"key": "lineage", "match": {"value": taxon}}),
    })
}

/// Where a field's values stand, whatever they are: numbers of free fields stand among the texts, too.
fn stored_at(field: &Field) -> String {
    if field.number_name().is_some() { number_at(field) } else { text_at(field) }
}

fn text_at(field: &Field) -> String {
    field_key(field).map_or_else(|| "id".to_owned(), |key| format!("t.{key}"))
}

fn number_at(field: &Field) -> String {
    // Ids are never compared as numbers: the parser takes values of fields without numbers for text.
    field_key(field).map_or_else(|| "id".to_owned(), |key| format!("n.{key}"))
}

fn text_of(field: &Field, text: &str) -> String {
    if *field == Field::Id { text.to_owned() } else { folded(text) }
}

fn compared(field: &Field, comparison: Comparison, with: &Operand) -> Result<Value, IndexError> {
    let number = match (with, comparison) {
        (Operand::Text(text), Comparison::Equal) => {
            return Ok(json!({"key": text_at(field), "match": {"value": text_of(field, text)}}));
        }
        (Operand::Text(_), _) => {
            let instead = "compare it with =, !=, in or exists; numbers have an order";
            return Err(RemoteError::NotThere { what: "order of text in filters", instead }.into());
        }
        (Operand::Number(number), _) => number,
    };
    let range = match comparison {
        Comparison::Equal => json!({"gte": number, "lte": number}),
        Comparison::Less => json!({"lt": number}),
        Comparison::AtMost => json!({"lte": number}),
        Comparison::Greater => json!({"gt": number}),
        Comparison::AtLeast => json!({"gte": number}),
    };
    Ok(json!({"key": number_at(field), "range": range}))
}

fn one_of(field: &Field, all: &[Operand]) -> Result<Value, IndexError> {
    let (mut texts, mut whole, mut parts) = (Vec::new(), Vec::new(), Vec::new());
    for operand in all {
        match operand {
            Operand::Text(text) => texts.push(text_of(field, text)),
            // Taxa and lengths are whole numbers, which Qdrant looks up in one go.
            Operand::Number(number) if field.number_name().is_some() && number.fract() == 0.0 => {
                whole.push(*number as i64);
            }
            number @ Operand::Number(_) => parts.push(compared(field, Comparison::Equal, number)?),
        }
    }
    if !texts.is_empty() {
        parts.push(json!({"key": text_at(field), "match": {"any": texts}}));
    }
    if !whole.is_empty() {
        parts.push(json!({"key": number_at(field), "match": {"any": whole}}));
    }
    Ok(if parts.len() == 1 { parts.swap_remove(0) } else { json!({"should": parts}) })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use protext_index::Filter;

    use super::*;

    fn of(text: &str) -> Result<Value, IndexError> {
        let fields = BTreeSet::from(["ec", "resolution"]);
        translated(&Filter::parse(text).unwrap().resolved(fields, true)?)
    }

    #[test]
    fn conditions_are_translated() {
        let table = [
            (
                r#"organism = "Homo sapiens""#,
                json!({"key": "t.organism", "match": {"value": "homo sapiens"}}),
            ),
            ("id = P69905", json!({"key": "id", "match": {"value": "P69905"}})),
            ("length <= 500", json!({"key": "n.length", "range": {"lte": 500.0}})),
            ("resolution = 2.5", json!({"key": "n.x_resolution", "range": {"gte": 2.5, "lte": 2.5}})),
            (r#"resolution = "2.5""#, json!({"key": "t.x_resolution", "match": {"value": "2.5"}})),
            ("taxon in (9606, 10090)", json!({"key": "n.taxon", "match": {"any": [9606, 10090]}})),
            ("gene in (HBA1, hba2)", json!({"key": "t.gene", "match": {"any": ["hba1", "hba2"]}})),
            ("taxon under 7711", json!({"key": "lineage", "match": {"value": 7711}})),
            ("ec exists", json!({"must_not": [{"is_empty": {"key": "t.x_ec"}}]})),
            ("length exists", json!({"must_not": [{"is_empty": {"key": "n.length"}}]})),
            (
                "length between 1 and 9",
                json!({"must": [{"key": "n.length", "range": {"gte": 1.0}}, {"key": "n.length", "range": {"lte": 9.0}}]}),
            ),
        ];
        for (text, expected) in table {
            assert_eq!(of(text).unwrap(), json!({"must": [expected]}), "{text}");
        }
    }

    #[test]
    fn conditions_are_joined() {
        let one = json!({"must": [{"key": "n.length", "range": {"gt": 1.0}}]});
        let other = json!({"must": [{"key": "n.length", "range": {"lt": 5.0}}]});
        assert_eq!(of("length > 1 and length < 5").unwrap(), json!({"must": [one, other]}));
        assert_eq!(
            of("length > 1 or not length < 5").unwrap(),
            json!({"should": [one, {"must_not": [other]}]})
        );
        let only = records_only(Some(&one));
        assert_eq!(only["must"], json!([one]));
        assert_eq!(records_only(None)["must_not"][0]["has_id"], json!([about_point()]));
    }

    #[test]
    fn text_has_no_order_and_unknown_fields_are_named() {
        assert!(matches!(of("gene < B"), Err(IndexError::Remote(RemoteError::NotThere { .. }))));
        assert!(matches!(of("ec between a and b"), Err(IndexError::Remote(_))));
        assert!(matches!(of("colour = red"), Err(IndexError::Filter(_))));
        assert!(matches!(of("length = long"), Err(IndexError::Filter(_))));
    }
}
