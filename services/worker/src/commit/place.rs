//! Where an output goes, and how it gets its name: once, whole, and never over what is not the job's own.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use protext_engine::output::OutputFormat;
use sha2::{Digest as _, Sha256};
use tempfile::TempPath;

use crate::blobs::hash_into;
use crate::error::JobError;
use crate::folder::JobFolder;
use crate::manifest::ResultFile;
use crate::run::OpenJob;
use crate::spec::{HitFormat, JobSpec, Task};
use crate::store::local::failed;

/// Where an output goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Destination {
    place: Place,
    /// As in [`ResultFile::format`].
    format: String,
    /// For people, and in the manifest.
    shown: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    /// In the job's folder, as `results/<name>`.
    InJob(String),
    Path(PathBuf),
    /// In an object store.
    Object(String),
}

/// An output that has no name yet.
pub(super) enum Staged {
    /// Removed unless it gets a name.
    File(TempPath),
    /// A collection that is saved in one step under its own name.
    Collection(Box<protext_index::Collection>),
}

impl Destination {
    pub(super) fn of(job: &OpenJob) -> Result<Self, JobError> {
        let format = format_of(&job.spec);
        let ending = if format == "hdf5" { "h5" } else { &format };
        let place = match &job.spec.output {
            None if format == "collection" => Place::InJob("collection.index".to_owned()),
            None if matches!(job.spec.task, Task::Embed { .. }) => Place::InJob(format!("vectors.{ending}")),
            None => Place::InJob(format!("{}.{ending}", job.spec.task.kind())),
            Some(output) if is_object(output) => Place::Object(output.clone()),
            Some(output) => Place::Path(output.into()),
        };
        let shown = match &place {
            Place::InJob(name) => job.folder.place(&format!("results/{name}")),
            Place::Path(path) => path.display().to_string(),
            Place::Object(address) => address.clone(),
        };
        Ok(Self { place, format, shown })
    }

    /// A name for the output while it is written: beside its place, so that it only has to be renamed.
    pub(super) fn staging(&self, folder: &JobFolder, scratch: &Path) -> PathBuf {
        match &self.place {
            Place::Path(path) => {
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                path.with_file_name(format!(".{name}.{}.partial", folder.id))
            }
            Place::InJob(name) => scratch.join(name),
            Place::Object(_) => scratch.join("output"),
        }
    }

    /// What the output is, before it has its name.
    pub(super) fn describe(&self, staged: &Staged) -> Result<ResultFile, JobError> {
        let (n_bytes, sha256) = match staged {
            Staged::Collection(_) => (0, None),
            Staged::File(path) => {
                let unreadable = |error| JobError::Store(failed("read", path, error));
                let mut file = File::open(path).map_err(unreadable)?;
                let mut hasher = Sha256::new();
                let n_bytes = hash_into(&mut hasher, &mut file).map_err(unreadable)?;
                (n_bytes, Some(hex::encode(hasher.finalize())))
            }
        };
        let in_job = matches!(self.place, Place::InJob(_));
        Ok(ResultFile { place: self.shown.clone(), in_job, format: self.format.clone(), n_bytes, sha256 })
    }

    /// Gives the output its name. `is_own`: what has the name may be this job's, from a commit that was cut short.
    pub(super) fn publish(&self, job: &OpenJob, staged: Staged, is_own: bool) -> Result<(), JobError> {
        let may_replace = job.spec.overwrite || is_own;
        match (staged, &self.place) {
            (Staged::Collection(collection), place) => {
                let folder = match place {
                    Place::InJob(name) => job.folder.local(&format!("results/{name}")),
                    Place::Path(path) => Some(path.clone()),
                    Place::Object(_) => None,
                };
                let folder = folder.ok_or_else(collection_needs_folder)?;
                if !may_replace && folder.exists() {
                    return Err(JobError::OutputExists { place: self.shown.clone() });
                }
                if let Some(parent) = folder.parent().filter(|parent| !parent.as_os_str().is_empty()) {
                    fs::create_dir_all(parent).map_err(|error| failed("make", parent, error))?;
                }
                Ok(collection.save(&folder)?)
            }
            (Staged::File(file), Place::Path(path)) => self.rename(file, path, may_replace),
            (Staged::File(file), Place::InJob(name)) => {
                let mut staged = job.folder.stage()?;
                let copied = File::open(&file).and_then(|mut file| io::copy(&mut file, &mut staged));
                copied.map_err(|error| job.folder.write_failed("results", error))?;
                job.folder.put_file(&format!("results/{name}"), staged)
            }
            (Staged::File(file), Place::Object(address)) => {
                crate::store::put_object(address, &file, may_replace)
            }
        }
    }

