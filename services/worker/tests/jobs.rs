//! The life of a job, with an encoder whose every batch leaves a trace in its rows: what is cut off goes on to the same bytes.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use protext_engine::output::read_vectors;
use protext_worker::{JobError, JobState, Jobs, Resume, StoreFault, Watch};
use support::{Desk, Faults, fasta, healthy, models};

#[test]
fn every_record_has_its_row_in_the_order_of_the_input() {
    let desk = Desk::new(&fasta(300));
    let (id, _) = desk.done(&desk.spec("out.parquet"), &healthy());
    let vectors = read_vectors(&desk.path("out.parquet")).unwrap();
    assert_eq!(vectors.n_vectors(), 300);
    let input = fasta(300);
    for (number, record) in input.split('>').skip(1).enumerate() {
        let (header, sequence) = record.split_once('\n').unwrap();
        assert_eq!(vectors.ids[number], header.split(' ').next().unwrap());
        let row = vectors.vector(number).unwrap();
        assert_eq!((row[0], row[2]), (sequence.trim().len() as f32, f32::from(sequence.as_bytes()[0])));
    }
    let status = desk.jobs.status(&id).unwrap();
    let (plan, manifest) = (status.plan.unwrap(), status.manifest.unwrap());
    assert_eq!((status.state, manifest.n_done, manifest.n_failed), (JobState::Done, 300, 0));
    assert_eq!((plan.counts.n_records, plan.counts.n_contents), (300, 270));
    assert!(plan.counts.n_shards > 10 && status.shards.n_done == plan.counts.n_shards);
    let hash = <sha2::Sha256 as sha2::Digest>::digest(std::fs::read(desk.path("out.parquet")).unwrap());
    assert_eq!(manifest.results[0].sha256.as_deref(), Some(&*hex::encode(hash)));
    assert_eq!(plan.inputs[0].sha256, hex::encode(<sha2::Sha256 as sha2::Digest>::digest(input)));
}

#[test]
fn stopped_anywhere_it_goes_on_to_the_same_bytes() {
    let desk = Desk::new(&fasta(200));
    let (_, undisturbed) = desk.done(&desk.spec("a.parquet"), &healthy());
    let spec = desk.spec("b.parquet");
    let id = desk.jobs.submit(&spec).unwrap();
    let mut n_stops = 0;
    loop {
        // One session, then three; stopped after a few batches more each time.
        let (faults, watch) = (Arc::new(Faults::default()), Arc::new(Watch::default()));
        faults.stop_after.store(3 + n_stops * 2, Ordering::SeqCst);
        let models = models("letters", 1 + (n_stops as usize % 3), &faults, Some(Arc::clone(&watch)));
        // A new `Jobs`, as a new process would have.
        let jobs = Jobs::open(&desk.jobs.place()).unwrap();
        match jobs.run(&id, &models, &watch) {
            Ok(_) => break,
            Err(JobError::Stopped) => n_stops += 1,
            Err(error) => panic!("{error}"),
        }
        assert_eq!(desk.jobs.status(&id).unwrap().state, JobState::Interrupted);
        assert!(n_stops < 100);
    }
    assert!(n_stops > 3, "{n_stops}");
    assert_eq!(std::fs::read(desk.path("b.parquet")).unwrap(), undisturbed);
}

#[test]
fn two_workers_share_a_job_and_no_shard_is_done_twice() {
    let desk = Desk::new(&fasta(300));
    let (_, alone) = desk.done(&desk.spec("a.parquet"), &healthy());
    let spec = desk.spec("b.parquet");
    let id = desk.jobs.submit(&spec).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| desk.jobs.run(&id, &healthy(), &Watch::default()).unwrap());
        }
    });
    assert_eq!(std::fs::read(desk.path("b.parquet")).unwrap(), alone);
    assert_eq!(desk.jobs.status(&id).unwrap().manifest.unwrap().shards.n_retries, 0);
}

#[test]
fn bad_records_fail_alone_each_with_its_number_and_reason() {
    let mut input = fasta(40);
    input.push_str(">bad1\nMK1V\n>p0\nMKV\n>poison\nMKWWWWV\n>crash\nMKCCCCV\n>good\nMKVLA\n");
    let desk = Desk::new(&input);
    let (id, _) = desk.done(&desk.spec("out.parquet"), &healthy());
    let failures = desk.jobs.failures(&id).unwrap();
    let told: Vec<(u64, &str)> =
        failures.iter().map(|failure| (failure.record, failure.id.as_deref().unwrap())).collect();
    assert_eq!(told, [(41, "bad1"), (42, "p0"), (43, "poison"), (44, "crash")]);
    assert!(failures[0].reason.contains('1') && failures[1].reason.contains("earlier record"));
    assert!(failures[3].reason.contains("panicked"), "{}", failures[3].reason);
    let vectors = read_vectors(&desk.path("out.parquet")).unwrap();
    assert_eq!((vectors.n_vectors(), vectors.ids.last().map(String::as_str)), (41, Some("good")));
    assert_eq!(desk.jobs.status(&id).unwrap().manifest.unwrap().n_failed, 4);
}

