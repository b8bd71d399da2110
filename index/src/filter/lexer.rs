//! Cuts a filter into words, values and signs, each with its place.

use super::error::{FilterError, FilterFault};

/// A piece of a filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Token {
    Open,
    Close,
    Comma,
    /// `=`, `!=`, `<`, `<=`, `>` or `>=`.
    Sign(&'static str),
    /// As written, without quotation marks: a field, a keyword or a value.
    Word(String),
    /// Within quotation marks: a field or a value, never a keyword.
    Quoted(String),
}

impl Token {
    /// How a message names it.
    pub(super) fn shown(&self) -> String {
        match self {
            Token::Open => "`(`".to_owned(),
            Token::Close => "`)`".to_owned(),
            Token::Comma => "`,`".to_owned(),
            Token::Sign(sign) => format!("`{sign}`"),
            Token::Word(word) | Token::Quoted(word) => format!("{:?}", shortened(word)),
        }
    }
}

/// The start of a long word, for a message.
pub(super) fn shortened(word: &str) -> String {
    word.chars().take(40).collect()
}

/// A token and the 1-based character at which it starts.
pub(super) type Placed = (usize, Token);

const SIGNS: [(&str, &str); 8] =
    [("!=", "!="), ("<>", "!="), ("<=", "<="), (">=", ">="), ("==", "="), ("=", "="), ("<", "<"), (">", ">")];

pub(super) fn tokens(text: &str) -> Result<Vec<Placed>, FilterError> {
    let mut tokens = Vec::new();
    let mut rest = text;
    let mut at = 1;
    let skip = |rest: &mut &str, n_bytes: usize, at: &mut usize| {
        *at += rest[..n_bytes].chars().count();
        *rest = &rest[n_bytes..];
    };
    while let Some(first) = rest.chars().next() {
        let start = at;
        let fail = |fault| Err(FilterError { at: start, fault });
        let sign = SIGNS.iter().find(|(sign, _)| rest.starts_with(sign));
        let (token, n_bytes) = match (first, sign) {
            ('\0', _) => return fail(FilterFault::Nul),
            (white, _) if white.is_whitespace() => (None, white.len_utf8()),
            ('(', _) => (Some(Token::Open), 1),
            (')', _) => (Some(Token::Close), 1),
            (',', _) => (Some(Token::Comma), 1),
            (quote @ ('"' | '\''), _) => match quoted(rest, quote) {
                Some((_, n_bytes)) if rest[..n_bytes].contains('\0') => return fail(FilterFault::Nul),
                Some((value, n_bytes)) => (Some(Token::Quoted(value)), n_bytes),
                None => return fail(FilterFault::OpenQuote { quote }),
            },
            (_, Some((sign, meaning))) => (Some(Token::Sign(meaning)), sign.len()),
            ('!', None) => {
                return fail(FilterFault::Unexpected { expected: "`!=` or `not`", found: "`!`".into() });
            }
            _ => {
                let ends = |c: char| c.is_whitespace() || "()=!<>,\"'\0".contains(c);
                let word = &rest[..rest.find(ends).unwrap_or(rest.len())];
                (Some(Token::Word(word.to_owned())), word.len())
            }
        };
        tokens.extend(token.map(|token| (start, token)));
        skip(&mut rest, n_bytes, &mut at);
    }
    Ok(tokens)
}

/// The value between quotation marks at the start of `text`, and the bytes it takes. A backslash keeps the character
/// after it.
fn quoted(text: &str, quote: char) -> Option<(String, usize)> {
    let mut value = String::new();
    let mut chars = text.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => value.push(chars.next()?.1),
            c if c == quote => return Some((value, at + 1)),
            c => value.push(c),
        }
    }
    None
}
