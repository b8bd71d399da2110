//! The form of a search: what was typed, what it is taken for, and the requests that follow from it.

use std::sync::Arc;

use actix_web::web;
use maud::{Markup, html};
use protext_engine::input::InputRecord;
use protext_engine::search::{Query, SearchRequest};
use protext_engine::{EngineError, Limits, Target};
use protext_index::{Filter, IndexError};
use serde::Deserialize;

use crate::body::ReadBody;
use crate::error::{Problem, ProblemKind};
use crate::fasta;
use crate::routes::check_count;
use crate::state::AppState;

/// Most sequences of one form; for more there is a view.
const MAX_SEQUENCES: usize = 20;
/// Hits when the form does not say.
const DEFAULT_K: usize = 10;
/// Letters from which on a word is read as residues.
const LEAST_RESIDUES: usize = 20;

/// The fields as a browser sends them.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct SearchForm {
    pub(super) q: String,
    pub(super) by: By,
    /// Collection; empty for the one of proteins.
    #[serde(rename = "in")]
    pub(super) collection: String,
    pub(super) k: String,
    /// Only records of which this holds.
    pub(super) filter: String,
    pub(super) align: String,
    pub(super) exact: String,
    /// Order the first hits anew by their residues.
    pub(super) rerank: String,
    /// The one hit that is asked about, in [`super::why`].
    pub(super) hit: String,
    /// What is downloaded, in [`super::download`].
    pub(super) format: String,
}

/// What the query is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum By {
    #[default]
    Auto,
    Sequence,
    Text,
    Gene,
    Id,
}

impl By {
    const ALL: [(Self, &'static str, &'static str); 5] = [
        (Self::Auto, "auto", "whatever it looks like"),
        (Self::Sequence, "sequence", "sequence or FASTA"),
        (Self::Text, "text", "sentence"),
        (Self::Gene, "gene", "gene symbol"),
        (Self::Id, "id", "accession"),
    ];

    /// As the form sends it.
    pub(super) fn value(self) -> &'static str {
        Self::ALL.iter().find(|(by, _, _)| *by == self).map_or("auto", |(_, value, _)| value)
    }

    /// What `q` looks like: FASTA or one long word of letters is a sequence, several words are a sentence, another word is an
    /// accession if a collection holds it, else a gene.
    pub(super) fn guess(q: &str, is_id: impl Fn(&str) -> bool) -> Self {
        let q = q.trim();
        let letters: Vec<char> = q.chars().filter(|letter| !letter.is_whitespace()).collect();
        let is_residue = |letter: &char| letter.is_ascii_uppercase() || "*-".contains(*letter);
        let lines_are_words = q.lines().all(|line| line.split_whitespace().count() <= 1);
        if q.starts_with('>')
            || (letters.len() >= LEAST_RESIDUES && lines_are_words && letters.iter().all(is_residue))
        {
            Self::Sequence
        } else if q.split_whitespace().count() > 1 {
            Self::Text
        } else if is_id(q) {
            Self::Id
        } else if letters.len() >= LEAST_RESIDUES && letters.iter().all(char::is_ascii_alphabetic) {
            Self::Sequence
        } else {
            Self::Gene
        }
    }
}

/// One query of the form.
pub(super) struct Asked {
    /// Its name in FASTA.
    pub(super) name: Option<String>,
    pub(super) request: SearchRequest,
}

impl SearchForm {
    /// The form as a browser posts it.
    pub(super) fn of(body: Result<ReadBody, Problem>) -> Result<Self, Problem> {
        let body = body?;
        let malformed = |why: String| Problem::new(ProblemKind::Malformed, format!("form: {why}"));
        let text = std::str::from_utf8(&body.bytes).map_err(|error| malformed(error.to_string()))?;
        let form = web::Query::<Self>::from_query(text).map_err(|error| malformed(error.to_string()))?;
        Ok(form.into_inner())
    }

    /// True before anything was typed.
    pub(super) fn is_empty(&self) -> bool {
        self.q.trim().is_empty()
    }

    /// The collection that is named, if one is.
    pub(super) fn collection(&self) -> Option<String> {
        Some(self.collection.trim().to_owned()).filter(|name| !name.is_empty())
    }

    /// What the query is taken for.
    pub(super) fn by(&self, state: &AppState) -> By {
        let holds = |id: &str| {
            // Asking a server would keep this thread waiting; ids of its records are to be named as ids.
            let collections = state.engine.collections();
            let mut here = collections.values().filter(|open| !open.is_elsewhere());
            here.any(|open| matches!(open.view().get(id), Ok(Some(_))))
        };
        if self.by == By::Auto { By::guess(&self.q, holds) } else { self.by }
    }

    /// The queries, several only from FASTA.
    pub(super) fn queries(&self, state: &AppState) -> Result<Vec<(Option<String>, Query)>, Problem> {
        let q = self.q.trim().to_owned();
        let query = match self.by(state) {
            By::Sequence if q.starts_with('>') => {
                let records = fasta::records(q.as_bytes(), MAX_SEQUENCES)?;
                let query = |record: InputRecord| {
                    (Some(record.id), Query::Sequence(record.payload.as_str().to_owned()))
                };
                return Ok(records.into_iter().map(query).collect());
            }
            By::Sequence => Query::Sequence(q),
            By::Id => Query::Id(q),
            By::Gene => Query::Gene(q),
            By::Text | By::Auto => Query::Text(q),
        };
        Ok(vec![(None, query)])
    }

