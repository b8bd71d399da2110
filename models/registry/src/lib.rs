//! Models: which there are, getting their files, and turning checkpoints into encoders.

pub mod convert;
