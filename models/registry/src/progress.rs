//! How downloads tell what they are doing; the command line draws bars from it.

/// Receives the course of one download after another.
pub trait Progress: Send + Sync {
    /// A file begins; the size is known if the source states it.
    fn begin(&self, name: &str, total_bytes: Option<u64>);
    /// More bytes are here.
    fn advance(&self, n_bytes: u64);
    /// The file is complete, or was given up.
    fn end(&self);
}

/// Tells nobody.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Progress for Silent {
    fn begin(&self, _name: &str, _total_bytes: Option<u64>) {}
    fn advance(&self, _n_bytes: u64) {}
    fn end(&self) {}
}
