//! A service's answer, read and held against what was asked for.
//!
//! Rows may come as numbers or as base64 of 32-bit floats, in any order: `index` says which text each belongs to.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::{Deserialize, Deserializer, Error, SeqAccess, Visitor};

/// What is wrong with an answer.
#[derive(Debug, thiserror::Error)]
pub enum AnswerProblem {
    /// Not the JSON of an embeddings answer.
    #[error("it cannot be read ({0})")]
    Unreadable(#[source] serde_json::Error),
    /// JSON has no such number, but services write it.
    #[error("it holds NaN or Infinity")]
    NaNLiteral,
    /// No `data`.
    #[error("it has no `data`")]
    NoData,
    /// More or fewer rows than texts.
    #[error("{expected} texts were sent, {found} rows came back")]
    Count {
        /// Texts sent.
        expected: usize,
        /// Rows in the answer.
        found: usize,
    },
    /// An index that no text has, or one for two rows.
    #[error("index {index} of `data` is given twice, or is none of the {n_texts} texts")]
    Index {
        /// The index.
        index: usize,
        /// Texts sent.
        n_texts: usize,
    },
    /// A row of another width.
    #[error("row {index} has {found} dimensions instead of {expected}")]
    Dim {
        /// 0-based text.
        index: usize,
        /// Width that the manifest states.
        expected: usize,
        /// Width of the row.
        found: usize,
    },
    /// NaN or infinity.
    #[error("row {index}, component {component} is not a finite number")]
    NotFinite {
        /// 0-based text.
        index: usize,
        /// 0-based component.
        component: usize,
    },
    /// More bytes than such an answer can have.
    #[error("it is longer than {limit_bytes} bytes")]
    TooLarge {
        /// Most bytes allowed.
        limit_bytes: usize,
    },
}

/// Rows in the order of the texts, and the service's count of tokens.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) rows: Result<Vec<Vec<f32>>, AnswerProblem>,
    pub(crate) n_tokens: Option<u64>,
}

#[derive(serde::Deserialize)]
struct Wire {
    data: Option<Vec<Item>>,
    usage: Option<serde_json::Value>,
}

#[derive(serde::Deserialize)]
struct Item {
    index: Option<usize>,
    embedding: Row,
}

struct Row(Vec<f32>);

/// Most bytes that an answer of this size is read up to: 32 a number leave room for any way of writing it.
pub(crate) fn max_answer_bytes(n_texts: usize, dim: usize) -> usize {
    (1 << 20) + n_texts * (dim * 32 + 1024)
}

impl Answer {
    /// Reads `body`, the answer to `n_texts` texts.
    pub(crate) fn read(body: &[u8], n_texts: usize, dim: usize) -> Self {
        let wire: Wire = match serde_json::from_slice(body) {
            Ok(wire) => wire,
            Err(error) => return Self { rows: Err(unreadable(body, error)), n_tokens: None },
        };
        let n_tokens = wire.usage.as_ref().and_then(|usage| usage.get("total_tokens")?.as_u64());
        let rows = wire.data.ok_or(AnswerProblem::NoData).and_then(|items| in_order(items, n_texts, dim));
        Self { rows, n_tokens }
    }
}

fn unreadable(body: &[u8], error: serde_json::Error) -> AnswerProblem {
    let has = |word: &[u8]| body.windows(word.len()).any(|window| window == word);
    if error.is_syntax() && (has(b"NaN") || has(b"Infinity")) {
        AnswerProblem::NaNLiteral
    } else {
        AnswerProblem::Unreadable(error)
    }
}

fn in_order(items: Vec<Item>, n_texts: usize, dim: usize) -> Result<Vec<Vec<f32>>, AnswerProblem> {
    if items.len() != n_texts {
        return Err(AnswerProblem::Count { expected: n_texts, found: items.len() });
    }
    let mut rows: Vec<Option<Vec<f32>>> = vec![None; n_texts];
    for (position, item) in items.into_iter().enumerate() {
        let index = item.index.unwrap_or(position);
        let Row(row) = item.embedding;
        let place = rows.get_mut(index).filter(|place| place.is_none());
        let place = place.ok_or(AnswerProblem::Index { index, n_texts })?;
        if row.len() != dim {
            return Err(AnswerProblem::Dim { index, expected: dim, found: row.len() });
        }
        if let Some(component) = row.iter().position(|value| !value.is_finite()) {
            return Err(AnswerProblem::NotFinite { index, component });
        }
        *place = Some(row);
    }
    Ok(rows.into_iter().flatten().collect())
}

