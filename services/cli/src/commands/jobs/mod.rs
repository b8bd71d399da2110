//! `protext jobs`: batch jobs, here or at a service.

mod api;
mod place;
mod show;
mod submit;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::Context as _;
use clap::Subcommand;
use protext_worker::{JobState, JobStatus, Jobs, Resume, Watch};

use crate::embedding_cache::EmbeddingCacheArgs;
use crate::fault::UsageError;
use crate::job_models::CachedModels;
use crate::{interrupt, progress};

pub(crate) use place::{PlaceArgs, default_place};
use show::{print_list, print_status};

/// Between two looks at a job.
const POLL: Duration = Duration::from_millis(300);

#[derive(Subcommand)]
pub(crate) enum Args {
    /// Submit a job, and run it here unless told otherwise.
    #[command(
        subcommand,
        after_help = "Examples:\n  \
        protext jobs submit embed proteome.fasta.gz -o vectors.h5 --name proteome\n  \
        protext jobs submit index proteome.fasta.gz -o proteome.index\n  \
        protext jobs submit search-all queries.fasta --collection proteome.index -k 5 -o hits.tsv\n  \
        protext jobs submit annotate proteome.fasta.gz -o functions.tsv\n  \
        protext jobs submit ppi proteome.fasta.gz -k 20 -o partners.tsv\n\n\
        A job survives Ctrl-C, kill -9 and a full disk: `protext jobs resume NAME` goes on where it stopped."
    )]
    Submit(Box<submit::Task>),
    /// All jobs, oldest first.
    List(ListArgs),
    /// What is known of one job.
    Show(OneArgs),
    /// Watch a job until it is over; exit code 0 if it is done.
    Follow(OneArgs),
    /// Stop a job. What is done is kept for a resume.
    Cancel(OneArgs),
    /// Let a job go on that failed, was cancelled or interrupted, and run it here unless told otherwise.
    Resume(ResumeArgs),
    /// What came of a job: files, counts, and the records that came to nothing.
    Results(ResultsArgs),
    /// Remove a job that is over, with the results in its folder.
    Remove(OneArgs),
}

#[derive(clap::Args)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    place: PlaceArgs,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args)]
pub(crate) struct OneArgs {
    /// The job's name or id.
    id: String,
    #[command(flatten)]
    place: PlaceArgs,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args)]
pub(crate) struct ResumeArgs {
    /// The job's name or id.
    id: String,
    #[command(flatten)]
    place: PlaceArgs,
    /// Leave out shards that were given up, their records among the failures.
    #[arg(long)]
    leave_out_failed: bool,
    /// Replace an output that exists.
    #[arg(long)]
    overwrite: bool,
    #[command(flatten)]
    running: RunningArgs,
}

#[derive(clap::Args)]
pub(crate) struct ResultsArgs {
    /// The job's name or id.
    id: String,
    #[command(flatten)]
    place: PlaceArgs,
    /// Copy the result that lies in the job's own folder here.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// List the records that came to nothing, one JSON object a line.
    #[arg(long)]
    failures: bool,
    /// Print the manifest as JSON.
    #[arg(long)]
    json: bool,
}

/// Who runs a job.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct RunningArgs {
    /// Read the inputs, then leave the rest to `protext worker`.
    #[arg(long)]
    no_run: bool,
    /// Hand the shards to the workers of a queue, such as nats://127.0.0.1:4222, and wait for them.
    #[arg(long, value_name = "ADDRESS", env = "PROTEXT_QUEUE")]
    queue: Option<String>,
    /// Sessions of the encoder; 0 takes one a core.
    #[arg(long, value_name = "N", default_value_t = 0)]
    workers: usize,
    #[command(flatten)]
    cache: EmbeddingCacheArgs,
    /// Print the job's status as JSON at the end.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    match args {
        Args::Submit(task) => submit::run(*task),
        Args::List(args) => list(&args),
        Args::Show(args) => one(&args, api::Api::show, |place, id| Ok(place.status(id)?)),
        Args::Cancel(args) => one(&args, api::Api::cancel, |place, id| Ok(place.cancel(id)?)),
        Args::Follow(args) => follow(&args),
        Args::Resume(args) => resume(&args),
        Args::Results(args) => results(&args),
        Args::Remove(args) => remove(&args),
    }
}

fn list(args: &ListArgs) -> anyhow::Result<ExitCode> {
    let jobs = match args.place.api()? {
        Some(api) => api.list()?,
        None => args.place.open()?.list()?,
    };
    match args.json {
        true => println!("{}", serde_json::to_string_pretty(&jobs)?),
        false => print_list(&jobs),
    }
    Ok(ExitCode::SUCCESS)
}

fn one(
    args: &OneArgs,
    there: impl Fn(&api::Api, &str) -> anyhow::Result<JobStatus>,
    here: impl Fn(&Jobs, &str) -> anyhow::Result<JobStatus>,
) -> anyhow::Result<ExitCode> {
    let status = match args.place.api()? {
        Some(api) => there(&api, &args.id)?,
        None => here(&args.place.open()?, &args.id)?,
    };
    tell(&status, args.json)?;
    Ok(ExitCode::SUCCESS)
}

fn tell(status: &JobStatus, json: bool) -> anyhow::Result<()> {
    match json {
        true => println!("{}", serde_json::to_string_pretty(status)?),
        false => print_status(status),
    }
    Ok(())
}

fn follow(args: &OneArgs) -> anyhow::Result<ExitCode> {
    let status = match args.place.api()? {
        Some(api) => watch(|| api.show(&args.id))?,
        None => {
            let jobs = args.place.open()?;
            watch(|| Ok(jobs.status(&args.id)?))?
        }
    };
    tell(&status, args.json)?;
    Ok(ended(&status))
}

