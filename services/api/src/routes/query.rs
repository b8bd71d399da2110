//! One query of a request body, as search and annotation take it.

use protext_engine::search::Query;
use protext_engine::{EngineError, Limits};
use protext_index::Keywords;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::error::{Problem, ProblemKind};

/// A query with the keywords beside it.
pub(super) type Asked = (Option<Query>, Option<Keywords>);

/// One query: exactly one of `sequence`, `text`, `gene`, `id` and `vector`.
#[derive(Deserialize, Default, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct QueryBody {
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
    /// Words to look for, alone or beside one of these; searches take it.
    #[serde(default)]
    pub(super) keywords: Option<String>,
    /// What the answer calls this query.
    #[serde(default)]
    pub(super) name: Option<String>,
}

impl QueryBody {
    fn is_empty(&self) -> bool {
        let Self { sequence, text, gene, id, vector, keywords, name: _ } = self;
        [sequence, text, gene, id, keywords].into_iter().all(Option::is_none) && vector.is_none()
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

    /// Every query with the keywords beside it, or every bad one of them.
    pub(super) fn into_searches(bodies: Vec<Self>, is_single: bool) -> Result<Vec<Asked>, Problem> {
        Self::all(bodies, is_single, Self::into_search)
    }

    /// Every query, or every bad one of them.
    pub(super) fn into_queries(bodies: Vec<Self>, is_single: bool) -> Result<Vec<Query>, Problem> {
        Self::all(bodies, is_single, Self::into_query)
    }

    fn all<T>(
        bodies: Vec<Self>,
        is_single: bool,
        read: impl Fn(Self) -> Result<T, Problem>,
    ) -> Result<Vec<T>, Problem> {
        let n_queries = bodies.len();
        let (mut good, mut bad) = (Vec::with_capacity(n_queries), Vec::new());
        for (index, body) in bodies.into_iter().enumerate() {
            match read(body) {
                Ok(query) => good.push(query),
                Err(problem) if is_single => return Err(problem),
                Err(problem) => bad.push(problem.in_record(index + 1)),
            }
        }
        if bad.is_empty() { Ok(good) } else { Err(Problem::of_records(bad, n_queries)) }
    }

    /// The query and the keywords beside it; a query may be missing where there are keywords.
    fn into_search(mut self) -> Result<Asked, Problem> {
        let keywords = self.keywords.take().map(|text| Keywords::parse(&text)).transpose();
        let keywords = keywords
            .map_err(|error| Problem::new(ProblemKind::Invalid, error.to_string()).in_field("keywords"))?;
        let query = if keywords.is_some() && self.is_empty() { None } else { Some(self.into_query()?) };
        Ok((query, keywords))
    }

    fn into_query(self) -> Result<Query, Problem> {
        let Self { sequence, text, gene, id, vector, keywords, name: _ } = self;
        if keywords.is_some() {
            let detail = "keywords are for searches, which take them at POST /v1/search";
            return Err(Problem::new(ProblemKind::Invalid, detail).in_field("keywords"));
        }
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
pub(crate) fn check_count(limits: Limits, k: usize, n_queries: usize) -> Result<(), Problem> {
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

/// The answers in their order, or every problem: of one query alone its own, of many each with its number.
pub(crate) fn all_or_problems<T>(
    answers: Vec<Result<T, EngineError>>,
    is_single: bool,
) -> Result<Vec<T>, Problem> {
    let n_queries = answers.len();
    let (mut good, mut bad) = (Vec::with_capacity(n_queries), Vec::new());
    for (index, answer) in answers.into_iter().enumerate() {
        match answer {
            Ok(answer) => good.push(answer),
            Err(error) if is_single => return Err(error.into()),
            Err(error) => bad.push(Problem::from(error).in_record(index + 1)),
        }
    }
    if bad.is_empty() { Ok(good) } else { Err(Problem::of_records(bad, n_queries)) }
}
