//! A worker: looks up what was paid for, claims what was not, sends it, keeps the rows.

use std::collections::HashMap;
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

type Rows = HashMap<ContentKey, Vec<f32>>;

impl RemoteWorker {
    /// The row of every text; each text is looked up or paid for once.
    fn rows(&mut self, texts: &HashMap<ContentKey, &TextPiece>) -> Result<Rows, RemoteError> {
        let mut rows = Rows::new();
        let missing: Vec<ContentKey> = {
            let store = lock(&self.store);
            texts.keys().filter(|key| !take(&store, key, &mut rows)).copied().collect()
        };
        if !missing.is_empty() {
            // Whoever is buying one of these now is waited for, and what came of it is looked up.
            let claimed = self.claims.claim(&missing)?;
            let missing: Vec<ContentKey> = {
                let mut store = lock(&self.store);
                store.refresh()?;
                missing.into_iter().filter(|key| !take(&store, key, &mut rows)).collect()
            };
            self.account.count_cached(rows.len());
            for request in requests(&self.spec, texts, &missing) {
                buy(&self.client, &self.store, texts, request, &mut rows)?;
            }
            drop(claimed);
        } else {
            self.account.count_cached(rows.len());
        }
        Ok(rows)
    }
}

impl EncoderWorker for RemoteWorker {
    fn run(&mut self, pieces: &[&Piece], _want_hidden: bool) -> Result<Vec<PieceOutput>, EncodeError> {
        let keyed = pieces.iter().filter_map(|piece| piece.text.as_ref());
        let keyed: Vec<(ContentKey, &TextPiece)> =
            keyed.map(|piece| (ContentKey::of_exact(&piece.text), piece)).collect();
        debug_assert_eq!(keyed.len(), pieces.len(), "this encoder's pieces hold texts");
        let rows = self.rows(&keyed.iter().copied().collect());
        let rows = rows.map_err(|error| error.of_encoder(&self.spec.id))?;
        let output = |(key, _): &(ContentKey, &TextPiece)| PieceOutput {
            mean: rows[key].clone(),
            layer_means: Vec::new(),
            layer_variances: Vec::new(),
            hidden: None,
        };
        Ok(keyed.iter().map(output).collect())
    }
}

/// Sends one request and keeps its rows.
fn buy(
    client: &Client,
    store: &Mutex<Store>,
    texts: &HashMap<ContentKey, &TextPiece>,
    keys: &[ContentKey],
    rows: &mut Rows,
) -> Result<(), RemoteError> {
    lock(store).save()?;
    let pieces: Vec<&TextPiece> = keys.iter().map(|key| texts[key]).collect();
    let inputs: Vec<&str> = pieces.iter().map(|piece| piece.text.as_str()).collect();
    let bought = client.embed(&inputs, pieces.iter().map(|piece| piece.n_tokens).sum())?;
    let bought = keys.iter().copied().zip(bought);
    lock(store).keep(bought.clone());
    rows.extend(bought);
    Ok(())
}

/// `keys` in runs that keep the limits of a request.
fn requests<'a>(
    spec: &RemoteSpec,
    texts: &HashMap<ContentKey, &TextPiece>,
    keys: &'a [ContentKey],
) -> Vec<&'a [ContentKey]> {
    let (mut runs, mut start, mut n_tokens) = (Vec::new(), 0, 0);
    for (at, key) in keys.iter().enumerate() {
        let more = texts[key].n_tokens;
        if at > start && (at - start >= spec.max_inputs || n_tokens + more > spec.max_request_tokens) {
            runs.push(&keys[start..at]);
            (start, n_tokens) = (at, 0);
        }
        n_tokens += more;
    }
    if start < keys.len() {
        runs.push(&keys[start..]);
    }
    runs
}

fn take(store: &Store, key: &ContentKey, rows: &mut Rows) -> bool {
    store.get(key).map(|row| rows.insert(*key, row)).is_some()
}

fn lock(store: &Mutex<Store>) -> MutexGuard<'_, Store> {
    store.lock().unwrap_or_else(PoisonError::into_inner)
}
