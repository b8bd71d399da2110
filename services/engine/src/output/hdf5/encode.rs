//! The structures of the HDF5 file format that [`super::Hdf5Writer`] needs, as bytes.
//!
//! All are of the oldest kind: superblock 0, object header 1, symbol tables, contiguous data. Numbers are
//! little-endian, offsets and lengths take 8 bytes, and everything begins at a multiple of 8.
//! Source: HDF5 File Format Specification 3.0, sections II.A, III.A.1, III.B to III.E, IV.A.

/// Bytes of the superblock.
pub(super) const SUPERBLOCK_BYTES: usize = 96;
/// Symbols in one symbol table node: twice the superblock's "group leaf node K".
pub(super) const LEAF_SYMBOLS: usize = 2 * LEAF_K as usize;
/// Children of one tree node: twice the superblock's "group internal node K".
pub(super) const TREE_CHILDREN: usize = 2 * TREE_K as usize;
/// Bytes of one tree node: a header, the children, and a key on each side of every child.
pub(super) const TREE_NODE_BYTES: usize = 24 + TREE_CHILDREN * 8 + (TREE_CHILDREN + 1) * 8;

const LEAF_K: u16 = 32;
const TREE_K: u16 = 64;
const SYMBOL_BYTES: usize = 40;
const UNDEFINED: u64 = u64::MAX;
/// Marks an entry whose object is a group, so that its tree and heap are given with it.
const CACHED_GROUP: u32 = 1;

/// Message types of object headers.
const DATASPACE: u16 = 0x0001;
const DATATYPE: u16 = 0x0003;
const FILL_VALUE: u16 = 0x0005;
const DATA_LAYOUT: u16 = 0x0008;
const ATTRIBUTE: u16 = 0x000c;
const SYMBOL_TABLE: u16 = 0x0011;

/// A tree or symbol table node, as its parent sees it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Node {
    pub(super) address: u64,
    /// Heap offset of the last name below it.
    pub(super) last_name: u64,
}

/// Appends numbers and padding.
#[derive(Default)]
struct Bytes(Vec<u8>);

impl Bytes {
    fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    fn u16(self, value: u16) -> Self {
        self.raw(&value.to_le_bytes())
    }

    fn u32(self, value: u32) -> Self {
        self.raw(&value.to_le_bytes())
    }

    fn u64(self, value: u64) -> Self {
        self.raw(&value.to_le_bytes())
    }

    fn u64s(self, values: impl IntoIterator<Item = u64>) -> Self {
        values.into_iter().fold(self, Self::u64)
    }

    fn zeros_to(mut self, n_bytes: usize) -> Self {
        self.0.resize(n_bytes, 0);
        self
    }

    fn aligned(self) -> Self {
        let n_bytes = self.0.len().next_multiple_of(8);
        self.zeros_to(n_bytes)
    }
}

/// The first bytes of the file, of a file of `n_bytes`.
pub(super) fn superblock(n_bytes: u64, root: u64, tree: u64, heap: u64) -> Vec<u8> {
    let versions = [0, 0, 0, 0, 0, 8, 8, 0];
    let bytes = Bytes::default().raw(b"\x89HDF\r\n\x1a\n").raw(&versions).u16(LEAF_K).u16(TREE_K).u32(0);
    let bytes = bytes.u64s([0, UNDEFINED, n_bytes, UNDEFINED]);
    bytes.u64s([0, root]).u32(CACHED_GROUP).u32(0).u64s([tree, heap]).0
}

/// What a dataset holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// IEEE single precision.
    Float32,
    /// UTF-8 of so many bytes, filled up with zeros.
    FixedText(u32),
    /// UTF-8 of any length, in the global heap.
    Text,
}

