//! Filters: which records a search may return, as an expression over their fields.
//!
//! ```text
//! organism = "Homo sapiens" and length between 100 and 500
//! taxon under 7711 and not (gene in (HBA1, HBA2) or pe > 2)
//! ```
//!
//! [`Filter::parse`] reads the text, [`Filter::resolve`] finds the fields that it names in one state of a collection.
//! Each condition gives a set of rows (from the snapshot by SQL, from records in memory one by one), and the sets are
//! combined, so what `and`, `or` and `not` mean is the same for both.

mod condition;
mod error;
mod lexer;
mod parser;

pub(crate) use condition::Descent;
pub use condition::{Comparison, Condition, Field, Holds, Operand, number_in};
pub use error::{FilterError, FilterFault};
pub use parser::{Expression, MAX_FILTER_BYTES, MAX_FILTER_DEPTH, MAX_FILTER_VALUES};

use crate::error::IndexError;
use crate::row_set::RowSet;
use lexer::shortened;
use parser::{Asked, AskedHolds, Written};

/// Most field names that a message lists.
const MAX_LISTED: usize = 60;

/// A filter that was read. Which fields there are, only a collection knows.
#[derive(Debug, Clone, PartialEq)]
pub struct Filter(Expression<Asked>);

/// What a filter may name.
pub(crate) struct Vocabulary<'a> {
    /// Names of the free fields.
    pub(crate) fields: std::collections::BTreeSet<&'a str>,
    pub(crate) has_taxonomy: bool,
    pub(crate) has_taxon: &'a dyn Fn(u32) -> Result<bool, IndexError>,
}

/// A filter whose fields a collection has.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ResolvedFilter(Expression<Condition>);

impl Filter {
    /// Reads a filter.
    ///
    /// # Errors
    /// [`FilterError`] with the place at which it goes wrong.
    pub fn parse(text: &str) -> Result<Self, FilterError> {
        parser::parse(text).map(Self)
    }

    /// The filter over the fields of a collection elsewhere, which has free fields of these names. Any taxon is taken for one of
    /// its taxonomy, if it has one.
    ///
    /// # Errors
    /// [`IndexError::Filter`] for a field that no record has, and a value that is no number where one is needed.
    pub fn resolved(
        &self,
        fields: std::collections::BTreeSet<&str>,
        has_taxonomy: bool,
    ) -> Result<Expression<Condition>, IndexError> {
        let has_taxon = |_| Ok(true);
        self.resolve(&Vocabulary { fields, has_taxonomy, has_taxon: &has_taxon }).map(|filter| filter.0)
    }

    /// Finds the fields that it names.
    ///
    /// # Errors
    /// [`IndexError::Filter`] for a field that no record has, a value that is no number where one is needed, and taxa
    /// that the taxonomy does not have.
    pub(crate) fn resolve(&self, vocabulary: &Vocabulary<'_>) -> Result<ResolvedFilter, IndexError> {
        resolve(&self.0, vocabulary).map(ResolvedFilter)
    }
}

impl ResolvedFilter {
    /// The rows for which it holds, out of `n_rows`. `rows_where` gives those of one condition.
    pub(crate) fn rows(
        &self,
        rows_where: &mut dyn FnMut(&Condition) -> Result<RowSet, IndexError>,
    ) -> Result<RowSet, IndexError> {
        rows(&self.0, rows_where)
    }

    /// The taxa that records are asked to be under.
    pub(crate) fn taxa_above(&self) -> Vec<u32> {
        let mut taxa = Vec::new();
        each_condition(&self.0, &mut |condition| {
            if let Holds::Under(taxon) = condition.holds {
                taxa.push(taxon);
            }
        });
        taxa
    }
}

fn each_condition(expression: &Expression<Condition>, take: &mut dyn FnMut(&Condition)) {
    match expression {
        Expression::All(parts) | Expression::Any(parts) => {
            parts.iter().for_each(|part| each_condition(part, take));
        }
        Expression::Not(part) => each_condition(part, take),
        Expression::Condition(condition) => take(condition),
    }
}

fn rows(
    expression: &Expression<Condition>,
    rows_where: &mut dyn FnMut(&Condition) -> Result<RowSet, IndexError>,
) -> Result<RowSet, IndexError> {
    match expression {
        Expression::Condition(condition) => rows_where(condition),
        Expression::Not(part) => {
            let mut set = rows(part, rows_where)?;
            set.complement();
            Ok(set)
        }
        Expression::All(parts) | Expression::Any(parts) => {
            let is_all = matches!(expression, Expression::All(_));
            let (first, rest) = parts.split_first().expect("`and` and `or` join two parts or more");
            let mut set = rows(first, rows_where)?;
            for part in rest {
                let other = rows(part, rows_where)?;
                if is_all { set.intersect(&other) } else { set.union(&other) }
            }
            Ok(set)
        }
    }
}

