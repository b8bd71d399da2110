//! Which form of an answer the caller takes, from `Accept` (RFC 9110, section 12.5.1).

use std::cmp::Reverse;

use actix_web::HttpRequest;
use actix_web::http::header::ACCEPT;

use crate::error::{Problem, ProblemKind};

/// One form that a route can answer in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Json,
    /// JSON, one record a line.
    JsonLines,
    /// m8 lines.
    Tsv,
    Fasta,
    Parquet,
    /// Vectors one after another, little-endian 32-bit floats.
    F32,
    /// The same in 16-bit floats.
    F16,
}

impl Form {
    /// Its media type.
    pub(crate) fn media_type(self) -> &'static str {
        match self {
            Form::Json => "application/json",
            Form::JsonLines => "application/x-ndjson",
            Form::Tsv => "text/tab-separated-values",
            Form::Fasta => "text/x-fasta",
            Form::Parquet => "application/vnd.apache.parquet",
            Form::F32 => "application/octet-stream",
            Form::F16 => "application/octet-stream;dtype=f16",
        }
    }

    /// Whether a media range of `Accept` covers it.
    fn is_in(self, range: &str) -> bool {
        let range = range.replace(' ', "").to_ascii_lowercase();
        let plain = self.media_type().split(';').next().unwrap_or_default();
        let kind = plain.split('/').next().unwrap_or_default();
        match self {
            Form::F16 => range == self.media_type(),
            Form::F32 => range == plain || range == "application/octet-stream;dtype=f32",
            _ => range == "*/*" || range == plain || range == format!("{kind}/*"),
        }
    }
}

/// The form that the caller likes best among `offered`; the first one where it does not say.
///
/// # Errors
/// `406` if it takes none of them.
pub(crate) fn choose(request: &HttpRequest, offered: &[Form]) -> Result<Form, Problem> {
    let accept: Vec<&str> =
        request.headers().get_all(ACCEPT).filter_map(|value| value.to_str().ok()).collect();
    best(&accept.join(","), offered).ok_or_else(|| {
        let known = offered.iter().map(|form| form.media_type()).collect::<Vec<_>>().join(", ");
        Problem::new(ProblemKind::NotAcceptable, format!("this route answers in {known}; name one in Accept"))
    })
}

fn best(accept: &str, offered: &[Form]) -> Option<Form> {
    let ranges: Vec<(String, f32)> =
        accept.split(',').filter(|range| !range.trim().is_empty()).map(parse_range).collect();
    if ranges.is_empty() {
        return offered.first().copied();
    }
    // The most specific range that covers a form decides on it.
    let weight = |form: Form| {
        let covering = ranges.iter().filter(|(range, _)| form.is_in(range));
        let specificity = |range: &str| (Reverse(range.matches('*').count()), range.len());
        let most_specific = covering.max_by_key(|(range, _)| specificity(range));
        most_specific.map_or(0.0, |(_, weight)| *weight)
    };
    // Of equals the first one offered.
    let ranked = offered.iter().map(|&form| (form, weight(form))).filter(|(_, weight)| *weight > 0.0);
    ranked.reduce(|best, next| if next.1 > best.1 { next } else { best }).map(|(form, _)| form)
}

/// A media range without its weight, and the weight.
fn parse_range(range: &str) -> (String, f32) {
    let (mut kept, mut weight) = (Vec::new(), 1.0);
    for part in range.split(';').map(str::trim) {
        match part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")) {
            Some(value) => weight = value.parse().unwrap_or(0.0),
            // A character set says nothing here: all text is UTF-8.
            None if part.to_ascii_lowercase().starts_with("charset=") => {}
            None => kept.push(part),
        }
    }
    (kept.join(";"), weight)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_form_is_chosen() {
        let offered = [Form::Json, Form::Tsv, Form::Parquet, Form::F32, Form::F16];
        let table = [
            ("", Some(Form::Json)),
            ("*/*", Some(Form::Json)),
            ("text/*", Some(Form::Tsv)),
            ("text/tab-separated-values; charset=utf-8", Some(Form::Tsv)),
            ("application/json;q=0.5, text/tab-separated-values", Some(Form::Tsv)),
            ("text/html, */*;q=0.1", Some(Form::Json)),
            ("application/json;q=0, */*", Some(Form::Tsv)),
            ("application/octet-stream", Some(Form::F32)),
            ("application/octet-stream; dtype=f16", Some(Form::F16)),
            ("application/octet-stream; dtype=f64", None),
            ("image/png", None),
            ("application/json;q=rubbish", None),
        ];
        for (accept, expected) in table {
            assert_eq!(best(accept, &offered), expected, "{accept}");
        }
    }
}
