//! Programs that stand where Python would be, and do what a test wants of pip.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use protext_registry::wheel::Pip;
use tempfile::TempDir;

/// A shell script in a folder of its own. Its body sees `$dest` and `$requirements`, the paths given to pip, and
/// `$here`, its folder.
#[derive(Debug)]
pub(crate) struct FakePip {
    folder: TempDir,
}

const HEAD: &str = r#"#!/bin/sh
here=$(dirname "$0")
echo "$@" > "$here/arguments"
while [ $# -gt 0 ]; do
    case "$1" in
        --dest) dest=$2 ;;
        --requirement) requirements=$2 ;;
    esac
    shift
done
"#;

impl FakePip {
    pub(crate) fn new(body: &str) -> Self {
        let fake = Self { folder: tempfile::tempdir().unwrap() };
        write_executable(&fake.path("python"), &format!("{HEAD}{body}\n"));
        fake
    }

    /// Brings this wheel.
    pub(crate) fn bringing(wheel: &[u8]) -> Self {
        let fake = Self::new(
            r#"cp "$requirements" "$here/requirements"; cp "$here/wheel" "$dest/tiny-1-py3-none-any.whl""#,
        );
        std::fs::write(fake.path("wheel"), wheel).unwrap();
        fake
    }

    /// A file in the script's folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn read(&self, name: &str) -> Option<String> {
        std::fs::read_to_string(self.path(name)).ok()
    }

    /// Far more time than it needs.
    pub(crate) fn pip(&self) -> Pip {
        self.limited(Duration::from_secs(120))
    }

    pub(crate) fn limited(&self, timeout: Duration) -> Pip {
        Pip { python: self.path("python").display().to_string(), timeout }
    }
}

/// Another process writes it: were the file open for writing here, a process that another test starts meanwhile could
/// hold it open too, and a file that is being written cannot be run.
fn write_executable(path: &Path, text: &str) {
    let mut shell = Command::new("sh");
    shell.args(["-c", r#"cat > "$0" && chmod 755 "$0""#]).arg(path).stdin(Stdio::piped());
    let mut child = shell.spawn().unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
}
