//! Downloads against a hub on this machine that misbehaves on demand: what arrives, what is kept, what is refused.

use std::sync::atomic::Ordering;

use protext_registry::Silent;
use protext_registry::hub::{HubClient, HubError, HubFile, HubLock, HubSettings, LOCK_NAME};
use tempfile::tempdir;

use crate::local_hub::{
    Counter, Hub, REVISION, Reply, Server, TOKEN, Tally, bounded, client, content, file, git_blob, names_in,
    redirect, settings, sha256,
};

const N_BYTES: usize = 300_000;

#[tokio::test]
async fn a_large_file_arrives_whole() {
    bounded(async {
        let bytes = content(N_BYTES);
        let hub = Hub::of(&bytes).await;
        let folder = tempdir().unwrap();
        let destination = folder.path().join("models/model.safetensors");
        let tally = Tally::default();
        let hash = sha256(&bytes).to_ascii_uppercase();
        let wanted = HubFile { sha256: Some(&hash), ..file("sub/model.safetensors") };
        let downloaded = hub.client().download(&wanted, &destination, &tally).await.unwrap();
        assert_eq!((downloaded.sha256, downloaded.n_bytes), (sha256(&bytes), N_BYTES as u64));
        assert_eq!(std::fs::read(&destination).unwrap(), bytes);
        assert_eq!(names_in(destination.parent().unwrap()), ["model.safetensors"]);
        assert_eq!(
            hub.front.requests()[0].path,
            format!("/owner/model/resolve/{REVISION}/sub/model.safetensors")
        );
        let counts = [&tally.n_begun, &tally.n_ended, &tally.total_bytes, &tally.n_bytes];
        assert_eq!(counts.map(|n| n.load(Ordering::SeqCst)), [1, 1, N_BYTES as u64, N_BYTES as u64]);
    })
    .await;
}

#[tokio::test]
async fn an_empty_file_arrives_too() {
    bounded(async {
        let hub = Hub::of(b"").await;
        let folder = tempdir().unwrap();
        let destination = folder.path().join("empty");
        let downloaded = hub.client().download(&file("empty"), &destination, &Silent).await.unwrap();
        assert_eq!(downloaded.n_bytes, 0);
        assert_eq!(names_in(folder.path()), ["empty"]);
    })
    .await;
}

#[tokio::test]
async fn a_cut_transfer_goes_on_in_the_same_call() {
    bounded(async {
        let bytes = content(N_BYTES);
        let (served, calls) = (bytes.clone(), Counter::default());
        let hub = Hub::with_storage(&bytes, move |request| {
            let reply = Reply::part_of(&served, request);
            if calls.next() < 3 { reply.cut_after(100_000) } else { reply }
        })
        .await;
        let folder = tempdir().unwrap();
        let destination = folder.path().join("f");
        let tally = Tally::default();
        hub.client().download(&file("f"), &destination, &tally).await.unwrap();
        assert_eq!(std::fs::read(&destination).unwrap(), bytes);
        assert_eq!(names_in(folder.path()), ["f"]);
        let starts: Vec<_> = hub.storage.requests().iter().map(|request| request.range_start()).collect();
        assert_eq!(starts, [None, Some(100_000), Some(200_000)]);
        assert_eq!(tally.n_bytes.load(Ordering::SeqCst), N_BYTES as u64);
        assert_eq!(tally.n_begun.load(Ordering::SeqCst), tally.n_ended.load(Ordering::SeqCst));
    })
    .await;
}

