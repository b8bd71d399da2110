//! Who may do what: keys, their scopes, and how much each may ask.
//!
//! Without keys everything is open, which is for loopback; the binary refuses to start so elsewhere. With keys, every route
//! but health and the description of the API needs one, in `Authorization: Bearer` or `X-Api-Key`. The file of keys is read
//! again when it changes, so a key that is revoked stops working within seconds.

mod key_file;
mod share;

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use actix_web::http::Method;
use actix_web::http::header::{AUTHORIZATION, HeaderMap};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

pub use key_file::{KeyFile, KeyFileError, KeyLimits, KeyRecord, Scope};
use share::Share;

use crate::error::{Problem, ProblemKind};

/// How often the file of keys is looked at.
pub(crate) const RELOAD_EVERY: Duration = Duration::from_secs(1);

/// The gate in front of the routes.
#[derive(Default)]
pub struct Access {
    keys: Option<Keys>,
}

struct Keys {
    path: PathBuf,
    ring: RwLock<Ring>,
}

struct Ring {
    keys: Vec<Arc<LiveKey>>,
    read_at: Option<SystemTime>,
}

/// A key that works, with what it has used.
pub(crate) struct LiveKey {
    record: KeyRecord,
    digest: [u8; 32],
    share: Share,
}

impl Access {
    /// Everybody may do everything.
    #[must_use]
    pub fn open() -> Self {
        Self::default()
    }

    /// Only the keys of a file.
    ///
    /// # Errors
    /// [`KeyFileError`] if the file cannot be read.
    pub fn with_keys(path: impl Into<PathBuf>) -> Result<Self, KeyFileError> {
        let path = path.into();
        let ring = Ring { read_at: modified(&path), keys: live_keys(KeyFile::load(&path)?, &[]) };
        Ok(Self { keys: Some(Keys { path, ring: RwLock::new(ring) }) })
    }

    /// Whether keys are asked for.
    #[must_use]
    pub fn needs_keys(&self) -> bool {
        self.keys.is_some()
    }

    /// Lets a request pass that needs `scope`: the id of its key, if keys are asked for.
    ///
    /// # Errors
    /// `401` without a known key, `403` where its scope is smaller, `429` where its share is used up.
    pub(crate) fn admit(&self, headers: &HeaderMap, scope: Scope) -> Result<Option<String>, Problem> {
        let Some(keys) = &self.keys else { return Ok(None) };
        let presented = presented(headers).ok_or_else(|| {
            let detail = "send a key in the header Authorization (Bearer) or X-Api-Key; `protext keys create` makes one";
            Problem::new(ProblemKind::Unauthorized, detail)
        })?;
        let key = keys.find(presented).ok_or_else(|| {
            Problem::new(ProblemKind::Unauthorized, "this key is not known here, or it was revoked")
        })?;
        let allowed = key.record.scope;
        if allowed < scope {
            let detail = format!("this needs a key of scope {scope}, and this one is of scope {allowed}");
            return Err(Problem::new(ProblemKind::Forbidden, detail));
        }
        key.share.take()?;
        Ok(Some(key.record.id.clone()))
    }

    /// Reads the file again if it has changed. A file that cannot be read leaves the keys as they were.
    pub(crate) fn reload(&self) {
        let Some(keys) = &self.keys else { return };
        let now = modified(&keys.path);
        if now.is_none() || now == keys.ring.read().unwrap_or_else(PoisonError::into_inner).read_at {
            return;
        }
        match KeyFile::load(&keys.path) {
            Ok(file) => {
                let mut ring = keys.ring.write().unwrap_or_else(PoisonError::into_inner);
                ring.keys = live_keys(file, &ring.keys);
                ring.read_at = now;
                tracing::info!(n_keys = ring.keys.len(), "the keys were read again");
            }
            Err(error) => tracing::error!(%error, "the keys cannot be read again; they stay as they were"),
        }
    }
}

impl Keys {
    /// Every key is compared, in constant time, so that the time of an answer tells nothing of the keys.
    fn find(&self, presented: &str) -> Option<Arc<LiveKey>> {
        let digest: [u8; 32] = Sha256::digest(presented.as_bytes()).into();
        let ring = self.ring.read().unwrap_or_else(PoisonError::into_inner);
        let mut found = None;
        for key in &ring.keys {
            if bool::from(key.digest.ct_eq(&digest)) {
                found = Some(Arc::clone(key));
            }
        }
        found
    }
}

fn modified(path: &std::path::Path) -> Option<SystemTime> {
    std::fs::metadata(path).and_then(|about| about.modified()).ok()
}

/// The keys that work. What an unchanged key has used stays counted.
fn live_keys(file: KeyFile, before: &[Arc<LiveKey>]) -> Vec<Arc<LiveKey>> {
    let mut live = Vec::new();
    for record in file.keys.into_iter().filter(|record| record.revoked_unix_s.is_none()) {
        if let Some(same) = before.iter().find(|key| key.record == record) {
            live.push(Arc::clone(same));
            continue;
        }
        let mut digest = [0; 32];
        if hex::decode_to_slice(&record.sha256, &mut digest).is_err() {
            tracing::error!(id = record.id, "the digest of a key is damaged; it does not work");
            continue;
        }
        live.push(Arc::new(LiveKey { share: Share::new(record.limits), digest, record }));
    }
    live
}

