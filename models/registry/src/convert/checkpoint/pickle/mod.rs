//! Reads the pickle of a PyTorch checkpoint without executing it.
//!
//! An allow-list interpreter: the instructions that `torch.save` uses for a table of tensors, and the few names
//! that tensors need. Anything else is refused by name. Objects live in one arena and refer to each other by
//! number, so nothing here recurses, and memory is bounded by the pickle's own size.
//!
//! Source: Python's `pickletools` for the instructions, PyTorch's `torch/_utils.py` for the arguments.

mod machine;
mod opcode;

use std::collections::BTreeMap;
use std::sync::Arc;

use machine::Machine;

use super::StoredElement;
use crate::convert::error::PickleError;

/// Largest pickle that is read; a checkpoint of thousands of tensors needs a tenth of it.
pub(super) const MAX_BYTES: usize = 8 << 20;
/// Most objects, and most values on the stack.
const MAX_OBJECTS: usize = 1 << 20;
/// Most dimensions of a tensor.
const MAX_DIMS: usize = 16;

/// A storage that the pickle names; the archive holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PickledStorage {
    pub(super) key: Arc<str>,
    pub(super) element: StoredElement,
    pub(super) n_elements: u64,
}

/// A view of a storage, in elements.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PickledTensor {
    pub(super) storage: PickledStorage,
    pub(super) offset: u64,
    pub(super) shape: Vec<usize>,
    pub(super) strides: Vec<usize>,
}

/// The tensors of the dictionary that the pickle holds; its other entries are passed over.
pub(super) fn read_tensors(pickle: &[u8]) -> Result<BTreeMap<String, PickledTensor>, PickleError> {
    if pickle.len() > MAX_BYTES {
        return Err(PickleError::Limit { what: "bytes", limit: MAX_BYTES });
    }
    let mut machine = Machine::new(pickle);
    let root = machine.run()?;
    let Some(Object::Dict(entries)) = machine.object(root) else {
        return Err(machine.malformed("the result is no dictionary of tensors"));
    };
    let mut tensors = BTreeMap::new();
    for &(key, value) in entries {
        if let (Some(Object::Text(name)), Some(Object::Tensor(tensor))) =
            (machine.object(key), machine.object(value))
        {
            tensors.insert(name.to_string(), tensor.clone());
        }
    }
    Ok(tensors)
}

/// What the stack and memo hold.
#[derive(Debug, Clone, Copy)]
enum Value {
    /// `None`, truth values, floats: legal, never looked at.
    Plain,
    Int(i64),
    /// Index into the arena.
    Object(usize),
}

#[derive(Debug)]
enum Object {
    Text(Arc<str>),
    Tuple(Vec<Value>),
    List,
    Dict(Vec<(Value, Value)>),
    Global(Global),
    Storage(PickledStorage),
    Tensor(PickledTensor),
}

/// The names that tensors need.
#[derive(Debug, Clone, Copy)]
enum Global {
    OrderedDict,
    RebuildTensor,
    RebuildParameter,
    Storage(StoredElement),
}

impl Global {
    fn resolve(module: &str, name: &str) -> Result<Self, PickleError> {
        match (module, name) {
            ("collections", "OrderedDict") => Ok(Self::OrderedDict),
            ("torch._utils", "_rebuild_tensor_v2") => Ok(Self::RebuildTensor),
            ("torch._utils", "_rebuild_parameter") => Ok(Self::RebuildParameter),
            ("torch", "FloatStorage") => Ok(Self::Storage(StoredElement::Float32)),
            ("torch", "HalfStorage") => Ok(Self::Storage(StoredElement::Float16)),
            ("torch", "BFloat16Storage") => Ok(Self::Storage(StoredElement::Bfloat16)),
            ("torch", "DoubleStorage") => Ok(Self::Storage(StoredElement::Other("float64"))),
            ("torch", "LongStorage") => Ok(Self::Storage(StoredElement::Other("int64"))),
            ("torch", "IntStorage") => Ok(Self::Storage(StoredElement::Other("int32"))),
            ("torch", "ShortStorage") => Ok(Self::Storage(StoredElement::Other("int16"))),
            ("torch", "CharStorage") => Ok(Self::Storage(StoredElement::Other("int8"))),
            ("torch", "ByteStorage") => Ok(Self::Storage(StoredElement::Other("uint8"))),
            ("torch", "BoolStorage") => Ok(Self::Storage(StoredElement::Other("bool"))),
            _ => Err(PickleError::Global { name: format!("{module}.{name}") }),
        }
    }
}

#[cfg(test)]
mod tests;
