//! Records that came to nothing, each by number and reason.

use serde::{Deserialize, Serialize};

/// One record that came to nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The input, as submitted.
    pub file: String,
    /// 1-based number in the input.
    pub record: u64,
    /// Its id, if it was read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The rule it broke, or what failed.
    pub reason: String,
}
