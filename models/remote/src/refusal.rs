//! Answers that are no rows: what their status and body mean.

use std::time::{Duration, SystemTime};

use protext_http::{ApiKey, is_passing, retry_after};
use reqwest::Response;
use serde_json::Value;

use crate::error::RemoteError;

/// Most characters repeated of an answer that refuses.
const MAX_DETAIL_CHARS: usize = 300;
/// Most bytes read of one.
const MAX_BODY_BYTES: usize = 64 << 10;

/// What an answer without rows means.
pub(crate) enum Refusal {
    /// Another try may help.
    Passing { status: u16, asked: Option<Duration>, detail: String },
    /// None will.
    Final(RemoteError),
}

/// Who was asked, and with which key.
pub(crate) struct Asked<'a> {
    pub(crate) endpoint: &'a str,
    pub(crate) key: Option<&'a ApiKey>,
    pub(crate) key_variable: Option<&'a str>,
}

impl Asked<'_> {
    /// Reads the status, the wait that is asked for, and what the body says.
    pub(crate) async fn refusal(&self, response: Response) -> Refusal {
        let status = response.status().as_u16();
        let endpoint = self.endpoint.to_owned();
        if matches!(status, 401 | 403) {
            // Bodies of these quote keys, shortened in ways that cannot be known: they are not even read.
            let variable = self.key_variable.map(str::to_owned);
            return Refusal::Final(RemoteError::KeyRefused { endpoint, status, variable });
        }
        let asked = retry_after(response.headers(), SystemTime::now());
        let told = Told::read(&start_of(response).await);
        let detail = self.shown(&told.message);
        // A quota that is used up has the status of a busy service, but no wait brings it back.
        if is_passing(status) && told.code != "insufficient_quota" {
            return Refusal::Passing { status, asked, detail };
        }
        let is_input =
            matches!(status, 400 | 413 | 422) && (told.param.is_empty() || told.param.starts_with("input"));
        Refusal::Final(if is_input {
            RemoteError::InputRefused { endpoint, status, detail }
        } else {
            RemoteError::Declined { endpoint, status, detail }
        })
    }

    /// One short line without the key.
    fn shown(&self, message: &str) -> String {
        let line = message.split_whitespace().collect::<Vec<_>>().join(" ");
        let line = self.key.map_or_else(|| line.clone(), |key| key.hide(&line));
        line.chars().take(MAX_DETAIL_CHARS).collect()
    }
}

async fn start_of(mut response: Response) -> Vec<u8> {
    let mut body = Vec::new();
    while body.len() < MAX_BODY_BYTES {
        match response.chunk().await {
            Ok(Some(chunk)) => body.extend_from_slice(&chunk),
            _ => break,
        }
    }
    body
}

/// An error body: OpenAI's `{"error": {"message", "code", "param"}}` or what others make of it.
#[derive(Debug, Default, PartialEq, Eq)]
struct Told {
    message: String,
    code: String,
    param: String,
}

impl Told {
    fn read(body: &[u8]) -> Self {
        let Ok(value) = serde_json::from_slice::<Value>(body) else {
            let text = String::from_utf8_lossy(&body[..body.len().min(8 * MAX_DETAIL_CHARS)]);
            return Self { message: text.into_owned(), ..Self::default() };
        };
        let error = value.get("error").unwrap_or(&value);
        let field = |name: &str| error.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let words = ["message", "detail"].map(field);
        let whole = || error.as_str().map_or_else(|| error.to_string(), str::to_owned);
        Self {
            message: words.into_iter().find(|word| !word.is_empty()).unwrap_or_else(whole),
            code: field("code"),
            param: field("param"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_bodies_of_several_makers_are_read() {
        let cases = [
            (r#"{"error":{"message":"too long","code":"c","param":"input"}}"#, ["too long", "c", "input"]),
            (r#"{"error":"model is loading"}"#, ["model is loading", "", ""]),
            (r#"{"detail":"Not Found"}"#, ["Not Found", "", ""]),
            (r#"{"error":{"message":"m","code":null,"param":null}}"#, ["m", "", ""]),
            (r#"{"detail":[{"loc":["body"]}]}"#, [r#"{"detail":[{"loc":["body"]}]}"#, "", ""]),
            ("<html>Bad gateway", ["<html>Bad gateway", "", ""]),
            ("", ["", "", ""]),
        ];
        for (body, told) in cases {
            let [message, code, param] = told.map(str::to_owned);
            assert_eq!(Told::read(body.as_bytes()), Told { message, code, param }, "{body}");
        }
    }

    #[test]
    fn what_is_shown_is_short_and_without_the_key() {
        let key = ApiKey::new("sk-secret-1");
        let asked = Asked { endpoint: "http://h", key: Some(&key), key_variable: None };
        let shown = asked.shown(&format!("your\nkey  sk-secret-1 {}", "a".repeat(1000)));
        assert!(shown.starts_with("your key (hidden) aaa") && shown.len() == 300, "{shown}");
    }
}
