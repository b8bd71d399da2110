//! One query of a request body, as search and annotation take it.

use protext_engine::Limits;
use protext_engine::search::Query;
use serde::Deserialize;

use crate::error::{Problem, ProblemKind};

/// One query: exactly one of the first five.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct QueryBody {
    #[serde(default)]
    pub(super) sequence: Option<String>,
    #[serde(default)]
    pub(super) text: Option<String>,
    #[serde(default)]
    pub(super) gene: Option<String>,
    #[serde(default)]
    pub(super) id: Option<String>,
    #[serde(default)]
    pub(super) vector: Option<Vec<f32>>,
    /// What the answer calls this query.
    #[serde(default)]
    pub(super) name: Option<String>,
}

impl QueryBody {
    fn is_empty(&self) -> bool {
        let Self { sequence, text, gene, id, vector, name: _ } = self;
        [sequence, text, gene, id].into_iter().all(Option::is_none) && vector.is_none()
    }

    /// This one query, or those of `queries`; not both.
    pub(super) fn or_many(self, queries: Option<Vec<Self>>) -> Result<Vec<Self>, Problem> {
        match queries {
            None => Ok(vec![self]),
            Some(queries) if self.is_empty() => Ok(queries),
            Some(_) => {
                let detail = "give one query at the top or many in queries, not both";
                Err(Problem::new(ProblemKind::Invalid, detail).in_field("queries"))
            }
        }
    }

    pub(super) fn into_query(self) -> Result<Query, Problem> {
        let Self { sequence, text, gene, id, vector, name: _ } = self;
        let given = [
            sequence.map(Query::Sequence),
            text.map(Query::Text),
            gene.map(Query::Gene),
            id.map(Query::Id),
            vector.map(Query::Vector),
        ];
        let mut given = given.into_iter().flatten();
        match (given.next(), given.next()) {
            (Some(query), None) => Ok(query),
            _ => {
                let detail = "a query has exactly one of sequence, text, gene, id, vector";
                Err(Problem::new(ProblemKind::Invalid, detail).in_field("query"))
            }
        }
    }
}

/// Hits and queries within the limits.
pub(super) fn check_count(limits: Limits, k: usize, n_queries: usize) -> Result<(), Problem> {
    if k == 0 || k > limits.max_k {
        let detail = format!("k is {}, but must be from 1 to {}", k, limits.max_k);
        return Err(Problem::new(ProblemKind::Invalid, detail).in_field("k"));
    }
    if n_queries == 0 || n_queries > limits.max_records {
        let detail =
            format!("{n_queries} queries were sent, but 1 to {} are taken at once", limits.max_records);
        let kind = if n_queries == 0 { ProblemKind::Invalid } else { ProblemKind::TooLarge };
        return Err(Problem::new(kind, detail).in_field("queries"));
    }
    Ok(())
}