#[tokio::test]
async fn a_cut_transfer_goes_on_in_the_next_call() {
    bounded(async {
        let bytes = content(N_BYTES);
        let (served, calls) = (bytes.clone(), Counter::default());
        let hub = Hub::with_storage(&bytes, move |request| {
            let reply = Reply::part_of(&served, request);
            if calls.next() == 1 { reply.cut_after(123_456) } else { reply }
        })
        .await;
        let folder = tempdir().unwrap();
        let destination = folder.path().join("f");
        let once = HubSettings { n_tries: 1, ..settings(&hub.front.url) };
        let client_of = |settings| HubClient::new(settings).unwrap();
        let error = client_of(once.clone()).download(&file("f"), &destination, &Silent).await.unwrap_err();
        assert!(matches!(error, HubError::Interrupted { n_bytes: 123_456, n_tries: 1, .. }), "{error}");
        assert_eq!(names_in(folder.path()), ["f.partial", "f.partial.etag"]);
        client_of(once).download(&file("f"), &destination, &Silent).await.unwrap();
        assert_eq!(std::fs::read(&destination).unwrap(), bytes);
        assert_eq!(names_in(folder.path()), ["f"]);
        assert_eq!(hub.storage.requests()[1].range_start(), Some(123_456));
    })
    .await;
}

#[tokio::test]
async fn a_whole_partial_file_needs_no_bytes_any_more() {
    bounded(async {
        let bytes = content(1000);
        let hub = Hub::of(&bytes).await;
        let folder = tempdir().unwrap();
        let destination = folder.path().join("f");
        std::fs::write(folder.path().join("f.partial"), &bytes).unwrap();
        std::fs::write(folder.path().join("f.partial.etag"), format!("sha256:{}", sha256(&bytes))).unwrap();
        hub.client().download(&file("f"), &destination, &Silent).await.unwrap();
        assert_eq!(std::fs::read(&destination).unwrap(), bytes);
        assert_eq!(hub.storage.requests().len(), 1);
    })
    .await;
}

#[tokio::test]
async fn a_server_without_ranges_is_asked_for_everything_again() {
    bounded(async {
        let bytes = content(N_BYTES);
        let (served, calls) = (bytes.clone(), Counter::default());
        let hub = Hub::with_storage(&bytes, move |_| {
            let reply = Reply::new(200, &served);
            if calls.next() == 1 { reply.cut_after(50_000) } else { reply }
        })
        .await;
        let folder = tempdir().unwrap();
        let destination = folder.path().join("f");
        hub.client().download(&file("f"), &destination, &Silent).await.unwrap();
        assert_eq!(std::fs::read(&destination).unwrap(), bytes);
    })
    .await;
}

#[tokio::test]
async fn a_file_that_changed_meanwhile_is_taken_from_the_start() {
    bounded(async {
        let bytes = content(N_BYTES);
        let hub = Hub::of(&bytes).await;
        let folder = tempdir().unwrap();
        let destination = folder.path().join("f");
        std::fs::write(folder.path().join("f.partial"), vec![7; 1000]).unwrap();
        std::fs::write(folder.path().join("f.partial.etag"), format!("sha256:{}", "ab".repeat(32))).unwrap();
        hub.client().download(&file("f"), &destination, &Silent).await.unwrap();
        assert_eq!(std::fs::read(&destination).unwrap(), bytes);
        let starts: Vec<_> = hub.storage.requests().iter().map(|request| request.range_start()).collect();
        assert_eq!(starts, [Some(1000), None]);
    })
    .await;
}

#[tokio::test]
async fn wrong_bytes_are_thrown_away() {
    bounded(async {
        let (stated, mut served) = (content(5000), content(5000));
        served[4321] ^= 1;
        let found_hash = sha256(&served);
        let hub = Hub::with_storage(&stated, move |request| Reply::part_of(&served, request)).await;
        let folder = tempdir().unwrap();
        let destination = folder.path().join("f");
        std::fs::write(&destination, "what was there before").unwrap();
        let hash = sha256(&stated);
        for pinned in [None, Some(hash.as_str())] {
            let wanted = HubFile { sha256: pinned, ..file("f") };
            let error = hub.client().download(&wanted, &destination, &Silent).await.unwrap_err();
            let HubError::WrongHash { expected, found, .. } = &error else { panic!("{error}") };
            assert_eq!((expected, found), (&hash, &found_hash));
            assert_eq!(names_in(folder.path()), ["f"]);
            assert_eq!(std::fs::read(&destination).unwrap(), b"what was there before");
        }
    })
    .await;
}

