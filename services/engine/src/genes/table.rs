//! Genes with their names, GO terms and text vectors, and the rows that heads read.
//!
//! A row is the gene's GO terms (those above them by `is_a` included), weighted by how rare they are, scaled to unit norm,
//! and how many there are;
//! then its text vector, centred over all genes, cut to its leading principal components and scaled to unit norm; then the
//! vector of its proteins and that of its responses, likewise: which knock-downs of other genes raise it, which also says
//! whether it is expressed. So a head can weigh the four against each other. Source of the weights: inverse document
//! frequency, Sparck Jones 1972.

use protext_core::{Fingerprint, Space};
use serde::{Deserialize, Serialize};

use super::byte_vector::ByteVector;
use super::resolve::Names;
use super::rows::SparseRows;

/// Weight of how much is known of a gene (the logarithm of the number of its terms, standardised) beside a block of unit
/// norm. Source: chosen on screens, docs/results/perturbation_method.md.
const NUMBER_SCALE: f32 = 0.1;

/// One gene.
#[derive(Debug, Clone, PartialEq)]
pub struct Gene {
    /// NCBI Gene id.
    pub entrez_id: String,
    /// Official symbol.
    pub symbol: String,
    /// Full name.
    pub name: String,
    /// Other and retired symbols.
    pub aliases: Vec<String>,
    /// Its GO terms and those above them: places in [`GeneTableOrigin::terms`], rising.
    pub terms: Vec<u16>,
    /// The vector of its text.
    pub text: ByteVector,
    /// The vector of its proteins; zeros where none is known.
    pub protein: ByteVector,
    /// The vector of the knock-downs that raise it; genes that none raises share one.
    pub response: ByteVector,
}

/// What a table was made of; kept in the file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GeneTableOrigin {
    /// Name of the table, and of the space of its rows.
    pub id: String,
    /// GO ids, in the order of the columns.
    pub terms: Vec<String>,
    /// How the texts were written.
    pub text_recipe: String,
    /// Encoder of the texts.
    pub text_encoder: String,
    /// Where its rows live.
    pub text_space: Space,
    /// Components kept of a text row.
    pub text_dim: usize,
    /// Share of the variance of the text rows that they hold.
    pub text_variance: f64,
    /// Encoder of the proteins; empty without any.
    #[serde(default)]
    pub protein_encoder: String,
    /// Components kept of a protein row; 0 without any.
    #[serde(default)]
    pub protein_dim: usize,
    /// Components kept of a response row; 0 without any.
    #[serde(default)]
    pub response_dim: usize,
    /// sha256 of each file it was made of, by name.
    pub sources: std::collections::BTreeMap<String, String>,
}

/// All genes that can be asked about.
#[derive(Debug, Clone)]
pub struct GeneTable {
    genes: Vec<Gene>,
    origin: GeneTableOrigin,
    space: Space,
    rows: SparseRows,
    pub(super) names: Names,
}

impl GeneTable {
    /// A table of genes, whose file has this sha256.
    #[must_use]
    pub fn new(genes: Vec<Gene>, origin: GeneTableOrigin, sha256: &str) -> Self {
        let rows = rows(&genes, &origin);
        let space = Space {
            name: origin.id.clone(),
            dim: rows.dim(),
            fingerprint: Fingerprint::of(["genes", sha256, &origin.text_space.fingerprint.to_string()]),
        };
        Self { names: Names::new(&genes), genes, origin, space, rows }
    }

    /// In the order of the file.
    #[must_use]
    pub fn genes(&self) -> &[Gene] {
        &self.genes
    }

    /// What it was made of.
    #[must_use]
    pub fn origin(&self) -> &GeneTableOrigin {
        &self.origin
    }

    /// Where its rows live: known by the file's sha256.
    #[must_use]
    pub fn space(&self) -> &Space {
        &self.space
    }

    /// One row a gene.
    #[must_use]
    pub fn rows(&self) -> &SparseRows {
        &self.rows
    }

    /// Columns of a row that hold GO terms; how many there are, and the vectors of text, protein and responses follow.
    #[must_use]
    pub fn n_term_columns(&self) -> usize {
        self.origin.terms.len()
    }

    /// The text vector of a gene, `[text_dim]`, of unit norm.
    #[must_use]
    pub fn text_vector(&self, gene: usize) -> Vec<f32> {
        self.genes[gene].text.components().collect()
    }

