//! Several pulls of one model at once, by threads and by processes: all succeed, and the files come once.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Barrier;

use protext_registry::{ReadyModel, Silent};
use tempfile::tempdir;

use crate::local_hub::{Server, settings};
use crate::tiny_model::{self, FILES, ID, Place, files_below};

/// Set for the processes that [`processes_fetch_once`] starts: the folder to work in.
const FOLDER_VARIABLE: &str = "PROTEXT_TEST_PULL_FOLDER";

fn pull(cache: &Path, url: &str) -> ReadyModel {
    tiny_model::registry(cache, &[Place::Hub]).with_hub(settings(url)).pull(ID, &Silent).unwrap()
}

fn assert_fetched_once(hub: &Server, cache: &Path) {
    let mut paths: Vec<String> = hub.requests().into_iter().map(|request| request.path).collect();
    paths.sort();
    assert_eq!(paths.len(), FILES.len(), "{paths:?}");
    tiny_model::registry(cache, &[Place::Hub]).verify(ID).unwrap();
    let files = files_below(cache);
    assert!(files.iter().all(|name| !name.contains("/.") && !name.contains(".partial")), "{files:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn threads_fetch_once() {
    for _ in 0..4 {
        let (hub, folder) = (tiny_model::hub().await, tempdir().unwrap());
        let (url, cache) = (hub.url.clone(), folder.path().join("cache"));
        let start = Barrier::new(4);
        let pulled: Vec<ReadyModel> = tokio::task::block_in_place(|| {
            std::thread::scope(|scope| {
                let pull_at_once = || {
                    start.wait();
                    pull(&cache, &url)
                };
                let threads: Vec<_> = (0..4).map(|_| scope.spawn(pull_at_once)).collect();
                threads.into_iter().map(|thread| thread.join().unwrap()).collect()
            })
        });
        assert!(pulled.iter().all(|model| *model == pulled[0]));
        assert_fetched_once(&hub, &cache);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_fetch_once() {
    let (hub, folder) = (tiny_model::hub().await, tempdir().unwrap());
    std::fs::write(folder.path().join("url"), &hub.url).unwrap();
    let start = || {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "concurrent::one_of_several_processes", "--nocapture"]);
        command.env(FOLDER_VARIABLE, folder.path()).stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let children = [start(), start(), start()];
    std::fs::write(folder.path().join("go"), "").unwrap();
    tokio::task::block_in_place(|| {
        for child in children {
            let output = child.wait_with_output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"));
        }
    });
    assert_eq!(files_below(folder.path()).iter().filter(|name| name.starts_with("done-")).count(), 3);
    assert_fetched_once(&hub, &folder.path().join("cache"));
}

/// No test by itself: what each process of [`processes_fetch_once`] does.
#[test]
fn one_of_several_processes() {
    let Some(folder) = std::env::var_os(FOLDER_VARIABLE).map(PathBuf::from) else { return };
    let url = std::fs::read_to_string(folder.join("url")).unwrap();
    for _ in 0..3000 {
        if folder.join("go").exists() {
            pull(&folder.join("cache"), &url);
            std::fs::write(folder.join(format!("done-{}", std::process::id())), "").unwrap();
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    panic!("the test that started this process did not say go");
}
