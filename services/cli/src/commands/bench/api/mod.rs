//! `protext bench api`: what the service adds to the engine's own time, and what it bears.
//!
//! Three parts, on the demo collection of a service that is started for it (or on one that runs): one client searching by id,
//! beside the engine's own time in the same answers; many clients searching by id as fast as they can; and a mixed load,
//! looked at for errors, slow answers and memory that grows. The load comes from this process, on the same cores.

mod connection;
mod load;
mod service;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use serde::Serialize;
use serde_json::Value;

use self::connection::Connection;
use self::load::{Outcome, Request, run_load};
use self::service::Service;
use super::percentile::percentile;
use crate::commands::eval::write_json;
use crate::fault::UsageError;

#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  protext bench api --json -\n  protext bench api --url 127.0.0.1:8080 --mixed-s 0"
)]
pub(crate) struct Args {
    /// A service that runs, with the demo collection, instead of one that is started.
    #[arg(long, value_name = "ADDRESS:PORT")]
    url: Option<String>,
    /// Searches by one client.
    #[arg(long, default_value_t = 3_000, value_parser = clap::value_parser!(u32).range(100..))]
    n_single: u32,
    /// Seconds of searches by id from `--clients` connections.
    #[arg(long, default_value_t = 10)]
    throughput_s: u64,
    /// Connections of that part.
    #[arg(long, default_value_t = 16)]
    clients: usize,
    /// Seconds of mixed load from 64 connections; 0 for none.
    #[arg(long, default_value_t = 60)]
    mixed_s: u64,
    /// Where the figures go as JSON; - for standard output.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Connections of the mixed load.
const MIXED_CLIENTS: usize = 64;
/// Searches that warm the caches and are not counted.
const N_WARM: usize = 200;

#[derive(Serialize)]
struct Report {
    bench: &'static str,
    n_records: usize,
    n_cores: usize,
    /// One client, by id: from request to answer, less the engine's own time in the same answer.
    overhead_ms_p50: f64,
    overhead_ms_p99: f64,
    latency_ms_p50: f64,
    latency_ms_p99: f64,
    engine_ms_p50: f64,
    /// Many clients, by id.
    requests_per_s: f64,
    /// Processor time of service and load generator for one of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    processor_us_per_request: Option<f64>,
    /// Requests that the cores could take if nothing else ran on them: what is left to compare on a machine that is shared.
    #[serde(skip_serializing_if = "Option::is_none")]
    requests_per_s_of_quiet_cores: Option<f64>,
    n_clients: usize,
    /// Answers that were neither 200 nor 429, and broken connections, over all parts.
    errors: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    mixed: Option<Mixed>,
}

#[derive(Serialize)]
struct Mixed {
    seconds: u64,
    n_clients: usize,
    mixed_requests_per_s: f64,
    mixed_ms_p50: f64,
    mixed_ms_p99: f64,
    mixed_ms_max: f64,
    n_busy: u64,
    /// Memory at the end over memory after the first third.
    resident_ratio: f64,
    resident_mib: f64,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    if args.clients == 0 || args.throughput_s == 0 {
        return Err(UsageError("--clients and --throughput-s must be at least 1".to_owned()).into());
    }
    let started = args.url.is_none().then(Service::start).transpose()?;
    let address = match (&args.url, &started) {
        (Some(url), _) => url.trim_start_matches("http://").trim_end_matches('/').to_owned(),
        (None, Some(service)) => service.address().to_owned(),
        (None, None) => anyhow::bail!("no service was started"),
    };
    let targets = Targets::read(&address)?;
    eprintln!("one client: {} searches by id", args.n_single);
    let single = one_client(&address, &targets, args.n_single as usize)?;
    eprintln!("{} clients: searches by id for {} s", args.clients, args.throughput_s);
    let by_id: Vec<Request> = targets.ids.iter().map(|id| search_by_id(id, false)).collect();
    let before = started.as_ref().and_then(Service::processor_s);
    let many = run_load(&address, &by_id, args.clients, Duration::from_secs(args.throughput_s), &mut || ());
    let after = started.as_ref().and_then(Service::processor_s);
    let processor_us = |before: f64, after: f64| (after - before) * 1e6 / many.n_good.max(1) as f64;
    let processor_us_per_request = before.zip(after).map(|(before, after)| processor_us(before, after));
    let mixed = (args.mixed_s > 0).then(|| mixed_load(&address, &targets, args.mixed_s)).transpose()?;
    let (mixed, mixed_errors) = mixed.map_or((None, 0), |(mixed, errors)| (Some(mixed), errors));
    let n_cores = std::thread::available_parallelism().map_or(1, usize::from);
    let report = Report {
        bench: "api",
        n_records: targets.n_records,
        n_cores,
        overhead_ms_p50: percentile(&single.overhead_ms, 0.50),
        overhead_ms_p99: percentile(&single.overhead_ms, 0.99),
        latency_ms_p50: percentile(&single.latency_ms, 0.50),
        latency_ms_p99: percentile(&single.latency_ms, 0.99),
        engine_ms_p50: percentile(&single.engine_ms, 0.50),
        requests_per_s: many.n_good as f64 / many.seconds,
        processor_us_per_request,
        requests_per_s_of_quiet_cores: processor_us_per_request.map(|us| n_cores as f64 * 1e6 / us),
        n_clients: args.clients,
        errors: single.n_errors + many.n_errors + mixed_errors,
        mixed,
    };
    print(&report);
    write_json(args.json.as_deref(), &report)?;
    Ok(ExitCode::SUCCESS)
}

/// What there is to ask for.
struct Targets {
    n_records: usize,
    ids: Vec<String>,
    sequences: Vec<String>,
}

impl Targets {
    fn read(address: &str) -> anyhow::Result<Self> {
        let request = Request::get("/v1/collections/demo/records?limit=1000");
        let answer = Connection::open(address)?.send(&request)?;
        let page: Value = serde_json::from_slice(&answer.body).context("the service gave no records")?;
        let records = page["records"].as_array().filter(|records| !records.is_empty());
        let records = records.context("the service has no collection called demo with records in it")?;
        let texts = |key: &str| {
            let values = records.iter().filter_map(|record| record[key].as_str().map(str::to_owned));
            values.collect::<Vec<_>>()
        };
        let n_records = page["n_records"].as_u64().unwrap_or(0) as usize;
        Ok(Self { n_records, ids: texts("id"), sequences: texts("sequence") })
    }
}

fn search_by_id(id: &str, explain: bool) -> Request {
    Request::post("/v1/search", &serde_json::json!({"id": id, "k": 10, "explain": explain}))
}

#[derive(Default)]
struct Single {
    overhead_ms: Vec<f64>,
    latency_ms: Vec<f64>,
    engine_ms: Vec<f64>,
    n_errors: u64,
}

/// One connection, one search at a time. The engine's own time stands in each answer.
fn one_client(address: &str, targets: &Targets, n: usize) -> anyhow::Result<Single> {
    let mut connection = Connection::open(address)?;
    let mut single = Single::default();
    for (index, id) in targets.ids.iter().cycle().take(N_WARM + n).enumerate() {
        let request = search_by_id(id, true);
        let answer = connection.send(&request)?;
        if answer.status != 200 {
            single.n_errors += 1;
            continue;
        }
        let body: Value = serde_json::from_slice(&answer.body)?;
        let of_engine = |key: &str| body["explanation"][key].as_f64().unwrap_or(0.0);
        let engine_ms = of_engine("encode_ms") + of_engine("search_ms");
        if index >= N_WARM {
            let latency_ms = answer.took.as_secs_f64() * 1e3;
            single.latency_ms.push(latency_ms);
            single.engine_ms.push(engine_ms);
            single.overhead_ms.push((latency_ms - engine_ms).max(0.0));
        }
    }
    anyhow::ensure!(!single.latency_ms.is_empty(), "no search was answered");
    for values in [&mut single.overhead_ms, &mut single.latency_ms, &mut single.engine_ms] {
        values.sort_by(f64::total_cmp);
    }
    Ok(single)
}

/// Of 20 requests: 12 searches by id, 3 by sequence, 2 embeddings, 2 records and one look at the service.
fn mixed_load(address: &str, targets: &Targets, seconds: u64) -> anyhow::Result<(Mixed, u64)> {
    eprintln!("{MIXED_CLIENTS} clients: mixed load for {seconds} s");
    let mut requests = Vec::new();
    for (index, id) in targets.ids.iter().enumerate() {
        // Searches by residues run the model, so short proteins stand for all.
        let sequence = targets.sequences.get(index % targets.sequences.len().max(1));
        let sequence: String = sequence.map_or("MKTAYIAKQR", String::as_str).chars().take(120).collect();
        requests.push(match index % 20 {
            0..=2 => Request::post("/v1/search", &serde_json::json!({"sequence": sequence, "k": 10})),
            3 | 4 => Request::post("/v1/embeddings", &serde_json::json!({"input": [sequence]})),
            5 | 6 => Request::get(&format!("/v1/collections/demo/records/{id}")),
            7 => Request::get("/v1/info"),
            _ => search_by_id(id, false),
        });
    }
    let mut resident = Vec::new();
    let outcome = run_load(address, &requests, MIXED_CLIENTS, Duration::from_secs(seconds), &mut || {
        resident.extend(resident_bytes(address));
    });
    let Outcome { latency_ms, n_good, n_busy, n_errors, seconds: took } = outcome;
    anyhow::ensure!(!latency_ms.is_empty(), "no request of the mixed load was answered");
    let after_first_third = resident.get(resident.len() / 3).copied().unwrap_or(0.0);
    let at_the_end = resident.last().copied().unwrap_or(0.0);
    let mixed = Mixed {
        seconds,
        n_clients: MIXED_CLIENTS,
        mixed_requests_per_s: n_good as f64 / took,
        mixed_ms_p50: percentile(&latency_ms, 0.50),
        mixed_ms_p99: percentile(&latency_ms, 0.99),
        mixed_ms_max: percentile(&latency_ms, 1.0),
        n_busy,
        resident_ratio: at_the_end / after_first_third.max(1.0),
        resident_mib: at_the_end / (1 << 20) as f64,
    };
    Ok((mixed, n_errors))
}

/// The service's memory, as it tells.
fn resident_bytes(address: &str) -> Option<f64> {
    let answer = Connection::open(address).ok()?.send(&Request::get("/metrics")).ok()?;
    let text = String::from_utf8(answer.body).ok()?;
    text.lines().find_map(|line| line.strip_prefix("protext_resident_bytes ")?.parse().ok())
}

fn print(report: &Report) {
    println!(
        "demo collection: {} records, {} cores, load generator included",
        report.n_records, report.n_cores
    );
    println!(
        "one client, by id       p50 {:.2} ms, p99 {:.2} ms",
        report.latency_ms_p50, report.latency_ms_p99
    );
    println!("  of it the engine      p50 {:.2} ms", report.engine_ms_p50);
    println!(
        "  added by the service  p50 {:.2} ms, p99 {:.2} ms",
        report.overhead_ms_p50, report.overhead_ms_p99
    );
    println!("{} clients, by id       {:.0} requests/s", report.n_clients, report.requests_per_s);
    if let (Some(us), Some(rate)) = (report.processor_us_per_request, report.requests_per_s_of_quiet_cores) {
        println!(
            "  processor time        {us:.0} us a request, so {rate:.0} requests/s of cores that do nothing else"
        );
    }
    if let Some(mixed) = &report.mixed {
        println!(
            "{} clients, mixed, {} s  {:.0} requests/s, p50 {:.0} ms, p99 {:.0} ms, longest {:.0} ms, {} told to come back",
            mixed.n_clients,
            mixed.seconds,
            mixed.mixed_requests_per_s,
            mixed.mixed_ms_p50,
            mixed.mixed_ms_p99,
            mixed.mixed_ms_max,
            mixed.n_busy
        );
        println!(
            "  memory                {:.0} MiB, {:.3} of that after a third",
            mixed.resident_mib, mixed.resident_ratio
        );
    }
    println!("errors                  {}", report.errors);
}
