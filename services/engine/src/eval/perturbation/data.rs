//! The three kinds of labelled data, as matrices over genes.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;

use ndarray::Array2;

use crate::eval::cath::open_table;
use crate::eval::error::EvalError;

/// Genes of a ranking that count: those further down are as good as absent.
const N_RANKS: f32 = 1_000.0;

/// The genes that each perturbation raises, strongest first.
#[derive(Debug, Clone, PartialEq)]
pub struct RankedResponses {
    /// Perturbed gene of each row.
    pub perturbed: Vec<String>,
    /// Every gene that is named in a ranking, sorted.
    pub outputs: Vec<String>,
    /// `1 - rank / 1000`, 0 where the gene is not in the ranking, `[perturbed, outputs]`.
    pub scores: Array2<f32>,
    /// The ranking of each row: places in `outputs`.
    pub rankings: Vec<Vec<usize>>,
}

/// A number for each gene in each of several screens.
#[derive(Debug, Clone, PartialEq)]
pub struct Screens {
    /// In order of appearance.
    pub screens: Vec<String>,
    /// Every gene of any screen, in order of appearance.
    pub genes: Vec<String>,
    /// NaN where a screen does not have the gene, `[genes, screens]`.
    pub scores: Array2<f32>,
}

/// A number for pairs of genes.
#[derive(Debug, Clone, PartialEq)]
pub struct GenePairs {
    /// Every gene of any pair, in order of appearance.
    pub genes: Vec<String>,
    /// Places of both genes, and their number.
    pub pairs: Vec<(usize, usize, f32)>,
}

/// Any of the three.
#[derive(Debug, Clone, PartialEq)]
pub enum PerturbationData {
    /// Ranked responses.
    Ranked(RankedResponses),
    /// Screens.
    Screens(Screens),
    /// Pairs of genes.
    Pairs(GenePairs),
}

impl PerturbationData {
    /// Reads a tab-separated table, plain or gzip; its columns tell what it is. Where it has a column `split`, rows of other
    /// parts than `split` are passed over.
    ///
    /// # Errors
    /// [`EvalError`] naming file, line, column and rule.
    pub fn read(path: &Path, split: Option<&str>) -> Result<Self, EvalError> {
        let rows = Rows::read(path, split)?;
        if rows.column("up_ranked").is_some() {
            return Ok(Self::Ranked(rows.ranked()?));
        }
        if rows.column("gene_a").is_some() {
            return Ok(Self::Pairs(rows.pairs()?));
        }
        if rows.column("screen").is_some() {
            return Ok(Self::Screens(rows.screens()?));
        }
        Err(EvalError::MissingColumn {
            path: path.to_owned(),
            column: "up_ranked (with pert), screen (with gene, score) or gene_a (with gene_b, gi_score)",
            present: rows.header.join(", "),
        })
    }
}

/// Cells of a table with the lines they stand on.
struct Rows<'a> {
    path: &'a Path,
    header: Vec<String>,
    rows: Vec<(u64, csv::StringRecord)>,
}

impl<'a> Rows<'a> {
    fn read(path: &'a Path, split: Option<&str>) -> Result<Self, EvalError> {
        let failed = |source: csv::Error| EvalError::Read { path: path.to_owned(), source };
        let mut table = open_table(path)?;
        let header: Vec<String> =
            table.headers().map_err(failed)?.iter().map(|name| name.trim().to_lowercase()).collect();
        let mut found = Self { path, header, rows: Vec::new() };
        let part = found.column("split");
        let mut parts = BTreeSet::new();
        for row in table.records() {
            let row = row.map_err(failed)?;
            let line = row.position().map_or(0, csv::Position::line);
            if let (Some(part), Some(split)) = (part, split)
                && row[part] != *split
            {
                parts.insert(row[part].to_owned());
                continue;
            }
            found.rows.push((line, row));
        }
        match (found.rows.is_empty(), parts.is_empty(), split) {
            (true, false, Some(split)) => Err(EvalError::UnknownSplit {
                path: path.to_owned(),
                split: split.to_owned(),
                present: parts.into_iter().collect::<Vec<_>>().join(", "),
            }),
            (true, _, _) => Err(EvalError::Empty { path: path.to_owned() }),
            _ => Ok(found),
        }
    }

