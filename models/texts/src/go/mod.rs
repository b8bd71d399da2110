//! The Gene Ontology: terms, merged ids, ancestors, and which proteins have which terms.
//!
//! Two files hold it: `go-basic.obo` of the GO project, and the table `go_terms.tsv.gz` with one term a line. Both give
//! the same [`Ontology`], in memory (about 50,000 terms, 30 MB). `gene_text` takes names and definitions from here, and
//! evaluation takes ancestors. An ontology that opens is whole: every id that one of its lines names is in it.
//!
//! ```
//! use protext_texts::go::{GoId, Ontology};
//!
//! let obo = "[Term]\nid: GO:0003677\nname: DNA binding\nnamespace: molecular_function\nalt_id: GO:0000001\n";
//! let ontology = Ontology::from_obo(obo.as_bytes(), "example")?;
//! let merged: GoId = "GO:0000001".parse()?;
//! assert_eq!(ontology.get(merged).map(|term| term.name.as_str()), Some("DNA binding"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub(crate) mod annotations;
mod choice;
mod id;
mod obo;
mod ontology;
mod table;

pub use annotations::{EvidenceCode, ProteinTerms};
pub use choice::{ChosenTerms, ResolvedTerms, TermChoice};
pub use id::{GoId, GoIdError};
pub use ontology::{Namespace, Ontology, Status, Term};
