//! Writes a finished graph: to bytes, or to a file that appears whole or not at all.
//!
//! Weights are encoded one at a time, straight to the file: the lengths that protobuf wants up front follow from
//! the dimensions. When the weights pass [`WriteOptions::max_inline_bytes`], those that matter go to a second file
//! beside the model, each at a page boundary so that a runtime can map it. That file is put in place first, so
//! a model never names data that is not there.

use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use prost::Message;
use prost::encoding::{encode_varint, encoded_len_varint};
use tempfile::NamedTempFile;

use crate::builder::{GraphBuilder, OPSET};
use crate::error::GraphError;
use crate::initializer::Initializer;
use crate::proto::{
    DataLocation, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, StringStringEntryProto, TensorProto,
};

/// The format's version that goes with [`OPSET`].
const IR_VERSION: i64 = 9;
/// Largest protobuf message that readers accept.
const MAX_MESSAGE_BYTES: u64 = i32::MAX as u64;
/// Smaller weights stay in the model: loaders want shapes and axes at hand.
const MIN_EXTERNAL_BYTES: u64 = 1024;
/// Where external weights may start, so that they can be mapped.
const EXTERNAL_ALIGNMENT: u64 = 4096;
/// Keys of the fields that are written by hand: number * 8 + 2, for "length and bytes".
const KEY_MODEL_GRAPH: u8 = 7 << 3 | 2;
const KEY_GRAPH_INITIALIZER: u8 = 5 << 3 | 2;
const KEY_TENSOR_RAW_DATA: u8 = 9 << 3 | 2;

/// How a model is laid out on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WriteOptions {
    /// Most bytes of weights that stay in the model file; above it they go to `<name>.onnx.data`.
    pub max_inline_bytes: u64,
}

impl Default for WriteOptions {
    /// 1.75 GiB, which leaves ample room for nodes below the limit of 2 GiB.
    fn default() -> Self {
        Self { max_inline_bytes: 7 << 28 }
    }
}

/// The files of a written model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// The model.
    pub model: PathBuf,
    /// Its weights, if they did not fit.
    pub data: Option<PathBuf>,
}

/// A checked graph, ready to be written.
pub struct Model<'w> {
    header: ModelProto,
    graph: GraphProto,
    initializers: Vec<Initializer<'w>>,
}

impl std::fmt::Debug for Model<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Model({} nodes, {} weights)", self.graph.node.len(), self.initializers.len())
    }
}

impl<'w> Model<'w> {
    pub(crate) fn new(builder: GraphBuilder<'w>, nodes: Vec<NodeProto>) -> Self {
        let standard = (String::new(), OPSET);
        let others =
            builder.domains.into_iter().filter(|domain| !domain.is_empty()).map(|domain| (domain, 1));
        let imports = std::iter::once(standard).chain(others);
        let header = ModelProto {
            ir_version: Some(IR_VERSION),
            producer_name: Some("protext".to_owned()),
            producer_version: Some(env!("CARGO_PKG_VERSION").to_owned()),
            opset_import: imports
                .map(|(domain, version)| OperatorSetIdProto { domain: Some(domain), version: Some(version) })
                .collect(),
            metadata_props: builder.metadata.into_iter().map(|(key, value)| entry(&key, value)).collect(),
            ..ModelProto::default()
        };
        let graph = GraphProto {
            node: nodes,
            name: Some(builder.name),
            input: builder.inputs,
            output: builder.outputs,
            ..GraphProto::default()
        };
        Self { header, graph, initializers: builder.initializers }
    }

    /// Bytes of all weights.
    ///
    /// # Errors
    /// [`GraphError::TooLarge`].
    pub fn weight_bytes(&self) -> Result<u64, GraphError> {
        self.initializers.iter().try_fold(0_u64, |sum, weight| Ok(sum.saturating_add(weight.n_bytes()?)))
    }

