//! How much a key may ask: requests a minute (a bucket that refills steadily) and requests a day.
//!
//! Both are counted in memory: a restart begins anew, and several services count for themselves.

use std::num::NonZeroU32;
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};

use super::key_file::KeyLimits;
use crate::error::{Problem, ProblemKind};

const DAY_S: u64 = 86_400;

/// What one key has left.
pub(super) struct Share {
    limits: KeyLimits,
    minute: Option<DefaultDirectRateLimiter>,
    /// Day since 1970, and requests on it.
    today: Mutex<(u64, u64)>,
}

impl Share {
    pub(super) fn new(limits: KeyLimits) -> Self {
        let per_minute = limits.requests_per_minute.and_then(NonZeroU32::new);
        let minute = per_minute.map(|n| RateLimiter::direct(Quota::per_minute(n)));
        Self { limits, minute, today: Mutex::new((0, 0)) }
    }

    /// Counts one request.
    ///
    /// # Errors
    /// `429` with the time to wait.
    pub(super) fn take(&self) -> Result<(), Problem> {
        if let (Some(minute), Some(n)) = (&self.minute, self.limits.requests_per_minute)
            && let Err(not_until) = minute.check()
        {
            let wait = not_until.wait_time_from(DefaultClock::default().now());
            let detail = format!("this key may send {n} requests a minute");
            return Err(Problem::new(ProblemKind::OverQuota, detail).retry_after(wait.as_secs() + 1));
        }
        let Some(n) = self.limits.requests_per_day else { return Ok(()) };
        let now_s = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
        if self.take_of_day(now_s, n) {
            return Ok(());
        }
        let detail = format!("this key may send {n} requests a day (days begin at midnight UTC)");
        Err(Problem::new(ProblemKind::OverQuota, detail).retry_after(DAY_S - now_s % DAY_S))
    }

    fn take_of_day(&self, now_s: u64, n: u64) -> bool {
        let mut today = self.today.lock().unwrap_or_else(PoisonError::into_inner);
        if today.0 != now_s / DAY_S {
            *today = (now_s / DAY_S, 0);
        }
        today.1 += 1;
        today.1 <= n
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_has_its_number_and_the_next_one_begins_anew() {
        let share = Share::new(KeyLimits { requests_per_minute: None, requests_per_day: Some(2) });
        let at = |second| share.take_of_day(second, 2);
        assert_eq!([at(10), at(20), at(DAY_S - 1), at(DAY_S)], [true, true, false, true]);
    }
}
