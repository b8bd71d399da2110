//! No more requests than a service allows, in the order they were asked for.
//!
//! Generic cell rate: after a pause up to `burst` requests go at once, then one each `1/rate` seconds. So any stretch of
//! t seconds sees at most `burst + rate * t` requests.

use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::{Instant, sleep_until};

/// Lets requests through one by one.
#[derive(Debug)]
pub(super) struct Pace {
    interval: Duration,
    tolerance: Duration,
    /// When the next request would be due if all went evenly. The lock is fair, which keeps the order.
    due: Mutex<Option<Instant>>,
}

impl Pace {
    /// `rate` requests a second, above 0.
    pub(super) fn new(rate: f64, burst: u32) -> Self {
        let interval = Duration::from_secs_f64(1.0 / rate);
        Self { interval, tolerance: interval * burst.saturating_sub(1), due: Mutex::new(None) }
    }

    /// Returns when the next request may go. A caller that gives up while waiting takes nobody's turn.
    pub(super) async fn turn(&self) {
        let mut due = self.due.lock().await;
        let now = Instant::now();
        let even = due.unwrap_or(now).max(now);
        let allowed = even.checked_sub(self.tolerance).unwrap_or(now);
        if allowed > now {
            sleep_until(allowed).await;
        }
        *due = Some(even + self.interval);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex as StdMutex};

    use super::*;

    /// Virtual times at which `n` tasks got their turn, in the order of their turns.
    async fn turns(pace: Arc<Pace>, n: usize) -> Vec<(usize, Instant)> {
        let log = Arc::new(StdMutex::new(Vec::new()));
        let tasks: Vec<_> = (0..n)
            .map(|task| {
                let (pace, log) = (Arc::clone(&pace), Arc::clone(&log));
                tokio::spawn(async move {
                    pace.turn().await;
                    log.lock().unwrap().push((task, Instant::now()));
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        let log = log.lock().unwrap();
        log.clone()
    }

    #[tokio::test(start_paused = true)]
    async fn no_second_sees_more_than_allowed_and_the_order_stays() {
        for (rate, burst) in [(3.0, 1), (10.0, 1), (3.0, 5), (0.5, 1)] {
            let log = turns(Arc::new(Pace::new(rate, burst)), 40).await;
            assert!(log.iter().map(|(task, _)| *task).eq(0..40), "the order changed");
            for (_, start) in &log {
                for seconds in [0, 1, 5] {
                    let end = *start + Duration::from_secs(seconds);
                    let n = log.iter().filter(|(_, at)| (*start..=end).contains(at)).count();
                    // The timer counts in milliseconds; half a request is its rounding.
                    let most = f64::from(burst) + rate * seconds as f64;
                    assert!(n as f64 <= most + 0.5, "{n} requests in {seconds} s at {rate}/s, burst {burst}");
                }
            }
            let whole = log[39].1 - log[0].1;
            assert!(whole.as_secs_f64() <= 40.0 / rate + 1.0, "slower than allowed: {whole:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_saves_up_a_burst_and_no_more() {
        let pace = Arc::new(Pace::new(1.0, 3));
        tokio::time::sleep(Duration::from_secs(100)).await;
        let start = Instant::now();
        let log = turns(pace, 6).await;
        let at_once = log.iter().filter(|(_, at)| *at - start < Duration::from_millis(500)).count();
        assert_eq!(at_once, 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_that_gives_up_takes_no_turn() {
        let pace = Pace::new(1.0, 1);
        pace.turn().await;
        let start = Instant::now();
        for _ in 0..5 {
            assert!(tokio::time::timeout(Duration::from_millis(100), pace.turn()).await.is_err());
        }
        pace.turn().await;
        assert!(Instant::now() - start < Duration::from_millis(1100));
    }
}
