//! Heads made of `.onnx` files: vectors in, scores or numbers out.

use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use ort::session::Session;
use ort::value::TensorRef;
use protext_core::{FeatureRows, Head, HeadCard, HeadError, HeadTask, PairHead};

use crate::error::ModelError;
use crate::runtime::OnnxRuntime;
use crate::session::open_session;

/// A loaded head of any task but pairs. One session serves all callers in turn.
pub struct OnnxHead {
    card: HeadCard,
    session: Mutex<Session>,
}

impl OnnxHead {
    /// Opens `head.onnx` and checks its widths against the card.
    ///
    /// # Errors
    /// [`ModelError`].
    pub fn open(runtime: &OnnxRuntime, card: HeadCard, onnx: &Path) -> Result<Self, ModelError> {
        let session = open_session(runtime, onnx, n_cores())?;
        ensure_width(&session, onnx, ("input", "rows"), card.input_dim())?;
        ensure_width(&session, onnx, ("output", "outputs"), card.outputs.len())?;
        Ok(Self { card, session: Mutex::new(session) })
    }
}

impl Head for OnnxHead {
    fn card(&self) -> &HeadCard {
        &self.card
    }

    fn predict(&self, rows: &FeatureRows) -> Result<Vec<f32>, HeadError> {
        self.card.ensure_reads(rows.spaces())?;
        run(&self.card.id, &self.session, ("outputs", &[("rows", rows.values(), rows.dim())]))
    }
}

/// A loaded head for pairs: `head.onnx` turns rows into codes, `pair.onnx` compares codes.
pub struct OnnxPairHead {
    card: HeadCard,
    code_dim: usize,
    tower: Mutex<Session>,
    pairs: Mutex<Session>,
}

impl OnnxPairHead {
    /// Opens both graphs and checks their widths.
    ///
    /// # Errors
    /// [`ModelError`].
    pub fn open(runtime: &OnnxRuntime, card: HeadCard, head: &Path, pair: &Path) -> Result<Self, ModelError> {
        let tower = open_session(runtime, head, n_cores())?;
        ensure_width(&tower, head, ("input", "rows"), card.input_dim())?;
        let code_dim = width(&tower, head, ("output", "codes"))?;
        let code_dim = usize::try_from(code_dim).map_err(|_| ModelError::Interface {
            path: head.to_owned(),
            direction: "output",
            name: "codes",
        })?;
        let pairs = open_session(runtime, pair, n_cores())?;
        for name in ["one", "others"] {
            ensure_width(&pairs, pair, ("input", name), code_dim)?;
        }
        width(&pairs, pair, ("output", "scores"))?;
        Ok(Self { card, code_dim, tower: Mutex::new(tower), pairs: Mutex::new(pairs) })
    }
}

impl PairHead for OnnxPairHead {
    fn card(&self) -> &HeadCard {
        &self.card
    }

    fn code_dim(&self) -> usize {
        self.code_dim
    }

    fn encode(&self, rows: &FeatureRows) -> Result<Vec<f32>, HeadError> {
        self.card.ensure_reads(rows.spaces())?;
        run(&self.card.id, &self.tower, ("codes", &[("rows", rows.values(), rows.dim())]))
    }

    fn score(&self, one: &[f32], others: &[f32]) -> Result<Vec<f32>, HeadError> {
        let dim = self.code_dim;
        run(&self.card.id, &self.pairs, ("scores", &[("one", one, dim), ("others", others, dim)]))
    }
}

/// A matrix by name: its values, row-major, and its width.
type Named<'a> = (&'a str, &'a [f32], usize);

/// Runs a graph over named row-major matrices; an empty one gives an empty answer.
fn run(
    head: &str,
    session: &Mutex<Session>,
    (output, inputs): (&str, &[Named<'_>]),
) -> Result<Vec<f32>, HeadError> {
    if inputs.iter().any(|(_, values, _)| values.is_empty()) {
        return Ok(Vec::new());
    }
    let mut session = session.lock().unwrap_or_else(PoisonError::into_inner);
    let mut ran = || -> ort::Result<Vec<f32>> {
        let named = inputs.iter().map(|(name, values, dim)| {
            let tensor = TensorRef::from_array_view(([values.len() / dim, *dim], *values))?;
            Ok(((*name).to_owned(), ort::session::SessionInputValue::from(tensor)))
        });
        let named = named.collect::<ort::Result<Vec<_>>>()?;
        let outputs = session.run(named)?;
        Ok(outputs[output].try_extract_tensor::<f32>()?.1.to_vec())
    };
    ran().map_err(|source| HeadError::Runtime { head: head.to_owned(), source: Box::new(source) })
}

/// Refuses a head of another task.
///
/// # Errors
/// [`HeadError::Task`].
pub fn ensure_task(card: &HeadCard, expected: HeadTask) -> Result<(), HeadError> {
    if card.task == expected {
        return Ok(());
    }
    Err(HeadError::Task { head: card.id.clone(), expected, found: card.task })
}

/// The last dimension of a named input or output; -1 where the graph does not state it.
fn width(
    session: &Session,
    path: &Path,
    (direction, name): (&'static str, &'static str),
) -> Result<i64, ModelError> {
    let outlets = if direction == "input" { session.inputs() } else { session.outputs() };
    let outlet = outlets.iter().find(|outlet| outlet.name() == name);
    let missing = || ModelError::Interface { path: PathBuf::from(path), direction, name };
    let outlet = outlet.ok_or_else(missing)?;
    Ok(outlet.dtype().tensor_shape().and_then(|shape| shape.last().copied()).unwrap_or(-1))
}

fn ensure_width(
    session: &Session,
    path: &Path,
    outlet: (&'static str, &'static str),
    expected: usize,
) -> Result<(), ModelError> {
    let found = width(session, path, outlet)?;
    if found == expected as i64 {
        return Ok(());
    }
    Err(ModelError::Dim { path: path.to_owned(), expected, found })
}

fn n_cores() -> usize {
    std::thread::available_parallelism().map_or(1, NonZero::get)
}
