//! Which gene a symbol means.
//!
//! In this order: the official symbol; the official symbol but for case; an alias or retired symbol of one gene, then the
//! same but for case; an NCBI Gene id. A name of several genes is refused with those genes, any other with close spellings:
//! no gene is ever made up.

use std::collections::{BTreeSet, HashMap};

use super::error::{Candidate, GeneError};
use super::table::{Gene, GeneTable};

/// Candidates named at most.
const MAX_CANDIDATES: usize = 6;

/// How a symbol was understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ResolvedBy {
    /// It is the official symbol.
    Symbol,
    /// It is the official symbol in other case.
    Case,
    /// It is an alias, or a symbol that was given up.
    Alias,
    /// It is the NCBI Gene id.
    EntrezId,
}

/// A gene and how it was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resolved {
    /// Its place in the table.
    pub gene: usize,
    /// Why the symbol means it.
    pub by: ResolvedBy,
}

/// Names of all genes.
#[derive(Debug, Clone, Default)]
pub(super) struct Names {
    symbols: HashMap<String, usize>,
    /// In upper case; official symbols that differ by case alone share an entry.
    folded: HashMap<String, Vec<usize>>,
    aliases: HashMap<String, Vec<usize>>,
    folded_aliases: HashMap<String, Vec<usize>>,
    entrez: HashMap<String, usize>,
}

impl Names {
    pub(super) fn new(genes: &[Gene]) -> Self {
        let mut names = Self::default();
        let add = |map: &mut HashMap<String, Vec<usize>>, name: String, gene: usize| {
            let genes = map.entry(name).or_default();
            if !genes.contains(&gene) {
                genes.push(gene);
            }
        };
        for (place, gene) in genes.iter().enumerate() {
            names.symbols.entry(gene.symbol.clone()).or_insert(place);
            names.entrez.entry(gene.entrez_id.clone()).or_insert(place);
            add(&mut names.folded, gene.symbol.to_uppercase(), place);
            for alias in &gene.aliases {
                add(&mut names.aliases, alias.clone(), place);
                add(&mut names.folded_aliases, alias.to_uppercase(), place);
            }
        }
        names
    }

    fn find(&self, symbol: &str) -> Option<(&[usize], ResolvedBy)> {
        if let Some(gene) = self.symbols.get(symbol) {
            return Some((std::slice::from_ref(gene), ResolvedBy::Symbol));
        }
        let folded = symbol.to_uppercase();
        let maps = [
            (&self.folded, folded.as_str(), ResolvedBy::Case),
            (&self.aliases, symbol, ResolvedBy::Alias),
            (&self.folded_aliases, folded.as_str(), ResolvedBy::Alias),
        ];
        let named = maps.into_iter().find_map(|(map, name, by)| Some((map.get(name)?.as_slice(), by)));
        let by_id = || self.entrez.get(symbol).map(|gene| (std::slice::from_ref(gene), ResolvedBy::EntrezId));
        named.or_else(by_id)
    }
}

impl GeneTable {
    /// The gene that a symbol means.
    ///
    /// # Errors
    /// [`GeneError`] with the genes that may have been meant.
    pub fn resolve(&self, symbol: &str) -> Result<Resolved, GeneError> {
        let symbol = symbol.trim();
        if symbol.is_empty() {
            return Err(GeneError::Empty);
        }
        match self.names.find(symbol) {
            Some(([gene], by)) => Ok(Resolved { gene: *gene, by }),
            Some((genes, _)) => {
                let candidates = genes.iter().map(|&gene| self.candidate(gene, None)).collect();
                Err(GeneError::Ambiguous { symbol: symbol.to_owned(), candidates })
            }
            None => Err(GeneError::Unknown { symbol: symbol.to_owned(), candidates: self.close_to(symbol) }),
        }
    }

    fn candidate(&self, gene: usize, alias: Option<&str>) -> Candidate {
        let Gene { symbol, name, .. } = &self.genes()[gene];
        Candidate { symbol: symbol.clone(), alias: alias.map(str::to_owned), name: name.clone() }
    }

