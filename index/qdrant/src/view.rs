//! Searching and reading a collection on a server.

use std::ops::ControlFlow;
use std::sync::Arc;

use protext_core::{JointVector, Space};
use protext_index::{
    Chosen, CollectionInfo, CollectionView, Filter, FurtherSpace, IndexDescription, IndexError, Keywords,
    RemoteError, StoredRecord, ViewHit, Wanted, WordHit,
};
use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::filter::translated;
use crate::payload::{folded, point_of};
use crate::points::{self, Point, vector_name};
use crate::store::Shared;

/// Records of a page that is read with them, and of one that is passed over.
const PAGE: usize = 256;
const LONG_PAGE: usize = 10_000;

/// A collection on a server, as it is whenever it is asked.
#[derive(Debug, Clone)]
pub struct QdrantView {
    shared: Arc<Shared>,
}

/// What is asked of the server in a search.
struct Question<'a> {
    space: usize,
    query: &'a JointVector,
    filter: Option<&'a Value>,
    limit: usize,
    exact: bool,
    with_records: bool,
}

impl QdrantView {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// The filter in Qdrant's words. Fields that others brought in since are asked for once.
    fn translate(&self, filter: &Filter) -> Result<Value, IndexError> {
        let resolved = || {
            let about = self.shared.about();
            filter.resolved(about.field_names(), about.has_taxonomy)
        };
        let expression = match resolved() {
            Err(IndexError::Filter(_)) => {
                self.shared.refresh()?;
                resolved()?
            }
            expression => expression?,
        };
        translated(&expression)
    }

    fn ask(&self, question: &Question<'_>) -> Result<Vec<Point>, IndexError> {
        #[derive(Deserialize)]
        struct Found {
            points: Vec<Point>,
        }
        let shared = &self.shared;
        let mut params = json!({"exact": question.exact});
        if let Some(oversampling) = shared.oversampling {
            params["quantization"] = json!({"rescore": true, "oversampling": oversampling});
        }
        let mut body = json!({
            "query": question.query.as_slice(),
            "using": vector_name(&shared.spaces[question.space]),
            "limit": question.limit,
            "params": params,
        });
        body["with_payload"] = if question.with_records { json!(["record"]) } else { json!(false) };
        if let Some(filter) = question.filter {
            body["filter"] = filter.clone();
        }
        let path = format!("/collections/{}/points/query", shared.name);
        match shared.client.send::<Found>(Method::POST, &path, &body) {
            Ok(found) => Ok(found.points),
            Err(error @ RemoteError::Refused { .. }) => {
                // Another collection may have the name by now; then that is what is wrong.
                shared.refresh()?;
                Err(error.into())
            }
            Err(error) => Err(error.into()),
        }
    }

    fn hits(&self, found: Vec<Point>) -> Result<Vec<ViewHit>, IndexError> {
        let mut hits = Vec::with_capacity(found.len());
        for mut point in found {
            let record = Arc::new(point.record(&self.shared.client.place)?);
            hits.push(ViewHit { record, cosine: point.score.clamp(-1.0, 1.0), rank: 0 });
        }
        // Equal cosines in the order of their ids, so that an answer is the same each time.
        hits.sort_by(|one, other| {
            other.cosine.total_cmp(&one.cosine).then_with(|| one.record.id.cmp(&other.record.id))
        });
        hits.iter_mut().enumerate().for_each(|(index, hit)| hit.rank = index + 1);
        Ok(hits)
    }

    fn first_where(&self, filter: &Value) -> Result<Option<StoredRecord>, IndexError> {
        let shared = &self.shared;
        let page =
            points::scroll(&shared.client, &shared.name, Some(filter), (None, 1), (&["record"], true))?;
        let first = page.points.into_iter().next();
        let stored = |point: Point| point.into_stored(&shared.client.place, &shared.spaces, true);
        Ok(first.map(stored).transpose()?)
    }

    /// Where the page after the first `offset` records begins; `None` if there are no more.
    fn pass_over(&self, mut offset: usize) -> Result<Option<Option<Value>>, RemoteError> {
        let (shared, mut from) = (&self.shared, None);
        while offset > 0 {
            let limit = offset.min(LONG_PAGE);
            let page =
                points::scroll(&shared.client, &shared.name, None, (from.as_ref(), limit), (&[], false))?;
            offset -= page.points.len().min(offset);
            match page.next_page_offset {
                None => return Ok(None),
                next => from = next,
            }
        }
        Ok(Some(from))
    }
}

