//! Manners of a client: how long to wait between tries, which addresses may be given, how a key is kept.
//!
//! Shared by the fetchers of `protext-texts` and the encoders of `protext-remote`. Nothing here sends a request.

mod address;
mod key;
mod retry;

pub use address::{AddressRule, base_url, is_here};
pub use key::ApiKey;
pub use retry::{Patience, is_passing, retry_after};
