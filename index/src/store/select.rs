//! Which records of a view a search may return: by a filter, by ids, or by any rule.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::segment::Segment;
use super::view::{Entry, Place, View};
use crate::collection::Record;
use crate::error::IndexError;
use crate::filter::{
    Comparison, Condition, Descent, Field, Filter, Holds, Operand, ResolvedFilter, Vocabulary,
};
use crate::records::Records;
use crate::row_set::RowSet;
use crate::taxonomy::lineage;

/// Records of one view that a search may return. It fits the view that made it and no other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection {
    pub(super) base: RowSet,
    pub(super) segments: Vec<RowSet>,
}

impl Selection {
    /// Records of the view that it allows.
    #[must_use]
    pub fn count(&self) -> usize {
        self.base.count() + self.segments.iter().map(RowSet::count).sum::<usize>()
    }

    pub(super) fn allows(&self, place: Place) -> bool {
        match place {
            Place::Base(row) => self.base.contains(row),
            Place::Segment(at, row) => self.segments[at].contains(row),
        }
    }

    pub(super) fn ensure_fits(&self, view: &View) -> Result<(), IndexError> {
        let expected = view.base.len() + view.segments.iter().map(|segment| segment.n_rows()).sum::<usize>();
        let found = self.base.n_rows() + self.segments.iter().map(RowSet::n_rows).sum::<usize>();
        if found != expected || self.segments.len() != view.segments.len() {
            return Err(IndexError::FilterRows { found, expected });
        }
        Ok(())
    }
}

impl View {
    /// The records for which `allowed` says yes. All of them are read.
    ///
    /// # Errors
    /// [`IndexError::Records`] where the snapshot cannot be read.
    pub fn select(&self, allowed: impl Fn(&Record) -> bool) -> Result<Selection, IndexError> {
        let mut base = RowSet::none(self.base.len());
        for row in (0..self.base.len() as u32).filter(|&row| self.is_live(row)) {
            if allowed(&*self.base.record(row)?) {
                base.insert(row);
            }
        }
        let of_segment =
            |segment: &Arc<Segment>| RowSet::where_true(segment.n_rows(), |row| allowed(segment.record(row)));
        Ok(Selection { base, segments: self.segments.iter().map(of_segment).collect() })
    }

    /// The records with these ids; ids that no record has are left out.
    ///
    /// # Errors
    /// [`IndexError::Records`] where the snapshot cannot be read.
    pub fn select_ids<'a>(&self, ids: impl IntoIterator<Item = &'a str>) -> Result<Selection, IndexError> {
        let mut selection = Selection {
            base: RowSet::none(self.base.len()),
            segments: self.segments.iter().map(|segment| RowSet::none(segment.n_rows())).collect(),
        };
        for id in ids {
            match self.place_of(id)? {
                Some(Place::Base(row)) => selection.base.insert(row),
                Some(Place::Segment(at, row)) => selection.segments[at].insert(row),
                None => false,
            };
        }
        Ok(selection)
    }

    /// The records for which a filter holds: of the snapshot by its tables, of later ones one by one.
    ///
    /// # Errors
    /// [`IndexError::Filter`] for a field that no record has and for taxa that are not known,
    /// [`IndexError::Records`] where the snapshot cannot be read.
    pub fn select_where(&self, filter: &Filter) -> Result<Selection, IndexError> {
        let filter = self.resolve(filter)?;
        let descent = self.descent(&filter)?;
        let mut base = filter.rows(&mut |condition: &Condition| {
            self.base.records.rows_where(condition, &descent).map(Arc::unwrap_or_clone)
        })?;
        self.live.iter().for_each(|live| base.intersect(live));
        let of_segment = |segment: &Arc<Segment>| {
            let mut set = filter.rows(&mut |condition: &Condition| {
                let holds = |row| condition.holds_for(segment.record(row), &descent);
                Ok(RowSet::where_true(segment.n_rows(), holds))
            })?;
            set.intersect(&segment.live_set());
            Ok::<_, IndexError>(set)
        };
        let segments = self.segments.iter().map(of_segment).collect::<Result<_, _>>()?;
        Ok(Selection { base, segments })
    }

    /// Whether [`View::select_where`] would take the filter, without looking at records.
    ///
    /// # Errors
    /// As [`View::select_where`].
    pub fn ensure_selectable(&self, filter: &Filter) -> Result<(), IndexError> {
        self.resolve(filter).map(|_| ())
    }

    /// The first record of a gene, by its symbol in any case.
    ///
    /// # Errors
    /// [`IndexError::Records`] where the snapshot cannot be read.
    pub fn first_of_gene(&self, symbol: &str) -> Result<Option<Entry<'_>>, IndexError> {
        let holds = Holds::Compares(Comparison::Equal, Operand::Text(symbol.to_owned()));
        let condition = Condition { field: Field::Gene, holds };
        let (records, descent) = (&self.base.records, Descent::default());
        if let Some(row) = records.rows_where(&condition, &descent)?.iter().find(|&row| self.is_live(row)) {
            return Ok(Some(self.entry(Place::Base(row))));
        }
        let later = self.segments.iter().enumerate().find_map(|(at, segment)| {
            let row = segment.live_rows().find(|&row| condition.holds_for(segment.record(row), &descent))?;
            Some(Place::Segment(at, row))
        });
        Ok(later.map(|place| self.entry(place)))
    }

    /// Names of the free fields that any record has, in their order.
    #[must_use]
    pub fn field_names(&self) -> BTreeSet<&str> {
        let later = self.segments.iter().flat_map(|segment| segment.fields());
        self.base.records.field_names().chain(later).collect()
    }

    fn resolve(&self, filter: &Filter) -> Result<ResolvedFilter, IndexError> {
        let records = &self.base.records;
        filter.resolve(&Vocabulary {
            fields: self.field_names(),
            has_taxonomy: records.has_taxonomy(),
            has_taxon: &|taxon| Ok(records.parent_of(taxon)?.is_some()),
        })
    }

    /// Which taxa of records in memory are under those that the filter names.
    fn descent(&self, filter: &ResolvedFilter) -> Result<Descent, IndexError> {
        let (mut descent, wanted) = (Descent::default(), filter.taxa_above());
        if wanted.is_empty() {
            return Ok(descent);
        }
        let later = self
            .segments
            .iter()
            .flat_map(|segment| (0..segment.n_rows() as u32).map(|row| segment.record(row)));
        let mut taxa: BTreeSet<u32> = later.filter_map(|record| record.taxon_id).collect();
        if let Records::Held(table) = &self.base.records {
            taxa.extend(table.records().filter_map(|record| record.taxon_id));
        }
        for taxon in taxa {
            let above = lineage(taxon, &mut |taxon| self.base.records.parent_of(taxon))?;
            above
                .into_iter()
                .filter(|above| wanted.contains(above))
                .for_each(|above| descent.add(above, taxon));
        }
        Ok(descent)
    }
}
