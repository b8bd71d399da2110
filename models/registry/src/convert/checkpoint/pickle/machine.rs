//! The interpreter: a stack, a memo, an arena, and one function for each kind of instruction.

use std::collections::HashMap;

use super::{Global, MAX_DIMS, MAX_OBJECTS, Object, PickledStorage, PickledTensor, Value, opcode};
use crate::convert::error::PickleError;

pub(super) struct Machine<'p> {
    pickle: &'p [u8],
    position: usize,
    stack: Vec<Value>,
    /// Heights of the stack at open marks.
    marks: Vec<usize>,
    memo: HashMap<u32, Value>,
    objects: Vec<Object>,
}

impl<'p> Machine<'p> {
    pub(super) fn new(pickle: &'p [u8]) -> Self {
        let (stack, marks, objects) = (Vec::new(), Vec::new(), Vec::new());
        Self { pickle, position: 0, stack, marks, memo: HashMap::new(), objects }
    }

    /// Runs to the end and gives the value left.
    pub(super) fn run(&mut self) -> Result<Value, PickleError> {
        loop {
            let position = self.position;
            let [code] = self.take_array()?;
            match code {
                opcode::STOP => return self.pop(),
                opcode::PROTO => drop(self.take(1)?),
                opcode::FRAME => drop(self.take(8)?),
                opcode::MARK => self.marks.push(self.stack.len()),
                opcode::NONE | opcode::NEWTRUE | opcode::NEWFALSE => self.push(Value::Plain)?,
                opcode::BINFLOAT => {
                    self.take(8)?;
                    self.push(Value::Plain)?;
                }
                opcode::BININT | opcode::BININT1 | opcode::BININT2 | opcode::LONG1 => self.push_int(code)?,
                opcode::BINUNICODE | opcode::SHORT_BINUNICODE => self.push_text(code)?,
                opcode::EMPTY_TUPLE | opcode::TUPLE1 | opcode::TUPLE2 | opcode::TUPLE3 | opcode::TUPLE => {
                    self.push_tuple(code)?;
                }
                opcode::EMPTY_LIST => self.push_object(Object::List)?,
                opcode::EMPTY_DICT => self.push_object(Object::Dict(Vec::new()))?,
                opcode::APPEND | opcode::APPENDS => self.append(code)?,
                opcode::SETITEM | opcode::SETITEMS => self.set_items(code)?,
                opcode::GLOBAL | opcode::STACK_GLOBAL => self.push_global(code)?,
                opcode::REDUCE => self.reduce()?,
                opcode::BUILD => self.build()?,
                opcode::BINPERSID => self.push_storage()?,
                opcode::BINPUT | opcode::LONG_BINPUT | opcode::MEMOIZE => self.put(code)?,
                opcode::BINGET | opcode::LONG_BINGET => self.get(code)?,
                opcode => return Err(PickleError::Opcode { opcode, position }),
            }
        }
    }

    pub(super) fn malformed(&self, rule: &'static str) -> PickleError {
        PickleError::Malformed { position: self.position, rule }
    }

