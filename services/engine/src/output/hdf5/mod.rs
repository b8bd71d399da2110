//! HDF5 as UniProt publishes embeddings: a float32 dataset for each id, all in the root group.
//!
//! A writer of our own, for one reason: it streams. The pure-Rust HDF5 crates at hand keep every dataset in memory
//! until the end, or look through all earlier names at each new one, and file the names so that a lookup in
//! libhdf5 takes time linear in their number. Here each dataset goes to disk at once and only its name and address
//! stay; at the end the names are filed in the classic B-tree of symbol tables, which every version of HDF5 reads
//! and searches in logarithmic time. Reading is `hdf5-pure`'s; the tests compare the two. [`anndata`] writes `.h5ad` files
//! with the same parts.

pub(super) mod anndata;
mod encode;

use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::path::PathBuf;

use super::error::OutputError;
use super::partial::PartialFile;
use super::{CheckedRow, FormatWriter, Layout};

use encode::{LEAF_SYMBOLS, Node, SUPERBLOCK_BYTES, TREE_CHILDREN, TREE_NODE_BYTES};

/// Appends parts to a file and knows where they are.
struct Appender {
    file: BufWriter<PartialFile>,
    path: PathBuf,
    /// Bytes written so far.
    at: u64,
}

/// Where a group's parts are.
#[derive(Debug, Clone, Copy)]
struct GroupAt {
    header: u64,
    tree: u64,
    heap: u64,
}

impl Appender {
    fn new(file: PartialFile) -> Result<Self, OutputError> {
        let path = file.path().to_owned();
        let mut appender = Self { file: BufWriter::with_capacity(1 << 16, file), path, at: 0 };
        // The superblock's place is kept free: an unfinished file does not look like HDF5.
        appender.append(&[0; SUPERBLOCK_BYTES])?;
        Ok(appender)
    }

    /// Writes `bytes` at the end. Returns their address.
    fn append(&mut self, bytes: &[u8]) -> Result<u64, OutputError> {
        let address = self.at;
        self.file.write_all(bytes).map_err(|error| OutputError::write(&self.path, error))?;
        self.at += bytes.len() as u64;
        Ok(address)
    }

    /// Fills up to a multiple of 8, where every part begins.
    fn align(&mut self) -> Result<(), OutputError> {
        let n_missing = self.at.next_multiple_of(8) - self.at;
        self.append(&[0; 8][..n_missing as usize]).map(|_| ())
    }

    /// Writes a group of named objects with attributes, each as [`encode::text_attribute`] gives it.
    fn group(
        &mut self,
        mut entries: Vec<(Box<str>, u64)>,
        attributes: &[Vec<u8>],
    ) -> Result<GroupAt, OutputError> {
        // Sorted, as the tree needs them.
        entries.sort_unstable();
        let (heap, offsets) = self.append_names(&entries)?;
        let symbols: Vec<(u64, u64)> =
            offsets.iter().copied().zip(entries.iter().map(|entry| entry.1)).collect();
        let tree = self.append_tree(&symbols)?;
        let header = self.append(&encode::group_header(tree, heap, attributes))?;
        Ok(GroupAt { header, tree, heap })
    }

    /// Writes the names. Returns the heap's address and each name's offset.
    fn append_names(&mut self, entries: &[(Box<str>, u64)]) -> Result<(u64, Vec<u64>), OutputError> {
        let mut names = vec![0; 8];
        let mut offsets = Vec::with_capacity(entries.len());
        for (name, _) in entries {
            offsets.push(names.len() as u64);
            names.extend_from_slice(name.as_bytes());
            // At least one zero ends a name, and the next begins at a multiple of 8.
            names.resize((names.len() + 1).next_multiple_of(8), 0);
        }
        let address = self.append(&encode::local_heap(self.at, names.len() as u64))?;
        self.append(&names)?;
        Ok((address, offsets))
    }

    /// Writes the symbol tables and the tree above them. Returns the tree's address.
    fn append_tree(&mut self, symbols: &[(u64, u64)]) -> Result<u64, OutputError> {
        let mut children = Vec::new();
        for leaf in symbols.chunks(LEAF_SYMBOLS) {
            let last_name = leaf.last().map_or(0, |&(name, _)| name);
            let address = self.append(&encode::symbol_table_node(leaf))?;
            children.push(Node { address, last_name });
        }
        let mut level = 0;
        loop {
            let first = self.at;
            let n_nodes = children.len().div_ceil(TREE_CHILDREN).max(1);
            let mut parents = Vec::with_capacity(n_nodes);
            let mut name_before = 0;
            for number in 0..n_nodes {
                let end = children.len().min((number + 1) * TREE_CHILDREN);
                let part = &children[number * TREE_CHILDREN..end];
                let beside = |other: usize| first + (other * TREE_NODE_BYTES) as u64;
                let left = number.checked_sub(1).map(beside);
                let right = (number + 1 < n_nodes).then(|| beside(number + 1));
                let address = self.append(&encode::tree_node(level, [left, right], name_before, part))?;
                name_before = part.last().map_or(0, |node| node.last_name);
                parents.push(Node { address, last_name: name_before });
            }
            if let [root] = parents[..] {
                return Ok(root.address);
            }
            children = parents;
            level += 1;
        }
    }

    /// Writes the superblock, now that everything else has its place.
    fn finish(self, root: GroupAt) -> Result<PartialFile, OutputError> {
        let superblock = encode::superblock(self.at, root.header, root.tree, root.heap);
        let Self { file, path, .. } = self;
        let failed = |error| OutputError::write(&path, error);
        let mut file = file.into_inner().map_err(|error| failed(error.into_error()))?;
        file.seek(SeekFrom::Start(0)).and_then(|_| file.write_all(&superblock)).map_err(failed)?;
        Ok(file)
    }
}

pub(super) struct Hdf5Writer {
    file: Appender,
    dim: usize,
    per_residue: bool,
    /// Name and address of each dataset.
    entries: Vec<(Box<str>, u64)>,
    attributes: Vec<(&'static str, String)>,
}

impl Hdf5Writer {
    pub(super) fn new(file: PartialFile, layout: &Layout<'_>) -> Result<Self, OutputError> {
        let attributes = layout.metadata.entries().map(|(key, value)| (key, value.to_owned())).collect();
        let (dim, per_residue) = (layout.dim, layout.per_residue);
        Ok(Self { file: Appender::new(file)?, dim, per_residue, entries: Vec::new(), attributes })
    }
}

impl FormatWriter for Hdf5Writer {
    fn push(&mut self, row: &CheckedRow<'_>) -> Result<(), OutputError> {
        let dim = self.dim as u64;
        let n_residues = row.values.len() as u64 / dim;
        let shape: &[u64] = if self.per_residue { &[n_residues, dim] } else { &[dim] };
        let mut bytes = encode::dataset_header(shape, self.file.at);
        row.values.iter().for_each(|value| bytes.extend_from_slice(&value.to_le_bytes()));
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        let address = self.file.append(&bytes)?;
        self.entries.push((row.id.into(), address));
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<PartialFile, OutputError> {
        let Self { mut file, entries, attributes, .. } = *self;
        let values: Vec<&str> = attributes.iter().map(|(_, value)| value.as_str()).collect();
        let texts = file.append(&encode::global_heap(&values))?;
        let attribute = |(number, (name, value)): (usize, &(&'static str, String))| {
            encode::text_attribute(name, value, texts, number as u32 + 1)
        };
        let attributes: Vec<Vec<u8>> = attributes.iter().enumerate().map(attribute).collect();
        let root = file.group(entries, &attributes)?;
        file.finish(root)
    }
}
