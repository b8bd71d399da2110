//! Genes with a label of two classes, or a list of genes without any.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;

use super::cath::open_table;
use super::error::EvalError;

/// Labels that mean yes; of two others the last in the alphabet does.
const POSITIVE: [&str; 6] = ["1", "true", "yes", "positive", "sensitive", "essential"];

/// Genes of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GeneLabels {
    /// In file order.
    pub genes: Vec<String>,
    /// Whether each is positive, and the label that says so; `None` for a list.
    pub labels: Option<(Vec<bool>, String)>,
}

/// Labelled pairs of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelledPairs {
    /// Every gene once, in order of appearance.
    pub genes: Vec<String>,
    /// Places of both genes.
    pub pairs: Vec<(usize, usize)>,
    /// Whether each is positive.
    pub labels: Vec<bool>,
    /// The label that says so.
    pub positive: String,
}

/// What a file asks about genes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GeneTask {
    /// A property of each gene.
    Genes(GeneLabels),
    /// Whether two genes belong together.
    Pairs(LabelledPairs),
}

/// Reads a tab-separated table with `symbol` (or `gene`) and perhaps `label`, or with `gene_a`, `gene_b` and `label`.
///
/// # Errors
/// [`EvalError`] naming file, line and rule; labels of one class, or of more than two, are refused.
pub fn read_gene_labels(path: &Path) -> Result<GeneTask, EvalError> {
    let mut table = open_table(path)?;
    let header = table.headers().map_err(|source| EvalError::Read { path: path.to_owned(), source })?;
    if header.iter().any(|name| name.trim().eq_ignore_ascii_case("gene_a")) {
        return read_pairs(path).map(GeneTask::Pairs);
    }
    read_genes(path).map(GeneTask::Genes)
}

fn read_pairs(path: &Path) -> Result<LabelledPairs, EvalError> {
    let failed = |source: csv::Error| EvalError::Read { path: path.to_owned(), source };
    let mut table = open_table(path)?;
    let header: Vec<String> =
        table.headers().map_err(failed)?.iter().map(|name| name.trim().to_lowercase()).collect();
    let needed = |column: &'static str| {
        header.iter().position(|name| name == column).ok_or_else(|| EvalError::MissingColumn {
            path: path.to_owned(),
            column,
            present: header.join(", "),
        })
    };
    let (a, b, label) = (needed("gene_a")?, needed("gene_b")?, needed("label")?);
    let (mut genes, mut places, mut pairs, mut labels) = (Vec::new(), HashMap::new(), Vec::new(), Vec::new());
    for row in table.records() {
        let row = row.map_err(failed)?;
        let line = row.position().map_or(0, csv::Position::line);
        let mut members = [0; 2];
        for (member, (column, at)) in members.iter_mut().zip([("gene_a", a), ("gene_b", b)]) {
            let gene = row[at].trim();
            if gene.is_empty() {
                let (path, value) = (path.to_owned(), String::new());
                return Err(EvalError::Value { path, line, column, value, rule: "a gene symbol" });
            }
            *member = *places.entry(gene.to_owned()).or_insert_with(|| {
                genes.push(gene.to_owned());
                genes.len() - 1
            });
        }
        pairs.push((members[0], members[1]));
        labels.push(row[label].trim().to_owned());
    }
    if pairs.is_empty() {
        return Err(EvalError::Empty { path: path.to_owned() });
    }
    let (labels, positive) = two_classes(path, &labels)?;
    Ok(LabelledPairs { genes, pairs, labels, positive })
}

/// Whether each label is the positive one, and which that is.
fn two_classes(path: &Path, labels: &[String]) -> Result<(Vec<bool>, String), EvalError> {
    let classes: BTreeSet<&str> = labels.iter().map(String::as_str).collect();
    if classes.len() != 2 {
        let classes = classes.into_iter().take(5).collect::<Vec<_>>().join(", ");
        return Err(EvalError::Classes { path: path.to_owned(), n: labels.len(), classes });
    }
    let is_positive = |class: &&&str| POSITIVE.contains(&class.to_lowercase().as_str());
    let positive = classes.iter().find(is_positive).or(classes.last());
    let positive = positive.map_or_else(String::new, |class| (*class).to_owned());
    Ok((labels.iter().map(|label| *label == positive).collect(), positive))
}

