//! How failures reach the person at the terminal: one message with its causes, and the right exit code.

use std::process::ExitCode;

use protext_core::{HeadError, ParseError, SpaceMismatch, VectorError};
use protext_engine::heads::HeadDataError;
use protext_engine::input::{InputError, RecordError};
use protext_engine::output::{OutputError, VectorFileError};
use protext_engine::ppi::TrainingProteinsError;
use protext_engine::variants::VariantError;
use protext_engine::{EngineError, FailedRecord};
use protext_index::{FilterError, IndexError, KeywordsError, SnapshotError, StoreError};
use protext_onnx::ModelError;
use protext_registry::runtime::RuntimeError;
use protext_registry::{CacheError, RegistryError, WheelError};
use protext_remote::RemoteError;
use protext_texts::TextError;
use protext_texts::fetch::FetchError;
use protext_worker::{CopyError, JobError, StoreFault};

/// Wrong usage that the argument parser cannot see.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct UsageError(pub(crate) String);

/// The message and its causes; a cause that repeats what was already said is left out.
pub(crate) fn message(error: &anyhow::Error) -> String {
    let mut said = String::new();
    for cause in error.chain() {
        let cause = cause.to_string();
        if said.is_empty() {
            said = cause;
        } else if !said.contains(&cause) {
            said = format!("{said}: {cause}");
        }
    }
    said
}

/// 2 where the input, a file or the machine's disk is at fault and the message says how to mend it, otherwise 1.
pub(crate) fn exit_code(error: &anyhow::Error) -> ExitCode {
    // A service that fails or answers nonsense is a failure, whatever reader refused its answer.
    if let Some(fetch) = error.chain().find_map(|cause| cause.downcast_ref::<FetchError>()) {
        return ExitCode::from(if is_input_of_fetch(fetch) { 2 } else { 1 });
    }
    let is_input = error.chain().any(|cause| {
        cause.is::<UsageError>()
            || cause.is::<InputError>()
            || cause.is::<RecordError>()
            || cause.downcast_ref::<FailedRecord>().is_some_and(|failed| !failed.concerns_all())
            || cause.is::<OutputError>()
            || cause.is::<VectorFileError>()
            || cause.is::<ParseError>()
            || cause.is::<VectorError>()
            || cause.is::<SpaceMismatch>()
            || cause.is::<SnapshotError>()
            || cause.downcast_ref::<IndexError>().is_some_and(|error| !is_of_server(error))
            || cause.is::<FilterError>()
            || cause.is::<KeywordsError>()
            || cause.downcast_ref::<StoreError>().is_some_and(|error| !matches!(error, StoreError::Remote(_)))
            || cause.downcast_ref::<protext_index::RemoteError>().is_some_and(is_input_of_server)
            || cause.is::<CacheError>()
            || cause.is::<TextError>()
            || cause.is::<ModelError>()
            || cause.is::<protext_engine::eval::EvalError>()
            || cause.is::<protext_engine::genes::GeneError>()
            || cause.is::<protext_engine::expression::ExpressionError>()
            || cause.is::<protext_engine::genes::GeneTableError>()
            || cause.is::<protext_train::genes::GeneHeadError>()
            || cause.downcast_ref::<protext_engine::perturbation::PerturbationError>().is_some_and(|error| {
                !matches!(error, protext_engine::perturbation::PerturbationError::Head(_))
            })
            || cause.downcast_ref::<JobError>().is_some_and(is_input_of_job)
            || cause.downcast_ref::<CopyError>().is_some_and(is_input_of_copy)
            || cause.downcast_ref::<RemoteError>().is_some_and(is_setting)
            || cause.downcast_ref::<VariantError>().is_some_and(is_input_of_variants)
            || is_input_of_registry(cause)
            || cause.downcast_ref::<EngineError>().is_some_and(is_input_of_engine)
            || cause.downcast_ref::<HeadError>().is_some_and(is_input_of_head)
            || cause.downcast_ref::<HeadDataError>().is_some_and(is_input_of_head_data)
            || cause.is::<TrainingProteinsError>()
    });
    ExitCode::from(if is_input { 2 } else { 1 })
}

/// Settings, a query that the service refuses, a cache that cannot be written.
fn is_input_of_fetch(error: &FetchError) -> bool {
    matches!(
        error,
        FetchError::Setting { .. }
            | FetchError::Refused { .. }
            | FetchError::ReleaseChanged { .. }
            | FetchError::Cache { .. }
    )
}