impl Kind {
    fn datatype(self) -> Bytes {
        match self {
            // Sign at bit 31, 8 bits of exponent at 23 with bias 127, 23 of mantissa at 0.
            Self::Float32 => {
                Bytes::default().raw(&[0x11, 0x20, 31, 0]).u32(4).u16(0).u16(32).raw(&[23, 8, 0, 23]).u32(127)
            }
            Self::FixedText(width) => Bytes::default().raw(&[0x13, 0x11, 0, 0]).u32(width),
            Self::Text => text_type(),
        }
    }

    fn n_bytes(self) -> u64 {
        match self {
            Self::Float32 => 4,
            Self::FixedText(width) => u64::from(width),
            Self::Text => 16,
        }
    }
}

/// A sequence of single bytes, marked as a zero-terminated string in UTF-8.
fn text_type() -> Bytes {
    let byte = Bytes::default().raw(&[0x10, 0, 0, 0]).u32(1).u16(0).u16(8);
    Bytes::default().raw(&[0x19, 0x01, 0x01, 0]).u32(16).raw(&byte.0)
}

fn dataspace(shape: &[u64]) -> Bytes {
    let rank = u8::try_from(shape.len()).expect("a scalar, a vector or a matrix");
    Bytes::default().raw(&[1, rank, 0, 0, 0, 0, 0, 0]).u64s(shape.iter().copied())
}

/// The header of a dataset whose values are at `values`, with attributes.
pub(super) fn dataset(kind: Kind, shape: &[u64], values: u64, attributes: &[Vec<u8>]) -> Vec<u8> {
    let n_bytes = shape.iter().product::<u64>() * kind.n_bytes();
    // Space is allocated late, a fill value is written if set, and the default one is defined.
    let fill_value = Bytes::default().raw(&[2, 2, 2, 1]).u32(0);
    let values = if n_bytes == 0 { UNDEFINED } else { values };
    let layout = Bytes::default().raw(&[3, 1]).u64(values).u64(n_bytes);
    let mut messages = vec![
        message(DATASPACE, &dataspace(shape).0),
        message(DATATYPE, &kind.datatype().0),
        message(FILL_VALUE, &fill_value.0),
        message(DATA_LAYOUT, &layout.0),
    ];
    messages.extend(attributes.iter().map(|attribute| message(ATTRIBUTE, attribute)));
    object_header(&messages)
}

/// The header of a float32 dataset whose header begins at `at` and whose values follow it directly.
pub(super) fn dataset_header(shape: &[u64], at: u64) -> Vec<u8> {
    // The header's length does not depend on the address in it.
    let n_bytes = dataset(Kind::Float32, shape, 0, &[]).len() as u64;
    dataset(Kind::Float32, shape, at + n_bytes, &[])
}

/// The header of a group with attributes, each as [`text_attribute`] gives it.
pub(super) fn group_header(tree: u64, heap: u64, attributes: &[Vec<u8>]) -> Vec<u8> {
    let links = Bytes::default().u64(tree).u64(heap);
    let mut messages = vec![message(SYMBOL_TABLE, &links.0)];
    messages.extend(attributes.iter().map(|attribute| message(ATTRIBUTE, attribute)));
    object_header(&messages)
}

fn object_header(messages: &[Vec<u8>]) -> Vec<u8> {
    let n_messages = u16::try_from(messages.len()).expect("a handful of messages");
    let n_bytes = u32::try_from(messages.iter().map(Vec::len).sum::<usize>()).expect("short messages");
    let prefix = Bytes::default().raw(&[1, 0]).u16(n_messages).u32(1).u32(n_bytes).u32(0);
    prefix.raw(&messages.concat()).0
}

fn message(kind: u16, data: &[u8]) -> Vec<u8> {
    let n_bytes =
        u16::try_from(data.len().next_multiple_of(8)).expect("texts are in the heap, the rest is short");
    // A datatype never changes once it is written.
    let flags = u16::from(kind == DATATYPE);
    Bytes::default().u16(kind).u16(n_bytes).u16(flags).u16(0).raw(data).aligned().0
}

