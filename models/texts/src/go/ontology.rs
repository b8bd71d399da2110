//! The ontology in memory, checked when it is built.

use std::collections::{BTreeSet, HashMap};
use std::io::Read;
use std::path::Path;
use std::str::FromStr;

use super::id::GoId;
use super::{obo, table};
use crate::error::TextError;
use crate::input::Input;
use crate::table::Table;

/// The three parts of the ontology.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Namespace {
    /// What the product does.
    MolecularFunction,
    /// What it takes part in.
    BiologicalProcess,
    /// Where it is.
    CellularComponent,
}

impl Namespace {
    /// As files write it, such as `molecular_function`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::MolecularFunction => "molecular_function",
            Self::BiologicalProcess => "biological_process",
            Self::CellularComponent => "cellular_component",
        }
    }

    /// In words, for texts.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::MolecularFunction => "molecular function",
            Self::BiologicalProcess => "biological process",
            Self::CellularComponent => "cellular component",
        }
    }
}

impl FromStr for Namespace {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "molecular_function" => Ok(Self::MolecularFunction),
            "biological_process" => Ok(Self::BiologicalProcess),
            "cellular_component" => Ok(Self::CellularComponent),
            _ => Err(format!(
                "namespace {:?} is unknown; write molecular_function, biological_process or cellular_component",
                text.chars().take(40).collect::<String>()
            )),
        }
    }
}

/// Whether a term is in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// In use.
    Current,
    /// No longer to be used.
    Obsolete {
        /// The term to use instead, where the ontology names one.
        replaced_by: Option<GoId>,
    },
}

/// A term.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Term {
    /// Its id.
    pub id: GoId,
    /// Its part of the ontology.
    pub namespace: Namespace,
    /// Its name.
    pub name: String,
    /// Its definition; may be empty.
    pub definition: String,
    /// Terms it is a kind of, sorted.
    pub is_a: Vec<GoId>,
    /// Whether it is in use.
    pub status: Status,
}

/// Terms by id.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ontology {
    terms: HashMap<GoId, Term>,
    /// Merged and alternative ids, each with the term it stands for.
    merged: HashMap<GoId, GoId>,
}

impl Ontology {
    /// Reads either format, told by its first line; plain or gzip'd.
    ///
    /// # Errors
    /// [`TextError`] naming file, line and rule.
    pub fn open(path: &Path) -> Result<Self, TextError> {
        Self::read(Input::open(path)?)
    }

    /// As [`Ontology::open`], from bytes; `name` stands in messages.
    ///
    /// # Errors
    /// As [`Ontology::open`].
    pub fn from_reader(bytes: impl Read + Send + 'static, name: &str) -> Result<Self, TextError> {
        Self::read(Input::new(bytes, name.to_owned())?)
    }

    /// Reads an OBO flat file, such as `go-basic.obo`.
    ///
    /// # Errors
    /// As [`Ontology::open`].
    pub fn from_obo(bytes: impl Read + Send + 'static, name: &str) -> Result<Self, TextError> {
        let mut input = Input::new(bytes, name.to_owned())?;
        Self::build(obo::read(&mut input, None)?, &input)
    }

    /// Reads a table with the columns `go_id`, `namespace`, `name`, `definition`, `is_a`, `status`, in any order.
    ///
    /// # Errors
    /// As [`Ontology::open`].
    pub fn from_table(bytes: impl Read + Send + 'static, name: &str) -> Result<Self, TextError> {
        let mut table = Table::read(Input::new(bytes, name.to_owned())?)?;
        Self::build(table::read(&mut table)?, table.input())
    }

    fn read(mut input: Input) -> Result<Self, TextError> {
        let mut first = String::new();
        input.begin_record();
        input.next_line(&mut first)?;
        if first.split('\t').any(|column| column.trim() == "go_id") {
            let mut table = Table::with_header(input, &first);
            return Self::build(table::read(&mut table)?, table.input());
        }
        let draft =
            if first.starts_with("format-version:") || first.starts_with('[') || first.starts_with('!') {
                obo::read(&mut input, Some(first))?
            } else {
                let found = format!("{:?}", first.chars().take(40).collect::<String>());
                let known = "go-basic.obo, or a table whose header names go_id";
                return Err(TextError::UnknownFormat { input: input.name().to_owned(), found, known });
            };
        Self::build(draft, &input)
    }

    /// The term with that id, or the one it was merged into. May be obsolete.
    #[must_use]
    pub fn get(&self, id: GoId) -> Option<&Term> {
        self.terms.get(self.merged.get(&id).unwrap_or(&id))
    }