#[test]
fn a_shard_that_keeps_failing_is_given_up_and_tried_again_when_resumed() {
    let desk = Desk::new(&fasta(30));
    let faults = Arc::new(Faults::default());
    faults.is_away.store(true, Ordering::SeqCst);
    let mut spec = desk.spec("out.parquet");
    spec.cutting.max_failures = 2;
    spec.cutting.shard_residues = 100_000;
    let id = desk.jobs.submit(&spec).unwrap();
    let models = models("letters", 1, &faults, None);
    let error = desk.jobs.run(&id, &models, &Watch::default()).unwrap_err();
    assert!(matches!(error, JobError::ShardsFailed { n_failed: 1, n_shards: 1, shard: 0, .. }), "{error}");
    let status = desk.jobs.status(&id).unwrap();
    assert_eq!((status.state, status.error.unwrap().kind.as_str()), (JobState::Failed, "shards_failed"));
    assert!(status.notes.iter().any(|note| note.message.contains("it is away")), "{:?}", status.notes);
    faults.is_away.store(false, Ordering::SeqCst);
    desk.jobs.resume(&id, &Resume::default()).unwrap();
    assert_eq!(desk.jobs.run(&id, &models, &Watch::default()).unwrap().n_done, 30);
}

#[test]
fn shards_that_were_given_up_can_be_left_out() {
    let mut input = fasta(30);
    // The longest is the first shard, alone.
    input.push_str(&format!(">long\n{}\n", "MKV".repeat(300)));
    let desk = Desk::new(&input);
    let mut spec = desk.spec("out.parquet");
    spec.cutting.max_deaths = 2;
    let id = desk.jobs.submit(&spec).unwrap();
    desk.jobs.prepare(&id, &healthy(), &Watch::default()).unwrap();
    // As two workers that died on it leave it.
    let attempts = desk.path("jobs").join(&id).join("attempts");
    std::fs::create_dir_all(&attempts).unwrap();
    std::fs::write(attempts.join("0000000"), r#"{"n_begun": 2, "failures": []}"#).unwrap();
    let error = desk.jobs.run(&id, &healthy(), &Watch::default()).unwrap_err().to_string();
    assert!(error.contains("ended 2 times"), "{error}");
    desk.jobs.resume(&id, &Resume { leave_out_failed: true, ..Resume::default() }).unwrap();
    let manifest = desk.jobs.run(&id, &healthy(), &Watch::default()).unwrap();
    assert_eq!((manifest.n_done, manifest.n_failed), (30, 1));
    let failures = desk.jobs.failures(&id).unwrap();
    assert!(failures[0].id.as_deref() == Some("long") && failures[0].reason.contains("given up"));
}

#[test]
fn of_two_submitters_with_one_name_one_has_it() {
    let desk = Desk::new(&fasta(5));
    let mut spec = desk.spec("a.parquet");
    spec.name = Some("mine".into());
    let outcomes: Vec<_> = std::thread::scope(|scope| {
        let submit = || desk.jobs.submit(&spec);
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(submit)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
    assert!(outcomes.iter().flat_map(Result::as_ref).all(|id| id == "mine"));
    let refused = outcomes.into_iter().find_map(Result::err).unwrap();
    assert!(matches!(refused, JobError::NameTaken { .. }), "{refused}");
    let status = desk.jobs.status("mine").unwrap();
    assert!(status.notes.iter().any(|note| note.kind == "name_taken"));
    desk.jobs.run("mine", &healthy(), &Watch::default()).unwrap();
}

#[test]
fn workers_of_another_space_or_version_are_refused_and_noted() {
    let desk = Desk::new(&fasta(20));
    let id = desk.jobs.submit(&desk.spec("out.parquet")).unwrap();
    desk.jobs.prepare(&id, &healthy(), &Watch::default()).unwrap();
    let other = models("other letters", 1, &Arc::default(), None);
    let error = desk.jobs.run(&id, &other, &Watch::default()).unwrap_err();
    assert!(matches!(error, JobError::OtherSpace { .. }), "{error}");
    let plan = desk.path("jobs").join(&id).join("plan/plan.json");
    let text = std::fs::read_to_string(&plan).unwrap();
    let version = format!("\"{}\"", env!("CARGO_PKG_VERSION"));
    std::fs::write(&plan, text.replace(&version, "\"0.0.1\"")).unwrap();
    let error = desk.jobs.run(&id, &healthy(), &Watch::default()).unwrap_err();
    assert!(matches!(error, JobError::OtherVersion { .. }), "{error}");
    std::fs::write(&plan, text).unwrap();
    let status = desk.jobs.status(&id).unwrap();
    let kinds: Vec<&str> = status.notes.iter().map(|note| note.kind.as_str()).collect();
    assert!(kinds.contains(&"other_space") && kinds.contains(&"other_version"), "{kinds:?}");
    // Nothing is lost: a worker that fits goes on.
    assert_ne!(status.state, JobState::Failed);
    desk.jobs.run(&id, &healthy(), &Watch::default()).unwrap();
}

#[test]
fn an_output_that_exists_is_refused_before_and_after_the_work() {
    let desk = Desk::new(&fasta(20));
    std::fs::write(desk.path("out.parquet"), "precious").unwrap();
    let error = desk.jobs.submit(&desk.spec("out.parquet")).unwrap_err();
    assert!(matches!(error, JobError::OutputExists { .. }), "{error}");
    assert!(desk.jobs.list().unwrap().is_empty());
    // It appears while the job runs.
    let id = desk.jobs.submit(&desk.spec("late.parquet")).unwrap();
    std::fs::write(desk.path("late.parquet"), "precious").unwrap();
    desk.jobs.run(&id, &healthy(), &Watch::default()).unwrap_err();
    let status = desk.jobs.status(&id).unwrap();
    assert_eq!((status.state, status.error.unwrap().kind.as_str()), (JobState::Failed, "output_exists"));
    assert_eq!(std::fs::read_to_string(desk.path("late.parquet")).unwrap(), "precious");
    desk.jobs.resume(&id, &Resume { overwrite: true, ..Resume::default() }).unwrap();
    desk.jobs.run(&id, &healthy(), &Watch::default()).unwrap();
    assert_eq!(read_vectors(&desk.path("late.parquet")).unwrap().n_vectors(), 20);
}

#[test]
fn a_commit_that_was_cut_short_is_found_to_be_ones_own() {
    let desk = Desk::new(&fasta(20));
    let (id, bytes) = desk.done(&desk.spec("a.parquet"), &healthy());
    let second = desk.jobs.submit(&desk.spec("b.parquet")).unwrap();
    desk.jobs.prepare(&second, &healthy(), &Watch::default()).unwrap();
    // As one leaves it who died between giving the output its name and writing the manifest.
    let manifest = desk.jobs.status(&id).unwrap().manifest.unwrap();
    let mut result = manifest.results[0].clone();
    result.place = desk.path("b.parquet").to_string_lossy().into_owned();
    let announced = serde_json::json!({ "results": [result] });
    std::fs::write(desk.path("jobs").join(&second).join("commit.json"), announced.to_string()).unwrap();
    std::fs::write(desk.path("b.parquet"), &bytes).unwrap();
    desk.jobs.run(&second, &healthy(), &Watch::default()).unwrap();
    assert_eq!(std::fs::read(desk.path("b.parquet")).unwrap(), bytes);
}

#[test]
fn a_cancelled_job_leaves_no_output_and_can_be_resumed() {
    let desk = Desk::new(&fasta(200));
    let (_, undisturbed) = desk.done(&desk.spec("a.parquet"), &healthy());
    let id = desk.jobs.submit(&desk.spec("b.parquet")).unwrap();
    desk.jobs.prepare(&id, &healthy(), &Watch::default()).unwrap();
    desk.jobs.cancel(&id).unwrap();
    let error = desk.jobs.run(&id, &healthy(), &Watch::default()).unwrap_err();
    assert!(matches!(error, JobError::Cancelled));
    assert_eq!(desk.jobs.status(&id).unwrap().state, JobState::Cancelled);
    assert!(matches!(desk.jobs.cancel(&id), Err(JobError::WrongState { .. })));
    desk.jobs.resume(&id, &Resume::default()).unwrap();
    desk.jobs.run(&id, &healthy(), &Watch::default()).unwrap();
    assert_eq!(std::fs::read(desk.path("b.parquet")).unwrap(), undisturbed);
    assert!(matches!(desk.jobs.cancel(&id), Err(JobError::WrongState { .. })));
    let beside: Vec<_> =
        std::fs::read_dir(desk.folder.path()).unwrap().flatten().map(|entry| entry.file_name()).collect();
    assert!(beside.iter().all(|name| !name.to_string_lossy().ends_with(".partial")), "{beside:?}");
}

#[test]
fn cancelled_during_the_commit_it_ends_before_the_output_has_its_name() {
    let desk = Desk::new(&fasta(3_000));
    let id = desk.jobs.submit(&desk.spec("out.npz")).unwrap();
    let cancelled = std::thread::scope(|scope| {
        let run = scope.spawn(|| desk.jobs.run(&id, &healthy(), &Watch::default()));
        while desk.jobs.status(&id).unwrap().state != JobState::Committing && !run.is_finished() {
            std::thread::yield_now();
        }
        // It may be done by now: then it is too late, and said so.
        let cancelled = desk.jobs.cancel(&id).is_ok();
        (cancelled, run.join().unwrap())
    });
    match cancelled {
        (true, Err(JobError::Cancelled)) => assert!(!desk.path("out.npz").exists()),
        // It was asked after the last look: the job is done, and says so.
        (_, outcome) => {
            outcome.unwrap();
            assert_eq!(desk.jobs.status(&id).unwrap().state, JobState::Done);
        }
    }
}

#[test]
fn an_unreadable_input_fails_the_job_and_says_which() {
    let desk = Desk::new("");
    let mut spec = desk.spec("out.parquet");
    spec.inputs = vec![desk.path("absent.fasta").to_string_lossy().into_owned()];
    let id = desk.jobs.submit(&spec).unwrap();
    let error = desk.jobs.run(&id, &healthy(), &Watch::default()).unwrap_err();
    assert!(matches!(&error, JobError::Store(error) if error.fault == StoreFault::Missing), "{error}");
    let status = desk.jobs.status(&id).unwrap();
    assert!(status.error.unwrap().message.contains("absent.fasta"));
    std::fs::write(desk.path("absent.fasta"), ">a\nMKV\n").unwrap();
    desk.jobs.resume(&id, &Resume::default()).unwrap();
    desk.jobs.run(&id, &healthy(), &Watch::default()).unwrap();
}

#[test]
fn a_damaged_shard_is_seen_and_done_again() {
    let desk = Desk::new(&fasta(60));
    let (_, undisturbed) = desk.done(&desk.spec("a.parquet"), &healthy());
    let (faults, watch) = (Arc::new(Faults::default()), Arc::new(Watch::default()));
    let id = desk.jobs.submit(&desk.spec("b.parquet")).unwrap();
    faults.stop_after.store(12, Ordering::SeqCst);
    let stopping = models("letters", 1, &faults, Some(Arc::clone(&watch)));
    assert!(matches!(desk.jobs.run(&id, &stopping, &watch), Err(JobError::Stopped)));
    let shard = desk.path("jobs").join(&id).join("out/0000000");
    let mut bytes = std::fs::read(&shard).unwrap();
    bytes[12] ^= 1;
    std::fs::write(&shard, bytes).unwrap();
    assert!(matches!(desk.jobs.run(&id, &healthy(), &Watch::default()), Err(JobError::Damaged { .. })));
    desk.jobs.resume(&id, &Resume::default()).unwrap();
    desk.jobs.run(&id, &healthy(), &Watch::default()).unwrap();
    assert_eq!(std::fs::read(desk.path("b.parquet")).unwrap(), undisturbed);
}

#[test]
fn a_job_that_is_over_expires_with_its_folder_and_its_output_stays() {
    let desk = Desk::new(&fasta(5));
    let mut spec = desk.spec("a.parquet");
    spec.keep_hours = 0;
    let (id, _) = desk.done(&spec, &healthy());
    let waiting = desk.jobs.submit(&desk.spec("b.parquet")).unwrap();
    assert_eq!(desk.jobs.expire().unwrap(), std::slice::from_ref(&id));
    assert!(matches!(desk.jobs.status(&id), Err(JobError::Unknown { .. })));
    assert!(desk.path("a.parquet").exists());
    assert_eq!(desk.jobs.status(&waiting).unwrap().state, JobState::Submitted);
    assert!(matches!(desk.jobs.remove(&waiting), Err(JobError::WrongState { .. })));
}

#[test]
fn inputs_that_are_sent_along_lie_in_the_job_and_so_do_results() {
    let desk = Desk::new("");
    let mut spec = desk.spec("unused.parquet");
    spec.output = None;
    spec.inputs = vec![protext_worker::upload_input("mine")];
    let mut bytes = fasta(10).into_bytes();
    let mut stream = &bytes[..];
    let id = desk.jobs.submit_with(&spec, vec![("mine".into(), &mut stream)], None).unwrap();
    bytes.clear();
    let manifest = desk.jobs.run(&id, &healthy(), &Watch::default()).unwrap();
    assert!(manifest.results[0].in_job);
    let scratch = tempfile::tempdir().unwrap();
    let path = desk.jobs.fetch_result(&id, "vectors.parquet", scratch.path()).unwrap();
    assert_eq!(read_vectors(&path).unwrap().n_vectors(), 10);
    assert!(desk.jobs.fetch_result(&id, "../spec.json", scratch.path()).is_err());
}
