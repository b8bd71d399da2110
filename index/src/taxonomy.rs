//! The NCBI taxonomy: which taxon stands below which.
//!
//! Read from `nodes.dmp` of NCBI's `taxdump` archive when a collection is built, and kept in it, so that
//! `taxon under 7711` means the same for as long as the collection lives.

use std::io::BufRead;

use crate::error::IndexError;

/// Steps from any taxon to the root, at most. NCBI's deepest lineages have about 50.
pub(crate) const MAX_DEPTH: usize = 1_000;

/// Taxa with the taxon above each.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Taxonomy {
    /// Taxon and parent, by taxon. The root is its own parent.
    parents: Vec<(u32, u32)>,
}

impl Taxonomy {
    /// Reads `nodes.dmp`: a taxon a line, with its parent, between `|`.
    ///
    /// # Errors
    /// [`IndexError::Taxonomy`] naming the line that is none, or that cannot be read; for two lines of one taxon, a
    /// parent that is no taxon, and a file without taxa.
    pub fn read(from: impl BufRead) -> Result<Self, IndexError> {
        let mut parents = Vec::new();
        for (index, line) in from.lines().enumerate() {
            let refuse = |what: &str| IndexError::Taxonomy { line: index + 1, what: what.to_owned() };
            let line = line.map_err(|error| refuse(&error.to_string()))?;
            if line.trim().is_empty() {
                continue;
            }
            let mut columns = line.split('|').map(str::trim);
            let mut number = || columns.next().and_then(|column| column.parse::<u32>().ok());
            let pair = number().zip(number());
            parents.push(pair.ok_or_else(|| refuse("it does not start with two taxon ids between |"))?);
        }
        Self::of(parents)
    }

    /// From taxa with their parents, in any order.
    pub(crate) fn of(mut parents: Vec<(u32, u32)>) -> Result<Self, IndexError> {
        let refuse = |what: String| Err(IndexError::Taxonomy { line: 0, what });
        parents.sort_unstable();
        if parents.is_empty() {
            return refuse("it names no taxon".to_owned());
        }
        if let Some(pair) = parents.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return refuse(format!("taxon {} stands there twice", pair[0].0));
        }
        let taxonomy = Self { parents };
        let orphan = taxonomy.parents.iter().find(|(_, parent)| taxonomy.parent_of(*parent).is_none());
        match orphan {
            Some((taxon, parent)) => refuse(format!("taxon {taxon} is below {parent}, which is not there")),
            None => Ok(taxonomy),
        }
    }

    /// Taxa.
    #[must_use]
    pub fn len(&self) -> usize {
        self.parents.len()
    }

    /// True without taxa, which no taxonomy that was read is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.parents.is_empty()
    }

    /// A taxon and all above it, nearest first; empty for a taxon that is not there.
    #[must_use]
    pub fn lineage(&self, taxon: u32) -> Vec<u32> {
        let found = lineage(taxon, &mut |taxon| Ok::<_, std::convert::Infallible>(self.parent_of(taxon)));
        found.unwrap_or_else(|never| match never {})
    }

    /// The taxon above this one.
    pub(crate) fn parent_of(&self, taxon: u32) -> Option<u32> {
        let at = self.parents.binary_search_by_key(&taxon, |(taxon, _)| *taxon).ok()?;
        Some(self.parents[at].1)
    }

    pub(crate) fn pairs(&self) -> impl Iterator<Item = (u32, u32)> {
        self.parents.iter().copied()
    }
}

/// A taxon and all above it, nearest first; empty for a taxon that the taxonomy does not have.
pub(crate) fn lineage<E>(
    taxon: u32,
    parent_of: &mut dyn FnMut(u32) -> Result<Option<u32>, E>,
) -> Result<Vec<u32>, E> {
    let mut line = Vec::new();
    let mut here = taxon;
    while let Some(parent) = parent_of(here)? {
        line.push(here);
        // A file with a circle in it ends here, too.
        if parent == here || line.len() == MAX_DEPTH {
            break;
        }
        here = parent;
    }
    Ok(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_nodes_dmp_are_read_and_followed() {
        let nodes = "1\t|\t1\t|\tno rank\t|\n7711\t|\t1\t|\tphylum\t|\n9606\t|\t7711\t|\tspecies\t|\n\n";
        let taxonomy = Taxonomy::read(nodes.as_bytes()).unwrap();
        let mut parent_of = |taxon| Ok::<_, ()>(taxonomy.parent_of(taxon));
        assert_eq!(lineage(9606, &mut parent_of), Ok(vec![9606, 7711, 1]));
        assert_eq!(lineage(4, &mut parent_of), Ok(vec![]));
        let refused = |text: &str| Taxonomy::read(text.as_bytes()).unwrap_err().to_string();
        assert!(refused("1\t|\t1\t|\nspecies").contains("line 2"));
        assert!(refused("1|1\n2|5").contains("taxon 2 is below 5"));
        assert!(refused("1|1\n1|1").contains("twice"));
        assert!(refused("").contains("no taxon"));
        let circle = Taxonomy::read("1|2\n2|1".as_bytes()).unwrap();
        let line = lineage(1, &mut |taxon| Ok::<_, ()>(circle.parent_of(taxon))).unwrap();
        assert_eq!(line.len(), MAX_DEPTH);
    }
}
