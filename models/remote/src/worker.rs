//! A worker: looks up what was paid for, claims what was not, sends it, keeps the rows.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use protext_core::{EncodeError, EncoderWorker, Piece, PieceOutput, TextPiece};
use protext_rows::{Claims, ContentKey};

use crate::client::Client;
use crate::error::RemoteError;
use crate::spec::RemoteSpec;
use crate::spend::SpendAccount;
use crate::store::Store;

/// One connection's worth of work.
pub(crate) struct RemoteWorker {
    pub(crate) spec: Arc<RemoteSpec>,
    pub(crate) client: Client,
    pub(crate) store: Arc<Mutex<Store>>,
    pub(crate) claims: Claims,
    pub(crate) account: Arc<SpendAccount>,
}

type Keyed<'a> = (ContentKey, &'a TextPiece);
type Rows = HashMap<ContentKey, Vec<f32>>;

impl RemoteWorker {
    /// The row of every text; each is looked up or paid for once.
    fn rows(&mut self, texts: &[Keyed<'_>]) -> Result<Rows, RemoteError> {
        let mut rows = Rows::new();
        let missing = missing(&lock(&self.store), texts, &mut rows);
        if missing.is_empty() {
            self.account.count_cached(rows.len());
            return Ok(rows);
        }
        // Whoever is buying one of these now is waited for, and what came of it is looked up.
        let keys: Vec<ContentKey> = missing.iter().map(|(key, _)| *key).collect();
        let claimed = self.claims.claim(&keys)?;
        let missing = {
            let mut store = lock(&self.store);
            store.refresh()?;
            self::missing(&store, &missing, &mut rows)
        };
        self.account.count_cached(rows.len());
        for request in requests(&self.spec, &missing) {
            buy(&self.client, &self.store, request, &mut rows)?;
        }
        drop(claimed);
        Ok(rows)
    }
}

impl EncoderWorker for RemoteWorker {
    fn run(&mut self, pieces: &[&Piece], _want_hidden: bool) -> Result<Vec<PieceOutput>, EncodeError> {
        let texts = pieces.iter().filter_map(|piece| piece.text.as_ref());
        let texts: Vec<Keyed<'_>> = texts.map(|piece| (ContentKey::of_exact(&piece.text), piece)).collect();
        debug_assert_eq!(texts.len(), pieces.len(), "this encoder's pieces hold texts");
        let rows = self.rows(&texts).map_err(|error| error.of_encoder(&self.spec.id))?;
        let output = |(key, _): &Keyed<'_>| PieceOutput {
            mean: rows[key].clone(),
            layer_means: Vec::new(),
            layer_variances: Vec::new(),
            hidden: None,
        };
        Ok(texts.iter().map(output).collect())
    }
}

/// Puts what is kept into `rows` and returns the others, each once, in their order.
fn missing<'a>(store: &Store, texts: &[Keyed<'a>], rows: &mut Rows) -> Vec<Keyed<'a>> {
    let mut seen = HashSet::new();
    let mut absent = Vec::new();
    for (key, piece) in texts.iter().filter(|(key, _)| seen.insert(*key)) {
        match store.get(key) {
            Some(row) => drop(rows.insert(*key, row)),
            None => absent.push((*key, *piece)),
        }
    }
    absent
}

/// Sends one request and keeps its rows.
fn buy(
    client: &Client,
    store: &Mutex<Store>,
    texts: &[Keyed<'_>],
    rows: &mut Rows,
) -> Result<(), RemoteError> {
    lock(store).save()?;
    let inputs: Vec<&str> = texts.iter().map(|(_, piece)| piece.text.as_str()).collect();
    let bought = client.embed(&inputs, texts.iter().map(|(_, piece)| piece.n_tokens).sum())?;
    let bought = texts.iter().map(|(key, _)| *key).zip(bought);
    lock(store).keep(bought.clone());
    rows.extend(bought);
    Ok(())
}

/// `texts` in runs that keep the limits of a request.
fn requests<'t, 'a>(spec: &RemoteSpec, texts: &'t [Keyed<'a>]) -> Vec<&'t [Keyed<'a>]> {
    let (mut runs, mut start, mut n_tokens) = (Vec::new(), 0, 0);
    for (at, (_, piece)) in texts.iter().enumerate() {
        let more = piece.n_tokens;
        if at > start && (at - start >= spec.max_inputs || n_tokens + more > spec.max_request_tokens) {
            runs.push(&texts[start..at]);
            (start, n_tokens) = (at, 0);
        }
        n_tokens += more;
    }
    if start < texts.len() {
        runs.push(&texts[start..]);
    }
    runs
}

fn lock(store: &Mutex<Store>) -> MutexGuard<'_, Store> {
    store.lock().unwrap_or_else(PoisonError::into_inner)
}
