//! `protext worker`: runs waiting jobs, from a folder that others submit to or from a queue.

use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::time::Duration;

use protext_worker::{Watch, Way, run_waiting};

use super::jobs::PlaceArgs;
use crate::embedding_cache::EmbeddingCacheArgs;
use crate::interrupt;
use crate::job_models::CachedModels;

#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  protext worker                       jobs of this user, on this machine\n  \
    protext worker --jobs /shared/jobs    beside other workers of a shared folder\n  \
    protext worker --queue nats://queue:4222\n\n\
    The first Ctrl-C or SIGTERM lets the records under way finish, and ends; the work goes on elsewhere or later."
)]
pub(crate) struct Args {
    #[command(flatten)]
    place: PlaceArgs,
    /// Take shards from a queue, such as nats://127.0.0.1:4222, instead of looking into a folder.
    #[arg(long, value_name = "ADDRESS", env = "PROTEXT_QUEUE")]
    queue: Option<String>,
    /// Sessions of the encoder; 0 takes one a core.
    #[arg(long, value_name = "N", default_value_t = 0)]
    workers: usize,
    /// End when no job waits.
    #[arg(long)]
    once: bool,
    #[command(flatten)]
    cache: EmbeddingCacheArgs,
}

pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let stop = interrupt::flag()?;
    let models = CachedModels::new(args.workers, args.cache.clone());
    let watch = Watch::default();
    std::thread::scope(|scope| {
        let run = scope.spawn(|| work(&args, &models, &watch));
        while !run.is_finished() {
            watch.stop.store(stop.load(Ordering::Relaxed), Ordering::Relaxed);
            std::thread::sleep(Duration::from_millis(50));
        }
        run.join().map_err(|_| anyhow::anyhow!("the worker's thread panicked; the log says where"))
    })??;
    Ok(ExitCode::SUCCESS)
}

fn work(args: &Args, models: &CachedModels, watch: &Watch) -> anyhow::Result<()> {
    if let Some(queue) = &args.queue {
        return work_on_queue(queue, args.once, models, watch);
    }
    let jobs = args.place.open()?;
    eprintln!("working on jobs in {}", jobs.place());
    Ok(run_waiting(&jobs, models, watch, (&Way::Here, args.once))?)
}

#[cfg(feature = "nats")]
fn work_on_queue(queue: &str, once: bool, models: &CachedModels, watch: &Watch) -> anyhow::Result<()> {
    let connected = if once {
        protext_worker::NatsQueue::connect(queue)
    } else {
        protext_worker::NatsQueue::connect_when_there(queue, watch)
    };
    let queue = match connected {
        // Asked to stop while it waited: it has left nothing undone.
        Err(_) if watch.stop.load(Ordering::Relaxed) => return Ok(()),
        connected => connected?,
    };
    eprintln!("working on shards of the queue");
    Ok(queue.work(models, watch, once)?)
}

#[cfg(not(feature = "nats"))]
fn work_on_queue(_: &str, _: bool, _: &CachedModels, _: &Watch) -> anyhow::Result<()> {
    let message = "this program was built without the feature nats; leave --queue out";
    Err(crate::fault::UsageError(message.to_owned()).into())
}
