//! The description of the API (OpenAPI 3.1), made from the wire types and the routes' own annotations.
//!
//! A new route is added to `paths(...)` here. Problems that any route may answer with are described once, in [`Problems`].

pub(crate) mod schemas;

use serde_json::{Value, json};
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::openapi::{ContentBuilder, Ref, RefOr, ResponseBuilder};
use utoipa::{Modify, OpenApi};

use crate::error::ProblemBody;
use crate::page::collection_map;
use crate::routes::{
    annotate, collections, embeddings, health, info, jobs, metrics, perturbation, ppi, records, search,
    variants,
};

#[derive(OpenApi)]
#[openapi(
    info(title = "Protext", description = "Proteins and gene text in one vector space: embed, search, annotate."),
    paths(
        search::post, embeddings::post, annotate::post,
        collections::list, collections::create, collections::get, collections::delete,
        collections::snapshots, collections::make_snapshot,
        collection_map::get, ppi::post, perturbation::post, variants::post,
        records::post, records::list, records::get_one, records::delete_many, records::delete_one,
        jobs::list, jobs::submit, jobs::show, jobs::delete, jobs::cancel, jobs::resume, jobs::events, jobs::results,
        info::get, info::models, health::alive, health::ready, metrics::get,
    ),
    components(schemas(ProblemBody<'_>)),
    modifiers(&Problems, &Keys, &Answers),
    tags(
        (name = "search", description = "Relatives, texts and genes of a query"),
        (name = "predict", description = "Interactions, perturbations, variants"),
        (name = "collections", description = "What is searched"),
        (name = "records", description = "What collections hold"),
        (name = "jobs", description = "Batch jobs over files of any size"),
        (name = "service", description = "What runs here, and how it fares"),
    )
)]
struct Api;

/// The whole description.
#[must_use]
pub fn document() -> utoipa::openapi::OpenApi {
    Api::openapi()
}

/// Keys, where the service asks for them.
struct Keys;

impl Modify for Keys {
    fn modify(&self, api: &mut utoipa::openapi::OpenApi) {
        if let Some(components) = &mut api.components {
            let bearer = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
            components.add_security_scheme("key", bearer);
        }
        // Keys are asked for only where the service was started with some, so none is an alternative.
        let none = utoipa::openapi::security::SecurityRequirement::default();
        let key = utoipa::openapi::security::SecurityRequirement::new("key", Vec::<String>::new());
        api.security = Some(vec![none, key]);
    }
}

/// What may go wrong on every route: status, when, and an example.
struct Problems;

/// The form of problems.
const PROBLEM: &str = "application/problem+json";

type ProblemRow = (u16, &'static str, &'static str);

/// On every route under `/v1`.
const ALL: [ProblemRow; 6] = [
    (400, "The request cannot be read", "query string: unknown field `limits`"),
    (401, "A key is needed", "send a key in the header Authorization (Bearer) or X-Api-Key"),
    (403, "The key does not allow this", "this needs a key of scope write, and this one is of scope read"),
    (404, "Not found", "no collection is called \"other\"; there is: demo (proteins)"),
    (429, "Come back later (Retry-After says when)", "this key may send 60 requests a minute"),
    (500, "Our fault", "the service failed on this request; its log says why"),
];

/// On routes that take a body.
const WITH_BODY: [ProblemRow; 5] = [
    (408, "The body came too slowly", "the body was not here whole after 30 s"),
    (413, "Too large", "257 queries were sent, but 1 to 256 are taken at once"),
    (
        415,
        "The content type is not understood",
        "content type \"text/plain\" is not understood; send application/json",
    ),
    (422, "A rule is broken; many bad records are named one by one", "position 5: '1' is no residue"),
    (503, "Not loaded here, or the deadline passed", "the answer was not there after 60 s"),
];

/// On routes that answer in several forms, and on those with parameters.
const WITH_PARAMETERS: [ProblemRow; 2] = [
    (406, "No such form of the answer", "this route answers in application/json; name one in Accept"),
    (422, "A rule is broken", "limit is 0, but must be from 1 to 1000"),
];

