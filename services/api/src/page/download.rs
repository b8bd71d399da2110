//! `POST /download`: the answers of the form as a file, m8 or FASTA.

use actix_web::http::header::CONTENT_DISPOSITION;
use actix_web::{HttpResponse, web};
use protext_engine::m8::m8_lines;

use super::answers::{Named, find};
use super::frame::{self, View};
use super::search_form::SearchForm;
use crate::body::ReadBody;
use crate::error::{Problem, ProblemKind};
use crate::routes::answers_as_json;
use crate::state::AppState;

/// Residues of a line of FASTA.
const LINE: usize = 60;

pub(super) async fn post(state: web::Data<AppState>, body: Result<ReadBody, Problem>) -> HttpResponse {
    let made = match SearchForm::of(body) {
        Ok(form) => file(&state, form).await,
        Err(problem) => Err(problem),
    };
    match made {
        Ok((content_type, name, body)) => HttpResponse::Ok()
            .content_type(content_type)
            .insert_header((CONTENT_DISPOSITION, format!("attachment; filename=\"{name}\"")))
            .body(body),
        Err(problem) => {
            let content = frame::problem(&problem);
            frame::respond(problem.status(), frame::page(&state, View::Search, None, &content))
        }
    }
}

async fn file(
    state: &AppState,
    mut form: SearchForm,
) -> Result<(&'static str, &'static str, String), Problem> {
    let format = std::mem::take(&mut form.format);
    if format == "tsv" {
        "on".clone_into(&mut form.align);
    }
    let answers = find(state, &form).await?;
    match format.as_str() {
        "tsv" => {
            let lines =
                answers.iter().map(|(name, answer)| m8_lines(name.as_deref().unwrap_or("query"), answer));
            Ok(("text/tab-separated-values", "hits.m8", lines.collect()))
        }
        "fasta" => Ok(("text/x-fasta", "hits.fasta", fasta(&answers)?)),
        "json" => Ok(("application/json", "hits.json", answers_as_json(&answers)?)),
        other => {
            let detail = format!("format is {other:?}, but must be tsv, fasta or json");
            Err(Problem::new(ProblemKind::Invalid, detail).in_field("format"))
        }
    }
}

/// Every hit once.
fn fasta(answers: &[Named]) -> Result<String, Problem> {
    let mut seen = std::collections::HashSet::new();
    let mut text = String::new();
    for hit in answers.iter().flat_map(|(_, answer)| &answer.hits) {
        let Some(sequence) = hit.record.sequence.as_deref().filter(|_| seen.insert(hit.record.id.as_str()))
        else {
            continue;
        };
        text += &format!(">{} {}\n", hit.record.id, hit.record.description.replace('\n', " "));
        for line in sequence.as_bytes().chunks(LINE) {
            text += &String::from_utf8_lossy(line);
            text.push('\n');
        }
    }
    if text.is_empty() {
        return Err(
            Problem::new(ProblemKind::Invalid, "no hit has a sequence; take TSV instead").in_field("format")
        );
    }
    Ok(text)
}
