//! The grammar of filters, by recursive descent with a bound on the depth.
//!
//! ```text
//! any       := all ("or" all)*
//! all       := not ("and" not)*
//! not       := "not" not | "(" any ")" | condition
//! condition := field sign value
//!            | field ["not"] "in" "(" value ("," value)* ")"
//!            | field ["not"] "between" value "and" value
//!            | field ["not"] "under" taxon
//!            | field "exists"
//! sign      := "=" | "!=" | "<" | "<=" | ">" | ">="
//! ```

use super::condition::Comparison;
use super::error::{FilterError, FilterFault};
use super::lexer::{Placed, Token, tokens};

/// Longest filter, in bytes: ten thousand accessions fit.
pub const MAX_FILTER_BYTES: usize = 128 * 1024;
/// Deepest nesting of parentheses and `not`.
pub const MAX_FILTER_DEPTH: usize = 64;
/// Most conditions and values.
pub const MAX_FILTER_VALUES: usize = 20_000;

/// Conditions, joined.
#[derive(Debug, Clone, PartialEq)]
pub enum Expression<T> {
    /// All parts hold; two or more.
    All(Vec<Expression<T>>),
    /// Any part holds; two or more.
    Any(Vec<Expression<T>>),
    /// The part does not hold.
    Not(Box<Expression<T>>),
    /// A condition.
    Condition(T),
}

/// A name or value, its place, and whether it stood in quotation marks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Written {
    pub(super) at: usize,
    pub(super) text: String,
    pub(super) is_quoted: bool,
}

/// A condition before its field is known.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Asked {
    pub(super) field: Written,
    pub(super) holds: AskedHolds,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum AskedHolds {
    Exists,
    Compares(Comparison, Written),
    OneOf(Vec<Written>),
    Between(Written, Written),
    Under(Written),
}

type Parsed<T> = Result<T, FilterError>;

pub(super) fn parse(text: &str) -> Parsed<Expression<Asked>> {
    if text.len() > MAX_FILTER_BYTES {
        let fault = FilterFault::TooLong { max_bytes: MAX_FILTER_BYTES };
        return Err(FilterError { at: 1, fault });
    }
    let end = text.chars().count() + 1;
    let mut parser = Parser { tokens: tokens(text)?, next: 0, end, n_values: 0 };
    if parser.tokens.is_empty() {
        return Err(FilterError { at: 1, fault: FilterFault::Empty });
    }
    let expression = parser.any(0)?;
    match parser.peek() {
        None => Ok(expression),
        Some(_) => Err(parser.unexpected("`and`, `or` or the end")),
    }
}

struct Parser {
    tokens: Vec<Placed>,
    next: usize,
    /// The place after the last character.
    end: usize,
    n_values: usize,
}

