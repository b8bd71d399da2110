//! Ctrl-C and termination: the first asks the run to end cleanly, so that nothing half-written stays.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

static RAISED: AtomicBool = AtomicBool::new(false);
static IS_HANDLED: Mutex<bool> = Mutex::new(false);

/// The run was asked to end.
#[derive(Debug, thiserror::Error)]
#[error("interrupted; nothing half-written was left")]
pub(crate) struct Interrupted;

/// A flag that Ctrl-C and SIGTERM raise; a second signal ends the process at once.
pub(crate) fn flag() -> anyhow::Result<&'static AtomicBool> {
    // The handler is set once, however many parts of a command ask for the flag.
    let mut is_handled = IS_HANDLED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if !*is_handled {
        ctrlc::set_handler(|| {
            if RAISED.swap(true, Ordering::Relaxed) {
                std::process::exit(130);
            }
        })?;
        *is_handled = true;
    }
    Ok(&RAISED)
}
