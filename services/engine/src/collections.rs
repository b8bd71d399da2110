//! Collections that are open: those that stand still, and those that are written to while they are searched.
//!
//! Every use case asks for a collection by name or target and takes one [`CollectionView`] of it. Collections come and go while
//! requests run; a request that has one keeps it until it is done.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use protext_index::{CollectionStore, CollectionView, Store, View};

use crate::error::EngineError;
use crate::target::Target;

/// A collection that can be searched, and written to if it was opened so.
#[derive(Debug, Clone)]
pub struct OpenCollection {
    source: Source,
    /// What it holds.
    pub target: Target,
}

#[derive(Debug, Clone)]
enum Source {
    Fixed(Arc<dyn CollectionView>),
    Live(Arc<Store>),
    /// On a server; read only where the flag says so.
    Elsewhere(Arc<dyn CollectionStore>, bool),
}

impl OpenCollection {
    /// A state of a collection: what [`protext_index::Store::read`] gives, or a collection in memory.
    #[must_use]
    pub fn new(view: impl Into<View>) -> Self {
        let view = view.into();
        let target = Target::of(view.base());
        Self { source: Source::Fixed(Arc::new(view)), target }
    }

    /// A collection that takes writes.
    #[must_use]
    pub fn live(store: Store) -> Self {
        Self::shared(Arc::new(store))
    }

    /// As [`OpenCollection::live`], of a store that others hold, too.
    pub(crate) fn shared(store: Arc<Store>) -> Self {
        let target = Target::of(store.view().base());
        Self { source: Source::Live(store), target }
    }

    /// A collection on a server, which takes writes unless it is to be read only.
    #[must_use]
    pub fn elsewhere(store: Arc<dyn CollectionStore>, read_only: bool) -> Self {
        let target = Target::said_in(&store.state().info().metadata);
        Self { source: Source::Elsewhere(store, read_only), target }
    }

    /// Records and vectors now. One request takes it once, so that all of its answer is of one state where the collection
    /// lies here.
    #[must_use]
    pub fn view(&self) -> Arc<dyn CollectionView> {
        match &self.source {
            Source::Fixed(view) => Arc::clone(view),
            Source::Live(store) => store.view(),
            Source::Elsewhere(store, _) => store.state(),
        }
    }

    /// Whether it lies on a server, and not here.
    #[must_use]
    pub fn is_elsewhere(&self) -> bool {
        matches!(self.source, Source::Elsewhere(..))
    }

    /// What takes writes, if the collection does.
    #[must_use]
    pub fn writer(&self) -> Option<Arc<dyn CollectionStore>> {
        match &self.source {
            Source::Fixed(_) | Source::Elsewhere(_, true) => None,
            Source::Live(store) => Some(Arc::clone(store) as Arc<dyn CollectionStore>),
            Source::Elsewhere(store, false) => Some(Arc::clone(store)),
        }
    }

    /// The store in a folder here, if the collection has one and takes writes.
    #[must_use]
    pub fn store(&self) -> Option<&Arc<Store>> {
        match &self.source {
            Source::Fixed(_) | Source::Elsewhere(..) => None,
            Source::Live(store) => Some(store),
        }
    }

    /// The store, taken out.
    pub(crate) fn into_store(self) -> Option<Arc<Store>> {
        match self.source {
            Source::Fixed(_) | Source::Elsewhere(..) => None,
            Source::Live(store) => Some(store),
        }
    }
}

/// Collections by name. A list that was taken stays as it was while others open and close.
pub(crate) struct Collections(RwLock<Arc<BTreeMap<String, OpenCollection>>>);

impl Collections {
    pub(crate) fn new(collections: BTreeMap<String, OpenCollection>) -> Self {
        Self(RwLock::new(Arc::new(collections)))
    }

    pub(crate) fn now(&self) -> Arc<BTreeMap<String, OpenCollection>> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Adds a collection; refused where the name is taken.
    pub(crate) fn insert(&self, name: &str, open: OpenCollection) -> Result<(), EngineError> {
        let mut collections = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if collections.contains_key(name) {
            return Err(EngineError::NameTaken { name: name.to_owned() });
        }
        Arc::make_mut(&mut *collections).insert(name.to_owned(), open);
        Ok(())
    }

    pub(crate) fn remove(&self, name: &str) -> Option<OpenCollection> {
        let mut collections = self.0.write().unwrap_or_else(PoisonError::into_inner);
        Arc::make_mut(&mut *collections).remove(name)
    }
}

/// The collection called `name`; without a name the only one that holds `target`, and without either the only one
/// there is, or the only one of proteins.
///
/// # Errors
/// [`EngineError::UnknownCollection`], [`EngineError::OtherTarget`], [`EngineError::NoSuchTarget`] or
/// [`EngineError::NameACollection`].
pub(crate) fn choose(
    collections: &BTreeMap<String, OpenCollection>,
    name: Option<&str>,
    target: Option<Target>,
) -> Result<(String, OpenCollection), EngineError> {
    let owned = |(name, open): (&String, &OpenCollection)| (name.clone(), open.clone());
    if let Some(name) = name {
        let found = collections.get_key_value(name).ok_or_else(|| EngineError::UnknownCollection {
            name: name.to_owned(),
            known: names(collections, |_| true),
        })?;
        let holds = found.1.target;
        return match target {
            Some(wanted) if wanted != holds => {
                Err(EngineError::OtherTarget { collection: name.to_owned(), holds, wanted })
            }
            _ => Ok(owned(found)),
        };
    }
    let only = if collections.len() == 1 { collections.values().next() } else { None };
    let target = target.or(only.map(|open| open.target)).unwrap_or(Target::Proteins);
    let holds_it = |open: &OpenCollection| open.target == target;
    let mut fitting = collections.iter().filter(|(_, open)| holds_it(open));
    match (fitting.next(), fitting.next()) {
        (Some(found), None) => Ok(owned(found)),
        (None, _) => Err(EngineError::NoSuchTarget { target, known: names(collections, |_| true) }),
        (Some(_), Some(_)) => {
            Err(EngineError::NameACollection { target, known: names(collections, holds_it) })
        }
    }
}

fn names(
    collections: &BTreeMap<String, OpenCollection>,
    is_wanted: impl Fn(&OpenCollection) -> bool,
) -> String {
    let wanted = collections.iter().filter(|(_, open)| is_wanted(open));
    wanted.map(|(name, open)| format!("{name} ({})", open.target)).collect::<Vec<_>>().join(", ")
}
