//! The jobs of one place: submit, list, look, cancel, resume, run, expire.

use std::collections::HashSet;
use std::io::{BufRead as _, Read};
use std::sync::Arc;

use crate::commit::ensure_free;
use crate::error::JobError;
use crate::failures::Failure;
use crate::folder::JobFolder;
use crate::manifest::Manifest;
use crate::models::Models;
use crate::plan::Plan;
use crate::run::{self, Stage, UPLOAD, Watch};
use crate::spec::{JobSpec, check_name};
use crate::status::{JobState, JobStatus, StateFile, note, now_unix_s, read_status};
use crate::store::{Store, open_place};

/// A job that is not whole after this long, and that nobody holds, was given up by its submitter.
const ABANDONED_AFTER: std::time::Duration = std::time::Duration::from_secs(2);

/// Kept free in each job's folder, so that why it failed can be written down on a full disk.
const RESERVED_BYTES: usize = 16 << 10;

/// The jobs of one place.
#[derive(Clone)]
pub struct Jobs {
    store: Arc<dyn Store>,
}

impl Jobs {
    /// Opens the place, a folder or an address such as `s3://bucket/jobs`; a folder is made if need be.
    ///
    /// # Errors
    /// [`JobError::Store`].
    pub fn open(place: &str) -> Result<Self, JobError> {
        Ok(Self { store: open_place(place)? })
    }

    /// Where they are.
    #[must_use]
    pub fn place(&self) -> String {
        self.store.place()
    }

    pub(crate) fn folder(&self, id: &str) -> Result<JobFolder, JobError> {
        check_name(id)?;
        let folder = JobFolder::new(Arc::clone(&self.store), id);
        if folder.has("state.json")? {
            return Ok(folder);
        }
        Err(JobError::Unknown { id: id.to_owned(), place: self.place() })
    }

    /// Makes a job of a spec. Nothing is read yet; its id comes back.
    ///
    /// # Errors
    /// What the spec breaks; [`JobError::NameTaken`]; [`JobError::OutputExists`]; [`JobError::Store`].
    pub fn submit(&self, spec: &JobSpec) -> Result<String, JobError> {
        self.submit_with(spec, Vec::new(), None)
    }

    /// As [`Jobs::submit`], with inputs that are sent along: their names and bytes. In the spec's inputs each stands as
    /// `upload:NAME`. With a `queue` its shards wait for the workers of that queue, and nobody takes them from the folder.
    ///
    /// # Errors
    /// As [`Jobs::submit`].
    pub fn submit_with(
        &self,
        spec: &JobSpec,
        uploads: Vec<(String, &mut dyn Read)>,
        queue: Option<&str>,
    ) -> Result<String, JobError> {
        spec.check()?;
        ensure_free(spec)?;
        let id = spec.name.clone().unwrap_or_else(new_id);
        let folder = JobFolder::new(Arc::clone(&self.store), &id);
        // The name is taken first, in one step, so that of two submitters one has it.
        self.remove_abandoned(&folder)?;
        if !folder.create_json("spec.json", spec)? {
            let state = read_status(&folder, false).map_or(JobState::Submitted, |status| status.state);
            let kind = spec.task.kind();
            note(&folder, "name_taken", format!("another submission ({kind}) of this name was refused"));
            return Err(JobError::NameTaken { id, state });
        }
        // Held until the job is whole: by this a submission that was killed is told from one under way.
        let _held = folder.claim("spec.json")?;
        let submitted = self.fill(&folder, uploads, queue);
        if submitted.is_err() {
            // A job that was not wholly submitted is none; its name is free again.
            folder.remove_folder("")?;
        }
        submitted.map(|()| id)
    }

    /// Frees a name whose submitter was killed before the job was whole. In an object store nobody can tell, so there it
    /// stays taken.
    fn remove_abandoned(&self, folder: &JobFolder) -> Result<(), JobError> {
        let Some(spec) = folder.local("spec.json") else { return Ok(()) };
        if folder.has("state.json")? {
            return Ok(());
        }
        let age = std::fs::metadata(spec).ok().and_then(|about| about.modified().ok()?.elapsed().ok());
        // Between the creation of a spec and the claim on it lie microseconds.
        let is_old = age.is_some_and(|age| age > ABANDONED_AFTER);
        if is_old && folder.claim("spec.json")?.is_some() {
            folder.remove_folder("")?;
        }
        Ok(())
    }

