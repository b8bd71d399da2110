//! Getting files, from a hub, from pip or from a folder: what arrives, what is refused, and what a failure leaves.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod concurrent;
mod fake_pip;
mod full_disk;
mod hub;
mod local_hub;
mod pulling;
mod repair;
mod small_disk;
mod tiny_model;
mod unwritable;
mod wheel;
