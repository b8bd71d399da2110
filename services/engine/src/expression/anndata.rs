//! AnnData's `.h5ad`: `X` dense or in compressed rows or columns, names of genes in `var`, conditions in `obs`.
//!
//! Source: the on-disk format of the anndata project, encoding versions 0.1 and 0.2.

use std::path::Path;

use hdf5_pure::{AttrValue, Dataset, Error, File, Group};
use ndarray::Array2;

use super::{Expression, ExpressionError, condition_of};

/// Values in memory at most: four bytes each.
const MAX_VALUES: usize = 2_000_000_000;

pub(super) fn read(path: &Path, condition: Option<&str>) -> Result<Expression, ExpressionError> {
    let failed = |source: Error| ExpressionError::Read { path: path.to_owned(), source: Box::new(source) };
    let root = File::open_streaming(path).map_err(failed)?.root();
    let missing = |name: &'static str| ExpressionError::Layout {
        path: path.to_owned(),
        rule: format!("it has no {name}; an AnnData file with X, obs and var is needed"),
    };
    let obs = root.group("obs").map_err(|_| missing("obs"))?;
    let var = root.group("var").map_err(|_| missing("var"))?;
    let (ids, genes) = (index(&obs).map_err(failed)?, index(&var).map_err(failed)?);
    let values = matrix(path, &root, (ids.len(), genes.len()))?;
    let mut columns = Vec::new();
    for (name, _) in obs.iter_datasets().map_err(failed)? {
        columns.push(name);
    }
    for (name, _) in obs.iter_groups().map_err(failed)? {
        columns.push(name);
    }
    let conditions = match condition_of(path, &columns, condition)? {
        Some(at) => Some(column(&obs, &columns[at]).map_err(failed)?),
        None => None,
    };
    Ok(Expression { ids, genes, values, conditions })
}

/// Names of the rows of a data frame.
fn index(frame: &Group) -> Result<Vec<String>, Error> {
    let attributes = frame.attrs()?;
    let named = attributes.get("_index").and_then(AttrValue::as_str).unwrap_or("_index").to_owned();
    frame.dataset(&named).or_else(|_| frame.dataset("index")).and_then(|dataset| strings(&dataset))
}

/// A column of strings, or of categories.
fn column(frame: &Group, name: &str) -> Result<Vec<String>, Error> {
    if let Ok(dataset) = frame.dataset(name) {
        return strings(&dataset);
    }
    let categorical = frame.group(name)?;
    let names = strings(&categorical.dataset("categories")?)?;
    let codes = integers(&categorical.dataset("codes")?)?;
    // A code of -1 stands for no value.
    let of_code =
        |code: i64| usize::try_from(code).ok().and_then(|code| names.get(code)).cloned().unwrap_or_default();
    Ok(codes.into_iter().map(of_code).collect())
}

fn strings(dataset: &Dataset) -> Result<Vec<String>, Error> {
    dataset.read_string()
}

/// Whole numbers of any width.
fn integers(dataset: &Dataset) -> Result<Vec<i64>, Error> {
    let narrow = dataset.read_i64();
    narrow
        .or_else(|_| dataset.read_i32().map(|values| values.into_iter().map(i64::from).collect()))
        .or_else(|_| dataset.read_i16().map(|values| values.into_iter().map(i64::from).collect()))
        .or_else(|_| dataset.read_i8().map(|values| values.into_iter().map(i64::from).collect()))
}

fn matrix(
    path: &Path,
    root: &Group,
    (n_rows, n_columns): (usize, usize),
) -> Result<Array2<f32>, ExpressionError> {
    let failed = |source: Error| ExpressionError::Read { path: path.to_owned(), source: Box::new(source) };
    let layout = |rule: String| ExpressionError::Layout { path: path.to_owned(), rule };
    if n_rows.saturating_mul(n_columns) > MAX_VALUES {
        return Err(layout(format!(
            "{n_rows} records by {n_columns} genes are more than fit; keep fewer genes or records"
        )));
    }
    if let Ok(dense) = root.dataset("X") {
        let values = dense.read_f32().map_err(failed)?;
        let found = values.len();
        return Array2::from_shape_vec((n_rows, n_columns), values).map_err(|_| {
            layout(format!("X holds {found} values, but obs and var name {n_rows} by {n_columns}"))
        });
    }
    let sparse = root.group("X").map_err(|_| layout("it has no X".to_owned()))?;
    let encoding = sparse.attrs().map_err(failed)?;
    let encoding =
        encoding.get("encoding-type").and_then(AttrValue::as_str).unwrap_or("csr_matrix").to_owned();
    let part = |name: &str| sparse.dataset(name).map_err(failed);
    let values = part("data")?.read_f32().map_err(failed)?;
    let (indices, starts) =
        (integers(&part("indices")?).map_err(failed)?, integers(&part("indptr")?).map_err(failed)?);
    let by_row = encoding != "csc_matrix";
    let n_lines = if by_row { n_rows } else { n_columns };
    let broken =
        || layout(format!("X is broken: its {encoding} does not fit {n_rows} records by {n_columns} genes"));
    if starts.len() != n_lines + 1 || indices.len() != values.len() {
        return Err(broken());
    }
    let mut dense = Array2::zeros((n_rows, n_columns));
    for line in 0..n_lines {
        let range = usize::try_from(starts[line]).ok().zip(usize::try_from(starts[line + 1]).ok());
        let (from, to) = range.filter(|(from, to)| from <= to && *to <= values.len()).ok_or_else(broken)?;
        for at in from..to {
            let other = usize::try_from(indices[at]).map_err(|_| broken())?;
            let place = if by_row { (line, other) } else { (other, line) };
            *dense.get_mut(place).ok_or_else(broken)? = values[at];
        }
    }
    Ok(dense)
}
