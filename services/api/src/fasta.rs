//! FASTA bodies: the same reader as for files, over the bytes of a request.

use std::io::Cursor;

use protext_core::Modality;
use protext_engine::input::{Format, InputOptions, open_stream};

use crate::error::{Problem, ProblemKind};

/// Ids and sequences of a FASTA body, in order.
pub(crate) fn queries(body: &[u8]) -> Result<Vec<(String, String)>, Problem> {
    let options = InputOptions { format: Some(Format::Fasta), ..InputOptions::new(Modality::Protein) };
    let invalid = |error: &dyn std::error::Error| Problem::new(ProblemKind::Invalid, error.to_string());
    let records = open_stream("body".to_owned(), Box::new(Cursor::new(body.to_vec())), &options);
    let records = records.map_err(|error| invalid(&error))?;
    let query = records.enumerate().map(|(index, record)| {
        let record = record.map_err(|error| invalid(&error).in_record(index + 1))?;
        Ok((record.id, record.payload.as_str().to_owned()))
    });
    query.collect()
}