    /// Requests to the engine, within its limits.
    pub(super) fn requests(&self, state: &AppState) -> Result<Vec<Asked>, Problem> {
        let limits: Limits = state.engine.limits();
        let k = number("k", &self.k)?.unwrap_or(DEFAULT_K);
        let filter = match self.filter.trim() {
            "" => None,
            typed => Some(Arc::new(
                Filter::parse(typed).map_err(|error| EngineError::from(IndexError::from(error)))?,
            )),
        };
        let queries = self.queries(state)?;
        check_count(limits, k, queries.len())?;
        let rerank = if self.rerank.is_empty() { 0 } else { k.max(50).min(limits.max_rerank) };
        let asked = queries.into_iter().map(|(name, query)| Asked {
            name,
            request: SearchRequest {
                query: Some(query),
                keywords: None,
                filter: filter.clone(),
                collection: self.collection(),
                target: None,
                k,
                exact: !self.exact.is_empty(),
                align: !self.align.is_empty(),
                rerank,
            },
        });
        Ok(asked.collect())
    }
}

/// A number that was typed; nothing typed is no number.
fn number(field: &'static str, typed: &str) -> Result<Option<usize>, Problem> {
    let typed = typed.trim();
    if typed.is_empty() {
        return Ok(None);
    }
    let wrong = |_| {
        Problem::new(ProblemKind::Invalid, format!("{field} is {typed:?}, but must be a whole number"))
            .in_field(field)
    };
    typed.parse().map(Some).map_err(wrong)
}

/// Something to try, by what it shows.
const EXAMPLES: [(&str, &str); 3] = [
    ("a chaperone that helps other proteins fold after heat shock", "a sentence"),
    (
        "MVLSPADKTNVKAAWGKVGAHAGEYGAEALERMFLSFPTTKTYFPHFDLSHGSAQVKGHGKKVADALTNAVAHVDDMPNALSALSDLHAHKLRVDPVNFKLLSHCLLVTLAAHLPAEFTPAVHASLDKFLASVSTVLTSKYR",
        "a globin",
    ),
    ("rbfA", "a gene"),
];

/// The form, filled with what was asked.
pub(super) fn markup(state: &web::Data<AppState>, form: &SearchForm) -> Markup {
    let holds_residues = |target: Target| target == Target::Proteins;
    html! {
        form.card #search method="post" action="/" {
            label for="q" { "A sequence, FASTA, a sentence, a gene or an accession" }
            textarea #q name="q" spellcheck="false" autofocus[form.is_empty()] required { (form.q) }
            fieldset {
                legend { "It is" }
                @for (by, value, name) in By::ALL {
                    label { input type="radio" name="by" value=(value) checked[form.by == by]; (name) }
                }
            }
            div.row {
                label { "Look in"
                    select name="in" {
                        @for (name, open) in &*super::shown_collections(state) {
                            @let is_chosen = if form.collection.is_empty() { holds_residues(open.target) } else { form.collection == *name };
                            option value=(name) selected[is_chosen] { (name) " (" (open.view().len()) " " (open.target) ")" }
                        }
                    }
                }
                label.grow { "Only where" input type="text" name="filter" value=(form.filter) placeholder="organism = \"Escherichia coli\" and length < 400"; }
                label { "Hits" input type="number" name="k" min="1" max=(state.engine.limits().max_k) value=(if form.k.is_empty() { "10" } else { form.k.as_str() }); }
                fieldset {
                    label { input type="checkbox" name="align" checked[!form.align.is_empty()]; "align hits" }
                    label title="Compare with every record" { input type="checkbox" name="exact" checked[!form.exact.is_empty()]; "exact" }
                    label title="Order the first hits anew by aligning residues in embedding space; sequences only" {
                        input type="checkbox" name="rerank" checked[!form.rerank.is_empty()]; "re-rank"
                    }
                }
                button type="submit" { "Search" }
            }
            p.hint.examples {
                "Try: "
                @for (q, name) in EXAMPLES {
                    a href={ "/?q=" (q.replace(' ', "+")) } { (name) }
                    " "
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_typed_is_taken_for_what_it_looks_like() {
        let is_id = |id: &str| id == "P69905";
        for (q, by) in [
            (">sp|P69905\nMVLSPADK", By::Sequence),
            ("MVLSPADKTNVKAAWGKVGAHAGEYG", By::Sequence),
            ("MVLSPADKTNVKAAW\nGKVGAHAGEYG", By::Sequence),
            ("mvlspadktnvkaawgkvgahageyg", By::Sequence),
            ("copper transport across membranes", By::Text),
            ("COPPER TRANSPORT ACROSS MEMBRANES", By::Text),
            ("P69905", By::Id),
            ("recA", By::Gene),
            ("  TP53  ", By::Gene),
        ] {
            assert_eq!(By::guess(q, is_id), by, "{q}");
        }
    }

    #[test]
    fn numbers_are_whole() {
        assert_eq!(number("k", " 12 ").expect("a number"), Some(12));
        assert_eq!(number("k", "").expect("nothing"), None);
        assert!(number("k", "ten").is_err());
    }
}