    /// Genes whose symbols or aliases are at most two edits away, the nearest first.
    fn close_to(&self, symbol: &str) -> Vec<Candidate> {
        let wanted: Vec<char> = symbol.to_uppercase().chars().collect();
        let most = if wanted.len() <= 3 { 1 } else { 2 };
        let mut found = BTreeSet::new();
        for (place, gene) in self.genes().iter().enumerate() {
            let names =
                std::iter::once((&gene.symbol, false)).chain(gene.aliases.iter().map(|alias| (alias, true)));
            for (name, is_alias) in names {
                if let Some(edits) = edits(&wanted, &name.to_uppercase(), most) {
                    found.insert((edits, is_alias, place, name));
                }
            }
        }
        let mut seen = BTreeSet::new();
        let nearest = found.into_iter().filter(|(_, _, place, _)| seen.insert(*place)).take(MAX_CANDIDATES);
        nearest
            .map(|(_, is_alias, place, name)| self.candidate(place, is_alias.then_some(name.as_str())))
            .collect()
    }
}

/// Insertions, deletions, replacements and exchanges of neighbours between two words, if there are at most `most`. Source:
/// Damerau 1964 (optimal string alignment).
fn edits(wanted: &[char], name: &str, most: usize) -> Option<usize> {
    let name: Vec<char> = name.chars().collect();
    if name.len().abs_diff(wanted.len()) > most {
        return None;
    }
    let mut before: Vec<usize> = Vec::new();
    let mut row: Vec<usize> = (0..=name.len()).collect();
    for (i, a) in wanted.iter().enumerate() {
        let mut next = vec![i + 1];
        for (j, b) in name.iter().enumerate() {
            let mut cost = (row[j] + usize::from(a != b)).min(row[j + 1] + 1).min(next[j] + 1);
            if i > 0 && j > 0 && *a == name[j - 1] && wanted[i - 1] == *b {
                cost = cost.min(before[j - 1] + 1);
            }
            next.push(cost);
        }
        before = std::mem::replace(&mut row, next);
    }
    Some(row[name.len()]).filter(|edits| *edits <= most)
}

#[cfg(test)]
mod tests {
    use super::super::table::tests::table;
    use super::*;

    #[test]
    fn symbols_are_resolved_by_rule_and_others_refused_with_candidates() {
        let table = table();
        let found = |symbol: &str| {
            table.resolve(symbol).map(|found| (table.genes()[found.gene].symbol.as_str(), found.by))
        };
        assert_eq!(found("TP53"), Ok(("TP53", ResolvedBy::Symbol)));
        assert_eq!(found(" tp53 "), Ok(("TP53", ResolvedBy::Case)));
        assert_eq!(found("AARS"), Ok(("AARS1", ResolvedBy::Alias)));
        assert_eq!(found("aars"), Ok(("AARS1", ResolvedBy::Alias)));
        assert_eq!(found("7157"), Ok(("TP53", ResolvedBy::EntrezId)));
        let ambiguous = found("P53X").unwrap_err();
        assert_eq!(ambiguous.candidates().len(), 2, "{ambiguous}");
        let unknown = found("TP35").unwrap_err();
        assert!(
            matches!(&unknown, GeneError::Unknown { .. }) && unknown.to_string().contains("TP53 ("),
            "{unknown}"
        );
        assert!(found("QQQQQQQQ").unwrap_err().to_string().contains("official human symbol"));
        assert_eq!(found("  "), Err(GeneError::Empty));
    }

    #[test]
    fn edits_are_counted_up_to_a_bound() {
        let word = |text: &str| text.chars().collect::<Vec<_>>();
        assert_eq!(edits(&word("TP53"), "TP53", 2), Some(0));
        assert_eq!(edits(&word("TP53"), "TP5", 2), Some(1));
        assert_eq!(edits(&word("TP53"), "TP35", 2), Some(1));
        assert_eq!(edits(&word("TP53"), "BRCA1", 2), None);
    }
}