    fn fill(
        &self,
        folder: &JobFolder,
        uploads: Vec<(String, &mut dyn Read)>,
        queue: Option<&str>,
    ) -> Result<(), JobError> {
        for (name, bytes) in uploads {
            check_name(&name)?;
            let mut staged = folder.stage()?;
            std::io::copy(bytes, &mut staged).map_err(|error| folder.write_failed("uploads", error))?;
            folder.put_file(&format!("uploads/{name}"), staged)?;
        }
        for lock in ["lock", "planning", "committing"] {
            folder.put(lock, b"")?;
        }
        folder.put("reserved", &vec![0; RESERVED_BYTES])?;
        folder.put_json(
            "state.json",
            &StateFile {
                state: JobState::Submitted,
                submitted_unix_s: now_unix_s(),
                started_unix_s: None,
                finished_unix_s: None,
                error: None,
                leave_out_failed: false,
                queue: queue.map(|address| without_credentials(address).to_owned()),
                n_rounds: 0,
            },
        )
    }

    /// All jobs, oldest first, without their notes.
    ///
    /// # Errors
    /// [`JobError::Store`]; a job whose files are damaged is left out, and the log says so.
    pub fn list(&self) -> Result<Vec<JobStatus>, JobError> {
        let mut jobs = Vec::new();
        for id in self.store.list_folders("")? {
            match self.folder(&id).and_then(|folder| read_status(&folder, false)) {
                Ok(status) => jobs.push(status),
                // Not a job, or one that is being submitted or removed.
                Err(JobError::Unknown { .. } | JobError::BadName { .. }) => {}
                Err(error) => tracing::warn!(id, %error, "a job cannot be shown"),
            }
        }
        jobs.sort_by(|a, b| (a.submitted_unix_s, &a.id).cmp(&(b.submitted_unix_s, &b.id)));
        Ok(jobs)
    }

    /// One job, with its notes.
    ///
    /// # Errors
    /// [`JobError::Unknown`], [`JobError::Damaged`], [`JobError::Store`].
    pub fn status(&self, id: &str) -> Result<JobStatus, JobError> {
        read_status(&self.folder(id)?, true)
    }

    /// Asks the job to stop; whoever runs it does so within seconds. What is done is kept for a resume.
    ///
    /// # Errors
    /// [`JobError::WrongState`] if it is over.
    pub fn cancel(&self, id: &str) -> Result<JobStatus, JobError> {
        let folder = self.folder(id)?;
        let status = read_status(&folder, false)?;
        if matches!(status.state, JobState::Done | JobState::Cancelled) {
            return Err(JobError::WrongState { id: id.to_owned(), state: status.state, wanted: "cancelled" });
        }
        folder.put("cancel", b"")?;
        // Where nobody runs it, nobody else writes it down.
        if !self.store.is_held(&format!("{id}/lock"))? || status.state == JobState::Failed {
            StateFile::set(&folder, JobState::Cancelled)?;
        }
        read_status(&folder, true)
    }

    /// Lets a job go on that failed, was cancelled or interrupted.
    ///
    /// # Errors
    /// [`JobError::WrongState`] if it is done.
    pub fn resume(&self, id: &str, how: &Resume<'_>) -> Result<(), JobError> {
        let Resume { leave_out_failed, overwrite, queue } = *how;
        let folder = self.folder(id)?;
        let status = read_status(&folder, false)?;
        if status.state == JobState::Done {
            return Err(JobError::WrongState { id: id.to_owned(), state: status.state, wanted: "resumed" });
        }
        folder.remove("cancel")?;
        if !leave_out_failed {
            for stage in Stage::all(&status.spec) {
                folder.remove_folder(stage.given_up())?;
                folder.remove_folder(stage.attempts())?;
            }
        }
        if overwrite && !status.spec.overwrite {
            folder.put_json("spec.json", &JobSpec { overwrite, ..status.spec })?;
        }
        let mut state = StateFile::read(&folder)?;
        state.leave_out_failed = leave_out_failed;
        // Whoever resumes it says anew who works on it.
        state.queue = queue.map(|address| without_credentials(address).to_owned());
        state.error = None;
        state.finished_unix_s = None;
        state.state = if status.plan.is_some() { JobState::Queued } else { JobState::Submitted };
        if !folder.has("reserved")? {
            folder.put("reserved", &vec![0; RESERVED_BYTES])?;
        }
        folder.put_json("state.json", &state)
    }

    /// Reads the inputs and cuts them into shards, so that the job can be run without them.
    ///
    /// # Errors
    /// [`JobError`]; it is in the job's status, too.
    pub fn prepare(&self, id: &str, models: &dyn Models, watch: &Watch) -> Result<Plan, JobError> {
        let folder = self.folder(id)?;
        let _held = self.store.hold(&format!("{id}/lock"))?;
        run::prepare(&folder, models, watch).inspect_err(|error| run::record_end(&folder, error))
    }