    /// The whole model in memory, weights included.
    ///
    /// # Errors
    /// [`GraphError::Load`], [`GraphError::WrongLength`], [`GraphError::MessageTooLarge`].
    pub fn to_bytes(self) -> Result<Vec<u8>, GraphError> {
        let placed = inline(self.initializers)?;
        let mut bytes = Vec::new();
        write_model(
            &self.header,
            &self.graph,
            placed,
            &mut Sink { out: &mut bytes, path: Path::new("memory") },
        )?;
        Ok(bytes)
    }

    /// Writes the model to `path`, replacing what is there only once everything is safely on disk.
    ///
    /// # Errors
    /// [`GraphError::Write`], [`GraphError::NoFileName`] and those of [`Model::to_bytes`].
    pub fn write(self, path: &Path, options: &WriteOptions) -> Result<Written, GraphError> {
        let is_inline = self.weight_bytes()? <= options.max_inline_bytes;
        let (placed, data) = if is_inline {
            (inline(self.initializers)?, None)
        } else {
            let data = data_path(path)?;
            (write_external(self.initializers, &data)?, Some(data))
        };
        write_file(path, |sink| write_model(&self.header, &self.graph, placed, sink))?;
        Ok(Written { model: path.to_owned(), data })
    }
}

/// A weight with the part of its message that stands before its elements.
struct Placed<'w> {
    head: TensorProto,
    /// The elements, unless they are in another file.
    inline: Option<Initializer<'w>>,
    n_inline_bytes: u64,
}

impl Placed<'_> {
    fn message_len(&self) -> u64 {
        let head = self.head.encoded_len() as u64;
        match self.inline {
            Some(_) => head + 1 + encoded_len_varint(self.n_inline_bytes) as u64 + self.n_inline_bytes,
            None => head,
        }
    }
}

fn tensor_head(weight: &Initializer<'_>) -> TensorProto {
    TensorProto {
        dims: weight.dims.iter().map(|&dim| dim as i64).collect(),
        data_type: Some(weight.element().number()),
        name: Some(weight.name.clone()),
        ..TensorProto::default()
    }
}

fn place_inline(weight: Initializer<'_>) -> Result<Placed<'_>, GraphError> {
    Ok(Placed { head: tensor_head(&weight), n_inline_bytes: weight.n_bytes()?, inline: Some(weight) })
}

fn inline(weights: Vec<Initializer<'_>>) -> Result<Vec<Placed<'_>>, GraphError> {
    weights.into_iter().map(place_inline).collect()
}

/// Where a writer puts bytes, and what errors call it.
struct Sink<'s> {
    out: &'s mut dyn Write,
    path: &'s Path,
}

impl Sink<'_> {
    fn put(&mut self, bytes: &[u8]) -> Result<(), GraphError> {
        self.out.write_all(bytes).map_err(|source| write_error(self.path, source))
    }

    fn put_varint(&mut self, key: u8, len: u64) -> Result<(), GraphError> {
        let mut bytes = vec![key];
        encode_varint(len, &mut bytes);
        self.put(&bytes)
    }

    fn put_elements(&mut self, weight: Initializer<'_>) -> Result<(), GraphError> {
        weight.load()?.write_elements(self.out).map_err(|source| write_error(self.path, source))
    }
}

fn write_error(path: &Path, source: std::io::Error) -> GraphError {
    GraphError::Write { path: path.to_owned(), source }
}

fn write_model(
    header: &ModelProto,
    graph: &GraphProto,
    placed: Vec<Placed<'_>>,
    sink: &mut Sink<'_>,
) -> Result<(), GraphError> {
    let field_len = |len: u64| 1 + encoded_len_varint(len) as u64 + len;
    let weights_len: u64 = placed.iter().map(|weight| field_len(weight.message_len())).sum();
    let graph_len = graph.encoded_len() as u64 + weights_len;
    let model_len = header.encoded_len() as u64 + field_len(graph_len);
    if model_len > MAX_MESSAGE_BYTES {
        return Err(GraphError::MessageTooLarge { n_bytes: model_len, limit: MAX_MESSAGE_BYTES });
    }
    sink.put(&header.encode_to_vec())?;
    sink.put_varint(KEY_MODEL_GRAPH, graph_len)?;
    sink.put(&graph.encode_to_vec())?;
    for weight in placed {
        sink.put_varint(KEY_GRAPH_INITIALIZER, weight.message_len())?;
        sink.put(&weight.head.encode_to_vec())?;
        if let Some(elements) = weight.inline {
            sink.put_varint(KEY_TENSOR_RAW_DATA, weight.n_inline_bytes)?;
            sink.put_elements(elements)?;
        }
    }
    Ok(())
}

