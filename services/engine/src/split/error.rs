//! Why a split could not be made.

/// A split that cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum SplitError {
    /// Shares that are none.
    #[error("shares {given:?}: {rule}; give three such as 0.8,0.1,0.1 for train, valid and test")]
    Shares {
        /// What was given.
        given: String,
        /// What is wrong.
        rule: &'static str,
    },
    /// MMseqs2 failed.
    #[error("{program} failed: {reason}; mend it, or choose --cluster minhash")]
    Program {
        /// Its name.
        program: &'static str,
        /// Its last words.
        reason: String,
    },
    /// Its files could not be written or read.
    #[error("{program} could not be given its files, or its answer could not be read")]
    Io {
        /// Its name.
        program: &'static str,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
    /// A table that names its groups in no column that the hold-out tables have.
    #[error(
        "the hold-out tables name groups in {held}, but {table} has no such column; add it, so that relatives can be told"
    )]
    NoCommonLabels {
        /// The table of pairs.
        table: String,
        /// Columns of the hold-out tables.
        held: String,
    },
}