    /// Runs the job to its end, beside other processes that do the same.
    ///
    /// # Errors
    /// [`JobError`]; it is in the job's status, too.
    pub fn run(&self, id: &str, models: &dyn Models, watch: &Watch) -> Result<Manifest, JobError> {
        run::run(&self.folder(id)?, models, watch)
    }

    /// The oldest job that somebody should run, or help to run; those that go through a queue aside.
    pub(crate) fn next_waiting(&self, except: &HashSet<String>) -> Result<Option<String>, JobError> {
        let is_waiting = |status: &JobStatus| {
            !status.state.is_final() && status.queue.is_none() && !except.contains(&status.id)
        };
        Ok(self.list()?.into_iter().find(is_waiting).map(|status| status.id))
    }

    /// Records that came to nothing, once the job is done.
    ///
    /// # Errors
    /// [`JobError::Unknown`], [`JobError::Damaged`], [`JobError::Store`].
    pub fn failures(&self, id: &str) -> Result<Vec<Failure>, JobError> {
        let folder = self.folder(id)?;
        let Some(bytes) = folder.get("failures.jsonl")? else { return Ok(Vec::new()) };
        let lines = bytes.lines().map(|line| {
            let line = line.map_err(|error| folder.read_failed("failures.jsonl", error))?;
            serde_json::from_str(&line).map_err(|error| folder.damaged("failures.jsonl", &error.to_string()))
        });
        lines.collect()
    }

    /// A local file with a result that lies in the job's own folder.
    ///
    /// # Errors
    /// [`JobError::Unknown`], [`JobError::Store`].
    pub fn fetch_result(
        &self,
        id: &str,
        name: &str,
        scratch: &std::path::Path,
    ) -> Result<std::path::PathBuf, JobError> {
        check_name(name)?;
        self.folder(id)?.fetch(&format!("results/{name}"), scratch)
    }

    /// Removes a job that is over, with the results that lie in its folder.
    ///
    /// # Errors
    /// [`JobError::WrongState`] if it is not over.
    pub fn remove(&self, id: &str) -> Result<(), JobError> {
        let folder = self.folder(id)?;
        let status = read_status(&folder, false)?;
        if !status.state.is_final() {
            return Err(JobError::WrongState { id: id.to_owned(), state: status.state, wanted: "removed" });
        }
        folder.remove_folder("")
    }

    /// Removes jobs that are over and past their time, and what killed processes left half-written. Returns their ids.
    ///
    /// # Errors
    /// [`JobError::Store`].
    pub fn expire(&self) -> Result<Vec<String>, JobError> {
        self.store.sweep()?;
        let now = now_unix_s();
        let mut removed = Vec::new();
        for status in self.list()? {
            if status.state.is_final() && status.expires_unix_s.is_some_and(|at| at <= now) {
                self.remove(&status.id)?;
                removed.push(status.id);
            }
        }
        Ok(removed)
    }
}

/// How a job goes on. By default shards that were given up are tried again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Resume<'a> {
    /// Leave out shards that were given up, their records among the failures.
    pub leave_out_failed: bool,
    /// Let it replace an output that exists.
    pub overwrite: bool,
    /// Hand its shards to the workers of this queue.
    pub queue: Option<&'a str>,
}

/// A queue's address as it may be shown and written down.
pub(crate) fn without_credentials(address: &str) -> &str {
    address.rsplit_once('@').map_or(address, |(_, host)| host)
}

/// The name of an upload among a job's inputs.
#[must_use]
pub fn upload_input(name: &str) -> String {
    format!("{UPLOAD}{name}")
}

/// The date and time (UTC) and a number by chance, such as `20261121-193510-1f8a2c`.
fn new_id() -> String {
    let now = now_unix_s();
    let (days, seconds) = (now / 86_400, now % 86_400);
    let (year, month, day) = civil_from_days(days);
    let (hour, minute, second) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    let chance = rand::random::<u32>() & 0x00ff_ffff;
    format!("{year:04}{month:02}{day:02}-{hour:02}{minute:02}{second:02}-{chance:06x}")
}

/// Year, month and day of a day since 1970-01-01, by counting years of 365.2425 days from March.
/// Source: the proleptic Gregorian calendar.
fn civil_from_days(days: u64) -> (u64, u64, u64) {
    // Days since 0000-03-01, so that a leap day is the last of its year.
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_dates() {
        for (days, date) in
            [(0, (1970, 1, 1)), (59, (1970, 3, 1)), (19_782, (2024, 2, 29)), (20_778, (2026, 11, 21))]
        {
            assert_eq!(civil_from_days(days), date);
        }
    }
}