/// Transparent variants hide what they hold from the chain, so they are looked into here.
fn is_input_of_engine(error: &EngineError) -> bool {
    match error {
        EngineError::Parse(_)
        | EngineError::Vector(_)
        | EngineError::Space(_)
        | EngineError::UnknownEncoder { .. }
        | EngineError::UnknownCollection { .. }
        | EngineError::OtherTarget { .. }
        | EngineError::CannotRerank { .. }
        | EngineError::NothingAsked
        | EngineError::NoSuchTarget { .. }
        | EngineError::NameACollection { .. }
        | EngineError::UnknownRecord { .. }
        | EngineError::UnknownGene { .. }
        | EngineError::BadRecords { .. }
        | EngineError::NothingToEmbed { .. }
        | EngineError::ForeignSpace { .. }
        | EngineError::WrongEncoder { .. }
        | EngineError::BadName { .. }
        | EngineError::NameTaken { .. }
        | EngineError::ReadOnly { .. }
        | EngineError::NoLibrary
        | EngineError::NotOurs { .. }
        | EngineError::Snapshot(_)
        | EngineError::UnknownProtein { .. }
        | EngineError::NoSequence { .. }
        | EngineError::PairWithItself { .. }
        | EngineError::NotLoaded { .. } => true,
        EngineError::Index(error) => !is_of_server(error),
        EngineError::Store(StoreError::Remote(error)) => is_input_of_server(error),
        EngineError::Store(_) => true,
        EngineError::Head(head) => is_input_of_head(head),
        EngineError::Encode(_)
        | EngineError::Worker(_)
        | EngineError::WorkerLost
        | EngineError::Projection(_)
        | EngineError::Busy { .. }
        | EngineError::InUse { .. }
        | EngineError::Io { .. } => false,
    }
}

/// What a server of vectors did not do, where the caller has nothing to mend.
fn is_of_server(error: &IndexError) -> bool {
    matches!(error, IndexError::Remote(remote) if !is_input_of_server(remote))
}

/// An address, a setting, a name or a key to mend; what fails at the server or on the way is a failure.
fn is_input_of_server(error: &protext_index::RemoteError) -> bool {
    use protext_index::RemoteError as Server;
    matches!(
        error,
        Server::Address { .. }
            | Server::Setting { .. }
            | Server::PlainKey { .. }
            | Server::Key { .. }
            | Server::Denied { .. }
            | Server::NoCollection { .. }
            | Server::Foreign { .. }
            | Server::Newer { .. }
            | Server::NotThere { .. }
    )
}

/// Vectors of another space, or a head of another task; what fails while it runs is a failure.
fn is_input_of_head(error: &HeadError) -> bool {
    !matches!(error, HeadError::Runtime { .. })
}

/// Of a table, or of a head that is asked for what it is not.
fn is_input_of_head_data(error: &HeadDataError) -> bool {
    match error {
        HeadDataError::Head(head) => is_input_of_head(head),
        HeadDataError::Engine(engine) => is_input_of_engine(engine),
        _ => true,
    }
}

/// Mutants, files and heads are input; what fails in a model is not.
fn is_input_of_variants(error: &VariantError) -> bool {
    match error {
        VariantError::Engine(error) => is_input_of_engine(error),
        VariantError::Head(_) | VariantError::Stopped => false,
        _ => true,
    }
}

/// What the caller can mend; a job that ended otherwise has failed.
fn is_input_of_copy(error: &CopyError) -> bool {
    !matches!(error, CopyError::Store(error) if error.fault == StoreFault::Other)
}

fn is_input_of_job(error: &JobError) -> bool {
    match error {
        JobError::Engine(error) => is_input_of_engine(error),
        JobError::Store(error) => error.fault != StoreFault::Other,
        JobError::EveryRecord(_)
        | JobError::ShardsFailed { .. }
        | JobError::Damaged { .. }
        | JobError::Cancelled
        | JobError::Stopped
        | JobError::Queue { .. } => false,
        _ => true,
    }
}

/// A setting or a key to mend; what fails on the way or at the service is a failure.
fn is_setting(error: &RemoteError) -> bool {
    matches!(error, RemoteError::Setting { .. } | RemoteError::NoKey { .. })
}

/// Downloads that failed are failures (1); everything local is something to mend (2).
fn is_input_of_registry(cause: &(dyn std::error::Error + 'static)) -> bool {
    let registry = cause.downcast_ref::<RegistryError>().is_some_and(|error| {
        !matches!(error, RegistryError::NoSource { .. } | RegistryError::Hub(_) | RegistryError::Wheel(_))
    });
    let runtime = cause.downcast_ref::<RuntimeError>().is_some_and(
        |error| !matches!(error, RuntimeError::Wheel(wheel) if !matches!(wheel, WheelError::Cache(_))),
    );
    registry || runtime
}
