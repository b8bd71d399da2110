//! A collection on a server, open for searching and writing.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use protext_core::Space;
use protext_index::{
    CollectionStore, CollectionView, IndexError, RemoteError, StoreError, Upsert, WriteReport, check_upserts,
};
use reqwest::Method;
use serde_json::{Value, json};

use crate::about::About;
use crate::address::QdrantAddress;
use crate::client::Client;
use crate::payload::{key_of, point_of};
use crate::points::{self, NewPoint};
use crate::settings::QdrantSettings;
use crate::view::QdrantView;

/// What this process knows of a collection is asked for again after this time, before a search.
const FRESH_FOR: Duration = Duration::from_secs(10);
/// Ids that are looked up in one request.
const MAX_IDS: usize = 1_000;

/// What a store and its views share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) client: Client,
    /// Name that requests use: the alias.
    pub(crate) name: String,
    pub(crate) spaces: Arc<[Space]>,
    pub(crate) oversampling: Option<f32>,
    about: RwLock<Arc<About>>,
    n_records: AtomicUsize,
    asked: Mutex<Instant>,
}

/// A collection on a Qdrant server.
///
/// A batch of writes is kept in parts of up to 256 records: after a failure some parts may be there, which the error tells;
/// sending the batch again is safe. What is written is seen by searches when the call returns.
#[derive(Debug)]
pub struct QdrantStore {
    shared: Arc<Shared>,
    address: QdrantAddress,
    /// Writes of this process, one at a time: they count what they change.
    writing: Mutex<HashMap<u32, Vec<u32>>>,
}

impl QdrantStore {
    /// Opens the collection at `address`; refused if its main space is not `expected`, where one is given.
    ///
    /// # Errors
    /// [`IndexError::Space`] for another space, else [`IndexError::Remote`]: no collection there, one of another program, a key
    /// that is refused, or a server that does not answer.
    pub fn open(
        address: &QdrantAddress,
        settings: &QdrantSettings,
        expected: Option<&Space>,
    ) -> Result<Self, IndexError> {
        settings.check()?;
        let client = Client::new(address, settings)?;
        let name = address.name()?.to_owned();
        let about = About::read(&client, &name)?;
        expected.map_or(Ok(()), |expected| about.ensure_space(expected))?;
        let n_records = points::count(&client, &name, None)?;
        let quantization = about.quantization.parse().unwrap_or(settings.quantization);
        let shared = Shared {
            client,
            name,
            spaces: about.spaces.clone().into(),
            oversampling: quantization.oversampling(),
            about: RwLock::new(Arc::new(about)),
            n_records: AtomicUsize::new(n_records),
            asked: Mutex::new(Instant::now()),
        };
        Ok(Self { shared: Arc::new(shared), address: address.clone(), writing: Mutex::default() })
    }

    /// Where it is.
    #[must_use]
    pub fn address(&self) -> &QdrantAddress {
        &self.address
    }

    /// What is there now.
    #[must_use]
    pub fn view(&self) -> QdrantView {
        QdrantView::new(Arc::clone(&self.shared))
    }

    /// Residues of those of these points that are there, by point.
    fn residues_of(&self, points: &[String]) -> Result<HashMap<String, u64>, RemoteError> {
        let mut found = HashMap::new();
        for part in points.chunks(MAX_IDS) {
            let shared = &self.shared;
            for point in points::retrieve(&shared.client, &shared.name, part, (&["n.length"], false))? {
                let length = point.payload.as_ref().and_then(|payload| payload.n.get("length")).copied();
                let id = point.id.as_str().unwrap_or_default().to_owned();
                found.insert(id, length.unwrap_or_default() as u64);
            }
        }
        Ok(found)
    }

    /// Each record's place in the taxonomy: that of another record of its taxon, else its taxon alone.
    fn lineages(
        &self,
        batch: &[Upsert],
        known: &mut HashMap<u32, Vec<u32>>,
    ) -> Result<Vec<Vec<u32>>, RemoteError> {
        if !self.shared.about().has_taxonomy {
            return Ok(vec![Vec::new(); batch.len()]);
        }
        let taxa: BTreeSet<u32> = batch.iter().filter_map(|one| one.record.taxon_id).collect();
        for taxon in taxa {
            if known.contains_key(&taxon) {
                continue;
            }
            let filter = json!({"must": [{"key": "n.taxon", "match": {"value": taxon}}]});
            let shared = &self.shared;
            let page = points::scroll(
                &shared.client,
                &shared.name,
                Some(&filter),
                (None, 1),
                (&["lineage"], false),
            )?;
            let lineage = page.points.into_iter().find_map(|point| Some(point.payload?.lineage));
            known.insert(taxon, lineage.filter(|line| !line.is_empty()).unwrap_or_else(|| vec![taxon]));
        }
        let of = |one: &Upsert| one.record.taxon_id.and_then(|taxon| known.get(&taxon).cloned());
        Ok(batch.iter().map(|one| of(one).unwrap_or_default()).collect())
    }

