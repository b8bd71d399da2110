//! Labels as targets: classes with their names, or numbers.

use std::collections::BTreeMap;
use std::path::Path;

use ndarray::Array2;
use protext_engine::heads::{HeadDataError, LabelledRow};
use protext_train::heads::Targets;

/// Classes at most; more are probably not classes.
const MAX_CLASSES: usize = 1_000;

/// Names of classes in order, and the class of each label.
pub(super) fn classes<'a>(
    path: &Path,
    labels: impl Iterator<Item = &'a str>,
) -> anyhow::Result<(Vec<String>, Vec<u32>)> {
    let labels: Vec<&str> = labels.collect();
    let mut numbers: BTreeMap<&str, u32> = labels.iter().map(|label| (*label, 0)).collect();
    if numbers.len() < 2 {
        let class = labels.first().copied().unwrap_or_default().to_owned();
        let (path, part, n) = (path.to_owned(), String::new(), labels.len());
        return Err(HeadDataError::OneClass { path, part, n, class }.into());
    }
    if numbers.len() > MAX_CLASSES {
        let said = format!(
            "{}: the label column holds {} different values; for numbers take --task regress",
            path.display(),
            numbers.len()
        );
        return Err(crate::fault::UsageError(said).into());
    }
    numbers.values_mut().zip(0..).for_each(|(number, next)| *number = next);
    let of_row = labels.iter().map(|label| numbers[label]).collect();
    Ok((numbers.into_keys().map(str::to_owned).collect(), of_row))
}

/// Refuses a part whose rows are all of one class.
pub(super) fn ensure_classes(
    path: &Path,
    names: &[String],
    of_row: &[u32],
    (part, places): (&str, &[usize]),
) -> anyhow::Result<()> {
    let first = of_row[places[0]];
    if places.iter().any(|&place| of_row[place] != first) {
        return Ok(());
    }
    let class = names[first as usize].clone();
    let (path, part, n) = (path.to_owned(), format!(" of part {part:?}"), places.len());
    Err(HeadDataError::OneClass { path, part, n, class }.into())
}

/// Numbers of every label column, `[rows, columns]`; NaN where a row has none.
pub(super) fn numbers(path: &Path, columns: &[String], rows: &[LabelledRow]) -> anyhow::Result<Targets> {
    let mut values = Array2::from_elem((rows.len(), columns.len()), f32::NAN);
    for (at, row) in rows.iter().enumerate() {
        for (column, label) in row.labels.iter().enumerate().filter(|(_, label)| !label.is_empty()) {
            let value = label.parse::<f32>().ok().filter(|value| value.is_finite());
            values[[at, column]] = value.ok_or_else(|| HeadDataError::Value {
                path: path.to_owned(),
                record: row.number,
                id: row.id.clone(),
                column: columns[column].clone(),
                value: label.clone(),
                rule: "a finite number",
            })?;
        }
    }
    Ok(Targets::Numbers(values))
}
