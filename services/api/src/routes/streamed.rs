//! Whole collections as answers: written on the blocking pool, chunk by chunk, as fast as the caller reads.
//!
//! At most a few chunks wait in memory. A caller that takes nothing for half a minute is let go of.

use std::io::Write as _;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use actix_web::web;
use bytes::Bytes;
use futures_util::Stream;
use futures_util::stream::poll_fn;
use protext_engine::EngineError;
use protext_index::{CollectionView, Record};
use tokio::runtime::Handle;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::mpsc::{Sender, channel};

use super::records::on_wire;
use crate::error::Problem;
use crate::negotiate::Form;

const CHUNK_BYTES: usize = 64 << 10;
const CHUNKS_WAITING: usize = 4;
const PATIENCE: Duration = Duration::from_secs(30);
/// Residues on a line of FASTA.
const FASTA_WIDTH: usize = 60;

/// Every record from `from` (the number to pass over, and whether vectors are wanted), in the form asked for.
pub(super) fn records(
    view: Arc<dyn CollectionView>,
    form: Form,
    from: (usize, bool),
    permit: OwnedSemaphorePermit,
) -> impl Stream<Item = Bytes> {
    let (to_caller, mut chunks) = channel(CHUNKS_WAITING);
    let handle = Handle::current();
    drop(web::block(move || {
        let _permit = permit;
        if let Err(problem) = write_all(&*view, form, from, |chunk| send(&handle, &to_caller, chunk)) {
            // The status is already sent: all that can be done is to end early.
            tracing::error!(%problem, "a streamed answer broke off");
        }
    }));
    poll_fn(move |context| chunks.poll_recv(context))
}

/// False once the caller has left or takes nothing.
fn send(handle: &Handle, to_caller: &Sender<Bytes>, chunk: Vec<u8>) -> bool {
    handle.block_on(to_caller.send_timeout(chunk.into(), PATIENCE)).is_ok()
}

fn write_all(
    view: &dyn CollectionView,
    form: Form,
    (offset, with_vectors): (usize, bool),
    mut send: impl FnMut(Vec<u8>) -> bool,
) -> Result<(), Problem> {
    let mut chunk = Vec::with_capacity(CHUNK_BYTES + CHUNK_BYTES / 4);
    let with_vectors = with_vectors && form != Form::Fasta;
    let mut is_taken = true;
    let read = view.each((offset, 1), with_vectors, &mut |stored| {
        match form {
            Form::Fasta => write_fasta(&mut chunk, &stored.record),
            _ => {
                let record = on_wire(&stored.record, &stored.vectors, view.spaces());
                // Records are strings and finite numbers, and memory takes what is written.
                let _ = serde_json::to_writer(&mut chunk, &record);
                chunk.push(b'\n');
            }
        }
        if chunk.len() >= CHUNK_BYTES {
            is_taken = send(std::mem::take(&mut chunk));
        }
        if is_taken { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    read.map_err(EngineError::from)?;
    if is_taken && !chunk.is_empty() {
        send(chunk);
    }
    Ok(())
}

/// Records without a sequence have no place in FASTA.
fn write_fasta(chunk: &mut Vec<u8>, record: &Record) {
    let Some(sequence) = record.sequence.as_deref() else { return };
    let description = record.description.replace(['\n', '\r'], " ");
    let _ = writeln!(chunk, "{}", format!(">{} {description}", record.id).trim_end());
    for line in sequence.as_bytes().chunks(FASTA_WIDTH) {
        chunk.extend_from_slice(line);
        chunk.push(b'\n');
    }
}