    /// As [`Ontology::get`], and from an obsolete term on to the one that replaces it; `None` where there is none.
    #[must_use]
    pub fn current(&self, id: GoId) -> Option<&Term> {
        let mut term = self.get(id)?;
        // No chain is longer than the ontology, so one that is goes in a circle.
        for _ in 0..=self.terms.len() {
            match term.status {
                Status::Current => return Some(term),
                Status::Obsolete { replaced_by } => term = self.get(replaced_by?)?,
            }
        }
        None
    }

    /// All terms above the one with that id by `is_a`, sorted, without itself; empty for an unknown id.
    #[must_use]
    pub fn ancestors(&self, id: GoId) -> Vec<GoId> {
        let mut found = BTreeSet::new();
        let mut waiting: Vec<_> = self.get(id).into_iter().collect();
        while let Some(term) = waiting.pop() {
            for parent in term.is_a.iter().filter_map(|parent| self.get(*parent)) {
                if found.insert(parent.id) {
                    waiting.push(parent);
                }
            }
        }
        if let Some(term) = self.get(id) {
            found.remove(&term.id);
        }
        found.into_iter().collect()
    }

    /// All terms that are no alias, in no order.
    pub fn terms(&self) -> impl Iterator<Item = &Term> {
        self.terms.values()
    }

    /// Merged and alternative ids, in no order.
    pub fn merged_ids(&self) -> impl Iterator<Item = GoId> {
        self.merged.keys().copied()
    }

    /// Number of terms, merged ids not counted.
    #[must_use]
    pub fn len(&self) -> usize {
        self.terms.len()
    }

    /// Whether it has no term.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.terms.is_empty()
    }

    fn build(draft: Draft, input: &Input) -> Result<Self, TextError> {
        let wrong = |rule: String| TextError::Ontology { input: input.name().to_owned(), rule };
        let Draft { terms, aliases } = draft;
        if terms.is_empty() {
            return Err(wrong("it has no term; give the whole file".to_owned()));
        }
        let mut merged = HashMap::with_capacity(aliases.len());
        for &alias in aliases.keys().filter(|alias| !terms.contains_key(alias)) {
            let target = end_of_chain(alias, &terms, &aliases).ok_or_else(|| {
                wrong(format!(
                    "{alias} is merged into {}, which is no term of it; give the whole file",
                    aliases[&alias]
                ))
            })?;
            merged.insert(alias, target);
        }
        let ontology = Self { terms, merged };
        ontology.check_links().map_err(wrong)?;
        Ok(ontology)
    }

    /// Every id that a term names has a term.
    fn check_links(&self) -> Result<(), String> {
        let links = |term: &Term| {
            let replaced_by = match term.status {
                Status::Obsolete { replaced_by } => replaced_by,
                Status::Current => None,
            };
            term.is_a.iter().copied().chain(replaced_by).find(|link| self.get(*link).is_none())
        };
        let broken = self.terms.values().filter_map(|term| Some((term.id, links(term)?))).min();
        match broken {
            Some((id, link)) => {
                Err(format!("{id} names {link}, which is no term of it; give the whole file"))
            }
            None => Ok(()),
        }
    }
}

/// Terms and aliases as they stand in a file.
#[derive(Debug, Default)]
pub(super) struct Draft {
    terms: HashMap<GoId, Term>,
    aliases: HashMap<GoId, GoId>,
}

impl Draft {
    /// Adds a term; each id has one.
    pub(super) fn add_term(&mut self, mut term: Term) -> Result<(), String> {
        let id = term.id;
        term.is_a.sort_unstable();
        term.is_a.dedup();
        match self.terms.insert(id, term) {
            Some(_) => Err(format!("{id} stands here a second time; keep one of the two")),
            None => Ok(()),
        }
    }

    /// Adds another id of a term. Of two terms that claim it the one with the lower id gets it; a term of its own wins.
    pub(super) fn add_alias(&mut self, alias: GoId, target: GoId) {
        if alias != target {
            self.aliases.entry(alias).and_modify(|known| *known = target.min(*known)).or_insert(target);
        }
    }
}

/// The term that `alias` leads to; `None` if it leads nowhere or in a circle.
fn end_of_chain(alias: GoId, terms: &HashMap<GoId, Term>, aliases: &HashMap<GoId, GoId>) -> Option<GoId> {
    let mut id = alias;
    for _ in 0..=aliases.len() {
        if terms.contains_key(&id) {
            return Some(id);
        }
        id = *aliases.get(&id)?;
    }
    None
}