fn resolve(
    expression: &Expression<Asked>,
    vocabulary: &Vocabulary<'_>,
) -> Result<Expression<Condition>, IndexError> {
    let all = |parts: &[Expression<Asked>]| -> Result<Vec<_>, _> {
        parts.iter().map(|part| resolve(part, vocabulary)).collect()
    };
    Ok(match expression {
        Expression::All(parts) => Expression::All(all(parts)?),
        Expression::Any(parts) => Expression::Any(all(parts)?),
        Expression::Not(part) => Expression::Not(Box::new(resolve(part, vocabulary)?)),
        Expression::Condition(asked) => Expression::Condition(condition(asked, vocabulary)?),
    })
}

fn condition(asked: &Asked, vocabulary: &Vocabulary<'_>) -> Result<Condition, IndexError> {
    let field = field(&asked.field, vocabulary)?;
    let value = |written: &Written| operand(&field, written);
    let holds = match &asked.holds {
        AskedHolds::Exists => Holds::Exists,
        AskedHolds::Compares(comparison, with) => Holds::Compares(*comparison, value(with)?),
        AskedHolds::OneOf(all) => Holds::OneOf(all.iter().map(value).collect::<Result<_, _>>()?),
        AskedHolds::Between(low, high) => {
            let (low_value, high_value) = (value(low)?, value(high)?);
            // Both ends are numbers, or both are text.
            match (&low_value, &high_value) {
                (Operand::Number(_), Operand::Text(_)) | (Operand::Text(_), Operand::Number(_)) => {
                    Holds::Between(Operand::Text(low.text.clone()), Operand::Text(high.text.clone()))
                }
                _ => Holds::Between(low_value, high_value),
            }
        }
        AskedHolds::Under(taxon) => Holds::Under(taxon_above(&field, &asked.field, taxon, vocabulary)?),
    };
    Ok(Condition { field, holds })
}

fn field(name: &Written, vocabulary: &Vocabulary<'_>) -> Result<Field, FilterError> {
    let lower = name.text.trim().to_ascii_lowercase();
    if let Some(field) = Field::own(&lower) {
        return Ok(field);
    }
    if vocabulary.fields.contains(lower.as_str()) {
        return Ok(Field::Free(lower));
    }
    if let Some(field) = Field::by_other_name(&lower) {
        return Ok(field);
    }
    let free = vocabulary.fields.iter().map(|name| (*name).to_owned());
    let mut known: Vec<String> = Field::own_names().map(str::to_owned).chain(free).collect();
    let n_more = known.len().saturating_sub(MAX_LISTED);
    known.truncate(MAX_LISTED);
    let more = if n_more > 0 { format!(" and {n_more} more") } else { String::new() };
    let known = known.join(", ") + &more;
    Err(FilterError { at: name.at, fault: FilterFault::UnknownField { name: shortened(&name.text), known } })
}

/// The value as the field's kind: taxon and length are numbers, what comes with every record otherwise is text, and a
/// free field is compared as a number with what is written as a number.
fn operand(field: &Field, written: &Written) -> Result<Operand, FilterError> {
    let number = number_in(&written.text);
    if let Some(name) = field.number_name() {
        let fault = || FilterFault::NotANumber { field: name, value: shortened(&written.text) };
        return number.map(Operand::Number).ok_or_else(|| FilterError { at: written.at, fault: fault() });
    }
    match (field, number) {
        (Field::Free(_), Some(number)) if !written.is_quoted => Ok(Operand::Number(number)),
        _ => Ok(Operand::Text(written.text.clone())),
    }
}

fn taxon_above(
    field: &Field,
    name: &Written,
    taxon: &Written,
    vocabulary: &Vocabulary<'_>,
) -> Result<u32, IndexError> {
    let fail = |at, fault| Err(FilterError { at, fault }.into());
    if *field != Field::Taxon {
        return fail(name.at, FilterFault::NotATaxon);
    }
    if !vocabulary.has_taxonomy {
        return fail(name.at, FilterFault::NoTaxonomy);
    }
    match taxon.text.trim().parse() {
        Ok(above) if (vocabulary.has_taxon)(above)? => Ok(above),
        Ok(above) => fail(taxon.at, FilterFault::UnknownTaxon { taxon: above }),
        Err(_) => fail(taxon.at, FilterFault::NotANumber { field: "taxon", value: shortened(&taxon.text) }),
    }
}
