//! Deep mutational scans: assays with their sequences, and measured mutants.
//!
//! Two tables: assays (`dms_id`, `sequence`) and mutants (`dms_id`, `mutant`, `score`, higher is fitter). Every row that
//! does not fit is told, at once.

use std::collections::HashMap;
use std::path::Path;

use protext_core::{ProteinSequence, ResiduePolicy};

use super::cath::open_table;
use super::error::EvalError;
use crate::variants::{BadMutant, Mutant, VariantError};

/// One assay.
#[derive(Debug, Clone, PartialEq)]
pub struct DmsAssay {
    /// Its id.
    pub id: String,
    /// The wild type.
    pub sequence: ProteinSequence,
    /// Mutants that were measured.
    pub mutants: Vec<Mutant>,
    /// Their scores, higher is fitter.
    pub scores: Vec<f64>,
}

/// Reads the mutants with the assays that they belong to, in the order of the assays; assays without mutants are left out.
///
/// # Errors
/// [`EvalError::Variants`] listing every bad row; otherwise [`EvalError`] naming file and column.
pub fn read_dms(mutants: &Path, assays: &Path) -> Result<Vec<DmsAssay>, EvalError> {
    let mut found = read_assays(assays)?;
    let places: HashMap<String, usize> =
        found.iter().enumerate().map(|(place, assay)| (assay.id.clone(), place)).collect();
    let (mut bad, mut n_given) = (Vec::new(), 0);
    for row in Rows::open(mutants, ["dms_id", "mutant", "score"])? {
        let (line, [id, written, score]) = row?;
        n_given += 1;
        let Some(&place) = places.get(&id) else {
            let rule = format!("no assay of {} is called {id:?}", assays.display());
            bad.push(BadMutant { number: line, written, protein: None, rule });
            continue;
        };
        let assay = &mut found[place];
        let mutant = Mutant::parse(&written, &assay.sequence);
        match (mutant, score.parse::<f64>().ok().filter(|score| score.is_finite())) {
            (Ok(mutant), Some(score)) => {
                assay.mutants.push(mutant);
                assay.scores.push(score);
            }
            (Err(rule), _) => bad.push(BadMutant::new(line, &written, &rule).of_protein(&id)),
            (Ok(_), None) => {
                let rule = format!("its score {score:?} is no finite number");
                bad.push(BadMutant { number: line, written, protein: Some(id), rule });
            }
        }
    }
    if !bad.is_empty() {
        let refused = VariantError::Mutants { place: "line", bad, n_given };
        return Err(EvalError::Variants { path: mutants.to_owned(), source: Box::new(refused) });
    }
    found.retain(|assay| !assay.mutants.is_empty());
    if found.is_empty() {
        return Err(EvalError::Empty { path: mutants.to_owned() });
    }
    Ok(found)
}

fn read_assays(path: &Path) -> Result<Vec<DmsAssay>, EvalError> {
    let mut assays: Vec<DmsAssay> = Vec::new();
    for row in Rows::open(path, ["dms_id", "sequence", "sequence"])? {
        let (line, [id, residues, _]) = row?;
        let parsed = ProteinSequence::parse(&residues, ResiduePolicy::default());
        let (sequence, _) = parsed.map_err(|error| EvalError::BadRow {
            path: path.to_owned(),
            line,
            rule: format!("assay {id:?}: {error}"),
        })?;
        if assays.iter().any(|assay| assay.id == id) {
            let rule = format!("assay {id:?} is in the table twice");
            return Err(EvalError::BadRow { path: path.to_owned(), line, rule });
        }
        assays.push(DmsAssay { id, sequence, mutants: Vec::new(), scores: Vec::new() });
    }
    Ok(assays)
}

/// Three fields of every row of a table, by name.
struct Rows {
    records: csv::StringRecordsIntoIter<Box<dyn std::io::Read>>,
    places: [usize; 3],
    path: std::path::PathBuf,
}

impl Rows {
    fn open(path: &Path, columns: [&'static str; 3]) -> Result<Self, EvalError> {
        let mut table = open_table(path)?;
        let failed = |source| EvalError::Read { path: path.to_owned(), source };
        let header = table.headers().map_err(failed)?.clone();
        let mut places = [0; 3];
        for (place, column) in places.iter_mut().zip(columns) {
            let found = header.iter().position(|name| name == column);
            let present = || header.iter().collect::<Vec<_>>().join(", ");
            *place = found.ok_or_else(|| EvalError::MissingColumn {
                path: path.to_owned(),
                column,
                present: present(),
            })?;
        }
        Ok(Self { records: table.into_records(), places, path: path.to_owned() })
    }
}

impl Iterator for Rows {
    type Item = Result<(u64, [String; 3]), EvalError>;

    fn next(&mut self) -> Option<Self::Item> {
        let record = match self.records.next()? {
            Ok(record) => record,
            Err(source) => return Some(Err(EvalError::Read { path: self.path.clone(), source })),
        };
        let line = record.position().map_or(0, csv::Position::line);
        Some(Ok((line, self.places.map(|place| record[place].trim().to_owned()))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(assays: &str, mutants: &str) -> Result<Vec<DmsAssay>, EvalError> {
        let folder = tempfile::tempdir().unwrap();
        let paths = ["assays.tsv", "mutants.tsv"].map(|name| folder.path().join(name));
        std::fs::write(&paths[0], assays).unwrap();
        std::fs::write(&paths[1], mutants).unwrap();
        read_dms(&paths[1], &paths[0])
    }

    #[test]
    fn mutants_find_their_assays_and_bad_rows_are_listed() {
        let assays = "dms_id\tsequence\nA\tMKV\nB\tMLL\nC\tMKV\n";
        let table = read(assays, "score\tdms_id\tmutant\n0.5\tB\tL2A\n-1\tA\tK2R:V3A\n").unwrap();
        assert_eq!(table.iter().map(|assay| assay.id.as_str()).collect::<Vec<_>>(), ["A", "B"]);
        assert_eq!((table[1].scores[0], table[0].mutants[0].to_string()), (0.5, "K2R:V3A".to_owned()));
        let rows = "dms_id\tmutant\tscore\nA\tK2R\t1\nD\tK2R\t1\nA\tV2R\t1\nB\tL9A\t1\nB\tL2A\tnan\n";
        let error = read(assays, rows).unwrap_err();
        let said = std::error::Error::source(&error).unwrap().to_string();
        for part in ["4 of 5", "line 3", "\"D\"", "line 4", "not V", "line 5", "1 to 3", "line 6", "finite"] {
            assert!(said.contains(part), "{part}: {said}");
        }
        assert!(matches!(read(assays, "dms_id\tmutant\nA\tK2R\n"), Err(EvalError::MissingColumn { .. })));
        assert!(matches!(read(assays, "dms_id\tmutant\tscore\n"), Err(EvalError::Empty { .. })));
        assert!(matches!(read("dms_id\tsequence\nA\tM1\n", ""), Err(EvalError::BadRow { line: 2, .. })));
    }
}
