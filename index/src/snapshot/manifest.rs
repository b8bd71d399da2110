//! `manifest.json`: what a snapshot is and which files belong to it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use protext_core::Space;
use serde::de::Error as _;
use serde::{Deserialize, Serialize};

use super::checked_file::{FileEntry, io_error};
use super::current::Current;
use super::digest::sha256_hex;
use super::{GRAPH, MANIFEST, RECORDS, RECORDS_2, VECTORS};
use crate::collection::{Collection, CollectionInfo, FurtherSpace, IndexDescription};
use crate::error::SnapshotError;

const FORMAT: &str = "protext-collection";
/// 1: vectors and lists end to end, read into memory. 2: both as they lie in memory, with codes. 3: records in tables
/// that are read where they lie, instead of one JSON object a line. 4: digests by BLAKE3 instead of SHA-256.
const VERSION: u64 = 4;
const BYTE_ORDER: &str = "little";

/// The content of `manifest.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Manifest {
    format: String,
    pub(super) version: u64,
    byte_order: String,
    pub(super) created_unix_s: u64,
    /// Digest of the manifest that it was compacted from: the logs that began beside that one go on beside this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) continues: Option<String>,
    pub(super) space: Space,
    pub(super) n_records: u64,
    pub(super) index: IndexDescription,
    /// Spaces beside the main one; their files are numbered from 2.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) further: Vec<FurtherSpace>,
    pub(super) metadata: BTreeMap<String, String>,
    pub(super) files: Vec<FileEntry>,
}

/// What every version of the manifest says.
#[derive(Deserialize)]
struct Header {
    format: String,
    version: u64,
    byte_order: String,
}

impl Manifest {
    pub(super) fn new(collection: &Collection, continues: Option<String>, files: Vec<FileEntry>) -> Self {
        let CollectionInfo { space, n_records, index, further, created_unix_s, metadata } = collection.info();
        let (format, byte_order) = (FORMAT.into(), BYTE_ORDER.into());
        Self {
            format,
            version: VERSION,
            byte_order,
            created_unix_s,
            continues,
            space,
            n_records,
            index,
            further,
            metadata,
            files,
        }
    }

    /// What is written.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = serde_json::to_vec_pretty(self).expect("text and numbers become JSON");
        bytes.push(b'\n');
        bytes
    }

    /// Reads the manifest that `current` names. The version is looked at before the digest, so that a
    /// collection of a later program is called that and not damaged.
    pub(super) fn read(dir: &Path, current: &Current) -> Result<Self, SnapshotError> {
        let path = current.folder(dir).join(MANIFEST);
        let bytes = fs::read(&path).map_err(io_error("read", &path))?;
        if let Ok(header) = serde_json::from_slice::<Header>(&bytes) {
            header.ensure_readable(&path)?;
        }
        let found = sha256_hex(&bytes);
        if found != current.manifest_sha256 {
            return Err(SnapshotError::Checksum { path, expected: current.manifest_sha256.clone(), found });
        }
        let invalid = |source| SnapshotError::Manifest { path: path.clone(), source };
        let manifest: Self = serde_json::from_slice(&bytes).map_err(invalid)?;
        for name in manifest.file_names() {
            manifest.file(&name).map_err(invalid)?;
        }
        Ok(manifest)
    }

    /// The files that such a collection has.
    pub(super) fn file_names(&self) -> Vec<String> {
        let mut names = vec![self.records_name().to_owned()];
        for (number, (_, index)) in self.indexes().enumerate() {
            names.push(numbered(VECTORS, number));
            if matches!(index, IndexDescription::Hnsw { .. }) {
                names.push(numbered(GRAPH, number));
            }
        }
        names
    }

    /// The file of the records.
    pub(super) fn records_name(&self) -> &'static str {
        if self.version < 3 { RECORDS_2 } else { RECORDS }
    }

    /// Spaces and their indexes, the main one first.
    pub(super) fn indexes(&self) -> impl Iterator<Item = (&Space, IndexDescription)> {
        let further = self.further.iter().map(|further| (&further.space, further.index));
        std::iter::once((&self.space, self.index)).chain(further)
    }

    /// The entry of a file.
    pub(super) fn file(&self, name: &str) -> Result<&FileEntry, serde_json::Error> {
        let entry = self.files.iter().find(|entry| entry.name == name);
        entry.ok_or_else(|| serde_json::Error::custom(format!("no entry for {name}")))
    }

    pub(super) fn info(&self) -> CollectionInfo {
        CollectionInfo {
            space: self.space.clone(),
            n_records: self.n_records,
            index: self.index,
            further: self.further.clone(),
            created_unix_s: self.created_unix_s,
            metadata: self.metadata.clone(),
        }
    }
}

/// `vectors.bin` of the main space, `vectors-2.bin` of the next.
pub(super) fn numbered(name: &str, number: usize) -> String {
    match (number, name.split_once('.')) {
        (0, _) | (_, None) => name.to_owned(),
        (_, Some((stem, ending))) => format!("{stem}-{}.{ending}", number + 1),
    }
}

impl Header {
    fn ensure_readable(self, path: &Path) -> Result<(), SnapshotError> {
        let path = path.to_path_buf();
        if self.format != FORMAT {
            return Err(SnapshotError::Format { path, found: self.format });
        }
        if self.version > VERSION {
            return Err(SnapshotError::NewerVersion { path, found: self.version, supported: VERSION });
        }
        if self.byte_order != BYTE_ORDER {
            return Err(SnapshotError::ByteOrder { path, found: self.byte_order });
        }
        Ok(())
    }
}