    fn column(&self, name: &str) -> Option<usize> {
        self.header.iter().position(|column| column == name)
    }

    fn needed(&self, column: &'static str) -> Result<usize, EvalError> {
        let present = || self.header.join(", ");
        self.column(column).ok_or_else(|| EvalError::MissingColumn {
            path: self.path.to_owned(),
            column,
            present: present(),
        })
    }

    fn number(&self, line: u64, column: &'static str, value: &str) -> Result<f32, EvalError> {
        let number = value.trim().parse::<f32>().ok().filter(|number| number.is_finite());
        number.ok_or_else(|| EvalError::Value {
            path: self.path.to_owned(),
            line,
            column,
            value: value.to_owned(),
            rule: "a finite number",
        })
    }

    fn gene<'r>(&self, line: u64, column: &'static str, value: &'r str) -> Result<&'r str, EvalError> {
        let value = value.trim();
        if value.is_empty() {
            let (path, rule) = (self.path.to_owned(), "a gene symbol");
            return Err(EvalError::Value { path, line, column, value: String::new(), rule });
        }
        Ok(value)
    }

    fn ranked(&self) -> Result<RankedResponses, EvalError> {
        let (pert, ranked) = (self.needed("pert")?, self.needed("up_ranked")?);
        let mut perturbed = Vec::with_capacity(self.rows.len());
        let mut seen = HashMap::new();
        let mut names: Vec<Vec<&str>> = Vec::with_capacity(self.rows.len());
        for (line, row) in &self.rows {
            let gene = self.gene(*line, "pert", &row[pert])?;
            if let Some(earlier) = seen.insert(gene, *line) {
                let (path, gene) = (self.path.to_owned(), gene.to_owned());
                return Err(EvalError::Repeated { path, line: *line, gene, earlier });
            }
            perturbed.push(gene.to_owned());
            let genes: Vec<&str> =
                row[ranked].split(';').map(str::trim).filter(|gene| !gene.is_empty()).collect();
            if genes.is_empty() {
                let (path, rule) = (self.path.to_owned(), "symbols separated by semicolons, strongest first");
                return Err(EvalError::Value {
                    path,
                    line: *line,
                    column: "up_ranked",
                    value: String::new(),
                    rule,
                });
            }
            names.push(genes);
        }
        let outputs: BTreeSet<&str> = names.iter().flatten().copied().collect();
        let outputs: Vec<String> = outputs.into_iter().map(str::to_owned).collect();
        Ok(RankedResponses::new(perturbed, outputs, &names))
    }

    fn screens(&self) -> Result<Screens, EvalError> {
        let columns = [self.needed("screen")?, self.needed("gene")?, self.needed("score")?];
        let (mut screens, mut genes) = (Places::default(), Places::default());
        let mut values = Vec::with_capacity(self.rows.len());
        for (line, row) in &self.rows {
            let [screen, gene, score] = columns.map(|column| &row[column]);
            let place = (genes.of(self.gene(*line, "gene", gene)?), screens.of(screen.trim()));
            values.push((place, self.number(*line, "score", score)?));
        }
        let mut scores = Array2::from_elem((genes.names.len(), screens.names.len()), f32::NAN);
        values.into_iter().for_each(|(place, score)| scores[place] = score);
        Ok(Screens { screens: screens.names, genes: genes.names, scores })
    }

    fn pairs(&self) -> Result<GenePairs, EvalError> {
        let columns = [self.needed("gene_a")?, self.needed("gene_b")?, self.needed("gi_score")?];
        let mut genes = Places::default();
        let mut pairs = Vec::with_capacity(self.rows.len());
        for (line, row) in &self.rows {
            let [a, b, score] = columns.map(|column| &row[column]);
            let a = genes.of(self.gene(*line, "gene_a", a)?);
            let b = genes.of(self.gene(*line, "gene_b", b)?);
            pairs.push((a, b, self.number(*line, "gi_score", score)?));
        }
        Ok(GenePairs { genes: genes.names, pairs })
    }
}