/// A scalar attribute of variable-length UTF-8, its text at `index` in the global heap at `heap`.
pub(super) fn text_attribute(name: &str, value: &str, heap: u64, index: u32) -> Vec<u8> {
    attribute(name, &dataspace(&[])).raw(&text_reference(value, heap, index)).0
}

/// An attribute that is a list of no texts.
pub(super) fn no_texts_attribute(name: &str) -> Vec<u8> {
    attribute(name, &dataspace(&[0])).0
}

/// A text of any length, as a value: its length and where it is.
pub(super) fn text_reference(value: &str, heap: u64, index: u32) -> Vec<u8> {
    let value_len = u32::try_from(value.len()).expect("metadata is short");
    Bytes::default().u32(value_len).u64(heap).u32(index).0
}

/// All of an attribute of texts but its values.
fn attribute(name: &str, space: &Bytes) -> Bytes {
    let text = text_type();
    let name_len = u16::try_from(name.len() + 1).expect("names are ours");
    let sizes =
        Bytes::default().raw(&[1, 0]).u16(name_len).u16(text.0.len() as u16).u16(space.0.len() as u16);
    sizes.raw(name.as_bytes()).raw(&[0]).aligned().raw(&text.0).aligned().raw(&space.0)
}

/// A collection of texts; the first has index 1.
pub(super) fn global_heap(values: &[&str]) -> Vec<u8> {
    const LEAST_BYTES: usize = 4096;
    const OBJECT_HEADER_BYTES: usize = 16;
    let objects = values.iter().enumerate().fold(Bytes::default(), |bytes, (number, value)| {
        let bytes = bytes.u16(number as u16 + 1).u16(0).u32(0).u64(value.len() as u64);
        bytes.raw(value.as_bytes()).aligned()
    });
    let used = 16 + objects.0.len();
    let n_bytes = (used + OBJECT_HEADER_BYTES).max(LEAST_BYTES);
    // Object 0 is the free space, its own header included.
    let free = Bytes::default().u16(0).u16(0).u32(0).u64((n_bytes - used) as u64);
    let head = Bytes::default().raw(b"GCOL\x01\0\0\0").u64(n_bytes as u64);
    head.raw(&objects.0).raw(&free.0).zeros_to(n_bytes).0
}

/// The head of a local heap at `at` whose `n_bytes` of names follow it directly.
pub(super) fn local_heap(at: u64, n_bytes: u64) -> Vec<u8> {
    const NO_FREE_BLOCK: u64 = 1;
    Bytes::default().raw(b"HEAP\0\0\0\0").u64s([n_bytes, NO_FREE_BLOCK, at + 32]).0
}

/// Symbols as heap offset of the name and address of the object, sorted by name.
pub(super) fn symbol_table_node(symbols: &[(u64, u64)]) -> Vec<u8> {
    let n_symbols = u16::try_from(symbols.len()).expect("at most LEAF_SYMBOLS");
    let head = Bytes::default().raw(b"SNOD\x01\0").u16(n_symbols);
    let entries = symbols.iter().fold(head, |bytes, &(name, object)| bytes.u64s([name, object, 0, 0, 0]));
    entries.zeros_to(8 + LEAF_SYMBOLS * SYMBOL_BYTES).0
}

/// A node of the tree; `beside` are its left and right neighbours on the same level, `name_before` the last name
/// before it.
pub(super) fn tree_node(level: u8, beside: [Option<u64>; 2], name_before: u64, children: &[Node]) -> Vec<u8> {
    let n_children = u16::try_from(children.len()).expect("at most TREE_CHILDREN");
    let head = Bytes::default().raw(b"TREE").raw(&[0, level]).u16(n_children);
    let head = head.u64s(beside.map(|address| address.unwrap_or(UNDEFINED))).u64(name_before);
    let body = children.iter().fold(head, |bytes, child| bytes.u64s([child.address, child.last_name]));
    body.zeros_to(TREE_NODE_BYTES).0
}
