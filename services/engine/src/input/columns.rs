//! Which column means what: the usual names, and the names that a caller gives instead.
//!
//! Tables, JSON objects and Parquet share these rules. Names are compared without case; where a table has
//! several of the usual names, the first in the list here wins.

use std::borrow::Cow;

use protext_core::Modality;

use super::error::{InputError, Rule};
use super::ids::check_id;
use super::{InputOptions, InputRecord, Payload};

const ID: &[&str] = &[
    "id",
    "accession",
    "record_id",
    "protein_id",
    "uniprot_id",
    "uniprot",
    "domain",
    "dms_id",
    "entry",
    "go_id",
    "gene_id",
    "entrez_id",
    "symbol",
    "name",
];
const SEQUENCE: &[&str] = &["sequence", "seq", "protein_sequence", "aa_sequence"];
const TEXT: &[&str] =
    &["text", "summary", "description", "function", "function [cc]", "definition", "abstract", "sentence"];
const DESCRIPTION: &[&str] = &["description", "protein_name", "protein names", "gene_name", "title", "name"];
const ORGANISM: &[&str] = &["organism", "species"];
const TAXON_ID: &[&str] = &["taxon_id", "taxid", "tax_id", "organism (id)", "organism_id"];
const GENE: &[&str] = &["gene", "gene_symbol", "symbol", "symbols", "gene names (primary)", "gene names"];

/// The roles that columns play, in the order of [`Roles`]' arrays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Id,
    Payload,
    Description,
    Organism,
    TaxonId,
    Gene,
}

pub(super) const ROLES: [Role; 6] =
    [Role::Id, Role::Payload, Role::Description, Role::Organism, Role::TaxonId, Role::Gene];

/// The names to look for.
pub(super) struct Wanted {
    pub(super) modality: Modality,
    pub(super) max_record_bytes: usize,
    id: Option<String>,
    payload: Option<String>,
    pub(super) metadata: Vec<String>,
    metadata_optional: bool,
    keep_all: bool,
}

/// Where each role's column is, among the names that were looked through.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Found {
    roles: [Option<usize>; ROLES.len()],
    /// One for each wanted metadata column.
    pub(super) metadata: Vec<Option<usize>>,
    /// Columns of no other use, if they are kept.
    pub(super) others: Vec<usize>,
}

impl Found {
    pub(super) fn get(&self, role: Role) -> Option<usize> {
        self.roles[role as usize]
    }
}

impl Wanted {
    pub(super) fn new(options: &InputOptions) -> Self {
        let payload = match options.modality {
            Modality::Protein => &options.sequence_column,
            Modality::Text => &options.text_column,
        };
        Self {
            modality: options.modality,
            max_record_bytes: options.max_record_bytes,
            id: options.id_column.clone(),
            payload: payload.clone(),
            metadata: options.metadata_columns.clone(),
            metadata_optional: options.metadata_optional,
            keep_all: options.keep_all,
        }
    }

    /// Finds each role's column. A column is both the text and the description only if nothing else is.
    pub(super) fn find(&self, names: &[&str]) -> Found {
        let of = |wanted: &str| names.iter().position(|name| name.trim().eq_ignore_ascii_case(wanted.trim()));
        let first = |list: &[&str], taken: &[Option<usize>]| {
            list.iter().filter_map(|wanted| of(wanted)).find(|found| !taken.contains(&Some(*found)))
        };
        let id = self.id.as_deref().map_or_else(|| first(ID, &[]), of);
        let payload = self.payload.as_deref().map_or_else(|| first(self.usual_payload(), &[]), of);
        let taken = [id, payload];
        let others = [DESCRIPTION, ORGANISM, TAXON_ID, GENE].map(|list| first(list, &taken));
        let [description, organism, taxon_id, gene] = others;
        let roles = [id, payload, description, organism, taxon_id, gene];
        let metadata: Vec<_> = self.metadata.iter().map(|name| of(name)).collect();
        let is_used = |at: &usize| roles.contains(&Some(*at)) || metadata.contains(&Some(*at));
        let others =
            if self.keep_all { (0..names.len()).filter(|at| !is_used(at)).collect() } else { Vec::new() };
        Found { roles, metadata, others }
    }

