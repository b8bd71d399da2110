//! A language head made of an `.onnx` file: rows of residues in, probabilities of the 20 amino acids out.
//!
//! Both kinds of heads, those that a checkpoint brought and those that were fitted, have this interface.

use std::path::Path;
use std::sync::Mutex;

use ort::session::Session;
use ort::value::TensorRef;
use protext_core::language::log_softmax;
use protext_core::{AminoAcid, LanguageHead, LogProbabilities, ProjectionError, Space, VectorError};

use crate::error::ModelError;
use crate::runtime::OnnxRuntime;
use crate::session::open_session;

/// Rows that are run together: bounds the memory of long proteins.
const MAX_ROWS: usize = 2048;

/// A loaded language head. It is cheap next to encoding, so one session serves all callers in turn.
pub struct OnnxLanguageHead {
    id: String,
    input_space: Space,
    session: Mutex<Session>,
}

impl OnnxLanguageHead {
    /// Opens the graph of a head that reads residues of `input_space`, and checks its widths.
    ///
    /// # Errors
    /// [`ModelError`].
    pub fn open(
        runtime: &OnnxRuntime,
        id: String,
        onnx: &Path,
        input_space: Space,
    ) -> Result<Self, ModelError> {
        let session = open_session(runtime, onnx, 1)?;
        let missing = |direction, name| ModelError::Interface { path: onnx.to_owned(), direction, name };
        let [input] = session.inputs() else { return Err(missing("input", "rows")) };
        let [output] = session.outputs() else { return Err(missing("output", "logits")) };
        if input.name() != "rows" {
            return Err(missing("input", "rows"));
        }
        if output.name() != "logits" {
            return Err(missing("output", "logits"));
        }
        for (outlet, expected) in [(input, input_space.dim), (output, AminoAcid::COUNT)] {
            let found = outlet.dtype().tensor_shape().and_then(|shape| shape.last().copied()).unwrap_or(-1);
            if found != expected as i64 {
                return Err(ModelError::Dim { path: onnx.to_owned(), expected, found });
            }
        }
        Ok(Self { id, input_space, session: Mutex::new(session) })
    }

    fn run(&self, rows: &[f32]) -> ort::Result<Vec<f32>> {
        let mut session = self.session.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let dim = self.input_space.dim;
        let rows = TensorRef::from_array_view(([rows.len() / dim, dim], rows))?;
        let outputs = session.run(ort::inputs! { "rows" => rows })?;
        Ok(outputs["logits"].try_extract_tensor::<f32>()?.1.to_vec())
    }
}

impl LanguageHead for OnnxLanguageHead {
    fn id(&self) -> &str {
        &self.id
    }

    fn input_space(&self) -> &Space {
        &self.input_space
    }

    fn log_probabilities(&self, rows: &[f32]) -> Result<Vec<LogProbabilities>, ProjectionError> {
        let dim = self.input_space.dim;
        let mut answers = Vec::with_capacity(rows.len() / dim);
        for part in rows.chunks(MAX_ROWS * dim) {
            let logits = self.run(part).map_err(|source| ProjectionError::Runtime {
                projection: self.id.clone(),
                source: Box::new(source),
            })?;
            for scores in logits.chunks_exact(AminoAcid::COUNT) {
                if let Some(index) = scores.iter().position(|score| !score.is_finite()) {
                    let source = VectorError::NotFinite { index };
                    return Err(ProjectionError::Vector { row: answers.len(), source });
                }
                let mut scores: LogProbabilities =
                    scores.try_into().expect("chunks have the length of the array");
                log_softmax(&mut scores);
                answers.push(scores);
            }
        }
        Ok(answers)
    }
}
