//! Manners of a client: how long to wait between tries, which addresses may be given, how a key is kept, whose TLS is used.
//!
//! Shared by all that send requests. Nothing here sends one.

mod address;
mod key;
mod retry;
mod tls;

pub use address::{AddressRule, base_url, is_here};
pub use key::ApiKey;
pub use retry::{Patience, is_passing, retry_after};
pub use tls::install_crypto_provider;