impl Modify for Problems {
    fn modify(&self, api: &mut utoipa::openapi::OpenApi) {
        for (path, item) in &mut api.paths.paths {
            if path.starts_with("/v1/") {
                operations(item).for_each(|(_, operation)| describe(operation));
            }
        }
    }
}

/// The operations of a path, each with its method.
fn operations(item: &mut PathItem) -> impl Iterator<Item = (&'static str, &mut Operation)> {
    let PathItem { get, post, put, delete, .. } = item;
    let all = [("GET", get), ("POST", post), ("PUT", put), ("DELETE", delete)];
    all.into_iter().filter_map(|(method, operation)| Some((method, operation.as_mut()?)))
}

fn describe(operation: &mut Operation) {
    let takes_body = operation.request_body.is_some();
    let rows = ALL.iter().chain(WITH_BODY.iter().filter(|_| takes_body)).chain(&WITH_PARAMETERS);
    for &(status, when, detail) in rows {
        let known = &mut operation.responses.responses;
        known.entry(status.to_string()).or_insert_with(|| RefOr::T(response(status, when, detail)));
    }
}

fn response(status: u16, when: &str, detail: &str) -> utoipa::openapi::Response {
    let schema = Some(Ref::from_schema_name("Problem"));
    let content = ContentBuilder::new().schema(schema).example(Some(problem(status, when, detail))).build();
    ResponseBuilder::new().description(when).content(PROBLEM, content).build()
}

fn problem(status: u16, title: &str, detail: &str) -> Value {
    json!({"type": "about:blank", "title": title, "status": status, "detail": detail})
}

/// An example of every answer: `answers.json` has those of the service, by route, status and form; a problem's is what its
/// description says.
struct Answers;

impl Modify for Answers {
    fn modify(&self, api: &mut utoipa::openapi::OpenApi) {
        // A file of ours, held to its form by the test below.
        let answers: Value = serde_json::from_str(include_str!("answers.json")).unwrap_or_default();
        for (path, item) in &mut api.paths.paths {
            for (method, operation) in operations(item) {
                for (status, response) in &mut operation.responses.responses {
                    if let RefOr::T(response) = response {
                        give_examples(response, status, &answers[format!("{method} {path}")]);
                    }
                }
            }
        }
    }
}

fn give_examples(response: &mut utoipa::openapi::Response, status: &str, answers: &Value) {
    let what = response.description.clone();
    for (form, content) in &mut response.content {
        let RefOr::T(content) = content else { continue };
        if content.example.is_none() {
            content.example = match form.as_str() {
                PROBLEM => Some(problem(status.parse().unwrap_or_default(), &what, &what)),
                _ => answers.get(format!("{status} {form}")).cloned(),
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route_is_described_and_every_reference_leads_somewhere() {
        let document: Value = serde_json::from_str(&document().to_json().unwrap()).unwrap();
        assert!(document["openapi"].as_str().unwrap().starts_with("3.1"), "{}", document["openapi"]);
        let paths = document["paths"].as_object().unwrap();
        for path in crate::routes::DESCRIBED {
            assert!(paths.contains_key(*path), "{path} is not in the description");
        }
        let text = document.to_string();
        for reference in text.split("#/components/schemas/").skip(1) {
            let name = reference.split('"').next().unwrap();
            assert!(!document["components"]["schemas"][name].is_null(), "{name} leads nowhere");
        }
    }
    #[test]
    fn every_answer_that_is_text_has_an_example() {
        let document: Value = serde_json::from_str(&document().to_json().unwrap()).unwrap();
        let mut without = Vec::new();
        for (path, item) in document["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap() {
                for (status, response) in operation["responses"].as_object().unwrap() {
                    for (form, content) in response["content"].as_object().into_iter().flatten() {
                        let has_example = content.get("example").or(content.get("examples")).is_some();
                        let is_raw =
                            ["parquet", "octet-stream", "ndjson"].iter().any(|raw| form.contains(raw));
                        if !has_example && !is_raw {
                            without.push(format!("{method} {path} {status} {form}"));
                        }
                    }
                }
            }
        }
        assert_eq!(without, [""; 0]);
    }
}