/// Names with their places, in order of appearance.
#[derive(Default)]
struct Places {
    names: Vec<String>,
    places: HashMap<String, usize>,
}

impl Places {
    fn of(&mut self, name: &str) -> usize {
        if let Some(place) = self.places.get(name) {
            return *place;
        }
        let place = self.names.len();
        self.names.push(name.to_owned());
        self.places.insert(name.to_owned(), place);
        place
    }
}

impl RankedResponses {
    fn new(perturbed: Vec<String>, outputs: Vec<String>, rankings: &[Vec<&str>]) -> Self {
        let places: HashMap<&str, usize> =
            outputs.iter().enumerate().map(|(place, name)| (name.as_str(), place)).collect();
        let mut scores = Array2::zeros((perturbed.len(), outputs.len()));
        let places_of = |genes: &Vec<&str>| genes.iter().map(|gene| places[gene]).collect::<Vec<_>>();
        let rankings: Vec<Vec<usize>> = rankings.iter().map(places_of).collect();
        for (row, ranking) in rankings.iter().enumerate() {
            for (rank, &place) in ranking.iter().enumerate().rev() {
                scores[[row, place]] = (1.0 - rank as f32 / N_RANKS).max(0.0);
            }
        }
        drop(places);
        Self { perturbed, outputs, scores, rankings }
    }

    /// The same responses over the outputs of a head: genes that it does not name keep a place after its own, so that they
    /// count as not found.
    #[must_use]
    pub fn over(&self, outputs: &[String]) -> Self {
        let known: BTreeSet<&str> = outputs.iter().map(String::as_str).collect();
        let further = self.outputs.iter().filter(|name| !known.contains(name.as_str()));
        let all: Vec<String> = outputs.iter().chain(further).cloned().collect();
        let names: Vec<Vec<&str>> = self
            .rankings
            .iter()
            .map(|ranking| ranking.iter().map(|&place| self.outputs[place].as_str()).collect())
            .collect();
        Self::new(self.perturbed.clone(), all, &names)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<PerturbationData, EvalError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        PerturbationData::read(file.path(), Some("test"))
    }

    #[test]
    fn kinds_are_told_by_their_columns() {
        let PerturbationData::Ranked(ranked) =
            read("pert\tup_significant\tup_ranked\nA\t\tX;Y\nB\t\tY\n").unwrap()
        else {
            panic!("ranked responses");
        };
        assert_eq!((ranked.outputs.join(","), ranked.scores[[0, 1]]), ("X,Y".to_owned(), 0.999));
        let over = ranked.over(&["Y".to_owned(), "Z".to_owned()]);
        assert_eq!((over.outputs.join(","), &over.rankings[0]), ("Y,Z,X".to_owned(), &vec![2, 0]));
        let PerturbationData::Screens(screens) = read("screen\tgene\tscore\nS\tA\t1\nT\tB\t-2\n").unwrap()
        else {
            panic!("screens");
        };
        assert!(screens.scores[[0, 1]].is_nan() && screens.scores[[1, 1]] == -2.0);
        let PerturbationData::Pairs(pairs) = read("gene_a\tgene_b\tgi_score\nA\tB\t1\nB\tB\t2\n").unwrap()
        else {
            panic!("pairs");
        };
        assert_eq!(pairs.pairs, [(0, 1, 1.0), (1, 1, 2.0)]);
    }

    #[test]
    fn faults_name_line_column_and_rule() {
        for (text, said) in [
            ("gene\tx\nA\t1\n", "up_ranked"),
            ("screen\tgene\tscore\nS\tA\tNaN\n", "line 2: score is \"NaN\""),
            ("screen\tgene\tscore\nS\t\t1\n", "line 2: gene is \"\""),
            ("pert\tup_ranked\nA\tX\nA\tY\n", "line 3"),
            ("pert\tup_ranked\nA\t\n", "strongest first"),
            ("screen\tgene\tscore\tsplit\nS\tA\t1\ttrain\n", "there is: train"),
        ] {
            let error = read(text).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
    }
}
