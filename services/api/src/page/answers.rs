//! `GET /` and `POST /`: the search, and its answers beneath the form.
//!
//! With the header `x-fragment` only the answers come back, for a script that puts them into the page.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use futures_util::future::join_all;
use maud::{Markup, html};
use protext_core::LongReport;
use protext_engine::Target;
use protext_engine::align::LocalAlignment;
use protext_engine::search::{SearchAnswer, SearchHit, search};

use super::frame::{self, View};
use super::search_form::{self, SearchForm};
use crate::body::ReadBody;
use crate::error::Problem;
use crate::routes::all_or_problems;
use crate::state::AppState;

pub(super) async fn get(
    state: web::Data<AppState>,
    request: HttpRequest,
    form: Result<web::Query<SearchForm>, actix_web::Error>,
) -> HttpResponse {
    let form = form.map(web::Query::into_inner).unwrap_or_default();
    // Where keys are asked for, a link brings none along: the script sends the form with the key.
    let answers =
        if form.is_empty() || state.access.needs_keys() { Ok(Vec::new()) } else { find(&state, &form).await };
    in_page(&state, &request, &form, answers)
}

pub(super) async fn post(
    state: web::Data<AppState>,
    request: HttpRequest,
    body: Result<ReadBody, Problem>,
) -> HttpResponse {
    match SearchForm::of(body) {
        Ok(form) => {
            let answers = find(&state, &form).await;
            in_page(&state, &request, &form, answers)
        }
        Err(problem) => in_page(&state, &request, &SearchForm::default(), Err(problem)),
    }
}

/// An answer with the name of its query.
pub(super) type Named = (Option<String>, SearchAnswer);

/// Answers every query of the form, within the deadline of a request.
pub(super) async fn find(state: &AppState, form: &SearchForm) -> Result<Vec<Named>, Problem> {
    let asked = form.requests(state)?;
    let is_single = asked.len() == 1;
    let (names, requests): (Vec<_>, Vec<_>) =
        asked.into_iter().map(|asked| (asked.name, asked.request)).unzip();
    let answers = join_all(requests.into_iter().map(|request| search(&state.engine, request)));
    let answers = state.within_deadline(async { all_or_problems(answers.await, is_single) }).await?;
    answers.iter().for_each(|answer| state.metrics.searched(&answer.explanation));
    Ok(names.into_iter().zip(answers).collect())
}

fn in_page(
    state: &web::Data<AppState>,
    request: &HttpRequest,
    form: &SearchForm,
    found: Result<Vec<Named>, Problem>,
) -> HttpResponse {
    let (status, below) = match found {
        Ok(answers) => (
            StatusCode::OK,
            html! { @for (name, answer) in &answers { (markup(name.as_deref(), answer, form)) } },
        ),
        Err(problem) => (problem.status(), frame::problem(&problem)),
    };
    if request.headers().contains_key("x-fragment") {
        return frame::respond(status, below);
    }
    let content = html! {
        (search_form::markup(state, form))
        div #answers aria-live="polite" { (below) }
    };
    frame::respond(status, frame::page(state, View::Search, Some("search.js"), &content))
}

/// One answer.
fn markup(name: Option<&str>, answer: &SearchAnswer, form: &SearchForm) -> Markup {
    let ms = answer.explanation.encode_ms + answer.explanation.search_ms + answer.explanation.rerank_ms;
    html! {
        section {
            div.summary {
                h2 {
                    @if let Some(name) = name { (name) ": " }
                    (answer.hits.len()) " of " (answer.explanation.n_records) " " (answer.target)
                }
                div.row {
                    span.hint { (format!("{ms:.0} ms")) @if answer.explanation.exact { ", every record compared" } }
                    @for (format, title) in [("tsv", "TSV"), ("fasta", "FASTA"), ("json", "JSON")] {
                        button.plain type="submit" form="search" formaction="/download" name="format" value=(format) { (title) }
                    }
                }
            }
            @for note in notes(answer) { p.hint { (note) } }
            @if answer.hits.is_empty() { p { "Nothing was found." } }
            ol.hits { @for hit in &answer.hits { (hit_markup(hit, answer.target, form)) } }
        }
    }
}

/// What was done to the query before it was read.
fn notes(answer: &SearchAnswer) -> Vec<String> {
    let mut notes = Vec::new();
    match answer.long {
        Some(LongReport::Windowed { n_windows }) => {
            notes.push(format!(
                "Longer than the model reads at once: the mean of {n_windows} overlapping windows."
            ));
        }
        Some(LongReport::Truncated { kept, length }) => {
            notes.push(format!("Only the first {kept} of {length} residues were read."));
        }
        Some(LongReport::Whole) | None => {}
    }
    let Some(residues) = answer.residues else { return notes };
    let counts = [
        (residues.n_gaps, "gaps removed"),
        (residues.n_stops, "stops masked or removed"),
        (residues.n_replaced, "J read as X"),
        (residues.n_ambiguous, "ambiguous residues (B, Z, X)"),
        (residues.n_rare, "rare residues (U, O)"),
    ];
    let counts: Vec<String> =
        counts.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}")).collect();
    if !counts.is_empty() {
        notes.push(format!("In the query: {}.", counts.join(", ")));
    }
    if residues.looks_like_nucleotides {
        notes.push("The query looks like DNA or RNA, but was read as residues.".to_owned());
    }
    notes
}