    fn write_checked(&self, batch: &[Upsert]) -> Result<WriteReport, RemoteError> {
        let mut known = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let shared = &self.shared;
        shared.add_fields(batch)?;
        let lineages = self.lineages(batch, &mut known)?;
        let ids: Vec<String> = batch.iter().map(|one| point_of(&one.record.id)).collect();
        let replaced = self.residues_of(&ids)?;
        let new: Vec<NewPoint<'_>> = ids
            .iter()
            .zip(batch.iter().zip(&lineages))
            .map(|(id, (one, line))| NewPoint::new(id, (&one.record, line), &shared.spaces, &one.vectors))
            .collect();
        let written = points::write(&shared.client, &shared.name, &new);
        let n_written = match &written {
            Ok(()) => batch.len(),
            Err(RemoteError::Partial { n_written, .. }) => *n_written,
            Err(_) => 0,
        };
        let added: u64 = batch[..n_written].iter().map(|one| u64::from(one.record.length)).sum();
        let gone: u64 = ids[..n_written].iter().filter_map(|id| replaced.get(id)).sum();
        let counted = shared.count_change(added, gone);
        // What ended the writing is worth more than that it could not be counted.
        written.and(counted)?;
        let n_replaced = replaced.len();
        Ok(WriteReport { n_inserted: batch.len() - n_replaced, n_replaced, ..WriteReport::default() })
    }

    fn remove_all(&self, ids: &[&str]) -> Result<WriteReport, RemoteError> {
        let _one = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut points: BTreeMap<String, &str> = BTreeMap::new();
        let mut order = Vec::with_capacity(ids.len());
        for id in ids {
            let point = point_of(id);
            if points.insert(point.clone(), id).is_none() {
                order.push(point);
            }
        }
        let there = self.residues_of(&order)?;
        let shared = &self.shared;
        let path = format!("/collections/{}/points/delete?wait=true", shared.name);
        let gone: Vec<&String> = order.iter().filter(|point| there.contains_key(*point)).collect();
        for part in gone.chunks(MAX_IDS) {
            shared.client.send::<Value>(Method::POST, &path, &json!({"points": part}))?;
        }
        shared.count_change(0, there.values().sum())?;
        let missing = order.iter().filter(|point| !there.contains_key(*point));
        let unknown = missing.map(|point| points[point].to_owned()).collect();
        Ok(WriteReport { n_deleted: there.len(), unknown, ..WriteReport::default() })
    }
}

impl CollectionStore for QdrantStore {
    fn state(&self) -> Arc<dyn CollectionView> {
        Arc::new(self.view())
    }

    fn write(&self, batch: Vec<Upsert>) -> Result<WriteReport, StoreError> {
        let batch = check_upserts(batch, &self.shared.spaces)?;
        if batch.is_empty() {
            return Ok(WriteReport::default());
        }
        Ok(self.write_checked(&batch)?)
    }

    fn remove(&self, ids: &[&str]) -> Result<WriteReport, StoreError> {
        if ids.is_empty() {
            return Ok(WriteReport::default());
        }
        Ok(self.remove_all(ids)?)
    }
}

impl Shared {
    /// What was last heard of the collection.
    pub(crate) fn about(&self) -> Arc<About> {
        Arc::clone(&self.about.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Records, as last counted.
    pub(crate) fn n_records(&self) -> usize {
        self.n_records.load(Ordering::Relaxed)
    }

    /// Asks again what the collection is and counts it, if that was some time ago.
    ///
    /// # Errors
    /// [`IndexError::Space`] if a collection of another space has its name now; as requests fail.
    pub(crate) fn refresh_if_old(&self) -> Result<(), IndexError> {
        let is_old = {
            let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
            let is_old = asked.elapsed() > FRESH_FOR;
            if is_old {
                *asked = Instant::now();
            }
            is_old
        };
        if is_old { self.refresh() } else { Ok(()) }
    }

    /// Asks what the collection is and counts it.
    ///
    /// # Errors
    /// As [`Shared::refresh_if_old`].
    pub(crate) fn refresh(&self) -> Result<(), IndexError> {
        let about = About::read(&self.client, &self.name)?;
        for (own, now) in self.spaces.iter().zip(&about.spaces) {
            now.ensure_same("the collection", own, "what it was opened for")?;
        }
        self.n_records.store(points::count(&self.client, &self.name, None)?, Ordering::Relaxed);
        self.keep(about);
        Ok(())
    }

    fn keep(&self, about: About) {
        *self.about.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(about);
    }

    /// Makes the free fields of new records known before the records are there.
    fn add_fields(&self, batch: &[Upsert]) -> Result<(), RemoteError> {
        let about = self.about();
        let known = about.field_names();
        let fields = batch.iter().flat_map(|one| one.record.fields.keys());
        let new: BTreeSet<&str> = fields.map(String::as_str).filter(|name| !known.contains(name)).collect();
        if new.is_empty() {
            return Ok(());
        }
        crate::build::index_fields(&self.client, &self.name, new.iter().copied(), about.fields.len())?;
        About::add_fields(&self.client, &self.name, new.iter().copied())?;
        let mut about = About::clone(&about);
        about.fields.extend(new.into_iter().map(|name| (key_of(name), name.to_owned())));
        self.keep(about);
        Ok(())
    }

    /// Notes a change of residues, and counts the records. A note that is lost is made up for by the next.
    fn count_change(&self, added: u64, gone: u64) -> Result<(), RemoteError> {
        if added != gone {
            let mut about = About::clone(&*self.about());
            about.n_residues = (about.n_residues + added).saturating_sub(gone);
            let n_residues = about.n_residues;
            self.keep(about);
            About::set_residues(&self.client, &self.name, n_residues)?;
        }
        self.n_records.store(points::count(&self.client, &self.name, None)?, Ordering::Relaxed);
        Ok(())
    }
}
