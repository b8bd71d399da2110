//! From stored tensors to the weights of a graph: names, shapes, transposition, scaling.
//!
//! Shapes are checked when a weight is asked for; elements are read only when the graph is written, so one tensor is
//! in memory at a time.

use protext_graph::{BoxError, GraphBuilder, LayerNorm, Linear, Value};

use super::checkpoint::{Checkpoint, StoredTensor};
use super::error::ConvertError;

/// The tensors of a checkpoint under the names of the bare encoder.
#[derive(Clone, Copy)]
pub(super) struct Weights<'w> {
    checkpoint: &'w Checkpoint,
    /// What a model with a task head puts before the encoder's names, such as `esm.`; empty for a bare encoder.
    prefix: &'static str,
    /// Whether layers and norms are in 16 bits; tables are not.
    in_halves: bool,
}

impl<'w> Weights<'w> {
    /// Takes `prefix` to be used if the embedding table is found under it.
    pub(super) fn new(checkpoint: &'w Checkpoint, prefix: &'static str) -> Self {
        let has_prefix = checkpoint.find(&format!("{prefix}embeddings.word_embeddings.weight")).is_some();
        Self { checkpoint, prefix: if has_prefix { prefix } else { "" }, in_halves: false }
    }

    /// Tensors under the names that they have in the file.
    pub(super) fn unprefixed(checkpoint: &'w Checkpoint) -> Self {
        Self { checkpoint, prefix: "", in_halves: false }
    }

    /// The same, with layers and norms in 16 bits where they are wanted so.
    pub(super) fn in_halves(self, in_halves: bool) -> Self {
        Self { in_halves, ..self }
    }

    fn deferred(
        &self,
        graph: &mut GraphBuilder<'w>,
        name: &str,
        dims: impl Into<Vec<usize>>,
        load: impl FnOnce() -> Result<Vec<f32>, BoxError> + 'w,
    ) -> Value {
        if self.in_halves {
            graph.deferred_f16(name, dims, load)
        } else {
            graph.deferred_f32(name, dims, load)
        }
    }

    pub(super) fn find(&self, name: &str) -> Option<&'w StoredTensor> {
        self.checkpoint.find(&format!("{}{name}", self.prefix))
    }

    pub(super) fn n_tensors(&self) -> usize {
        self.checkpoint.n_tensors()
    }

    /// The tensor under this name, of this shape.
    pub(super) fn tensor(&self, name: &str, shape: &[usize]) -> Result<&'w StoredTensor, ConvertError> {
        let Some(tensor) = self.find(name) else {
            let name = format!("{}{name}", self.prefix);
            return Err(ConvertError::MissingTensor { name, n_tensors: self.n_tensors() });
        };
        if tensor.shape() == shape {
            return Ok(tensor);
        }
        let (name, found) = (tensor.name().to_owned(), tensor.shape().to_vec());
        Err(ConvertError::WrongShape { name, expected: shape.to_vec(), found })
    }

    /// A dense layer stored as PyTorch does, `[outputs, inputs]`, with both weights multiplied by `scale`.
    pub(super) fn linear(
        &self,
        graph: &mut GraphBuilder<'w>,
        name: &str,
        [inputs, outputs]: [usize; 2],
        scale: f32,
    ) -> Result<Linear, ConvertError> {
        let (weight_name, bias_name) = (format!("{name}.weight"), format!("{name}.bias"));
        let weight = self.tensor(&weight_name, &[outputs, inputs])?;
        let bias = self.tensor(&bias_name, &[outputs])?;
        let weight = self.deferred(graph, &weight_name, [inputs, outputs], move || {
            Ok(scaled(transposed(&weight.load()?, outputs, inputs), scale))
        });
        let bias = self.deferred(graph, &bias_name, [outputs], move || Ok(scaled(bias.load()?, scale)));
        Ok(Linear { weight, bias })
    }

    /// A layer normalization; old checkpoints call its weights gamma and beta.
    pub(super) fn layer_norm(
        &self,
        graph: &mut GraphBuilder<'w>,
        name: &str,
        dim: usize,
        epsilon: f32,
    ) -> Result<LayerNorm, ConvertError> {
        let mut vector = |modern: &str, old: &str| {
            let modern_name = format!("{name}.{modern}");
            let old_name = format!("{name}.{old}");
            let is_old = self.find(&modern_name).is_none() && self.find(&old_name).is_some();
            let tensor = self.tensor(if is_old { &old_name } else { &modern_name }, &[dim])?;
            Ok::<Value, ConvertError>(self.deferred(graph, &modern_name, [dim], move || Ok(tensor.load()?)))
        };
        Ok(LayerNorm { weight: vector("weight", "gamma")?, bias: vector("bias", "beta")?, epsilon })
    }

    /// A table `[rows, dim]`, changed by `edit` when it is loaded.
    pub(super) fn table(
        &self,
        graph: &mut GraphBuilder<'w>,
        name: &str,
        [rows, dim]: [usize; 2],
        edit: impl FnOnce(&mut [f32]) -> Result<(), BoxError> + 'w,
    ) -> Result<Value, ConvertError> {
        let tensor = self.tensor(name, &[rows, dim])?;
        Ok(graph.deferred_f32(name, [rows, dim], move || {
            let mut values = tensor.load()?;
            edit(&mut values)?;
            Ok(values)
        }))
    }
}

fn scaled(mut values: Vec<f32>, scale: f32) -> Vec<f32> {
    if scale != 1.0 {
        values.iter_mut().for_each(|value| *value *= scale);
    }
    values
}

/// `[rows, columns]` to `[columns, rows]`, in tiles so that both sides stay in cache.
fn transposed(values: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    const TILE: usize = 32;
    let mut turned = vec![0.0; values.len()];
    for first_row in (0..rows).step_by(TILE) {
        for first_column in (0..columns).step_by(TILE) {
            for row in first_row..(first_row + TILE).min(rows) {
                for column in first_column..(first_column + TILE).min(columns) {
                    turned[column * rows + row] = values[row * columns + column];
                }
            }
        }
    }
    turned
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transposition_crosses_tiles() {
        let (rows, columns) = (33, 70);
        let values: Vec<f32> = (0..rows * columns).map(|index| index as f32).collect();
        let turned = transposed(&values, rows, columns);
        for row in 0..rows {
            for column in 0..columns {
                assert_eq!(turned[column * rows + row], values[row * columns + column]);
            }
        }
        assert_eq!(transposed(&turned, columns, rows), values);
    }
}