fn presented(headers: &HeaderMap) -> Option<&str> {
    if let Some(value) = headers.get("x-api-key") {
        return value.to_str().ok().map(str::trim);
    }
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (kind, key) = value.split_once(' ')?;
    kind.eq_ignore_ascii_case("bearer").then(|| key.trim())
}

/// The scope that a route needs, by its method and pattern; `None` is open to all. What is not named here needs the
/// largest, so a route that is forgotten is shut and not open.
pub(crate) fn scope_of(method: &Method, pattern: Option<&str>) -> Option<Scope> {
    let pattern = pattern.unwrap_or("");
    let is_reading = method == Method::GET || method == Method::HEAD;
    match pattern {
        "/" | "/map" | "/batch" | "/predict" | "/status" | "/assets/{name}" if is_reading => None,
        "/healthz" | "/readyz" | "/openapi.json" | "/docs" | "/docs/{_:.*}" if is_reading => None,
        _ if is_reading => Some(Scope::Read),
        "/" | "/why" | "/download" | "/v1/search" | "/v1/embeddings" | "/v1/annotate" => Some(Scope::Read),
        _ if pattern.starts_with("/v1/predict/") => Some(Scope::Read),
        _ if pattern.starts_with("/v1/collections/{name}/records") => Some(Scope::Write),
        _ if pattern.starts_with("/v1/jobs") => Some(Scope::Write),
        _ => Some(Scope::Admin),
    }
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::HeaderValue;

    use super::*;

    fn headers(name: &'static str, value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(name.parse().unwrap(), HeaderValue::from_str(value).unwrap());
        headers
    }

    #[test]
    fn keys_open_what_their_scope_covers_until_they_are_revoked() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys.json");
        let (reader, secret) = KeyFile::create(&path, "lab", Scope::Write, KeyLimits::default()).unwrap();
        let access = Access::with_keys(&path).unwrap();
        let bearer = |key: &str| headers("authorization", &format!("Bearer {key}"));
        assert_eq!(access.admit(&bearer(&secret), Scope::Read).unwrap(), Some(reader.id.clone()));
        access.admit(&headers("x-api-key", &secret), Scope::Write).unwrap();
        let status = |headers: &HeaderMap, scope| {
            use actix_web::ResponseError as _;
            access.admit(headers, scope).unwrap_err().status_code().as_u16()
        };
        assert_eq!(status(&bearer(&secret), Scope::Admin), 403);
        assert_eq!(status(&bearer("ptx_wrong"), Scope::Read), 401);
        assert_eq!(status(&HeaderMap::new(), Scope::Read), 401);
        assert_eq!(status(&headers("authorization", &format!("Basic {secret}")), Scope::Read), 401);

        // The time of change must differ for the change to be seen.
        std::thread::sleep(Duration::from_millis(20));
        KeyFile::revoke(&path, &reader.id).unwrap();
        access.reload();
        assert_eq!(status(&bearer(&secret), Scope::Read), 401);
        std::fs::write(&path, "rubbish").unwrap();
        access.reload();
        assert_eq!(status(&bearer(&secret), Scope::Read), 401);
    }

    #[test]
    fn shares_are_kept_to() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys.json");
        let limits = KeyLimits { requests_per_minute: Some(2), requests_per_day: None };
        let (_, secret) = KeyFile::create(&path, "few", Scope::Read, limits).unwrap();
        let access = Access::with_keys(&path).unwrap();
        let presented = headers("x-api-key", &secret);
        access.admit(&presented, Scope::Read).unwrap();
        access.admit(&presented, Scope::Read).unwrap();
        let refused = access.admit(&presented, Scope::Read).unwrap_err();
        assert!(refused.to_string().contains("2 requests a minute"), "{refused}");
    }

    #[test]
    fn routes_that_are_not_named_need_the_largest_scope() {
        let scope = |method, pattern| scope_of(&method, Some(pattern));
        assert_eq!(scope(Method::GET, "/healthz"), None);
        assert_eq!(scope(Method::POST, "/healthz"), Some(Scope::Admin));
        assert_eq!(scope(Method::POST, "/v1/search"), Some(Scope::Read));
        assert_eq!(scope(Method::DELETE, "/v1/collections/{name}/records/{id:.+}"), Some(Scope::Write));
        assert_eq!(scope(Method::DELETE, "/v1/collections/{name}"), Some(Scope::Admin));
        assert_eq!(scope(Method::POST, "/v1/collections"), Some(Scope::Admin));
        assert_eq!(scope(Method::POST, "/v1/jobs"), Some(Scope::Write));
        assert_eq!(scope(Method::POST, "/v1/jobs/{id}/cancel"), Some(Scope::Write));
        assert_eq!(scope(Method::DELETE, "/v1/jobs/{id}"), Some(Scope::Write));
        assert_eq!(scope(Method::GET, "/v1/jobs/{id}/events"), Some(Scope::Read));
        assert_eq!(scope(Method::GET, "/v1/jobs/{id}/results"), Some(Scope::Read));
        assert_eq!(scope_of(&Method::PATCH, None), Some(Scope::Admin));
        assert_eq!(scope_of(&Method::GET, None), Some(Scope::Read));
    }
}
