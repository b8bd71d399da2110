//! Many callers at once, each sending one protein after the other, as a service sees them.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use protext_core::EncoderInput;
use protext_engine::{Embedder, EngineError};
use serde::Serialize;

use crate::commands::bench::percentile::percentile_of;

/// How concurrent callers fared.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct Clients {
    pub(super) n_clients: usize,
    /// Residues per second, all callers together.
    pub(super) residues_per_s: f64,
    /// Of [`Clients::residues_per_s`] to what one batch job reaches.
    pub(super) share_of_offline: f64,
    /// 99th percentile of their waiting, milliseconds.
    pub(super) p99_ms: f64,
    /// The same of one caller alone.
    pub(super) alone_p99_ms: f64,
    /// Median of one caller alone.
    pub(super) alone_p50_ms: f64,
}

/// Sends every protein once from `n_clients` callers, then from one. Answers kept from before are passed over.
pub(super) fn measure(
    embedder: &Embedder,
    proteins: &[EncoderInput],
    n_clients: usize,
    offline: f64,
) -> anyhow::Result<Clients> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let (seconds, together) = runtime.block_on(send_all(embedder, proteins, n_clients))?;
    let (_, alone) = runtime.block_on(send_all(embedder, proteins, 1))?;
    let n_residues: usize = proteins.iter().map(length).sum();
    let residues_per_s = n_residues as f64 / seconds;
    Ok(Clients {
        n_clients,
        residues_per_s,
        share_of_offline: residues_per_s / offline,
        p99_ms: percentile_of(together, 0.99),
        alone_p50_ms: percentile_of(alone.clone(), 0.5),
        alone_p99_ms: percentile_of(alone, 0.99),
    })
}

/// Seconds for all, and each one's milliseconds.
async fn send_all(
    embedder: &Embedder,
    proteins: &[EncoderInput],
    n_clients: usize,
) -> Result<(f64, Vec<f64>), EngineError> {
    let next = AtomicUsize::new(0);
    let client = || async {
        let mut waits = Vec::new();
        while let Some(protein) = proteins.get(next.fetch_add(1, Ordering::Relaxed)) {
            let asked = Instant::now();
            embedder.probe(protein).await?;
            waits.push(asked.elapsed().as_secs_f64() * 1000.0);
        }
        Ok::<_, EngineError>(waits)
    };
    let started = Instant::now();
    let waits = futures_util::future::try_join_all((0..n_clients).map(|_| client())).await?;
    Ok((started.elapsed().as_secs_f64(), waits.concat()))
}

fn length(protein: &EncoderInput) -> usize {
    match protein {
        EncoderInput::Protein(sequence) => sequence.len(),
        EncoderInput::Text(text) => text.as_str().len(),
    }
}