    fn rename(&self, file: TempPath, path: &Path, may_replace: bool) -> Result<(), JobError> {
        let synced = File::open(&file).and_then(|file| file.sync_all());
        synced.map_err(|error| failed("write", path, error))?;
        let named = if may_replace { file.persist(path) } else { file.persist_noclobber(path) };
        match named {
            Ok(()) => {}
            Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => {
                return Err(JobError::OutputExists { place: self.shown.clone() });
            }
            Err(error) => return Err(failed("write", path, error.error).into()),
        }
        if let Some(folder) = path.parent()
            && let Ok(folder) = File::open(folder)
        {
            // The rename must survive a power cut. Systems that cannot sync a folder need not.
            let _ = folder.sync_all();
        }
        Ok(())
    }
}

pub(super) fn collection_needs_folder() -> JobError {
    let rule = "a collection is a folder of this machine; give a path".to_owned();
    JobError::Field { field: "output", rule }
}

fn is_object(output: &str) -> bool {
    output.split_once("://").is_some_and(|(scheme, _)| scheme != "file")
}

/// As in [`ResultFile::format`].
fn format_of(spec: &JobSpec) -> String {
    match &spec.task {
        Task::Embed { .. } => match vector_format(spec) {
            OutputFormat::Parquet => "parquet",
            OutputFormat::Hdf5 => "hdf5",
            OutputFormat::Npz => "npz",
            OutputFormat::JsonLines => "jsonl",
            OutputFormat::AnnData => "h5ad",
        },
        Task::Index { .. } => "collection",
        Task::SearchAll { format, .. } | Task::Annotate { format, .. } | Task::Ppi { format, .. } => {
            match format {
                HitFormat::Tsv => "tsv",
                HitFormat::M8 => "m8",
                HitFormat::Json => "jsonl",
            }
        }
    }
    .to_owned()
}

/// The format of an embedding job: as named, else by the output's ending, else Parquet.
pub(super) fn vector_format(spec: &JobSpec) -> OutputFormat {
    let named = match &spec.task {
        Task::Embed { format, .. } => *format,
        _ => None,
    };
    let by_ending = || spec.output.as_ref().and_then(|output| OutputFormat::from_path(Path::new(output)));
    named.or_else(by_ending).unwrap_or_default()
}

/// Refuses, before any work is done, an output that exists or that has no place to be.
pub(crate) fn ensure_free(spec: &JobSpec) -> Result<(), JobError> {
    let Some(output) = &spec.output else { return Ok(()) };
    if is_object(output) {
        if matches!(spec.task, Task::Index { .. }) {
            return Err(collection_needs_folder());
        }
        return crate::store::ensure_no_object(output, spec.overwrite);
    }
    let path = Path::new(output);
    if !spec.overwrite && path.symlink_metadata().is_ok() {
        return Err(JobError::OutputExists { place: output.clone() });
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !folder.is_dir() {
        let rule = format!("{} is no folder; make it first", folder.display());
        return Err(JobError::Field { field: "output", rule });
    }
    let has_unknown_ending =
        matches!(spec.task, Task::Embed { format: None, .. }) && OutputFormat::from_path(path).is_none();
    if has_unknown_ending {
        let rule = format!(
            "{output}: its ending tells no format; end it in .parquet, .h5, .npz, .jsonl or .h5ad, or name the format"
        );
        return Err(JobError::Field { field: "output", rule });
    }
    Ok(())
}