/// Moves weights of some size to `path` and says where they are.
fn write_external<'w>(weights: Vec<Initializer<'w>>, path: &Path) -> Result<Vec<Placed<'w>>, GraphError> {
    let location = file_name(path)?;
    let mut placed = Vec::with_capacity(weights.len());
    write_file(path, |sink| {
        let mut end = 0_u64;
        for weight in weights {
            let n_bytes = weight.n_bytes()?;
            if n_bytes < MIN_EXTERNAL_BYTES {
                placed.push(place_inline(weight)?);
                continue;
            }
            let start = end.next_multiple_of(EXTERNAL_ALIGNMENT);
            sink.put(&vec![0; (start - end) as usize])?;
            let mut head = tensor_head(&weight);
            head.data_location = Some(DataLocation::External.into());
            head.external_data = vec![
                entry("location", location.clone()),
                entry("offset", start.to_string()),
                entry("length", n_bytes.to_string()),
            ];
            sink.put_elements(weight)?;
            end = start + n_bytes;
            placed.push(Placed { head, inline: None, n_inline_bytes: 0 });
        }
        Ok(())
    })?;
    Ok(placed)
}

fn entry(key: &str, value: String) -> StringStringEntryProto {
    StringStringEntryProto { key: Some(key.to_owned()), value: Some(value) }
}

fn file_name(path: &Path) -> Result<String, GraphError> {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
    name.ok_or_else(|| GraphError::NoFileName { path: path.to_owned() })
}

fn data_path(model: &Path) -> Result<PathBuf, GraphError> {
    Ok(model.with_file_name(format!("{}.data", file_name(model)?)))
}

/// Writes to a temporary file in the same folder, syncs it, and renames it into place.
fn write_file(
    path: &Path,
    write: impl FnOnce(&mut Sink<'_>) -> Result<(), GraphError>,
) -> Result<(), GraphError> {
    let failed = |source| write_error(path, source);
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let file = temporary_file(folder).map_err(failed)?;
    let mut out = BufWriter::with_capacity(1 << 20, file);
    write(&mut Sink { out: &mut out, path })?;
    let file = out.into_inner().map_err(|error| failed(error.into_error()))?;
    file.as_file().sync_all().map_err(failed)?;
    file.persist(path).map_err(|error| failed(error.error))?;
    sync_folder(folder).map_err(failed)
}

/// Readable by whoever the process's umask lets, not by its owner alone: caches are shared.
#[cfg(unix)]
fn temporary_file(folder: &Path) -> std::io::Result<NamedTempFile> {
    use std::os::unix::fs::PermissionsExt;
    let permissions = std::fs::Permissions::from_mode(0o666);
    tempfile::Builder::new().prefix(".onnx-").permissions(permissions).tempfile_in(folder)
}

#[cfg(not(unix))]
fn temporary_file(folder: &Path) -> std::io::Result<NamedTempFile> {
    tempfile::Builder::new().prefix(".onnx-").tempfile_in(folder)
}

/// A rename survives a power cut only once its folder is on disk.
#[cfg(unix)]
fn sync_folder(folder: &Path) -> std::io::Result<()> {
    std::fs::File::open(folder)?.sync_all()
}

#[cfg(not(unix))]
fn sync_folder(_folder: &Path) -> std::io::Result<()> {
    Ok(())
}
