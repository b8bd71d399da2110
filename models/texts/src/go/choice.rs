//! Which terms say something, and what they say: texts for collections, genes and proteins.

use std::collections::{BTreeMap, HashMap, VecDeque};

use super::id::GoId;
use super::ontology::{Namespace, Ontology, Status, Term};

/// The three roots and "protein binding": nearly every protein has them, so they tell nothing.
const VAGUE: [u32; 4] = [3674, 8150, 5575, 5515];

/// Terms to take, see [`Ontology::chosen`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TermChoice {
    /// Only this part of the ontology.
    pub namespace: Option<Namespace>,
    /// Fewest `is_a` steps between a root and the term.
    pub min_depth: u32,
    /// Fewest characters of the definition.
    pub min_definition: usize,
}

/// Terms taken, and how many were left out by which rule; the first rule that a term breaks counts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ChosenTerms<'a> {
    /// By id.
    pub terms: Vec<&'a Term>,
    /// Obsolete terms.
    pub n_obsolete: usize,
    /// Terms of another part.
    pub n_other_namespace: usize,
    /// Terms too close to their root.
    pub n_shallow: usize,
    /// Terms with a shorter definition, or none.
    pub n_short: usize,
}

/// What became of a protein's or gene's ids.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ResolvedTerms<'a> {
    /// Current terms by id, each once, without those that tell nothing.
    pub terms: BTreeMap<GoId, &'a Term>,
    /// Ids that the ontology does not have.
    pub n_unknown: u64,
    /// Obsolete ids without a replacement.
    pub n_obsolete: u64,
    /// Roots and "protein binding".
    pub n_vague: u64,
}

impl Term {
    /// "name: definition."; the name alone where there is no definition.
    #[must_use]
    pub fn text(&self) -> String {
        let (name, definition) = (self.name.trim(), self.definition.trim());
        let text = if definition.is_empty() { name.to_owned() } else { format!("{name}: {definition}") };
        if text.ends_with(['.', '!', '?']) { text } else { text + "." }
    }

    /// Whether it is a root, or "protein binding".
    #[must_use]
    pub fn is_vague(&self) -> bool {
        VAGUE.contains(&self.id.number())
    }
}

impl Ontology {
    /// Current terms that meet `choice`.
    #[must_use]
    pub fn chosen(&self, choice: &TermChoice) -> ChosenTerms<'_> {
        let mut chosen = ChosenTerms::default();
        let depths = self.depths();
        for term in self.terms() {
            if term.status != Status::Current {
                chosen.n_obsolete += 1;
            } else if choice.namespace.is_some_and(|namespace| namespace != term.namespace) {
                chosen.n_other_namespace += 1;
            } else if depths.get(&term.id).is_none_or(|depth| *depth < choice.min_depth) {
                chosen.n_shallow += 1;
            } else if term.definition.chars().count() < choice.min_definition {
                chosen.n_short += 1;
            } else {
                chosen.terms.push(term);
            }
        }
        chosen.terms.sort_unstable_by_key(|term| term.id);
        chosen
    }

    /// The current terms that `ids` stand for now: merged and replaced ids are followed.
    #[must_use]
    pub fn resolve(&self, ids: impl IntoIterator<Item = GoId>) -> ResolvedTerms<'_> {
        let mut resolved = ResolvedTerms::default();
        for id in ids {
            match self.current(id) {
                Some(term) if term.is_vague() => resolved.n_vague += 1,
                Some(term) => {
                    resolved.terms.insert(term.id, term);
                }
                None if self.get(id).is_some() => resolved.n_obsolete += 1,
                None => resolved.n_unknown += 1,
            }
        }
        resolved
    }

    /// Fewest `is_a` steps from a root to each current term.
    fn depths(&self) -> HashMap<GoId, u32> {
        let mut children: HashMap<GoId, Vec<GoId>> = HashMap::new();
        let mut waiting = VecDeque::new();
        for term in self.terms().filter(|term| term.status == Status::Current) {
            if term.is_a.is_empty() {
                waiting.push_back(term.id);
            }
            for parent in term.is_a.iter().filter_map(|parent| self.get(*parent)) {
                children.entry(parent.id).or_default().push(term.id);
            }
        }
        let mut depths: HashMap<GoId, u32> = waiting.iter().map(|id| (*id, 0)).collect();
        while let Some(id) = waiting.pop_front() {
            let depth = depths[&id] + 1;
            for child in children.get(&id).into_iter().flatten() {
                depths.entry(*child).or_insert_with(|| {
                    waiting.push_back(*child);
                    depth
                });
            }
        }
        depths
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OBO: &str = "[Term]\nid: GO:0003674\nname: molecular_function\nnamespace: molecular_function\n\n\
        [Term]\nid: GO:0003677\nname: DNA binding\nnamespace: molecular_function\ndef: \"Binds DNA.\" []\n\
        is_a: GO:0003676\nalt_id: GO:0000009\n\n\
        [Term]\nid: GO:0003676\nname: nucleic acid binding\nnamespace: molecular_function\nis_a: GO:0003674\n\n\
        [Term]\nid: GO:0005515\nname: protein binding\nnamespace: molecular_function\nis_a: GO:0003674\n\n\
        [Term]\nid: GO:0008150\nname: biological_process\nnamespace: biological_process\n\n\
        [Term]\nid: GO:0000001\nname: old\nnamespace: molecular_function\nis_obsolete: true\nreplaced_by: GO:0003676\n\n\
        [Term]\nid: GO:0000002\nname: older\nnamespace: molecular_function\nis_obsolete: true\n";

    fn ontology() -> Ontology {
        Ontology::from_obo(OBO.as_bytes(), "test").unwrap()
    }

    fn id(number: u32) -> GoId {
        GoId::new(number).unwrap()
    }

    #[test]
    fn a_term_is_told_by_name_and_definition() {
        let ontology = ontology();
        let text = |number| ontology.get(id(number)).unwrap().text();
        assert_eq!(text(3677), "DNA binding: Binds DNA.");
        assert_eq!(text(3676), "nucleic acid binding.");
    }

    #[test]
    fn each_rule_leaves_out_and_is_counted() {
        let ontology = ontology();
        let numbers = |choice: TermChoice| {
            let chosen = ontology.chosen(&choice);
            let ids: Vec<_> = chosen.terms.iter().map(|term| term.id.number()).collect();
            (ids, [chosen.n_obsolete, chosen.n_other_namespace, chosen.n_shallow, chosen.n_short])
        };
        let all = TermChoice::default();
        assert_eq!(numbers(all), (vec![3674, 3676, 3677, 5515, 8150], [2, 0, 0, 0]));
        let functions = TermChoice { namespace: Some(Namespace::MolecularFunction), ..all };
        assert_eq!(numbers(functions), (vec![3674, 3676, 3677, 5515], [2, 1, 0, 0]));
        assert_eq!(numbers(TermChoice { min_depth: 2, ..all }), (vec![3677], [2, 0, 4, 0]));
        assert_eq!(numbers(TermChoice { min_definition: 5, ..functions }), (vec![3677], [2, 1, 0, 3]));
    }

    #[test]
    fn ids_lead_to_current_terms_that_tell_something() {
        let ontology = ontology();
        let resolved = ontology.resolve([9, 3677, 1, 2, 5515, 3674, 99].map(id));
        assert_eq!(resolved.terms.keys().map(|id| id.number()).collect::<Vec<_>>(), [3676, 3677]);
        assert_eq!((resolved.n_unknown, resolved.n_obsolete, resolved.n_vague), (1, 1, 2));
    }
}