fn hit_markup(hit: &SearchHit, target: Target, form: &SearchForm) -> Markup {
    let record = &hit.record;
    let is_accession = target == Target::Proteins && is_uniprot_accession(&record.id);
    html! {
        li {
            span.rank { (hit.rank) }
            div.what {
                span.id { (record.id) }
                @if let Some(gene) = &record.gene { " " span.badge { (gene) } }
                @if !record.description.is_empty() { span.name { " " (record.description) } }
                div.facts {
                    @if let Some(organism) = &record.organism { i { (organism) } }
                    @if record.length > 0 { span { (record.length) " residues" } }
                    @if is_accession {
                        a href={ "https://www.uniprot.org/uniprotkb/" (record.id) } rel="noopener" { "UniProt" }
                        a href={ "https://alphafold.ebi.ac.uk/entry/" (record.id) } rel="noopener" { "AlphaFold DB" }
                    }
                }
            }
            (score(hit))
            @if let Some(text) = &record.text { div.more { p { (text) } } }
            @if let Some(alignment) = &hit.alignment { div.more { (alignment_markup(alignment)) } }
            @if target == Target::Proteins {
                form.more method="post" action="/why" data-why {
                    input type="hidden" name="q" value=(form.q);
                    input type="hidden" name="by" value=(form.by.value());
                    input type="hidden" name="hit" value=(record.id);
                    button.plain type="submit" { "Why this hit?" }
                }
            }
        }
    }
}

/// Cosines between proteins and texts lie in this range; those between proteins reach 1.
const LEAST_BETWEEN_KINDS: f32 = -0.1;
const MOST_BETWEEN_KINDS: f32 = 0.4;

/// The cosine as a bar, and what it says about relatedness.
fn score(hit: &SearchHit) -> Markup {
    html! {
        div.score {
            @if let Some(cosine) = hit.cosine {
                @let shown = format!("{cosine:.3}");
                @let least = if hit.homology.is_some() { 0.0 } else { LEAST_BETWEEN_KINDS };
                @let most = if hit.homology.is_some() { 1.0 } else { MOST_BETWEEN_KINDS };
                meter min=(least) max=(most) value=(cosine.clamp(least, most)) aria-label="cosine" { (shown) }
                div { "cosine " (shown) }
            }
            @if let Some(homology) = hit.homology {
                div title="Probability of a shared superfamily; unrelated records expected at this cosine or above" {
                    (format!("{:.0}% homolog", homology.probability * 100.0))
                    ", " (figure(homology.expected_false_hits)) " by chance"
                }
            }
            @if let Some(score) = hit.rerank_score { div { "re-ranked " (format!("{score:.3}")) } }
        }
    }
}

/// A figure of any size, short.
fn figure(value: f64) -> String {
    if (0.01..1e4).contains(&value) { format!("{value:.2}") } else { format!("{value:.0e}") }
}

fn alignment_markup(alignment: &LocalAlignment) -> Markup {
    let (query, target) = (alignment.query_range, alignment.target_range);
    html! {
        p {
            (format!("{:.1}% identity over {} columns", alignment.identity_percent, alignment.n_columns))
            (format!(", query {}–{}, hit {}–{}", query.0, query.1, target.0, target.1))
            (format!(", {:.0} bits, E {:.1e}", alignment.bit_score, alignment.e_value))
        }
    }
}

/// The six or ten characters of a UniProt accession.
/// Source: UniProt help, "Accession numbers".
fn is_uniprot_accession(id: &str) -> bool {
    let id = id.as_bytes();
    let letter = |at: usize| id[at].is_ascii_uppercase();
    let digit = |at: usize| id[at].is_ascii_digit();
    let either = |at: usize| letter(at) || digit(at);
    // A letter, one that is also a digit, or both, after the second place.
    let block = |at: usize| letter(at) && either(at + 1) && either(at + 2) && digit(at + 3);
    match id.len() {
        6 if b"OPQ".contains(&id[0]) => digit(1) && either(2) && either(3) && either(4) && digit(5),
        6 => letter(0) && digit(1) && block(2),
        10 => letter(0) && digit(1) && block(2) && block(6),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accessions_are_told_from_other_ids() {
        for id in ["P69905", "Q3Z7U4", "A0A024R161", "O00115", "A2BC19"] {
            assert!(is_uniprot_accession(id), "{id}");
        }
        for id in ["1abcA00", "p69905", "GO:0005507", "P6990", "ENSP0000", "", "PP9905", "ABCDEFGHIJ"] {
            assert!(!is_uniprot_accession(id), "{id}");
        }
    }

    #[test]
    fn figures_are_short() {
        assert_eq!(figure(0.5), "0.50");
        assert_eq!(figure(0.0004), "4e-4");
        assert_eq!(figure(123_456.0), "1e5");
    }
}
