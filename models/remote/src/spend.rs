//! What may be spent, and what was: one account a process, shared by all encoders that cost something.
//!
//! Before a request goes out its estimate is reserved, or the request is refused; the service's own count takes the
//! estimate's place when it answers. A request that broke off after it was sent may have been billed, so its estimate
//! stays charged.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Most that may be spent.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct SpendLimits {
    /// Tokens; `None` is no limit.
    pub max_tokens: Option<u64>,
    /// US dollars; `None` is no limit.
    pub max_usd: Option<f64>,
}

/// What was spent so far.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Spent {
    /// Requests that were answered.
    pub n_requests: u64,
    /// Tokens, as the service counted them where it did.
    pub n_tokens: u64,
    /// US dollars, for encoders that state a price.
    pub usd: f64,
    /// Texts that were already paid for.
    pub n_cached: u64,
}

/// The next request would pass a limit. It was not sent.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum OverLimit {
    /// Tokens.
    #[error(
        "the spend limit of {limit} tokens leaves no room: {spent} are spent, the next request needs up to {needed}; \
         set PROTEXT_SPEND_LIMIT_TOKENS higher to go on, what was paid for is kept"
    )]
    Tokens {
        /// The limit.
        limit: u64,
        /// Spent so far.
        spent: u64,
        /// Estimate of the request.
        needed: u64,
    },
    /// Money.
    #[error(
        "the spend limit of ${limit} leaves no room: ${spent:.4} are spent, the next request costs up to ${needed:.4}; \
         set PROTEXT_SPEND_LIMIT_USD higher to go on, what was paid for is kept"
    )]
    Usd {
        /// The limit.
        limit: f64,
        /// Spent so far.
        spent: f64,
        /// Estimate of the request.
        needed: f64,
    },
}

/// Keeps to the limits.
#[derive(Debug, Default)]
pub struct SpendAccount {
    limits: SpendLimits,
    state: Mutex<State>,
    /// Signalled when a reservation ends.
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    spent: Spent,
    reserved_tokens: u64,
    reserved_usd: f64,
}

/// Room for one request; let go when dropped, unless it was settled.
#[derive(Debug)]
#[must_use]
pub(crate) struct Reservation<'a> {
    account: &'a SpendAccount,
    n_tokens: u64,
    usd_per_token: f64,
}

impl SpendAccount {
    /// An account with nothing spent.
    #[must_use]
    pub fn new(limits: SpendLimits) -> Self {
        Self { limits, ..Self::default() }
    }

    /// The limits.
    #[must_use]
    pub fn limits(&self) -> SpendLimits {
        self.limits
    }

    /// What was spent so far.
    #[must_use]
    pub fn spent(&self) -> Spent {
        self.lock().spent
    }

    pub(crate) fn count_cached(&self, n_texts: usize) {
        self.lock().spent.n_cached += n_texts as u64;
    }

    /// Room for `n_tokens`. Waits for requests under way where their end may make room: estimates are high.
    pub(crate) fn reserve(&self, n_tokens: u64, usd_per_token: f64) -> Result<Reservation<'_>, OverLimit> {
        let usd = n_tokens as f64 * usd_per_token;
        let mut state = self.lock();
        loop {
            self.check(&state, n_tokens, usd)?;
            let fits_beside = {
                let tokens =
                    state.spent.n_tokens.saturating_add(state.reserved_tokens).saturating_add(n_tokens);
                let dollars = state.spent.usd + state.reserved_usd + usd;
                self.limits.max_tokens.is_none_or(|limit| tokens <= limit)
                    && self.limits.max_usd.is_none_or(|limit| dollars <= limit)
            };
            // Without others under way nothing is gained by waiting; sums of dollars may be off by a rounding.
            if fits_beside || state.reserved_tokens == 0 {
                state.reserved_tokens += n_tokens;
                state.reserved_usd += usd;
                return Ok(Reservation { account: self, n_tokens, usd_per_token });
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn check(&self, state: &State, n_tokens: u64, usd: f64) -> Result<(), OverLimit> {
        let spent = state.spent;
        if let Some(limit) = self.limits.max_tokens
            && spent.n_tokens.saturating_add(n_tokens) > limit
        {
            return Err(OverLimit::Tokens { limit, spent: spent.n_tokens, needed: n_tokens });
        }
        match self.limits.max_usd {
            Some(limit) if spent.usd + usd > limit => {
                Err(OverLimit::Usd { limit, spent: spent.usd, needed: usd })
            }
            _ => Ok(()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reservation<'_> {
    /// The request was answered; without the service's own count the estimate is charged.
    pub(crate) fn settle(self, n_counted: Option<u64>) {
        let n_tokens = n_counted.unwrap_or(self.n_tokens);
        self.account.lock().spent.n_requests += 1;
        self.charge(n_tokens);
    }

    /// The request broke off: it may have been billed.
    pub(crate) fn keep(self) {
        self.charge(self.n_tokens);
    }

    fn charge(&self, n_tokens: u64) {
        let mut state = self.account.lock();
        state.spent.n_tokens = state.spent.n_tokens.saturating_add(n_tokens);
        state.spent.usd += n_tokens as f64 * self.usd_per_token;
    }
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        let mut state = self.account.lock();
        state.reserved_tokens -= self.n_tokens;
        state.reserved_usd = if state.reserved_tokens == 0 {
            0.0
        } else {
            state.reserved_usd - self.n_tokens as f64 * self.usd_per_token
        };
        drop(state);
        self.account.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(max_tokens: Option<u64>, max_usd: Option<f64>) -> SpendAccount {
        SpendAccount::new(SpendLimits { max_tokens, max_usd })
    }

    #[test]
    fn the_services_count_takes_the_estimates_place() {
        let account = account(Some(100), None);
        account.reserve(60, 0.0).unwrap().settle(Some(20));
        account.reserve(60, 0.0).unwrap().settle(None);
        drop(account.reserve(20, 0.0).unwrap());
        let over = account.reserve(21, 0.0).unwrap_err();
        assert_eq!(over, OverLimit::Tokens { limit: 100, spent: 80, needed: 21 });
        account.reserve(20, 0.0).unwrap().keep();
        let spent = account.spent();
        assert_eq!((spent.n_requests, spent.n_tokens), (2, 100));
    }

    #[test]
    fn money_is_counted_where_a_price_is_known() {
        let account = account(None, Some(1.0));
        account.reserve(1000, 0.0).unwrap().settle(None);
        account.reserve(60, 0.01).unwrap().settle(None);
        assert!(matches!(account.reserve(60, 0.01), Err(OverLimit::Usd { .. })));
        account.reserve(1_000_000, 0.0).unwrap().settle(None);
        assert!((account.spent().usd - 0.6).abs() < 1e-9);
    }

    #[test]
    fn requests_under_way_are_waited_for_and_never_pass_the_limit_together() {
        let account = account(Some(1000), None);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..25 {
                        // The estimate is twice the count: all 200 requests fit only if they wait for each other.
                        let reserved = account.reserve(10, 0.0);
                        if let Ok(reserved) = reserved {
                            let state = account.lock();
                            assert!(state.spent.n_tokens + state.reserved_tokens <= 1000);
                            drop(state);
                            reserved.settle(Some(5));
                        }
                    }
                });
            }
        });
        assert!((991..=1000).contains(&account.spent().n_tokens), "{:?}", account.spent());
    }
}