impl Parser {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.next).map(|(_, token)| token)
    }

    fn at(&self) -> usize {
        self.tokens.get(self.next).map_or(self.end, |(at, _)| *at)
    }

    fn unexpected(&self, expected: &'static str) -> FilterError {
        let found = self.peek().map_or_else(|| "the end".to_owned(), Token::shown);
        FilterError { at: self.at(), fault: FilterFault::Unexpected { expected, found } }
    }

    fn is_keyword(&self, ahead: usize, keyword: &str) -> bool {
        let token = self.tokens.get(self.next + ahead).map(|(_, token)| token);
        matches!(token, Some(Token::Word(word)) if word.eq_ignore_ascii_case(keyword))
    }

    /// Goes past a keyword if it stands here.
    fn takes(&mut self, keyword: &str) -> bool {
        let is_here = self.is_keyword(0, keyword);
        self.next += usize::from(is_here);
        is_here
    }

    fn take(&mut self, token: &Token, expected: &'static str) -> Parsed<()> {
        if self.peek() != Some(token) {
            return Err(self.unexpected(expected));
        }
        self.next += 1;
        Ok(())
    }

    fn count(&mut self) -> Parsed<()> {
        self.n_values += 1;
        if self.n_values > MAX_FILTER_VALUES {
            return Err(FilterError {
                at: self.at(),
                fault: FilterFault::TooMany { max: MAX_FILTER_VALUES },
            });
        }
        Ok(())
    }

    fn any(&mut self, depth: usize) -> Parsed<Expression<Asked>> {
        let mut parts = vec![self.all(depth)?];
        while self.takes("or") {
            parts.push(self.all(depth)?);
        }
        Ok(if parts.len() == 1 { parts.swap_remove(0) } else { Expression::Any(parts) })
    }

    fn all(&mut self, depth: usize) -> Parsed<Expression<Asked>> {
        let mut parts = vec![self.not(depth)?];
        while self.takes("and") {
            parts.push(self.not(depth)?);
        }
        Ok(if parts.len() == 1 { parts.swap_remove(0) } else { Expression::All(parts) })
    }

    fn not(&mut self, depth: usize) -> Parsed<Expression<Asked>> {
        if depth > MAX_FILTER_DEPTH {
            return Err(FilterError {
                at: self.at(),
                fault: FilterFault::TooDeep { max_depth: MAX_FILTER_DEPTH },
            });
        }
        if self.takes("not") {
            return Ok(Expression::Not(Box::new(self.not(depth + 1)?)));
        }
        if self.peek() == Some(&Token::Open) {
            self.next += 1;
            let inner = self.any(depth + 1)?;
            self.take(&Token::Close, "`and`, `or` or `)`")?;
            return Ok(inner);
        }
        self.condition()
    }

    fn condition(&mut self) -> Parsed<Expression<Asked>> {
        self.count()?;
        let field = self.written("a field")?;
        let is_operator = |word: &&str| self.is_keyword(1, word);
        let is_negated =
            self.is_keyword(0, "not") && ["in", "between", "under", "exists"].iter().any(is_operator);
        self.next += usize::from(is_negated);
        let (holds, is_other) = self.holds()?;
        let condition = Expression::Condition(Asked { field, holds });
        Ok(if is_negated != is_other { Expression::Not(Box::new(condition)) } else { condition })
    }

    /// What follows a field; true if it must not hold, as after `!=`.
    fn holds(&mut self) -> Parsed<(AskedHolds, bool)> {
        const EXPECTED: &str = "=, !=, <, <=, >, >=, `in`, `between`, `under` or `exists`";
        if let Some(Token::Sign(sign)) = self.peek() {
            let comparison = match *sign {
                "<" => Comparison::Less,
                "<=" => Comparison::AtMost,
                ">" => Comparison::Greater,
                ">=" => Comparison::AtLeast,
                _ => Comparison::Equal,
            };
            let is_other = *sign == "!=";
            self.next += 1;
            return Ok((AskedHolds::Compares(comparison, self.value()?), is_other));
        }
        let holds = if self.takes("exists") {
            AskedHolds::Exists
        } else if self.takes("under") {
            AskedHolds::Under(self.value()?)
        } else if self.takes("between") {
            let low = self.value()?;
            if !self.takes("and") {
                return Err(self.unexpected("`and` with the upper end"));
            }
            AskedHolds::Between(low, self.value()?)
        } else if self.takes("in") {
            self.take(&Token::Open, "`(` with values")?;
            let mut values = vec![self.value()?];
            while self.peek() == Some(&Token::Comma) {
                self.next += 1;
                values.push(self.value()?);
            }
            self.take(&Token::Close, "`,` or `)`")?;
            AskedHolds::OneOf(values)
        } else {
            return Err(self.unexpected(EXPECTED));
        };
        Ok((holds, false))
    }

    fn value(&mut self) -> Parsed<Written> {
        self.count()?;
        self.written("a value")
    }

    fn written(&mut self, expected: &'static str) -> Parsed<Written> {
        const KEYWORDS: [&str; 7] = ["and", "or", "not", "in", "between", "under", "exists"];
        let is_keyword = KEYWORDS.iter().any(|keyword| self.is_keyword(0, keyword));
        let at = self.at();
        let (text, is_quoted) = match self.peek() {
            Some(Token::Word(text)) if !is_keyword => (text.clone(), false),
            Some(Token::Quoted(text)) => (text.clone(), true),
            _ => return Err(self.unexpected(expected)),
        };
        self.next += 1;
        Ok(Written { at, text, is_quoted })
    }
}