impl<'de> Deserialize<'de> for Row {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RowVisitor).map(Row)
    }
}

struct RowVisitor;

impl<'de> Visitor<'de> for RowVisitor {
    type Value = Vec<f32>;

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("numbers, or base64 of 32-bit floats")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Vec<f32>, E> {
        let bytes = STANDARD.decode(text).ok().filter(|bytes| bytes.len() % 4 == 0);
        let bytes = bytes.ok_or_else(|| E::custom("an embedding is no base64 of 32-bit floats"))?;
        let value = |bytes: &[u8]| f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        Ok(bytes.chunks_exact(4).map(value).collect())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut numbers: A) -> Result<Vec<f32>, A::Error> {
        let mut row = Vec::with_capacity(numbers.size_hint().unwrap_or(0).min(1 << 16));
        // Some services write null for NaN.
        while let Some(number) = numbers.next_element::<Option<f64>>()? {
            row.push(number.map_or(f32::NAN, |number| number as f32));
        }
        Ok(row)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &str) -> Result<Vec<Vec<f32>>, String> {
        Answer::read(body.as_bytes(), 2, 2).rows.map_err(|problem| problem.to_string())
    }

    fn data(items: &str) -> String {
        format!(r#"{{"object":"list","data":[{items}],"usage":{{"total_tokens":7}}}}"#)
    }

    #[test]
    fn rows_follow_their_index_in_either_form() {
        let base64 = STANDARD.encode([3.0_f32, -0.25].map(f32::to_le_bytes).concat());
        let body = data(&format!(
            r#"{{"index":1,"embedding":[1,2.5]}},{{"index":0,"object":"embedding","embedding":"{base64}"}}"#
        ));
        let answer = Answer::read(body.as_bytes(), 2, 2);
        assert_eq!(answer.n_tokens, Some(7));
        assert_eq!(answer.rows.unwrap(), [[3.0, -0.25], [1.0, 2.5]]);
        let unnumbered = data(r#"{"embedding":[1,2]},{"embedding":[3,4]}"#);
        assert_eq!(read(&unnumbered).unwrap(), [[1.0, 2.0], [3.0, 4.0]]);
    }

    #[test]
    fn every_wrong_answer_is_named() {
        let row = |index: usize, embedding: &str| format!(r#"{{"index":{index},"embedding":{embedding}}}"#);
        let two = |second: &str| data(&format!("{},{second}", row(0, "[1,2]")));
        let cases = [
            ("<html>".to_owned(), "cannot be read"),
            ("{}".to_owned(), "no `data`"),
            (data(&row(0, "[1,2]")), "2 texts were sent, 1 rows came back"),
            (two(&row(0, "[1,2]")), "index 0"),
            (two(&row(2, "[1,2]")), "index 2"),
            (two(&row(1, "[1,2,3]")), "row 1 has 3 dimensions instead of 2"),
            (two(&row(1, "[1,null]")), "row 1, component 1 is not a finite number"),
            (two(&row(1, "[1,1e300]")), "row 1, component 1 is not a finite number"),
            (two(&row(1, "[1,NaN]")), "holds NaN"),
            (two(&row(1, "\"AADAfwAAAAA=\"")), "row 1, component 0 is not a finite number"),
            (two(&row(1, "\"AADA\"")), "no base64 of 32-bit floats"),
            (two(&row(1, "\"***\"")), "no base64 of 32-bit floats"),
            (two(&row(1, "{}")), "numbers, or base64"),
        ];
        for (body, says) in cases {
            let problem = read(&body).unwrap_err();
            assert!(problem.contains(says), "{body}: {problem}");
        }
    }

    #[test]
    fn a_count_that_cannot_be_read_is_none() {
        for usage in ["null", "{}", r#"{"total_tokens":"many"}"#, r#"{"total_tokens":-3}"#] {
            let body = format!(r#"{{"data":[],"usage":{usage}}}"#);
            let answer = Answer::read(body.as_bytes(), 0, 2);
            assert!(answer.rows.is_ok() && answer.n_tokens.is_none(), "{usage}");
        }
    }
}
