//! One condition on one field, and whether a record meets it.
//!
//! A condition on a field that a record does not have is not met. Text is compared without regard to the case of
//! ASCII letters, ids as they are. The snapshot's SQL and [`Condition::holds_for`] mean the same; a property test
//! holds them to it.

use std::cmp::Ordering;
use std::collections::{HashMap, HashSet};

use crate::collection::Record;

/// A field of records.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Field {
    /// Its id.
    Id,
    /// What it is, in words.
    Description,
    /// Organism's name.
    Organism,
    /// NCBI taxonomy id.
    Taxon,
    /// Gene symbol.
    Gene,
    /// Residues.
    Length,
    /// Where it comes from.
    Source,
    /// By its name in lower case.
    Free(String),
}

/// Names of the fields that every record can have.
const OWN: [(&str, Field); 7] = [
    ("id", Field::Id),
    ("description", Field::Description),
    ("organism", Field::Organism),
    ("taxon", Field::Taxon),
    ("gene", Field::Gene),
    ("length", Field::Length),
    ("source", Field::Source),
];

/// Other names that these are known by, where no free field has the name.
const ALSO: [(&str, Field); 2] = [("name", Field::Description), ("taxon_id", Field::Taxon)];

impl Field {
    /// The field of this name, in lower case, that every record can have.
    pub(crate) fn own(name: &str) -> Option<Self> {
        OWN.iter().find(|(known, _)| *known == name).map(|(_, field)| field.clone())
    }

    /// The field that is also known by this name.
    pub(crate) fn by_other_name(name: &str) -> Option<Self> {
        ALSO.iter().find(|(known, _)| *known == name).map(|(_, field)| field.clone())
    }

    /// Names of the fields that every record can have.
    pub(crate) fn own_names() -> impl Iterator<Item = &'static str> {
        OWN.iter().map(|(name, _)| *name)
    }

    /// The name of a field whose values are numbers.
    #[must_use]
    pub fn number_name(&self) -> Option<&'static str> {
        match self {
            Field::Taxon => Some("taxon"),
            Field::Length => Some("length"),
            _ => None,
        }
    }

    fn number(&self, record: &Record) -> Option<f64> {
        match self {
            Field::Taxon => record.taxon_id.map(f64::from),
            Field::Length => Some(record.length).filter(|&length| length > 0).map(f64::from),
            Field::Free(_) => self.text(record).and_then(number_in),
            _ => None,
        }
    }

    fn text<'a>(&self, record: &'a Record) -> Option<&'a str> {
        let text = match self {
            Field::Id => Some(record.id.as_str()),
            Field::Description => Some(record.description.as_str()),
            Field::Organism => record.organism.as_deref(),
            Field::Gene => record.gene.as_deref(),
            Field::Source => record.source.as_deref(),
            Field::Free(name) => record.fields.get(name).map(String::as_str),
            Field::Taxon | Field::Length => None,
        };
        text.filter(|text| !text.is_empty())
    }
}

/// The number that a free field's text is, if it is one.
#[must_use]
pub fn number_in(text: &str) -> Option<f64> {
    text.trim().parse().ok().filter(|number: &f64| number.is_finite())
}

/// What a value is compared with.
#[derive(Debug, Clone, PartialEq)]
pub enum Operand {
    /// Text.
    Text(String),
    /// A finite number.
    Number(f64),
}

/// How a value is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// `=`
    Equal,
    /// `<`
    Less,
    /// `<=`
    AtMost,
    /// `>`
    Greater,
    /// `>=`
    AtLeast,
}

impl Comparison {
    fn allows(self, order: Ordering) -> bool {
        match self {
            Comparison::Equal => order.is_eq(),
            Comparison::Less => order.is_lt(),
            Comparison::AtMost => order.is_le(),
            Comparison::Greater => order.is_gt(),
            Comparison::AtLeast => order.is_ge(),
        }
    }
}

/// What must hold of a field.
#[derive(Debug, Clone, PartialEq)]
pub enum Holds {
    /// It has a value.
    Exists,
    /// Its value stands so to this one.
    Compares(Comparison, Operand),
    /// Its value is one of these.
    OneOf(Vec<Operand>),
    /// Its value is from the first to the second, both included.
    Between(Operand, Operand),
    /// The taxon or one below it.
    Under(u32),
}

/// One condition on one field.
#[derive(Debug, Clone, PartialEq)]
pub struct Condition {
    /// The field.
    pub field: Field,
    /// What must hold of it.
    pub holds: Holds,
}

impl Condition {
    /// Whether `record` meets it. `descent` must know of every `under`.
    pub(crate) fn holds_for(&self, record: &Record, descent: &Descent) -> bool {
        let compare = |comparison: Comparison, with: &Operand| match with {
            Operand::Number(with) => {
                let order = self.field.number(record).and_then(|number| number.partial_cmp(with));
                order.is_some_and(|order| comparison.allows(order))
            }
            Operand::Text(with) => {
                let order = |text: &str| {
                    if self.field == Field::Id { text.cmp(with) } else { by_letters(text, with) }
                };
                self.field.text(record).is_some_and(|text| comparison.allows(order(text)))
            }
        };
        match &self.holds {
            Holds::Exists => self.field.text(record).is_some() || self.field.number(record).is_some(),
            Holds::Compares(comparison, with) => compare(*comparison, with),
            Holds::OneOf(all) => all.iter().any(|with| compare(Comparison::Equal, with)),
            Holds::Between(low, high) => {
                compare(Comparison::AtLeast, low) && compare(Comparison::AtMost, high)
            }
            Holds::Under(above) => record.taxon_id.is_some_and(|taxon| descent.is_under(taxon, *above)),
        }
    }
}

/// Text by its bytes, with ASCII letters in lower case.
fn by_letters(one: &str, other: &str) -> Ordering {
    one.bytes().map(|b| b.to_ascii_lowercase()).cmp(other.bytes().map(|b| b.to_ascii_lowercase()))
}

/// Which taxa of records in memory stand below the taxa that a filter names.
#[derive(Debug, Clone, Default)]
pub(crate) struct Descent(HashMap<u32, HashSet<u32>>);

impl Descent {
    pub(crate) fn add(&mut self, above: u32, below: u32) {
        self.0.entry(above).or_default().insert(below);
    }

    fn is_under(&self, taxon: u32, above: u32) -> bool {
        self.0.get(&above).is_some_and(|below| below.contains(&taxon))
    }
}
