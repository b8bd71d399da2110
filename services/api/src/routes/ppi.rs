//! `POST /v1/predict/ppi`: do proteins interact? Pairs, one against all, or all against all.
//!
//! `{"pairs": [{"a": protein, "b": protein}]}`, `{"one": protein, "against": [protein], "top": 10}` or
//! `{"all": [protein], "top": 10}`; a protein is `{"sequence": "...", "id": "..."}`, or the id alone of a record in an open
//! collection. With `Accept: application/x-ndjson` answers come as lines, one a pair.

use actix_web::http::header::ACCEPT;
use actix_web::{HttpRequest, HttpResponse, web};
use protext_engine::ppi::{Asked, Nearest, Partner, PpiAnswer, PpiRequest, ProteinInput, Scored, predict};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::body::ReadBody;
use crate::error::{Problem, ProblemKind};
use crate::openapi::schemas;
use crate::state::AppState;

/// Lines of an answer that are sent together.
const LINES: usize = 256;
const NDJSON: &str = "application/x-ndjson";

/// `pairs`, or `one` and `against`, or `all`.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = PpiBody)]
pub(crate) struct Body {
    #[serde(default)]
    pairs: Option<Vec<PairBody>>,
    #[serde(default)]
    one: Option<ProteinBody>,
    #[serde(default)]
    against: Option<Vec<ProteinBody>>,
    #[serde(default)]
    all: Option<Vec<ProteinBody>>,
    #[serde(default = "default_top")]
    top: usize,
}

/// Two proteins.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct PairBody {
    a: ProteinBody,
    b: ProteinBody,
}

/// A protein by its sequence, or by the id of a record in an open collection.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ProteinBody {
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    sequence: Option<String>,
}

/// Predictions.
#[derive(Serialize, ToSchema)]
#[schema(as = PpiAnswer)]
pub(crate) struct Answer<'a> {
    head: &'a str,
    predictions: Vec<Line<'a>>,
}

/// One pair.
#[derive(Serialize, ToSchema)]
#[schema(as = PpiPrediction)]
struct Line<'a> {
    a: Member<'a>,
    b: Member<'a>,
    probability: f64,
    score: f32,
}

/// One protein of a pair.
#[derive(Serialize, ToSchema)]
#[schema(as = PpiMember)]
struct Member<'a> {
    id: &'a str,
    in_training: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<schemas::NearestProtein>)]
    nearest_training_protein: Option<&'a Nearest>,
}

fn default_top() -> usize {
    10
}

/// Do proteins interact? Pairs, one against all, or all against all.
#[utoipa::path(post, path = "/v1/predict/ppi", tag = "predict",
    request_body(content = Body, example = json!({"pairs": [{"a": {"id": "Q3Z7U4"}, "b": {"sequence": "MKTAYIAKQRQISFVKSHFSRQ"}}]})),
    responses((status = 200, description = "Predictions",
        content((Answer<'_> = "application/json"), (String = "application/x-ndjson")))))]
pub(crate) async fn post(
    state: web::Data<AppState>,
    request: HttpRequest,
    body: ReadBody,
) -> Result<HttpResponse, Problem> {
    let body: Body = body.json()?;
    let asked = body.into_request(&state)?;
    let is_pairs = matches!(asked.asked, Asked::Pairs(_));
    let answer = predict(&state.engine, asked).await.map_err(|(at, error)| {
        let is_of_pair = matches!(error, protext_engine::EngineError::PairWithItself { .. });
        let problem = Problem::from(error);
        match at {
            // Proteins of pairs come two by two.
            Some(at) if is_pairs && !is_of_pair => problem.in_record(at / 2 + 1),
            Some(at) => problem.in_record(at + 1),
            None => problem,
        }
    })?;
    let wants_lines = request.headers().get(ACCEPT).and_then(|value| value.to_str().ok());
    Ok(if wants_lines.is_some_and(|value| value.contains(NDJSON)) {
        HttpResponse::Ok().content_type(NDJSON).streaming(lines(answer))
    } else {
        let predictions = answer.rows.iter().map(|row| line(&answer.partners, row)).collect();
        HttpResponse::Ok().json(Answer { head: &answer.head, predictions })
    })
}

impl Body {
    fn into_request(self, state: &AppState) -> Result<PpiRequest, Problem> {
        let Self { pairs, one, against, all, top } = self;
        let limits = state.engine.limits();
        if top == 0 || top > limits.max_k {
            let detail = format!("top is {top}, but must be from 1 to {}", limits.max_k);
            return Err(Problem::new(ProblemKind::Invalid, detail).in_field("top"));
        }
        let (field, proteins, asked) = match (pairs, one, against, all) {
            (Some(pairs), None, None, None) => {
                let places = (0..pairs.len()).map(|at| (2 * at, 2 * at + 1)).collect();
                let proteins = pairs.into_iter().flat_map(|pair| [pair.a, pair.b]).collect();
                ("pairs", proteins, Asked::Pairs(places))
            }
            (None, Some(one), Some(against), None) => {
                let proteins: Vec<ProteinBody> = std::iter::once(one).chain(against).collect();
                ("against", proteins, Asked::OneAgainstAll { top })
            }
            (None, None, None, Some(all)) => ("all", all, Asked::AllAgainstAll { top }),
            _ => {
                let detail = "give pairs, or one and against, or all";
                return Err(Problem::new(ProblemKind::Invalid, detail).in_field("pairs"));
            }
        };
        let n = if field == "pairs" { proteins.len() / 2 } else { proteins.len() };
        let least = if field == "pairs" { 1 } else { 2 };
        if n < least || n > limits.max_records {
            let detail = format!("{n} were sent, but {least} to {} are taken at once", limits.max_records);
            let kind = if n < least { ProblemKind::Invalid } else { ProblemKind::TooLarge };
            return Err(Problem::new(kind, detail).in_field(field));
        }
        let proteins = proteins.into_iter().enumerate().map(|(at, protein)| {
            let ProteinBody { id, sequence } = protein;
            if id.is_none() && sequence.is_none() {
                let record = if field == "pairs" { at / 2 + 1 } else { at + 1 };
                let detail = "a protein has a sequence, or the id of a record in an open collection";
                return Err(Problem::new(ProblemKind::Invalid, detail)
                    .in_field("sequence")
                    .in_record(record));
            }
            Ok(ProteinInput { id, sequence })
        });
        Ok(PpiRequest { proteins: proteins.collect::<Result<_, _>>()?, asked })
    }
}

/// Lines of JSON, a block at a time.
fn lines(
    answer: PpiAnswer,
) -> impl futures_util::Stream<Item = Result<web::Bytes, actix_web::Error>> + use<> {
    let n_blocks = answer.rows.len().div_ceil(LINES);
    futures_util::stream::iter((0..n_blocks).map(move |block| {
        let rows = &answer.rows[block * LINES..answer.rows.len().min((block + 1) * LINES)];
        let mut text = String::new();
        for row in rows {
            text += &serde_json::to_string(&line(&answer.partners, row))?;
            text.push('\n');
        }
        Ok(web::Bytes::from(text))
    }))
}

fn line<'a>(partners: &'a [Partner], row: &Scored) -> Line<'a> {
    let member = |at: usize| {
        let Partner { id, in_training, nearest, .. } = &partners[at];
        Member { id, in_training: *in_training, nearest_training_protein: nearest.as_ref() }
    };
    Line { a: member(row.a), b: member(row.b), probability: row.probability, score: row.score }
}