    /// Factors that weigh GO terms, text, protein and responses in every row.
    #[must_use]
    pub fn block_scale(&self, weights: [f32; 4]) -> Vec<f32> {
        let GeneTableOrigin { text_dim, protein_dim, response_dim, .. } = self.origin;
        let widths = [self.n_term_columns() + 1, text_dim, protein_dim, response_dim];
        let blocks = widths.into_iter().zip(weights);
        blocks.flat_map(|(width, weight)| std::iter::repeat_n(weight, width)).collect()
    }
}

fn rows(genes: &[Gene], origin: &GeneTableOrigin) -> SparseRows {
    let n_terms = origin.terms.len();
    let mut counts = vec![0_u32; n_terms];
    genes.iter().flat_map(|gene| &gene.terms).for_each(|&term| counts[term as usize] += 1);
    let rarity: Vec<f32> =
        counts.iter().map(|&count| (genes.len() as f32 / count.max(1) as f32).ln()).collect();
    let dense = origin.text_dim + origin.protein_dim + origin.response_dim;
    let mut rows = SparseRows::new(n_terms + 1 + dense);
    let numbers = standardised(genes.iter().map(|gene| (gene.terms.len() as f32).ln_1p()).collect());
    for (gene, number) in genes.iter().zip(numbers) {
        let weights = gene.terms.iter().map(|&term| rarity[term as usize]);
        let norm = weights.clone().map(|weight| weight * weight).sum::<f32>().sqrt().max(f32::MIN_POSITIVE);
        let terms = gene.terms.iter().zip(weights).map(|(&term, weight)| (u32::from(term), weight / norm));
        let first = u32::try_from(n_terms).expect("terms are counted in 16 bits");
        let number = std::iter::once(number * NUMBER_SCALE);
        let vectors =
            [&gene.text, &gene.protein, &gene.response].into_iter().flat_map(ByteVector::components);
        rows.push(terms.chain((first..).zip(number.chain(vectors))));
    }
    rows
}

/// Values less their mean, in units of their deviation.
fn standardised(values: Vec<f32>) -> Vec<f32> {
    let n = values.len().max(1) as f32;
    let mean = values.iter().sum::<f32>() / n;
    let deviation = (values.iter().map(|value| (value - mean).powi(2)).sum::<f32>() / n).sqrt().max(1e-6);
    values.into_iter().map(|value| (value - mean) / deviation).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn table() -> GeneTable {
        let gene = |id: &str, symbol: &str, aliases: &[&str], terms: &[u16], text: [i8; 2]| Gene {
            entrez_id: id.to_owned(),
            symbol: symbol.to_owned(),
            name: format!("gene {symbol}"),
            aliases: aliases.iter().map(|alias| (*alias).to_owned()).collect(),
            terms: terms.to_vec(),
            text: ByteVector { values: text.to_vec(), step: 0.01 },
            protein: ByteVector { values: vec![50], step: 0.02 },
            response: ByteVector { values: vec![-25], step: 0.04 },
        };
        let genes = vec![
            gene("7157", "TP53", &["P53X", "LFS1"], &[0, 2], [100, 0]),
            gene("16", "AARS1", &["AARS", "P53X"], &[1], [0, 100]),
            gene("1", "A1BG", &[], &[], [60, 80]),
        ];
        let origin = GeneTableOrigin {
            id: "test-genes".to_owned(),
            terms: vec!["GO:0000001".to_owned(), "GO:0000002".to_owned(), "GO:0000003".to_owned()],
            text_recipe: "names".to_owned(),
            text_encoder: "t".to_owned(),
            text_space: Space { name: "t".to_owned(), dim: 2, fingerprint: Fingerprint::of(["t"]) },
            text_dim: 2,
            text_variance: 1.0,
            protein_encoder: "p".to_owned(),
            protein_dim: 1,
            response_dim: 1,
            sources: std::collections::BTreeMap::new(),
        };
        GeneTable::new(genes, origin, "0")
    }

    #[test]
    fn rows_hold_terms_and_vectors_each_of_unit_norm() {
        let table = table();
        assert_eq!(table.space().dim, 8);
        let root = 0.5_f32.sqrt();
        for (row, expected) in [
            (0, [root, 0.0, root, 1.0, 0.0, 1.0, -1.0]),
            (1, [0.0, 1.0, 0.0, 0.0, 1.0, 1.0, -1.0]),
            (2, [0.0, 0.0, 0.0, 0.6, 0.8, 1.0, -1.0]),
        ] {
            let found = table.rows().dense(row);
            let found = [&found[..3], &found[4..]].concat();
            assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6), "{found:?}");
        }
        assert_eq!(table.block_scale([1.0, 0.5, 0.2, 0.1]), [1.0, 1.0, 1.0, 1.0, 0.5, 0.5, 0.2, 0.1]);
    }
}
