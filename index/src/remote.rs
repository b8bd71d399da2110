//! What can go wrong with an index on another machine. No message holds a key.

/// An index on another machine could not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RemoteError {
    /// An address that names no collection there.
    #[error("{given:?} is no address of a collection: {rule}; write qdrant://host:6333/name")]
    Address {
        /// What was given.
        given: String,
        /// The rule that it breaks.
        rule: &'static str,
    },
    /// A setting out of range.
    #[error("{name} = {value} is out of range; use {min} to {max}")]
    Setting {
        /// Its name.
        name: &'static str,
        /// The value given.
        value: u64,
        /// Least value accepted.
        min: u64,
        /// Greatest value accepted.
        max: u64,
    },
    /// A key that would go over a line that others can read.
    #[error(
        "the key would go to {place} unencrypted; write qdrants:// for a server with TLS, or allow it by \
         PROTEXT_QDRANT_ALLOW_HTTP=true in a network of your own"
    )]
    PlainKey {
        /// The server.
        place: String,
    },
    /// A key that cannot be read or sent.
    #[error("the key of {place} cannot be used: {what}")]
    Key {
        /// The server.
        place: String,
        /// What is wrong.
        what: String,
    },
    /// Nobody answers there.
    #[error(
        "{place} cannot be reached after {n_tries} tries ({what}); check the address, and that the server runs"
    )]
    Unreachable {
        /// The server.
        place: String,
        /// Tries in all.
        n_tries: u32,
        /// What the system says.
        what: String,
    },
    /// It passes the time that an answer may take.
    #[error("{place} did not answer within {timeout_s} s, {n_tries} times; try again when it has less to do")]
    Slow {
        /// The server.
        place: String,
        /// Tries in all.
        n_tries: u32,
        /// The limit.
        timeout_s: u64,
    },
    /// It asks to come back later, and did so to the last.
    #[error("{place} cannot do it now (status {status}, {n_tries} tries): {message}; try again later")]
    Busy {
        /// The server.
        place: String,
        /// HTTP status of the last answer.
        status: u16,
        /// Tries in all.
        n_tries: u32,
        /// What it says.
        message: String,
    },
    /// No key, or a wrong one.
    #[error(
        "{place} refuses the key (status {status}); set PROTEXT_QDRANT_API_KEY, or name its file in \
         PROTEXT_QDRANT_API_KEY_FILE"
    )]
    Denied {
        /// The server.
        place: String,
        /// HTTP status.
        status: u16,
    },
    /// It takes the request for wrong.
    #[error("{place} refuses this (status {status}): {message}")]
    Refused {
        /// The server.
        place: String,
        /// HTTP status.
        status: u16,
        /// What it says.
        message: String,
    },
    /// Nothing has the name.
    #[error("{place} holds no collection {name:?}; make one with `protext index build ... -o qdrant://...`")]
    NoCollection {
        /// The server.
        place: String,
        /// The name.
        name: String,
    },
    /// Something of another program has the name.
    #[error("{name:?} at {place} was not made by Protext; choose another name, it is left as it is")]
    Foreign {
        /// The server.
        place: String,
        /// The name.
        name: String,
    },
    /// A collection of a later program.
    #[error(
        "collection {name:?} at {place} was written by a newer version (format {found}, this program knows up to \
         {supported}); update Protext"
    )]
    Newer {
        /// The server.
        place: String,
        /// The name.
        name: String,
        /// Its format.
        found: u32,
        /// The latest one that this program knows.
        supported: u32,
    },
    /// An answer that is not what was asked for.
    #[error("{place} gave an answer that cannot be read: {what}")]
    Answer {
        /// The server.
        place: String,
        /// What is wrong with it.
        what: String,
    },
    /// Written in parts, and not to the end.
    #[error("{n_written} of {n_records} records were written before this: {source}; send them all again")]
    Partial {
        /// Records that are there.
        n_written: usize,
        /// Records of the batch.
        n_records: usize,
        /// What ended it.
        #[source]
        source: Box<RemoteError>,
    },
    /// What this kind of index cannot do.
    #[error("a collection in Qdrant has no {what}; {instead}")]
    NotThere {
        /// What was asked for.
        what: &'static str,
        /// What could be done.
        instead: &'static str,
    },
}
