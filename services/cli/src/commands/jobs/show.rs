//! Jobs for people: a table, a page, a bar.

use indicatif::ProgressBar;
use protext_worker::{JobState, JobStatus};

/// One line a job.
pub(super) fn print_list(jobs: &[JobStatus]) {
    println!(
        "{:<28} {:<11} {:<12} {:>13} {:>10} {:>8}",
        "JOB", "KIND", "STATE", "SHARDS", "RECORDS", "FAILED"
    );
    for job in jobs {
        let shards = format!("{}/{}", job.shards.n_done, job.shards.n);
        let (n_records, n_failed) = counts(job);
        println!(
            "{:<28} {:<11} {:<12} {shards:>13} {n_records:>10} {n_failed:>8}",
            job.id, job.kind, job.state
        );
    }
}

/// Records, and how many came to nothing as far as is known.
fn counts(job: &JobStatus) -> (u64, u64) {
    let n_records = job.plan.as_ref().map_or(0, |plan| plan.counts.n_records);
    let refused = job.plan.as_ref().map_or(0, |plan| plan.counts.n_refused);
    (n_records, job.manifest.as_ref().map_or(refused, |manifest| manifest.n_failed))
}

/// Everything that is known of a job.
pub(super) fn print_status(job: &JobStatus) {
    println!("{} ({}): {}", job.id, job.kind, job.state);
    if let Some(error) = &job.error {
        println!("  error      {}", error.message);
    }
    if job.state == JobState::Interrupted {
        println!("  error      its worker ended before it did; `protext jobs resume {}` goes on", job.id);
    }
    for input in &job.spec.inputs {
        println!("  input      {input}");
    }
    if let Some(plan) = &job.plan {
        let counts = &plan.counts;
        println!("  encoder    {}", plan.encoder);
        for space in &plan.spaces {
            println!("  space      {} ({})", space.name, space.fingerprint.short());
        }
        println!(
            "  records    {} ({} refused), {} distinct, {} residues",
            counts.n_records, counts.n_refused, counts.n_contents, counts.n_content_residues
        );
        let shards = &job.shards;
        println!("  shards     {} of {} done, {} given up", shards.n_done, shards.n, shards.n_failed);
    }
    if let Some(manifest) = &job.manifest {
        println!("  done       {} records, {} failed", manifest.n_done, manifest.n_failed);
        for result in &manifest.results {
            let hash =
                result.sha256.as_deref().map_or(String::new(), |hash| format!(", sha256 {}", &hash[..12]));
            println!("  result     {} ({}, {} bytes{hash})", result.place, result.format, result.n_bytes);
        }
        if manifest.n_failed > 0 {
            println!(
                "             `protext jobs results {} --failures` lists the others with reasons",
                job.id
            );
        }
    }
    if let (Some(from), Some(to)) = (job.started_unix_s, job.finished_unix_s) {
        println!("  took       {} s", to.saturating_sub(from));
    }
    for note in &job.notes {
        println!("  note       {}: {}", note.kind, note.message);
    }
}

/// Where a job stands, on a bar of residues.
pub(super) fn draw(bar: &ProgressBar, job: &JobStatus) {
    if job.n_residues > 0 {
        bar.set_length(job.n_residues);
        bar.set_position(job.n_residues_done);
        bar.set_message(format!("{}: {} {}/{} shards", job.id, job.state, job.shards.n_done, job.shards.n));
    }
}