    fn take(&mut self, n_bytes: usize) -> Result<&'p [u8], PickleError> {
        let rest = &self.pickle[self.position..];
        let bytes = rest.get(..n_bytes).ok_or(PickleError::Truncated { position: self.pickle.len() })?;
        self.position += n_bytes;
        Ok(bytes)
    }

    fn take_array<const N: usize>(&mut self) -> Result<[u8; N], PickleError> {
        let bytes = self.take(N)?;
        Ok(bytes.try_into().expect("take gives as many bytes as it is asked for"))
    }

    fn take_line(&mut self) -> Result<&'p str, PickleError> {
        let rest = &self.pickle[self.position..];
        let end = rest.iter().position(|&byte| byte == b'\n');
        let end = end.ok_or(PickleError::Truncated { position: self.pickle.len() })?;
        let line = self.take(end + 1)?;
        std::str::from_utf8(&line[..end]).map_err(|_| self.malformed("a name is not UTF-8"))
    }

    fn push(&mut self, value: Value) -> Result<(), PickleError> {
        if self.stack.len() >= MAX_OBJECTS {
            return Err(PickleError::Limit { what: "values on its stack", limit: MAX_OBJECTS });
        }
        self.stack.push(value);
        Ok(())
    }

    fn push_object(&mut self, object: Object) -> Result<(), PickleError> {
        if self.objects.len() >= MAX_OBJECTS {
            return Err(PickleError::Limit { what: "objects", limit: MAX_OBJECTS });
        }
        self.objects.push(object);
        self.push(Value::Object(self.objects.len() - 1))
    }

    fn pop(&mut self) -> Result<Value, PickleError> {
        let floor = self.marks.last().copied().unwrap_or(0);
        match self.stack.len() > floor {
            true => self.stack.pop().ok_or_else(|| self.malformed("the stack is empty")),
            false => Err(self.malformed("the stack is empty")),
        }
    }

    fn pop_to_mark(&mut self) -> Result<Vec<Value>, PickleError> {
        let height = self.marks.pop().ok_or_else(|| self.malformed("there is no mark"))?;
        Ok(self.stack.split_off(height))
    }

    pub(super) fn object(&self, value: Value) -> Option<&Object> {
        match value {
            Value::Object(index) => self.objects.get(index),
            Value::Plain | Value::Int(_) => None,
        }
    }

    fn tuple(&self, value: Value) -> Result<&[Value], PickleError> {
        match self.object(value) {
            Some(Object::Tuple(items)) => Ok(items),
            _ => Err(self.malformed("a tuple is needed")),
        }
    }

    fn push_int(&mut self, code: u8) -> Result<(), PickleError> {
        let value = match code {
            opcode::BININT => i64::from(i32::from_le_bytes(self.take_array()?)),
            opcode::BININT1 => i64::from(u8::from_le_bytes(self.take_array()?)),
            opcode::BININT2 => i64::from(u16::from_le_bytes(self.take_array()?)),
            _ => self.take_long()?,
        };
        self.push(Value::Int(value))
    }

    /// Two's complement, little-endian, of up to eight bytes.
    fn take_long(&mut self) -> Result<i64, PickleError> {
        let [n_bytes] = self.take_array()?;
        let bytes = self.take(usize::from(n_bytes))?;
        if bytes.len() > 8 {
            return Err(self.malformed("an integer has more than 64 bits"));
        }
        let is_negative = bytes.last().is_some_and(|&byte| byte >= 0x80);
        let mut full = [if is_negative { 0xff } else { 0 }; 8];
        full[..bytes.len()].copy_from_slice(bytes);
        Ok(i64::from_le_bytes(full))
    }

    fn push_text(&mut self, code: u8) -> Result<(), PickleError> {
        let n_bytes = match code {
            opcode::SHORT_BINUNICODE => u32::from(u8::from_le_bytes(self.take_array()?)),
            _ => u32::from_le_bytes(self.take_array()?),
        };
        let bytes = self.take(n_bytes as usize)?;
        let text = std::str::from_utf8(bytes).map_err(|_| self.malformed("a string is not UTF-8"))?;
        self.push_object(Object::Text(text.into()))
    }

    fn push_tuple(&mut self, code: u8) -> Result<(), PickleError> {
        let n_items = match code {
            opcode::TUPLE => {
                return self.pop_to_mark().and_then(|items| self.push_object(Object::Tuple(items)));
            }
            opcode::TUPLE1 => 1,
            opcode::TUPLE2 => 2,
            opcode::TUPLE3 => 3,
            _ => 0,
        };
        let mut items = Vec::with_capacity(n_items);
        for _ in 0..n_items {
            items.push(self.pop()?);
        }
        items.reverse();
        self.push_object(Object::Tuple(items))
    }

    /// Lists are legal in metadata; what they hold is never looked at.
    fn append(&mut self, code: u8) -> Result<(), PickleError> {
        match code {
            opcode::APPENDS => drop(self.pop_to_mark()?),
            _ => drop(self.pop()?),
        }
        match self.stack.last().and_then(|&value| self.object(value)) {
            Some(Object::List) => Ok(()),
            _ => Err(self.malformed("a list is needed")),
        }
    }

    fn set_items(&mut self, code: u8) -> Result<(), PickleError> {
        let items = if code == opcode::SETITEMS {
            self.pop_to_mark()?
        } else {
            let value = self.pop()?;
            vec![self.pop()?, value]
        };
        let misfit = self.malformed("a dictionary and pairs are needed");
        let (pairs, []) = items.as_chunks::<2>() else { return Err(misfit) };
        let Some(&Value::Object(target)) = self.stack.last() else { return Err(misfit) };
        let Some(Object::Dict(entries)) = self.objects.get_mut(target) else { return Err(misfit) };
        entries.extend(pairs.iter().map(|&[key, value]| (key, value)));
        Ok(())
    }

    fn push_global(&mut self, code: u8) -> Result<(), PickleError> {
        let global = if code == opcode::GLOBAL {
            let module = self.take_line()?;
            Global::resolve(module, self.take_line()?)?
        } else {
            let (name, module) = (self.pop()?, self.pop()?);
            match (self.object(module), self.object(name)) {
                (Some(Object::Text(module)), Some(Object::Text(name))) => Global::resolve(module, name)?,
                _ => return Err(self.malformed("a global needs two strings")),
            }
        };
        self.push_object(Object::Global(global))
    }

    /// Calls one of the allowed names, which here means building what it would build.
    fn reduce(&mut self) -> Result<(), PickleError> {
        let (arguments, callee) = (self.pop()?, self.pop()?);
        let Some(&Object::Global(callee)) = self.object(callee) else {
            return Err(self.malformed("something that is no allowed name is called"));
        };
        let arguments = self.tuple(arguments)?;
        match (callee, arguments) {
            (Global::OrderedDict, []) => self.push_object(Object::Dict(Vec::new())),
            (Global::RebuildParameter, &[data, _, _]) => match self.object(data) {
                Some(Object::Tensor(_)) => self.push(data),
                _ => Err(self.malformed("a parameter holds no tensor")),
            },
            (Global::RebuildTensor, &[storage, offset, shape, strides, ..]) => {
                let tensor = self.tensor(storage, offset, shape, strides)?;
                self.push_object(Object::Tensor(tensor))
            }
            _ => Err(self.malformed("an allowed name is called with arguments that it does not take")),
        }
    }

    fn tensor(
        &self,
        storage: Value,
        offset: Value,
        shape: Value,
        strides: Value,
    ) -> Result<PickledTensor, PickleError> {
        let Some(Object::Storage(storage)) = self.object(storage) else {
            return Err(self.malformed("a tensor has no storage"));
        };
        let offset = self.size(offset)? as u64;
        let (shape, strides) = (self.sizes(shape)?, self.sizes(strides)?);
        if shape.len() != strides.len() {
            return Err(self.malformed("a tensor has not as many strides as dimensions"));
        }
        Ok(PickledTensor { storage: storage.clone(), offset, shape, strides })
    }

    fn sizes(&self, value: Value) -> Result<Vec<usize>, PickleError> {
        let items = self.tuple(value)?;
        if items.len() > MAX_DIMS {
            return Err(PickleError::Limit { what: "dimensions in a tensor", limit: MAX_DIMS });
        }
        items.iter().map(|&item| self.size(item)).collect()
    }

    fn size(&self, value: Value) -> Result<usize, PickleError> {
        match value {
            Value::Int(size) => usize::try_from(size).map_err(|_| self.malformed("a size is negative")),
            Value::Plain | Value::Object(_) => Err(self.malformed("a size is no integer")),
        }
    }

    /// `BUILD` puts attributes on a module's dictionary (`_metadata`); weights have no use for them.
    fn build(&mut self) -> Result<(), PickleError> {
        self.pop()?;
        match self.stack.last().and_then(|&value| self.object(value)) {
            Some(Object::Dict(_)) => Ok(()),
            _ => Err(self.malformed("attributes are set on something that is no dictionary")),
        }
    }

    /// `("storage", type, key, device, n_elements)`
    fn push_storage(&mut self) -> Result<(), PickleError> {
        let id = self.pop()?;
        let &[kind, class, key, _device, n_elements] = self.tuple(id)? else {
            return Err(self.malformed("a storage is named by five parts"));
        };
        let is_storage = matches!(self.object(kind), Some(Object::Text(kind)) if **kind == *"storage");
        let (Some(&Object::Global(Global::Storage(element))), Some(Object::Text(key)), true) =
            (self.object(class), self.object(key), is_storage)
        else {
            return Err(self.malformed("a storage has no type or key"));
        };
        let n_elements = self.size(n_elements)? as u64;
        let storage = PickledStorage { key: key.clone(), element, n_elements };
        self.push_object(Object::Storage(storage))
    }

    fn put(&mut self, code: u8) -> Result<(), PickleError> {
        let slot = match code {
            opcode::BINPUT => u32::from(u8::from_le_bytes(self.take_array()?)),
            opcode::LONG_BINPUT => u32::from_le_bytes(self.take_array()?),
            _ => self.memo.len() as u32,
        };
        let value = self.stack.last().copied().ok_or_else(|| self.malformed("the stack is empty"))?;
        self.memo.insert(slot, value);
        Ok(())
    }

    fn get(&mut self, code: u8) -> Result<(), PickleError> {
        let slot = match code {
            opcode::BINGET => u32::from(u8::from_le_bytes(self.take_array()?)),
            _ => u32::from_le_bytes(self.take_array()?),
        };
        let value = self.memo.get(&slot).copied();
        let value = value.ok_or_else(|| self.malformed("nothing was kept under this number"))?;
        self.push(value)
    }
}
