//! What conditions change: the mean expression of each, less that of the controls, in the genes that change most.

use std::collections::BTreeMap;
use std::path::Path;

use ndarray::{Array1, Array2, Axis};

use super::{Expression, ExpressionError};

/// Names of controls that are looked for.
const CONTROLS: [&str; 7] = ["control", "ctrl", "non-targeting", "nontargeting", "nt", "unperturbed", "dmso"];
/// Conditions needed beside the control.
const LEAST: usize = 10;

/// How responses are made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ResponseOptions {
    /// Condition of the controls; by default the usual names are looked for.
    pub control: Option<String>,
    /// Genes kept: those whose change differs most between conditions; 0 keeps all.
    pub n_genes: usize,
}

/// Changes by condition.
#[derive(Debug, Clone, PartialEq)]
pub struct Responses {
    /// The genes perturbed in each condition: one, or several together.
    pub conditions: Vec<Vec<String>>,
    /// Names of the genes that are kept.
    pub outputs: Vec<String>,
    /// Mean less the mean of the controls, `[conditions, outputs]`.
    pub changes: Array2<f32>,
}

impl Responses {
    /// Changes of every condition of `expression`. `A+B` and `A_B` are two genes together; `ctrl` in a name says nothing.
    ///
    /// # Errors
    /// [`ExpressionError`] without conditions or controls.
    pub fn of(
        expression: &Expression,
        options: &ResponseOptions,
        path: &Path,
    ) -> Result<Self, ExpressionError> {
        let conditions = expression.conditions.as_ref().ok_or_else(|| ExpressionError::NoColumn {
            path: path.to_owned(),
            column: "condition".to_owned(),
            present: "none of that name; name it by --condition".to_owned(),
        })?;
        let mut records: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        conditions
            .iter()
            .enumerate()
            .for_each(|(at, name)| records.entry(name.as_str()).or_default().push(at));
        let is_control = |name: &str| match &options.control {
            Some(control) => name.eq_ignore_ascii_case(control),
            None => CONTROLS.iter().any(|control| name.eq_ignore_ascii_case(control)),
        };
        let controls: Vec<usize> =
            records.iter().filter(|(name, _)| is_control(name)).flat_map(|(_, at)| at.clone()).collect();
        if controls.is_empty() {
            return Err(ExpressionError::NoControl {
                path: path.to_owned(),
                control: options.control.clone().unwrap_or_else(|| CONTROLS.join("\" or \"")),
                present: records.keys().take(6).copied().collect::<Vec<_>>().join(", "),
            });
        }
        let mean =
            |rows: &[usize]| expression.values.select(Axis(0), rows).mean_axis(Axis(0)).unwrap_or_default();
        let control = mean(&controls);
        let perturbed: Vec<(&str, &Vec<usize>)> = records
            .iter()
            .filter(|(name, _)| !is_control(name) && !name.is_empty())
            .map(|(name, rows)| (*name, rows))
            .collect();
        if perturbed.len() < LEAST {
            return Err(ExpressionError::FewConditions {
                path: path.to_owned(),
                n: perturbed.len(),
                least: LEAST,
            });
        }
        let mut changes = Array2::zeros((perturbed.len(), expression.genes.len()));
        for (mut row, (_, rows)) in changes.rows_mut().into_iter().zip(&perturbed) {
            row.assign(&(mean(rows) - &control));
        }
        let kept = most_changed(&changes, options.n_genes);
        Ok(Self {
            conditions: perturbed.iter().map(|(name, _)| genes_of(name)).collect(),
            outputs: kept.iter().map(|&gene| expression.genes[gene].clone()).collect(),
            changes: changes.select(Axis(1), &kept),
        })
    }
}

fn genes_of(condition: &str) -> Vec<String> {
    let parts = condition.split(['+', '_']).map(str::trim);
    let is_gene =
        |part: &&str| !part.is_empty() && !CONTROLS.iter().any(|control| part.eq_ignore_ascii_case(control));
    parts.filter(is_gene).map(str::to_owned).collect()
}

/// Genes by the variance of their change over conditions, kept in the order of the file.
fn most_changed(changes: &Array2<f32>, n_genes: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..changes.ncols()).collect();
    if n_genes == 0 || n_genes >= order.len() {
        return order;
    }
    let variance: Array1<f32> = changes.var_axis(Axis(0), 0.0);
    order.sort_by(|&a, &b| variance[b].total_cmp(&variance[a]).then(a.cmp(&b)));
    order.truncate(n_genes);
    order.sort_unstable();
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &str, text: &str) -> Result<Responses, ExpressionError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        let expression = Expression::read(&path, None)?;
        Responses::of(&expression, &ResponseOptions { control: None, n_genes: 1 }, &path)
    }

    fn table(control: &str, value: &str) -> String {
        let mut text = format!("cell\tcondition\tX\tY\nc0\t{control}\t1\t1\nc1\t{control}\t3\t1\n");
        (0..10).for_each(|at| text += &format!("p{at}\tG{at}+ctrl\t{}\t{value}\n", at + 2));
        text + "p\tG1_G2\t5\t1\n"
    }

    #[test]
    fn changes_are_against_the_controls_in_the_genes_that_change() {
        let found = read("a.tsv", &table("ctrl", "1")).unwrap();
        assert_eq!(found.outputs, ["X"]);
        assert!(found.conditions.contains(&vec!["G1".to_owned(), "G2".to_owned()]));
        let first = found.conditions.iter().position(|genes| *genes == ["G3"]).unwrap();
        assert_eq!(found.changes[[first, 0]], 3.0);
    }

    #[test]
    fn nan_and_missing_controls_are_named() {
        for (text, said) in [
            (table("ctrl", "NaN"), "record 3 (p0): Y is \"NaN\""),
            (table("none", "1"), "name the control by --control"),
            ("cell\tX\nc\t1\n".to_owned(), "--condition"),
            ("cell\tcondition\tX\nc\tctrl\t1\np\tA\t1\n".to_owned(), "too few"),
            ("cell\tcondition\tX\n".to_owned(), "no record"),
        ] {
            let error = read("a.tsv", &text).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
    }
}