#[tokio::test]
async fn a_hash_other_than_the_pinned_one_is_refused_before_the_first_byte() {
    bounded(async {
        let hub = Hub::of(&content(1000)).await;
        let folder = tempdir().unwrap();
        let pinned = "ab".repeat(32);
        let wanted = HubFile { sha256: Some(&pinned), ..file("f") };
        let error = hub.client().download(&wanted, &folder.path().join("f"), &Silent).await.unwrap_err();
        assert!(matches!(&error, HubError::WrongHash { expected, .. } if *expected == pinned), "{error}");
        assert!(names_in(folder.path()).is_empty());
    })
    .await;
}

#[tokio::test]
async fn the_token_stays_with_the_endpoint() {
    bounded(async {
        let bytes = content(1000);
        let hub = Hub::of(&bytes).await;
        let folder = tempdir().unwrap();
        let client = hub.client();
        client.download(&file("f"), &folder.path().join("f"), &Silent).await.unwrap();
        let bearer = format!("Bearer {TOKEN}");
        assert_eq!(hub.front.requests()[0].headers.get("authorization"), Some(&bearer));
        assert_eq!(hub.storage.requests()[0].headers.get("authorization"), None);
        assert!(!format!("{client:?}").contains(TOKEN));
    })
    .await;
}

#[tokio::test]
async fn a_redirect_within_the_endpoint_keeps_the_token() {
    bounded(async {
        let bytes = b"{}".to_vec();
        let tag = format!("\"{}\"", git_blob(&bytes));
        let front = Server::start(move |request| match request.path.starts_with("/api/") {
            true => Reply::part_of(&bytes, request),
            false => Reply::new(307, b"")
                .header("Location", "/api/cache/config.json")
                .header("X-Linked-Etag", tag.as_str()),
        })
        .await;
        let folder = tempdir().unwrap();
        client(&front.url).download(&file("config.json"), &folder.path().join("c"), &Silent).await.unwrap();
        assert!(front.requests().iter().all(|request| request.headers.contains_key("authorization")));
    })
    .await;
}

#[tokio::test]
async fn refusals_say_what_to_do() {
    bounded(async {
        let cases = [
            (401, "HF_TOKEN"),
            (403, "licence"),
            (404, "revision 0123456789abcdef"),
            (410, "path f"),
            (400, "HF_ENDPOINT"),
        ];
        for (status, way_out) in cases {
            let front = Server::start(move |_| Reply::new(status, b"no")).await;
            let folder = tempdir().unwrap();
            let error =
                client(&front.url).download(&file("f"), &folder.path().join("f"), &Silent).await.unwrap_err();
            assert!(error.to_string().contains(way_out), "{status}: {error}");
            assert_eq!(front.requests().len(), 1, "{status} is not worth another try");
            assert!(names_in(folder.path()).is_empty());
        }
    })
    .await;
}

#[tokio::test]
async fn too_many_requests_then_fine() {
    bounded(async {
        let bytes = content(1000);
        let (hash, calls) = (sha256(&bytes), Counter::default());
        let served = bytes.clone();
        let front = Server::start(move |request| match calls.next() {
            1 => Reply::new(429, b"").header("Retry-After", "3600"),
            2 => Reply::new(503, b""),
            _ => Reply::part_of(&served, request).header("X-Linked-Etag", format!("\"{hash}\"")),
        })
        .await;
        let folder = tempdir().unwrap();
        client(&front.url).download(&file("f"), &folder.path().join("f"), &Silent).await.unwrap();
        assert_eq!(front.requests().len(), 3);
    })
    .await;
}

