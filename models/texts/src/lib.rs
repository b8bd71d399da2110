//! Where text about proteins and genes comes from.
//!
//! [`gene_text`] writes one text for a gene, as GenePT does, from its symbol, name, RefSeq summary and GO terms, which
//! [`gene_table`] reads. [`go`] reads the Gene Ontology and who has which term, [`enzyme`] what enzymes do, and
//! [`function_pairs`] makes pairs of protein and text of both. [`uniprot`] reads function comments, as ProteinCLIP uses
//! them, from UniProt's flat file, JSON and XML. [`fetch`] asks UniProt, NCBI and the GO project over the network, in
//! pages that are kept on disk so that a broken fetch goes on where it stopped. Readers stream, and take plain or
//! gzip'd files; only [`fetch`] uses the network.

pub mod enzyme;
mod error;
pub mod fetch;
pub mod function_pairs;
mod function_sentences;
pub mod gene_table;
pub mod gene_text;
pub mod go;
mod input;
mod refseq;
mod table;
pub mod uniprot;
mod wrapped;

pub use error::TextError;
pub use function_sentences::function_sentences;
pub use refseq::tidy_summary;