/// Draws a bar until the job is over, or until Ctrl-C, which leaves the job alone.
fn watch(look: impl Fn() -> anyhow::Result<JobStatus>) -> anyhow::Result<JobStatus> {
    let stop = interrupt::flag()?;
    let bar = progress::residues(Some(0), "");
    let status = loop {
        let status = look()?;
        show::draw(&bar, &status);
        // An interrupted job goes on only if somebody resumes it.
        if status.state.is_final() || status.state == JobState::Interrupted || stop.load(Ordering::Relaxed) {
            break status;
        }
        std::thread::sleep(POLL);
    };
    bar.finish_and_clear();
    Ok(status)
}

fn ended(status: &JobStatus) -> ExitCode {
    ExitCode::from(u8::from(status.state != JobState::Done))
}

fn resume(args: &ResumeArgs) -> anyhow::Result<ExitCode> {
    if let Some(api) = args.place.api()? {
        let status = api.resume(&args.id, args.leave_out_failed, args.overwrite)?;
        tell(&status, args.running.json)?;
        return Ok(ExitCode::SUCCESS);
    }
    let jobs = args.place.open()?;
    let queue = args.running.queue.as_deref();
    let how = Resume { leave_out_failed: args.leave_out_failed, overwrite: args.overwrite, queue };
    jobs.resume(&args.id, &how)?;
    run_here(&jobs, &args.id, &args.running)
}

/// Plans a job and runs it with a bar; Ctrl-C leaves it to be resumed.
fn run_here(jobs: &Jobs, id: &str, args: &RunningArgs) -> anyhow::Result<ExitCode> {
    let stop = interrupt::flag()?;
    let models = CachedModels::new(args.workers, args.cache.clone());
    let own = Watch::default();
    let ran = std::thread::scope(|scope| {
        let run = scope.spawn(|| match args.no_run || args.queue.is_some() {
            true => jobs.prepare(id, &models, &own).map(|_| ()),
            false => jobs.run(id, &models, &own).map(|_| ()),
        });
        let bar = progress::residues(Some(0), "");
        while !run.is_finished() {
            own.stop.store(stop.load(Ordering::Relaxed), Ordering::Relaxed);
            match own.n_records_read.load(Ordering::Relaxed) {
                // Its folder is looked at now and then; between, this process knows what it did.
                0 => bar.set_message(format!("{id}: submitted")),
                n => bar.set_message(format!("{id}: {n} records")),
            }
            if let Ok(status) = jobs.status(id) {
                show::draw(&bar, &status);
            }
            std::thread::sleep(POLL);
        }
        bar.finish_and_clear();
        run.join()
    });
    let ran = ran.map_err(|_| anyhow::anyhow!("the job's thread panicked; the log says where"))?;
    if let Err(error) = ran {
        return Err(anyhow::Error::from(error).context(format!("job {id}")));
    }
    let mut status = jobs.status(id)?;
    if let Some(queue) = &args.queue {
        enqueue(queue, jobs, id)?;
        status = if args.no_run { jobs.status(id)? } else { watch(|| Ok(jobs.status(id)?))? };
    }
    if args.json {
        tell(&status, true)?;
    } else {
        print_status(&status);
    }
    Ok(if args.no_run { ExitCode::SUCCESS } else { ended(&status) })
}

#[cfg(feature = "nats")]
fn enqueue(queue: &str, jobs: &Jobs, id: &str) -> anyhow::Result<()> {
    Ok(protext_worker::NatsQueue::connect(queue)?.enqueue(jobs, id)?)
}

#[cfg(not(feature = "nats"))]
fn enqueue(_: &str, _: &Jobs, _: &str) -> anyhow::Result<()> {
    Err(UsageError("this program was built without the feature nats; leave --queue out".to_owned()).into())
}

fn results(args: &ResultsArgs) -> anyhow::Result<ExitCode> {
    if let Some(api) = args.place.api()? {
        return api.results(&args.id, args.output.as_deref(), args.failures, args.json);
    }
    let jobs = args.place.open()?;
    let status = jobs.status(&args.id)?;
    if args.failures {
        let mut out = std::io::stdout().lock();
        for failure in jobs.failures(&args.id)? {
            writeln!(out, "{}", serde_json::to_string(&failure)?)?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let Some(manifest) = &status.manifest else {
        return Err(
            UsageError(format!("job {:?} is {}; it has no results yet", args.id, status.state)).into()
        );
    };
    if let Some(output) = &args.output {
        let in_job = manifest.results.iter().find(|result| result.in_job);
        let result =
            in_job.context("no result lies in the job's folder; `protext jobs results` says where it is")?;
        let name = result.place.rsplit('/').next().unwrap_or_default();
        let scratch = tempfile::tempdir()?;
        let from = jobs.fetch_result(&args.id, name, scratch.path())?;
        std::fs::copy(&from, output).with_context(|| format!("cannot write {}", output.display()))?;
        eprintln!("{}: {} bytes", output.display(), result.n_bytes);
        return Ok(ExitCode::SUCCESS);
    }
    match args.json {
        true => println!("{}", serde_json::to_string_pretty(manifest)?),
        false => print_status(&status),
    }
    Ok(ExitCode::SUCCESS)
}

fn remove(args: &OneArgs) -> anyhow::Result<ExitCode> {
    match args.place.api()? {
        Some(api) => api.remove(&args.id)?,
        None => args.place.open()?.remove(&args.id)?,
    }
    eprintln!("{}: removed", args.id);
    Ok(ExitCode::SUCCESS)
}