#[tokio::test]
async fn a_server_that_stays_broken_is_given_up() {
    bounded(async {
        let front = Server::start(|_| Reply::new(500, b"")).await;
        let folder = tempdir().unwrap();
        let error =
            client(&front.url).download(&file("f"), &folder.path().join("f"), &Silent).await.unwrap_err();
        assert!(matches!(error, HubError::Busy { status: 500, n_tries: 3, .. }), "{error}");
        assert!(error.to_string().contains("HF_ENDPOINT"), "{error}");
        assert_eq!(front.requests().len(), 3);
    })
    .await;
}

#[tokio::test]
async fn a_storage_address_that_expired_is_asked_for_anew() {
    bounded(async {
        let bytes = content(1000);
        let (served, calls) = (bytes.clone(), Counter::default());
        let hub = Hub::with_storage(&bytes, move |request| match calls.next() {
            1 => Reply::new(403, b"expired"),
            _ => Reply::part_of(&served, request),
        })
        .await;
        let folder = tempdir().unwrap();
        hub.client().download(&file("f"), &folder.path().join("f"), &Silent).await.unwrap();
        assert_eq!(hub.front.requests().len(), 2);
    })
    .await;
}

#[tokio::test]
async fn without_a_network_the_ways_out_are_named() {
    bounded(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        drop(listener);
        let folder = tempdir().unwrap();
        let error = client(&url).download(&file("f"), &folder.path().join("f"), &Silent).await.unwrap_err();
        assert!(matches!(error, HubError::Unreachable { n_tries: 3, .. }), "{error}");
        for way_out in ["HF_ENDPOINT", "protext models pull ID --from FOLDER"] {
            assert!(error.to_string().contains(way_out), "{error}");
        }
    })
    .await;
}

#[tokio::test]
async fn signed_addresses_stay_out_of_messages() {
    bounded(async {
        let hub = Hub::with_storage(&content(1000), |_| Reply::new(500, b"")).await;
        let cut = Hub::with_storage(&content(1000), |_| Reply::new(200, content(1000)).cut_after(10)).await;
        let folder = tempdir().unwrap();
        for hub in [hub, cut] {
            let error =
                hub.client().download(&file("f"), &folder.path().join("f"), &Silent).await.unwrap_err();
            let shown = format!("{error} {error:?}");
            assert!(!shown.contains("signature") && !shown.contains(TOKEN), "{shown}");
        }
    })
    .await;
}

#[tokio::test]
async fn the_hubs_word_is_locked_and_a_change_refused() {
    bounded(async {
        let (before, after) = (content(2000), content(2001));
        let folder = tempdir().unwrap();
        let destination = folder.path().join("f");
        let lock = folder.path().join(LOCK_NAME);
        let client_of = |hub: &Hub| {
            let settings = HubSettings { lock: Some(lock.clone()), ..settings(&hub.front.url) };
            HubClient::new(settings).unwrap()
        };
        let first = Hub::of(&before).await;
        for _ in 0..2 {
            client_of(&first).download(&file("f"), &destination, &Silent).await.unwrap();
        }
        let locked = HubLock::at(lock.clone()).sha256(&file("f")).unwrap();
        assert_eq!(locked, Some(sha256(&before)));

        let announced = Hub::of(&after).await;
        let served = after.clone();
        let silent = Server::start(move |request| Reply::part_of(&served, request)).await;
        let secret = Hub { front: silent, storage: Server::start(|_| Reply::new(500, b"")).await };
        for hub in [announced, secret] {
            let error = client_of(&hub).download(&file("f"), &destination, &Silent).await.unwrap_err();
            let HubError::Locked { locked, found, .. } = &error else { panic!("{error}") };
            assert_eq!((locked, found), (&sha256(&before), &sha256(&after)));
            assert!(error.to_string().contains(LOCK_NAME), "{error}");
            assert_eq!(std::fs::read(&destination).unwrap(), before);
        }
    })
    .await;
}

