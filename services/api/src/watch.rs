//! Whether the models answer: each does once before the service calls itself ready, and is watched from then on.
//!
//! A model that runs here is asked for a short record every few seconds. One that runs elsewhere costs money, so it is asked
//! only when requests to it have failed, until it answers again. So is one whose sessions are given back when nobody asks: a
//! look every few seconds would keep them.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use actix_web::web;
use protext_core::{EncoderInput, Modality, ProteinSequence, ResiduePolicy, Text};
use protext_engine::{Embedder, EngineError};

use crate::error::Problem;
use crate::state::AppState;

/// A model that has not answered for this long, and has finished nothing else meanwhile, does not answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// What `/readyz` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Readiness {
    /// Not every model has answered once.
    WarmingUp,
    /// All do.
    Ready,
    /// These, by their ids, do not answer any more.
    Failing(Vec<String>),
}

impl Readiness {
    /// For people.
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::WarmingUp => "models are warming up".to_owned(),
            Self::Ready => "ready".to_owned(),
            Self::Failing(models) => format!("{} does not answer; the log says why", models.join(", ")),
        }
    }
}

/// Shared by the watch and those who ask.
pub(crate) struct Watched(Mutex<Arc<Readiness>>);

impl Default for Watched {
    fn default() -> Self {
        Self(Mutex::new(Arc::new(Readiness::WarmingUp)))
    }
}

impl Watched {
    pub(crate) fn get(&self) -> Arc<Readiness> {
        Arc::clone(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn is_ready(&self) -> bool {
        *self.get() == Readiness::Ready
    }

    pub(crate) fn set(&self, readiness: Readiness) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(readiness);
    }
}

/// Warms the models up, then watches them for as long as the service runs.
pub(crate) async fn watch(state: web::Data<AppState>, interval: Duration) {
    let mut models: Vec<Model<'_>> = state.engine.embedders().map(Model::new).collect();
    loop {
        let mut failing = Vec::new();
        for model in &mut models {
            let id = model.embedder.encoder().id();
            match model.look(&state).await {
                Ok(()) => {}
                Err(error) => {
                    tracing::error!(encoder = id, error, "this model does not answer");
                    failing.push(id.to_owned());
                }
            }
        }
        let before = state.watched.get();
        let now = match (failing.is_empty(), &*before) {
            (true, _) => Readiness::Ready,
            (false, Readiness::WarmingUp) => Readiness::WarmingUp,
            (false, _) => Readiness::Failing(failing),
        };
        if now != *before {
            tracing::info!(readiness = now.describe(), "models");
            state.watched.set(now);
        }
        actix_web::rt::time::sleep(interval).await;
    }
}

struct Model<'a> {
    embedder: &'a Embedder,
    /// Failures of requests to it that have been looked at.
    n_failed: u64,
    has_answered: bool,
    n_asked: u64,
    /// Batches that were done at the last look, and since when no other is although some are under way.
    n_done: u64,
    stuck_since: Option<Instant>,
}

impl<'a> Model<'a> {
    fn new(embedder: &'a Embedder) -> Self {
        Self { embedder, n_failed: 0, has_answered: false, n_asked: 0, n_done: 0, stuck_since: None }
    }

    /// The reason if it does not answer.
    async fn look(&mut self, state: &AppState) -> Result<(), String> {
        let patience = PATIENCE.min(state.deadline);
        let counts = self.embedder.batcher().counts();
        let is_stuck = counts.n_batches > counts.n_done_batches && counts.n_done_batches == self.n_done;
        self.n_done = counts.n_done_batches;
        self.stuck_since = is_stuck.then(|| self.stuck_since.unwrap_or_else(Instant::now));
        if self.stuck_since.is_some_and(|since| since.elapsed() >= patience) {
            self.has_answered = false;
            return Err("no batch was done for too long".to_owned());
        }
        let is_asked_seldom = self.embedder.encoder().running().is_none()
            || self.embedder.batcher().settings().unload_after.is_some();
        if is_stuck || is_asked_seldom && self.has_answered && counts.n_failed_batches == self.n_failed {
            return if self.has_answered { Ok(()) } else { Err("it has not answered yet".to_owned()) };
        }
        let n_done = || self.embedder.batcher().counts().n_done_batches;
        let answered = match actix_web::rt::time::timeout(patience, self.ask()).await {
            Ok(answered) => answered,
            // Behind a long queue of others.
            Err(_) if n_done() > counts.n_done_batches => Ok(()),
            Err(_) => Err("no answer, and nothing else was done".to_owned()),
        };
        self.n_asked += 1;
        self.has_answered = answered.is_ok();
        if self.has_answered {
            self.n_failed = self.embedder.batcher().counts().n_failed_batches;
        }
        answered
    }

    /// Asks for a short record, and leads it through every projection.
    async fn ask(&self) -> Result<(), String> {
        // Answers of models elsewhere are kept, and a kept one would say nothing of the model.
        let sentence = match self.n_asked {
            0 => "warm-up".to_owned(),
            n => format!("Are you there? {} {n}", std::process::id()),
        };
        let asked = async {
            let input = match self.embedder.encoder().modality() {
                Modality::Protein => {
                    ProteinSequence::parse("MKTAYIAKQRQISFVKSHFSRQ", ResiduePolicy::default())
                        .map(|(sequence, _)| EncoderInput::Protein(sequence))
                }
                Modality::Text => Text::parse(&sentence).map(EncoderInput::Text),
            };
            let encoded = match self.embedder.probe(&input.map_err(EngineError::from)?).await {
                // It is at work.
                Err(EngineError::Busy { .. }) => return Ok(()),
                encoded => encoded?,
            };
            for space in self.embedder.joint_spaces() {
                self.embedder.project(&[&encoded], space)?;
            }
            Ok::<(), Problem>(())
        };
        asked.await.map_err(|problem| problem.to_string())
    }
}
