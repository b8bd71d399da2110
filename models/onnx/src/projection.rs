//! A projection made of an `.onnx` file: encoder rows in, unit vectors of a joint space out.

use std::path::PathBuf;
use std::sync::Mutex;

use ort::session::Session;
use ort::value::TensorRef;
use protext_core::{EncoderRow, JointVector, Projection, ProjectionError, RowKind, Space, VectorError};

use crate::error::ModelError;
use crate::runtime::OnnxRuntime;
use crate::session::open_session;

/// What a projection's card says, already parsed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProjectionSpec {
    /// Card id.
    pub id: String,
    /// The graph: input `rows` `[batch, in]`, output `vectors` `[batch, out]`.
    pub onnx: PathBuf,
    /// Which encoder row it reads.
    pub row_kind: RowKind,
    /// The encoder space it was trained on.
    pub input_space: Space,
    /// The space that it leads to, as its card says.
    pub space: Space,
}

/// A loaded projection. Rows are cheap next to encoding, so one session serves all callers in turn.
pub struct OnnxProjection {
    spec: ProjectionSpec,
    session: Mutex<Session>,
}

impl OnnxProjection {
    /// Opens the graph and checks its widths.
    ///
    /// # Errors
    /// [`ModelError`].
    pub fn open(runtime: &OnnxRuntime, spec: ProjectionSpec) -> Result<Self, ModelError> {
        let session = open_session(runtime, &spec.onnx, 1)?;
        let width = |outlets: &[ort::value::Outlet], direction, name: &'static str| {
            let outlet = outlets.iter().find(|outlet| outlet.name() == name);
            let outlet = outlet.ok_or(ModelError::Interface { path: spec.onnx.clone(), direction, name })?;
            Ok(outlet.dtype().tensor_shape().and_then(|shape| shape.last().copied()).unwrap_or(-1))
        };
        let widths = [
            (width(session.inputs(), "input", "rows")?, spec.input_space.dim),
            (width(session.outputs(), "output", "vectors")?, spec.space.dim),
        ];
        for (found, expected) in widths {
            if found != expected as i64 {
                return Err(ModelError::Dim { path: spec.onnx.clone(), expected, found });
            }
        }
        Ok(Self { spec, session: Mutex::new(session) })
    }

    fn run(&self, rows: &[f32], n_rows: usize) -> ort::Result<Vec<f32>> {
        let mut session = self.session.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let shape = [n_rows, self.spec.input_space.dim];
        let outputs = session.run(ort::inputs! { "rows" => TensorRef::from_array_view((shape, rows))? })?;
        Ok(outputs["vectors"].try_extract_tensor::<f32>()?.1.to_vec())
    }
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
            flat.extend_from_slice(values.as_slice());
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
