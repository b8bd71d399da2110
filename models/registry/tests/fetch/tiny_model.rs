//! A tiny ESM-2 under the id `tiny`: its files, its manifest for any kinds of sources, and a registry that knows it.

use std::io::{Cursor, Write};
use std::path::{Path, PathBuf};

use protext_registry::cache::sha256_of;
use protext_registry::{Cache, Registry};
use zip::write::SimpleFileOptions;

use crate::local_hub::{REPO, REVISION, Reply, Request, Server, sha256};

pub(crate) const ID: &str = "tiny";
pub(crate) const FILES: [&str; 2] = ["model.safetensors", "config.json"];

pub(crate) fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tiny_esm").join(name)
}

/// Where the manifest says the files are.
#[derive(Debug, Clone)]
pub(crate) enum Place<'a> {
    Folder(&'a Path),
    Hub,
    Wheel,
}

impl Place<'_> {
    fn block(&self) -> String {
        let source = match self {
            Self::Folder(path) => format!("kind = \"local\"\npath = {:?}", path.display().to_string()),
            Self::Hub => format!("kind = \"hub\"\nrepo = \"{REPO}\"\nrevision = \"{REVISION}\""),
            Self::Wheel => {
                format!(
                    "kind = \"wheel\"\npackage = \"tiny\"\nversion = \"1\"\nsha256 = \"{}\"",
                    "ab".repeat(32)
                )
            }
        };
        let hash = |name: &str| sha256_of(&fixture(name)).unwrap();
        format!(
            "\n[[sources]]\n{source}\nfiles = [\n{{ role = \"weights\", path = \"model.safetensors\", sha256 = \"{}\" }},\n\
             {{ role = \"config\", path = \"config.json\", sha256 = \"{}\" }},\n]\n",
            hash(FILES[0]),
            hash(FILES[1])
        )
    }
}

pub(crate) fn manifest(sources: &[Place<'_>]) -> String {
    let head = "id = \"tiny\"\ntitle = \"Tiny\"\nmodality = \"protein\"\nfamily = \"esm2\"\nlicence = \"none\"\n\
                dim = 16\nwindow = 30\noverlap = 10\ntokenization = \"esm\"\npad_token = 1\n\
                pooling = \"mean_of_residues\"\nnormalize = false\nstatistics_layers = [3]\nlong = \"window\"\n";
    sources.iter().fold(head.to_owned(), |text, source| text + &source.block())
}

/// A registry with its cache at `cache`, which need not exist.
pub(crate) fn registry(cache: &Path, sources: &[Place<'_>]) -> Registry {
    let manifests = tempfile::tempdir().unwrap();
    std::fs::write(manifests.path().join("tiny.toml"), manifest(sources)).unwrap();
    Registry::open(Cache::at(cache.to_owned()), Some(manifests.path())).unwrap()
}

/// The hub's answer for a file of the model.
pub(crate) fn serve(request: &Request) -> Reply {
    let name = FILES.into_iter().find(|name| request.path.ends_with(name)).unwrap();
    let bytes = std::fs::read(fixture(name)).unwrap();
    Reply::part_of(&bytes, request)
        .header("X-Linked-Etag", format!("\"{}\"", sha256(&bytes)))
        .header("X-Repo-Commit", REVISION)
}

/// A hub with the model.
pub(crate) async fn hub() -> Server {
    Server::start(serve).await
}

/// A wheel with the members given.
pub(crate) fn wheel_of(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut archive = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in members {
        archive.start_file(*name, SimpleFileOptions::default()).unwrap();
        archive.write_all(bytes).unwrap();
    }
    archive.finish().unwrap().into_inner()
}

/// A wheel with the model.
pub(crate) fn wheel() -> Vec<u8> {
    let files = FILES.map(|name| (name, std::fs::read(fixture(name)).unwrap()));
    wheel_of(&files.each_ref().map(|(name, bytes)| (*name, bytes.as_slice())))
}

/// Paths of all files below `folder`, relative to it, sorted.
pub(crate) fn files_below(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).into_iter().flatten() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => folders.push(path),
                false => found.push(path.strip_prefix(folder).unwrap().display().to_string()),
            }
        }
    }
    found.sort();
    found
}
