//! Views that a script fills: the map of a collection, searches for many proteins at once, predictions.

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, web};
use maud::{Markup, html};

use super::frame::{self, View};
use crate::state::AppState;

pub(super) async fn map(state: web::Data<AppState>) -> HttpResponse {
    let content = html! {
        div.row {
            (collections(&state))
            label { "Colour by" select #colour {} }
            label.grow { "Find" input #find type="search" placeholder="part of an id, a gene or a name"; }
            button.plain #reset type="button" { "Whole map" }
        }
        p.hint #told aria-live="polite" { "The map is drawn by a script." }
        div.map { canvas #map tabindex="0" role="img" aria-label="Map of the collection: near points have near vectors" {} div.tip hidden {} }
        div.legend #legend {}
        p.hint { "Near points have near vectors (t-SNE); distances between groups mean little. Drag to move, wheel or + and − to zoom, "
            "click a point to search from it, shift and drag to choose several." }
        div #chosen {}
    };
    frame::respond(StatusCode::OK, frame::page(&state, View::Map, Some("map.js"), &content))
}

pub(super) async fn batch(state: web::Data<AppState>) -> HttpResponse {
    let content = html! {
        form.card #batch {
            label { "A FASTA file" input #file type="file" accept=".fa,.faa,.fasta,.txt" required; }
            div.row {
                (collections(&state))
                label { "Hits each" input #k type="number" min="1" max="100" value="5"; }
                button type="submit" { "Search them all" }
                button.plain #stop type="button" disabled { "Stop" }
            }
            p.hint { "The file is read here and sent in parts, so its size does not matter; results can be saved at any time." }
            noscript { p.hint { "This view needs a script. At a command line: " code { "protext search proteins.fasta --url ADDRESS --format tsv" } } }
        }
        div #progress aria-live="polite" {}
        div #results {}
    };
    frame::respond(StatusCode::OK, frame::page(&state, View::Batch, Some("batch.js"), &content))
}

pub(super) async fn predict(state: web::Data<AppState>) -> HttpResponse {
    let content = html! {
        form.card data-predict="ppi" {
            h2 { "Do two proteins interact?" }
            div.row {
                label.grow { "One: sequence or accession" textarea #ppi-a required {} }
                label.grow { "The other" textarea #ppi-b required {} }
            }
            p { button type="submit" { "Predict" } }
            div data-answer aria-live="polite" {}
        }
        form.card data-predict="perturbation" {
            h2 { "What does perturbing genes change?" }
            div.row {
                label.grow { "Gene symbols, perturbed together" input #genes type="text" required placeholder="POLR2A"; }
                @if !state.engine.perturbation().is_empty() {
                    label { "Head" select #head { @for id in state.engine.perturbation().ids() { option { (id) } } } }
                }
            }
            p { button type="submit" { "Predict" } }
            div data-answer aria-live="polite" {}
        }
        form.card data-predict="variants" {
            h2 { "Which substitutions does a protein tolerate?" }
            label { "Sequence or accession" textarea #variant-protein required {} }
            label { "Mutants such as A12V or A12V:G45D; none for every substitution" input #mutants type="text"; }
            p { button type="submit" { "Predict" } }
            div data-answer aria-live="polite" {}
        }
        noscript { p.hint { "This view needs a script. At a command line: " code { "protext ppi" } ", " code { "protext perturb" } ", " code { "protext variants" } "." } }
    };
    frame::respond(StatusCode::OK, frame::page(&state, View::Predict, Some("predict.js"), &content))
}

fn collections(state: &AppState) -> Markup {
    html! {
        label { "Collection"
            select #collection {
                @for (name, open) in &*super::shown_collections(state) {
                    option value=(name) { (name) " (" (open.view().len()) " " (open.target) ")" }
                }
            }
        }
    }
}
