//! Progress bars on standard error; silent where standard error is no terminal.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressState, ProgressStyle};

/// Residues embedded so far: rate and, when the total is known, time left.
pub(crate) fn residues(total: Option<u64>, what: &str) -> ProgressBar {
    let bar = match total {
        Some(total) => ProgressBar::new(total)
            .with_style(style("{msg} {bar:30.cyan/dim} {percent:>3}%  {per_s} residues/s  {eta} left")),
        None => {
            ProgressBar::new_spinner().with_style(style("{msg} {spinner} {pos} residues  {per_s} residues/s"))
        }
    };
    bar.enable_steady_tick(Duration::from_millis(200));
    bar.with_message(what.to_owned())
}

/// Bytes downloaded.
pub(crate) fn bytes(what: &str) -> ProgressBar {
    let bar = ProgressBar::new(0);
    bar.set_style(style("{msg} {bar:30.cyan/dim} {bytes}/{total_bytes}  {bytes_per_sec}  {eta} left"));
    bar.with_message(what.to_owned())
}

/// Rows, queries or other things of a known number.
pub(crate) fn count(total: u64, what: &str) -> ProgressBar {
    let bar = ProgressBar::new(total);
    bar.set_style(counted());
    bar.with_message(what.to_owned())
}

/// Rows or records of an unknown number.
pub(crate) fn rows(what: &str) -> ProgressBar {
    let bar = ProgressBar::new_spinner().with_style(style("{msg} {spinner} {pos}"));
    bar.enable_steady_tick(Duration::from_millis(200));
    bar.with_message(what.to_owned())
}

/// How [`rows`] look once their number is known.
pub(crate) fn counted() -> ProgressStyle {
    style("{msg} {bar:30.cyan/dim} {pos}/{len}  {eta} left")
}

fn style(template: &str) -> ProgressStyle {
    let style = ProgressStyle::with_template(template).expect("templates are constants of this file");
    style.with_key("per_s", |state: &ProgressState, out: &mut dyn std::fmt::Write| {
        let _ = write!(out, "{:.0}", state.per_sec());
    })
}

/// Draws one bar a download.
#[derive(Default)]
pub(crate) struct Downloads {
    bar: std::sync::Mutex<Option<ProgressBar>>,
}

impl protext_registry::Progress for Downloads {
    fn begin(&self, name: &str, total_bytes: Option<u64>) {
        let bar = match total_bytes {
            Some(total) => {
                let bar = bytes(name);
                bar.set_length(total);
                bar
            }
            None => ProgressBar::new_spinner().with_style(style("{msg} {spinner} {elapsed}")),
        };
        bar.set_message(name.to_owned());
        bar.enable_steady_tick(Duration::from_millis(200));
        *self.bar.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(bar);
    }

    fn advance(&self, n_bytes: u64) {
        if let Some(bar) = &*self.bar.lock().unwrap_or_else(std::sync::PoisonError::into_inner) {
            bar.inc(n_bytes);
        }
    }

    fn end(&self) {
        if let Some(bar) = self.bar.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take() {
            bar.finish_and_clear();
        }
    }
}