impl CollectionView for QdrantView {
    fn info(&self) -> CollectionInfo {
        let about = self.shared.about();
        let index = IndexDescription::Qdrant { shards: about.shards, replicas: about.replicas };
        let further = about.spaces[1..].iter().map(|space| FurtherSpace { space: space.clone(), index });
        CollectionInfo {
            space: about.spaces[0].clone(),
            n_records: self.len() as u64,
            index,
            further: further.collect(),
            created_unix_s: about.created_unix_s,
            metadata: about.metadata.clone(),
        }
    }

    fn spaces(&self) -> &[Space] {
        &self.shared.spaces
    }

    fn len(&self) -> usize {
        self.shared.n_records()
    }

    fn n_residues(&self) -> u64 {
        self.shared.about().n_residues
    }

    fn n_changes(&self) -> usize {
        0
    }

    fn is_exact(&self, space: &Space) -> Result<bool, IndexError> {
        self.position_of(space).map(|_| false)
    }

    fn get(&self, id: &str) -> Result<Option<StoredRecord>, IndexError> {
        let shared = &self.shared;
        let found = points::retrieve(&shared.client, &shared.name, &[point_of(id)], (&["record"], true))?;
        let first = found.into_iter().next();
        let stored = |point: Point| point.into_stored(&shared.client.place, &shared.spaces, true);
        Ok(first.map(stored).transpose()?)
    }

    fn first_of_gene(&self, symbol: &str) -> Result<Option<StoredRecord>, IndexError> {
        self.first_where(&json!({"must": [{"key": "t.gene", "match": {"value": folded(symbol)}}]}))
    }

    fn ensure_takes(&self, filter: &Filter) -> Result<(), IndexError> {
        self.translate(filter).map(|_| ())
    }

    fn choose(&self, filter: &Filter) -> Result<Chosen, IndexError> {
        let filter = self.translate(filter)?;
        let n_records = points::count(&self.shared.client, &self.shared.name, Some(&filter))?;
        Ok(Chosen::new(n_records, filter))
    }

    fn find(
        &self,
        space: &Space,
        query: &JointVector,
        wanted: &Wanted<'_>,
    ) -> Result<Vec<ViewHit>, IndexError> {
        let position = self.ensure_askable(space, query, wanted.k)?;
        let filter = wanted.within.map(Chosen::kept::<Value>).transpose()?;
        self.shared.refresh_if_old()?;
        let limit = wanted.k.min(self.len().max(PAGE).saturating_mul(2));
        let (exact, with_records) = (wanted.exact, true);
        self.hits(self.ask(&Question { space: position, query, filter, limit, exact, with_records })?)
    }

    fn compare_all(
        &self,
        space: &Space,
        query: &JointVector,
        k: usize,
    ) -> Result<(Vec<f32>, Vec<ViewHit>), IndexError> {
        let position = self.ensure_askable(space, query, 1)?;
        self.shared.refresh_if_old()?;
        let all = Question {
            space: position,
            query,
            filter: None,
            limit: self.len().max(1),
            exact: true,
            with_records: false,
        };
        let mut cosines: Vec<f32> = self.ask(&all)?.iter().map(|point| point.score).collect();
        cosines.sort_by(|one, other| other.total_cmp(one));
        let best = Wanted { exact: true, ..Wanted::new(k.max(1)) };
        Ok((cosines, self.find(space, query, &best)?))
    }

    fn find_words(&self, _: &Keywords, _: usize, _: Option<&Chosen>) -> Result<Vec<WordHit>, IndexError> {
        let instead = "search by text, sequence, gene or id, or filter by a field";
        Err(RemoteError::NotThere { what: "index of words", instead }.into())
    }

    fn each(
        &self,
        (offset, step): (usize, usize),
        with_vectors: bool,
        visit: &mut dyn FnMut(StoredRecord) -> ControlFlow<()>,
    ) -> Result<(), IndexError> {
        let shared = &self.shared;
        let Some(mut from) = self.pass_over(offset)? else { return Ok(()) };
        let mut n_passed = 0;
        loop {
            let page = points::scroll(
                &shared.client,
                &shared.name,
                None,
                (from.as_ref(), PAGE),
                (&["record"], with_vectors),
            )?;
            for point in page.points {
                let is_passed_over = n_passed % step != 0;
                n_passed += 1;
                if is_passed_over {
                    continue;
                }
                let stored = point.into_stored(&shared.client.place, &shared.spaces, with_vectors)?;
                if visit(stored).is_break() {
                    return Ok(());
                }
            }
            from = page.next_page_offset;
            if from.is_none() {
                return Ok(());
            }
        }
    }
}
