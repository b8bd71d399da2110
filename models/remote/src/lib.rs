//! Text encoders that run elsewhere: any service with OpenAI's `POST {base}/embeddings`.
//!
//! [`RemoteEncoder`] implements the traits of `protext-core`: texts are cut, looked up in a cache on disk, and only what
//! was never paid for is sent, several texts a request, within the limits of a [`SpendAccount`]. The spec says what the
//! manifest says, already parsed; nothing here reads the environment, and no message shows a key.

mod answer;
mod client;
mod cut;
mod encoder;
mod error;
mod refusal;
mod spec;
mod spend;
mod store;
mod worker;

pub use answer::AnswerProblem;
pub use encoder::RemoteEncoder;
pub use error::RemoteError;
pub use protext_http::{ApiKey, Patience};
pub use spec::{NumberFormat, RemoteSpec};
pub use spend::{OverLimit, SpendAccount, SpendLimits, Spent};
