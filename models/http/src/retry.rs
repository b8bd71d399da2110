//! How long to wait before the next try, and what a service asks for.

use std::time::{Duration, SystemTime};

use reqwest::header::{HeaderMap, RETRY_AFTER};

/// Share of a wait that chance may add, so that many clients do not come back at once.
const JITTER: f64 = 0.25;

/// Patience of one client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// Tries in all, at least 1.
    pub n_tries: u32,
    /// Wait before the second try; doubles from try to try, and chance adds up to a quarter.
    pub first_wait: Duration,
    /// Longest wait. A service that asks for more ends the tries.
    pub longest_wait: Duration,
}

impl Patience {
    /// Wait after `n_tries` tries; `None` if no try is left, or the service asks for more than is waited for. `chance` is
    /// 0 to 1. Never shorter than what the service asks for.
    #[must_use]
    pub fn wait(&self, n_tries: u32, asked: Option<Duration>, chance: f64) -> Option<Duration> {
        if n_tries >= self.n_tries || asked.is_some_and(|asked| asked > self.longest_wait) {
            return None;
        }
        let doubled = self.first_wait.saturating_mul(2_u32.saturating_pow(n_tries.saturating_sub(1)));
        let base = doubled.min(self.longest_wait).max(asked.unwrap_or_default());
        Some(base + base.mul_f64(JITTER * chance.clamp(0.0, 1.0)))
    }
}

/// `Retry-After-Ms`, which OpenAI and its kin send beside the standard header, else `Retry-After`, in seconds or as a
/// date; a date that is over is no wait.
#[must_use]
pub fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let ms = headers.get("retry-after-ms").and_then(|value| value.to_str().ok()?.trim().parse::<f64>().ok());
    if let Some(wait) = ms.and_then(|ms| Duration::try_from_secs_f64(ms / 1e3).ok()) {
        return Some(wait);
    }
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(value).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
}

/// Statuses after which another try may help.
#[must_use]
pub fn is_passing(status: u16) -> bool {
    matches!(status, 408 | 425 | 429 | 500..=599)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_keep_what_is_asked_and_end() {
        let patience = Patience {
            n_tries: 5,
            first_wait: Duration::from_millis(500),
            longest_wait: Duration::from_secs(3),
        };
        let asked = |seconds| Some(Duration::from_secs(seconds));
        let cases = [
            (1, None, 0.0, Some(500)),
            (2, None, 0.0, Some(1000)),
            (3, None, 0.0, Some(2000)),
            (4, None, 0.0, Some(3000)),
            (4, None, 1.0, Some(3750)),
            (1, None, 1.0, Some(625)),
            (5, None, 0.0, None),
            (1, asked(2), 0.0, Some(2000)),
            (1, asked(2), 1.0, Some(2500)),
            (1, asked(3), 0.0, Some(3000)),
            (1, asked(4), 0.0, None),
            (3, asked(0), 0.0, Some(2000)),
        ];
        for (n_tries, asked, chance, wait_ms) in cases {
            let wait = patience.wait(n_tries, asked, chance);
            assert_eq!(wait, wait_ms.map(Duration::from_millis), "{n_tries} {asked:?} {chance}");
        }
        let endless = Patience { n_tries: u32::MAX, ..patience };
        assert_eq!(endless.wait(4_000_000_000, None, 0.0), Some(Duration::from_secs(3)));
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = httpdate::parse_http_date("Sun, 06 Nov 1994 08:49:30 GMT").unwrap();
        let cases = [
            ("120", Some(120)),
            (" 0 ", Some(0)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(7)),
            ("Sunday, 06-Nov-94 08:49:37 GMT", Some(7)),
            ("Sun, 06 Nov 1994 08:00:00 GMT", Some(0)),
            ("soon", None),
            ("-1", None),
            ("99999999999999999999999", None),
        ];
        for (value, seconds) in cases {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, value.parse().unwrap())]);
            assert_eq!(retry_after(&headers, now), seconds.map(Duration::from_secs), "{value}");
        }
        assert_eq!(retry_after(&HeaderMap::new(), now), None);
        for (ms, wait_ms) in [("250", 250), ("1500.5", 1500), ("soon", 9000), ("-4", 9000), ("NaN", 9000)] {
            let mut headers = HeaderMap::from_iter([(RETRY_AFTER, "9".parse().unwrap())]);
            headers.insert("retry-after-ms", ms.parse().unwrap());
            assert_eq!(retry_after(&headers, now).unwrap().as_millis(), wait_ms, "{ms}");
        }
    }
}