    fn usual_payload(&self) -> &'static [&'static str] {
        match self.modality {
            Modality::Protein => SEQUENCE,
            Modality::Text => TEXT,
        }
    }

    /// "sequence" or "text".
    pub(super) fn payload_role(&self) -> &'static str {
        match self.modality {
            Modality::Protein => "sequence",
            Modality::Text => "text",
        }
    }

    /// The names that were looked for, for a message.
    pub(super) fn listed(&self, role: Role) -> String {
        let (given, usual) = match role {
            Role::Id => (&self.id, ID),
            _ => (&self.payload, self.usual_payload()),
        };
        given.clone().unwrap_or_else(|| usual.join(", "))
    }

    /// Refuses a table without an id, without a payload, or without a metadata column that was asked for.
    pub(super) fn ensure_all(&self, file: &str, names: &[&str]) -> Result<Found, InputError> {
        let found = self.find(names);
        let missing = |role: &'static str, wanted: String| InputError::MissingColumn {
            file: file.to_owned(),
            role,
            wanted,
            present: names.join(", "),
        };
        if found.get(Role::Id).is_none() {
            return Err(missing("id", self.listed(Role::Id)));
        }
        if found.get(Role::Payload).is_none() {
            return Err(missing(self.payload_role(), self.listed(Role::Payload)));
        }
        match self.metadata.iter().zip(&found.metadata).find(|(_, at)| at.is_none()) {
            Some((name, _)) if !self.metadata_optional => Err(missing("metadata", name.clone())),
            _ => Ok(found),
        }
    }
}

/// The values of one record, before they are judged.
pub(super) struct Fields<'a> {
    /// In the order of [`ROLES`].
    pub(super) roles: [Option<Cow<'a, str>>; ROLES.len()],
    /// Name and value of each metadata column that has one.
    pub(super) metadata: Vec<(String, String)>,
}

impl Fields<'_> {
    /// Judges the values. `name_of` gives the column of a role, for messages.
    pub(super) fn into_record(
        self,
        number: u64,
        wanted: &Wanted,
        name_of: impl Fn(Role) -> String,
    ) -> Result<InputRecord, (Option<String>, Rule)> {
        let [id, payload, description, organism, taxon_id, gene] = self.roles;
        let id = id.unwrap_or_default().trim().to_owned();
        check_id(&id).map_err(|rule| (None, rule))?;
        let failed = |rule| (Some(id.clone()), rule);
        let payload = payload.unwrap_or_default();
        if payload.trim().is_empty() {
            return Err(failed(Rule::EmptyField { field: name_of(Role::Payload) }));
        }
        if payload.len() > wanted.max_record_bytes {
            let (what, max_bytes) = (wanted.payload_role(), wanted.max_record_bytes);
            return Err(failed(Rule::TooLong { what, max_bytes }));
        }
        let field = || name_of(Role::TaxonId);
        let taxon_id = parse_taxon_id(taxon_id.as_deref(), field).map_err(failed)?;
        let payload = match wanted.modality {
            Modality::Protein => Payload::Sequence(payload.into_owned()),
            Modality::Text => Payload::Text(payload.into_owned()),
        };
        let tidy = |value: Option<Cow<'_, str>>| {
            value.map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
        };
        let description = tidy(description).unwrap_or_default();
        let (organism, gene) = (tidy(organism), tidy(gene));
        let metadata = self.metadata;
        Ok(InputRecord {
            number,
            id,
            entry_name: None,
            description,
            payload,
            organism,
            taxon_id,
            gene,
            metadata,
        })
    }
}

fn parse_taxon_id(value: Option<&str>, field: impl Fn() -> String) -> Result<Option<u32>, Rule> {
    match value.map(str::trim) {
        None | Some("") => Ok(None),
        Some(value) => match value.parse() {
            Ok(taxon_id) => Ok(Some(taxon_id)),
            Err(_) => Err(Rule::TaxonId { field: field(), value: value.chars().take(40).collect() }),
        },
    }
}

/// Takes the bytes of one field as text.
pub(super) fn as_text<'a>(bytes: &'a [u8], field: &str) -> Result<&'a str, Rule> {
    if let Some(index) = memchr::memchr(0, bytes) {
        return Err(Rule::Nul { field: field.to_owned(), position: index + 1 });
    }
    std::str::from_utf8(bytes)
        .map_err(|error| Rule::NotUtf8 { field: field.to_owned(), position: error.valid_up_to() + 1 })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(modality: Modality, names: &[&str]) -> [Option<usize>; ROLES.len()] {
        Wanted::new(&InputOptions::new(modality)).find(names).roles
    }

    #[test]
    fn usual_names_are_found_whatever_their_case() {
        let uniprot = ["Entry", "Protein names", "Organism (ID)", "Gene Names", "Sequence"];
        assert_eq!(found(Modality::Protein, &uniprot), [Some(0), Some(4), Some(1), None, Some(2), Some(3)]);
        let text = ["accession", "organism", "symbol", "gene_id", "text"];
        assert_eq!(found(Modality::Text, &text), [Some(0), Some(4), None, Some(1), None, Some(2)]);
        let described = ["name", "description"];
        assert_eq!(found(Modality::Text, &described), [Some(0), Some(1), None, None, None, None]);
    }

    #[test]
    fn a_given_name_replaces_the_usual_ones() {
        let options = InputOptions { id_column: Some("Key".into()), ..InputOptions::new(Modality::Protein) };
        let names = ["id", "key", "seq"];
        assert_eq!(Wanted::new(&options).find(&names).get(Role::Id), Some(1));
        assert_eq!(Wanted::new(&options).find(&["id", "seq"]).get(Role::Id), None);
    }
}