#[tokio::test]
async fn more_bytes_than_declared_are_refused() {
    bounded(async {
        let stated = content(1000);
        let replies = [Reply::new(200, content(5000)), Reply::new(200, content(5000)).chunked()];
        for reply in replies {
            let hub = Hub::with_storage(&stated, move |_| reply.clone()).await;
            let folder = tempdir().unwrap();
            let error =
                hub.client().download(&file("f"), &folder.path().join("f"), &Silent).await.unwrap_err();
            assert!(matches!(error, HubError::TooLong { limit_bytes: 1000, .. }), "{error}");
            assert!(names_in(folder.path()).is_empty());
        }
    })
    .await;
}

#[tokio::test]
async fn small_files_are_checked_by_their_git_hash() {
    bounded(async {
        let bytes = br#"{"hidden_size": 320}"#.to_vec();
        let folder = tempdir().unwrap();
        let destination = folder.path().join("config.json");
        let serve = |bytes: Vec<u8>, tag: String| {
            Server::start(move |request| {
                Reply::part_of(&bytes, request)
                    .chunked()
                    .header("ETag", tag.as_str())
                    .header("X-Repo-Commit", REVISION)
            })
        };
        let fine = serve(bytes.clone(), format!("W/\"{}\"", git_blob(&bytes))).await;
        let downloaded =
            client(&fine.url).download(&file("config.json"), &destination, &Silent).await.unwrap();
        assert_eq!((downloaded.sha256, downloaded.n_bytes), (sha256(&bytes), bytes.len() as u64));

        let wrong = serve(bytes.clone(), format!("\"{}\"", git_blob(b"{}"))).await;
        let error =
            client(&wrong.url).download(&file("config.json"), &destination, &Silent).await.unwrap_err();
        assert!(matches!(error, HubError::WrongHash { algorithm: "git blob sha1", .. }), "{error}");
        assert_eq!(names_in(folder.path()), ["config.json"]);
    })
    .await;
}

#[tokio::test]
async fn a_file_without_any_hash_is_refused() {
    bounded(async {
        let bytes = content(100);
        // The storage's own tag looks like a git hash, but it is not the hub's word.
        let storage = Server::start(move |request| {
            Reply::part_of(&bytes, request).header("ETag", format!("\"{}\"", git_blob(&bytes)))
        })
        .await;
        let target = format!("{}/blob", storage.url);
        let front = Server::start(move |_| Reply::new(302, b"").header("Location", target.as_str())).await;
        let folder = tempdir().unwrap();
        let error =
            client(&front.url).download(&file("f"), &folder.path().join("f"), &Silent).await.unwrap_err();
        assert!(matches!(error, HubError::NoHash { .. }), "{error}");
        assert!(names_in(folder.path()).is_empty());
    })
    .await;
}

#[tokio::test]
async fn another_commit_or_an_endless_redirect_is_refused() {
    bounded(async {
        let other = Server::start(|_| Reply::new(200, b"x").header("X-Repo-Commit", "ab".repeat(20))).await;
        let endless = Server::start(|request| redirect(&"ab".repeat(32), 1, &request.path)).await;
        for (server, said) in [(other, "serves commit"), (endless, "redirects more than")] {
            let folder = tempdir().unwrap();
            let error = client(&server.url)
                .download(&file("f"), &folder.path().join("f"), &Silent)
                .await
                .unwrap_err();
            assert!(
                matches!(error, HubError::Protocol { .. }) && error.to_string().contains(said),
                "{error}"
            );
        }
    })
    .await;
}

#[tokio::test]
async fn a_silent_server_times_out() {
    bounded(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let impatient =
            HubSettings { n_tries: 2, read_timeout: std::time::Duration::from_millis(100), ..settings(&url) };
        let folder = tempdir().unwrap();
        let client = HubClient::new(impatient).unwrap();
        let error = client.download(&file("f"), &folder.path().join("f"), &Silent).await.unwrap_err();
        assert!(matches!(error, HubError::Unreachable { n_tries: 2, .. }), "{error}");
        drop(listener);
    })
    .await;
}
