//! What is done with each shard: made into answers, and of a job over pairs compared with all others.

use crate::spec::JobSpec;

/// One round over all shards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Contents become answers.
    Contents,
    /// The proteins of the shard are paired with all others.
    Pairs,
}

impl Stage {
    /// The stages of a job, in order.
    pub(crate) fn all(spec: &JobSpec) -> &'static [Self] {
        if spec.is_of_pairs() { &[Self::Contents, Self::Pairs] } else { &[Self::Contents] }
    }

    /// The stage whose files the commit reads.
    pub(crate) fn last(spec: &JobSpec) -> Self {
        if spec.is_of_pairs() { Self::Pairs } else { Self::Contents }
    }

    /// Folder of the files of shards that are done.
    pub(crate) fn out(self) -> &'static str {
        match self {
            Self::Contents => "out",
            Self::Pairs => "pairs",
        }
    }

    /// Folder of how often shards were begun.
    pub(crate) fn attempts(self) -> &'static str {
        match self {
            Self::Contents => "attempts",
            Self::Pairs => "pairs-attempts",
        }
    }

    /// Folder of why shards were given up.
    pub(crate) fn given_up(self) -> &'static str {
        match self {
            Self::Contents => "given-up",
            Self::Pairs => "pairs-given-up",
        }
    }
}
