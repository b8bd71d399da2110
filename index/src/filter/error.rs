//! What is wrong with a filter, and where.

/// A filter that cannot be read, or that asks for what the collection does not have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("filter, character {at}: {fault}")]
pub struct FilterError {
    /// 1-based character of the filter at which it goes wrong.
    pub at: usize,
    /// What is wrong there.
    pub fault: FilterFault,
}

/// What is wrong with a filter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FilterFault {
    /// Nothing there.
    #[error("the filter is empty; write a condition such as `taxon = 9606`, or leave it out")]
    Empty,
    /// Longer than any filter.
    #[error("the filter is longer than {max_bytes} bytes; ask for less at once")]
    TooLong {
        /// The limit.
        max_bytes: usize,
    },
    /// Nested too deep.
    #[error("parentheses and `not` are nested more than {max_depth} deep; write it flatter")]
    TooDeep {
        /// The limit.
        max_depth: usize,
    },
    /// Too many values and conditions.
    #[error("the filter has more than {max} conditions and values; ask for less at once")]
    TooMany {
        /// The limit.
        max: usize,
    },
    /// Something else belongs there.
    #[error("{expected} belongs here, not {found}")]
    Unexpected {
        /// What belongs there.
        expected: &'static str,
        /// What stands there.
        found: String,
    },
    /// A quotation mark without its partner.
    #[error("this quotation mark is not closed; close it, or write \\{quote} for one within a value")]
    OpenQuote {
        /// The mark.
        quote: char,
    },
    /// A character that no value has.
    #[error("a filter holds no NUL character")]
    Nul,
    /// No record has such a field.
    #[error("no record has a field {name:?}; there is: {known}")]
    UnknownField {
        /// The name asked for.
        name: String,
        /// Names that are there, separated by commas.
        known: String,
    },
    /// A number is needed.
    #[error("{field} is a number, and {value:?} is none")]
    NotANumber {
        /// The field.
        field: &'static str,
        /// What was given.
        value: String,
    },
    /// `under` of another field than the taxon.
    #[error("`under` follows the NCBI taxonomy, so it takes the field taxon: `taxon under 7711`")]
    NotATaxon,
    /// The collection holds no taxonomy.
    #[error(
        "`under` needs the NCBI taxonomy, which this collection does not hold; build it with `protext index build \
         --taxonomy nodes.dmp` (the file is in NCBI's taxdump archive), or name taxa by `taxon in (...)`"
    )]
    NoTaxonomy,
    /// A taxon that is not in the taxonomy.
    #[error(
        "taxon {taxon} is not in the taxonomy of this collection; give the id of a node of NCBI's taxonomy"
    )]
    UnknownTaxon {
        /// The taxon asked for.
        taxon: u32,
    },
}
