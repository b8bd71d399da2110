//! FASTA bodies: the same reader as for files, over the bytes of a request.

use std::io::Cursor;

use protext_core::Modality;
use protext_engine::input::{Format, InputOptions, InputRecord, open_stream};

use crate::error::{Problem, ProblemKind};

/// Records of a FASTA body, in order; more than `max_records` are refused unread.
pub(crate) fn records(body: &[u8], max_records: usize) -> Result<Vec<InputRecord>, Problem> {
    let options = InputOptions { format: Some(Format::Fasta), ..InputOptions::new(Modality::Protein) };
    let invalid = |error: &dyn std::error::Error| Problem::new(ProblemKind::Invalid, error.to_string());
    let records = open_stream("body".to_owned(), Box::new(Cursor::new(body.to_vec())), &options);
    let records = records.map_err(|error| invalid(&error))?;
    let mut read = Vec::new();
    for (index, record) in records.enumerate() {
        if index == max_records {
            let detail = format!(
                "the body has more than the {max_records} records that are taken at once; send it in parts"
            );
            return Err(Problem::new(ProblemKind::TooLarge, detail));
        }
        read.push(record.map_err(|error| invalid(&error).in_record(index + 1))?);
    }
    Ok(read)
}
