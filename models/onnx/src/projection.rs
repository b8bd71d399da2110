//! A projection made of an `.onnx` file: encoder rows in, unit vectors of a joint space out.

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use ort::session::Session;
use ort::value::{Outlet, TensorRef};
use protext_core::{EncoderRow, JointVector, Projection, ProjectionError, RowKind, Space, VectorError};

use crate::error::ModelError;
use crate::runtime::OnnxRuntime;
use crate::session::open_session;

/// What a projection's card says, already parsed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProjectionSpec {
    /// Card id.
    pub id: String,
    /// The graph: one input `[batch, in]`, one output `[batch, out]`, whatever their names.
    pub onnx: PathBuf,
    /// Which encoder row it reads.
    pub row_kind: RowKind,
    /// Whether rows are scaled to unit norm first.
    pub unit_rows: bool,
    /// The encoder space it was trained on.
    pub input_space: Space,
    /// The space that it leads to, as its card says.
    pub space: Space,
}

/// A loaded projection. Rows are cheap next to encoding, so one session serves all callers in turn.
pub struct OnnxProjection {
    spec: ProjectionSpec,
    /// Name of the graph's input.
    input: String,
    /// Name of the graph's output.
    output: String,
    session: Mutex<Session>,
}

impl OnnxProjection {
    /// Opens the graph and checks its widths.
    ///
    /// # Errors
    /// [`ModelError`].
    pub fn open(runtime: &OnnxRuntime, spec: ProjectionSpec) -> Result<Self, ModelError> {
        let session = open_session(runtime, &spec.onnx, 1)?;
        let [(input, n_inputs), (output, dim)] = interface(&session, &spec.onnx)?;
        for (found, expected) in [(n_inputs, spec.input_space.dim), (dim, spec.space.dim)] {
            if found != expected as i64 {
                return Err(ModelError::Dim { path: spec.onnx, expected, found });
            }
        }
        Ok(Self { spec, input, output, session: Mutex::new(session) })
    }

    fn run(&self, rows: &[f32], n_rows: usize) -> ort::Result<Vec<f32>> {
        let mut session = self.session.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let shape = [n_rows, self.spec.input_space.dim];
        let rows = TensorRef::from_array_view((shape, rows))?;
        let outputs = session.run(ort::inputs! { self.input.as_str() => rows })?;
        Ok(outputs[self.output.as_str()].try_extract_tensor::<f32>()?.1.to_vec())
    }
}

/// Names and widths of a graph's only input and only output; a width is -1 where the graph does not say.
fn interface(session: &Session, onnx: &Path) -> Result<[(String, i64); 2], ModelError> {
    let only = |outlets: &[Outlet], direction, name| match outlets {
        [outlet] => {
            let width = outlet.dtype().tensor_shape().and_then(|shape| shape.last().copied());
            Ok((outlet.name().to_owned(), width.unwrap_or(-1)))
        }
        _ => Err(ModelError::Interface { path: onnx.to_owned(), direction, name }),
    };
    Ok([only(session.inputs(), "input", "rows")?, only(session.outputs(), "output", "vectors")?])
}

/// Widths of a graph's only input and only output.
///
/// # Errors
/// [`ModelError::Interface`] if it has more or does not state them, or the runtime's refusal.
pub fn projection_widths(runtime: &OnnxRuntime, onnx: &Path) -> Result<(usize, usize), ModelError> {
    let [(_, n_inputs), (_, dim)] = interface(&open_session(runtime, onnx, 1)?, onnx)?;
    let stated = |width: i64, direction, name| {
        usize::try_from(width).map_err(|_| ModelError::Interface { path: onnx.to_owned(), direction, name })
    };
    Ok((stated(n_inputs, "input", "rows")?, stated(dim, "output", "vectors")?))
}

impl Projection for OnnxProjection {
    fn id(&self) -> &str {
        &self.spec.id
    }

    fn row_kind(&self) -> RowKind {
        self.spec.row_kind
    }

    fn input_space(&self) -> &Space {
        &self.spec.input_space
    }

    fn space(&self) -> &Space {
        &self.spec.space
    }

    fn project(&self, rows: &[&EncoderRow]) -> Result<Vec<JointVector>, ProjectionError> {
        let dim = self.spec.input_space.dim;
        let mut flat = Vec::with_capacity(rows.len() * dim);
        for (row, values) in rows.iter().enumerate() {
            let found = values.as_slice().len();
            if found != dim {
                let source = VectorError::WrongDim { expected: dim, found };
                return Err(ProjectionError::Vector { row, source });
            }
            let norm = values.as_slice().iter().map(|value| value * value).sum::<f32>().sqrt();
            let scale = if self.spec.unit_rows && norm > 0.0 { norm.recip() } else { 1.0 };
            flat.extend(values.as_slice().iter().map(|value| value * scale));
        }
        let failed = |source: Box<dyn std::error::Error + Send + Sync>| ProjectionError::Runtime {
            projection: self.spec.id.clone(),
            source,
        };
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        let vectors = self.run(&flat, rows.len()).map_err(|error| failed(Box::new(error)))?;
        let unit = |(row, values): (usize, &[f32])| {
            JointVector::normalized(values.to_vec()).map_err(|source| ProjectionError::Vector { row, source })
        };
        vectors.chunks_exact(self.spec.space.dim).enumerate().map(unit).collect()
    }
}
