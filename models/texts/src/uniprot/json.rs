//! UniProt's JSON: the REST service's entries, alone or as a search result.
//!
//! Source: UniProt REST API, `format=json`. Fields that a query left out are `None` or empty; unknown ones are passed
//! over.

use serde::Deserialize;

use super::entry::{Entry, FunctionText, filled, tidy};
use super::json_split::Splitter;
use crate::error::TextError;
use crate::go::GoId;
use crate::input::Input;

/// Reads entries.
#[derive(Debug)]
pub(super) struct JsonReader {
    splitter: Splitter,
    bytes: Vec<u8>,
}

impl JsonReader {
    pub(super) fn new(input: Input) -> Self {
        Self { splitter: Splitter::new(input), bytes: Vec::new() }
    }

    /// The next entry; `None` at the end.
    pub(super) fn read_entry(&mut self) -> Result<Option<Entry>, TextError> {
        if !self.splitter.next_entry(&mut self.bytes)? {
            return Ok(None);
        }
        let input = &self.splitter.input;
        let raw: RawEntry = serde_json::from_slice(&self.bytes).map_err(|source| TextError::Json {
            input: input.name().to_owned(),
            record: input.record(),
            source,
        })?;
        raw.into_entry().map(Some).map_err(|rule| input.bad_record(rule))
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawEntry {
    primary_accession: String,
    uni_protkb_id: Option<String>,
    protein_description: Option<Description>,
    #[serde(default)]
    genes: Vec<Gene>,
    organism: Option<Organism>,
    #[serde(default)]
    comments: Vec<Comment>,
    #[serde(default, rename = "uniProtKBCrossReferences")]
    references: Vec<Reference>,
    sequence: Option<Sequence>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Description {
    recommended_name: Option<Name>,
    #[serde(default)]
    submission_names: Vec<Name>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Name {
    full_name: Option<Value>,
}

#[derive(Deserialize)]
struct Value {
    value: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Gene {
    gene_name: Option<Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Organism {
    scientific_name: Option<String>,
    taxon_id: Option<u32>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Comment {
    comment_type: String,
    molecule: Option<String>,
    #[serde(default)]
    texts: Vec<Value>,
}

#[derive(Deserialize)]
struct Reference {
    database: String,
    id: String,
}

#[derive(Deserialize)]
struct Sequence {
    value: Option<String>,
    length: Option<usize>,
}

impl RawEntry {
    fn into_entry(self) -> Result<Entry, String> {
        let go_terms = self.references.iter().filter(|reference| reference.database == "GO");
        let go_terms =
            go_terms.map(|reference| reference.id.parse::<GoId>().map_err(|error| error.to_string()));
        let stated_len = self.sequence.as_ref().and_then(|sequence| sequence.length);
        let (scientific_name, taxon_id) =
            self.organism.map_or((None, None), |organism| (organism.scientific_name, organism.taxon_id));
        let entry = Entry {
            accession: self.primary_accession,
            entry_name: self.uni_protkb_id,
            protein_name: self.protein_description.and_then(Description::name),
            gene: self.genes.iter().find_map(|gene| filled(&gene.gene_name.as_ref()?.value)),
            organism: scientific_name.as_deref().and_then(filled),
            taxon_id,
            go_terms: go_terms.collect::<Result<_, _>>()?,
            sequence: self.sequence.and_then(|sequence| sequence.value),
            functions: functions(&self.comments),
        };
        // Queries that leave the sequence out may still state its length.
        entry.check(stated_len.filter(|_| entry.sequence.is_some()))?;
        Ok(entry)
    }
}

impl Description {
    fn name(self) -> Option<String> {
        let names = self.recommended_name.into_iter().chain(self.submission_names);
        names.filter_map(|name| filled(&name.full_name?.value)).next()
    }
}

fn functions(comments: &[Comment]) -> Vec<FunctionText> {
    let functions = comments.iter().filter(|comment| comment.comment_type == "FUNCTION");
    let texts = functions.filter_map(|comment| {
        let texts: Vec<_> = comment.texts.iter().map(|text| tidy(&text.value)).collect();
        let molecule = comment.molecule.as_deref().and_then(filled);
        filled(&texts.join(" ")).map(|text| FunctionText { molecule, text })
    });
    texts.collect()
}