fn read_genes(path: &Path) -> Result<GeneLabels, EvalError> {
    let failed = |source: csv::Error| EvalError::Read { path: path.to_owned(), source };
    let mut table = open_table(path)?;
    let header: Vec<String> =
        table.headers().map_err(failed)?.iter().map(|name| name.trim().to_lowercase()).collect();
    let column = |name: &str| header.iter().position(|column| column == name);
    let symbol = column("symbol").or_else(|| column("gene")).ok_or_else(|| EvalError::MissingColumn {
        path: path.to_owned(),
        column: "symbol",
        present: header.join(", "),
    })?;
    let label = column("label");
    let (mut genes, mut labels, mut lines) = (Vec::new(), Vec::new(), HashMap::new());
    for row in table.records() {
        let row = row.map_err(failed)?;
        let line = row.position().map_or(0, csv::Position::line);
        let value = |column: &'static str, rule: &'static str| EvalError::Value {
            path: path.to_owned(),
            line,
            column,
            value: String::new(),
            rule,
        };
        let gene = row[symbol].trim().to_owned();
        if gene.is_empty() {
            return Err(value("symbol", "a gene symbol"));
        }
        let its_label = label.map(|label| row[label].trim().to_owned()).unwrap_or_default();
        match lines.get(&gene) {
            // The same gene under several ids of another kind.
            Some((_, earlier)) if *earlier == its_label => continue,
            Some((earlier, _)) => {
                return Err(EvalError::Repeated { path: path.to_owned(), line, gene, earlier: *earlier });
            }
            None => lines.insert(gene.clone(), (line, its_label)),
        };
        genes.push(gene);
        if let Some(label) = label {
            let label = row[label].trim().to_owned();
            if label.is_empty() {
                return Err(value("label", "one of two classes"));
            }
            labels.push(label);
        }
    }
    if genes.is_empty() {
        return Err(EvalError::Empty { path: path.to_owned() });
    }
    if label.is_none() {
        return Ok(GeneLabels { genes, labels: None });
    }
    Ok(GeneLabels { genes, labels: Some(two_classes(path, &labels)?) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(text: &str) -> Result<GeneTask, EvalError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        read_gene_labels(file.path())
    }

    fn read(text: &str) -> Result<GeneLabels, EvalError> {
        match task(text)? {
            GeneTask::Genes(genes) => Ok(genes),
            GeneTask::Pairs(_) => panic!("these are genes"),
        }
    }

    #[test]
    fn pairs_are_told_by_their_columns() {
        let found = task("gene_a\tgene_b\tlabel\nA\tB\t1\nB\tC\t0\n").unwrap();
        let GeneTask::Pairs(found) = found else { panic!("these are pairs") };
        assert_eq!(
            (found.genes.join(","), &found.pairs[1], &found.labels[..]),
            ("A,B,C".to_owned(), &(1, 2), &[true, false][..])
        );
        assert!(task("gene_a\tgene_b\tlabel\nA\tB\t1\n").unwrap_err().to_string().contains("two classes"));
    }

    #[test]
    fn labels_of_two_classes_or_none() {
        let found = read("ensembl_id\tsymbol\tlabel\nE1\tA\tinsensitive\nE2\tB\tsensitive\n").unwrap();
        assert_eq!(found.labels, Some((vec![false, true], "sensitive".to_owned())));
        assert_eq!(read("symbol\tx\nA\t1\n").unwrap().labels, None);
        assert_eq!(read("symbol\tlabel\nA\t1\nA\t1\nB\t0\n").unwrap().genes, ["A", "B"]);
        for (text, said) in [
            ("symbol\tlabel\nA\t1\nB\t1\n", "two classes"),
            ("symbol\tlabel\nA\t1\nB\t\n", "line 3: label"),
            ("symbol\tlabel\nA\t1\nA\t0\n", "line 3: A stands on line 2"),
            ("x\n1\n", "\"symbol\""),
        ] {
            let error = read(text).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
    }
}
