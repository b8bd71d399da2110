//! A transformer block in 16 bits or fewer on the processor: what a protein encoder spends its time on, in one piece.
//!
//! Matrix products in bfloat16 and in bytes run on AMX tiles where the processor has them, else on AVX-512's instructions; those of whole
//! numbers of 16 bits on AVX2. Sums are kept in 32 bits.
//! Everything between the products (normalization, rotary positions, softmax, GELU) is done in 32 bits while the numbers are near,
//! and attention never sees padding: sequences lie one behind the other. A row's answer depends on its own sequence alone, to the
//! last bit.
//!
//! [`Isa::detect`] says whether this processor can; [`Block::new`] packs a block's weights; [`Block::run`] does the work.
//! `protext-onnx` makes an operator of ONNX Runtime of it.

#![allow(clippy::wildcard_imports, reason = "intrinsics have long names and are many")]

#[cfg(target_arch = "x86_64")]
mod aligned;
#[cfg(target_arch = "x86_64")]
mod block;
#[cfg(not(target_arch = "x86_64"))]
#[path = "elsewhere.rs"]
mod block;
#[cfg(target_arch = "x86_64")]
mod int16;
mod isa;
#[cfg(target_arch = "x86_64")]
mod parts;
#[cfg(target_arch = "x86_64")]
mod polynomials;
mod shape;
#[cfg(target_arch = "x86_64")]
mod tiled;

pub use block::{Block, Scratch};
pub use isa::Isa;
pub use shape::{BlockShape, BlockWeights, InputMeans, Operands, Pair, Rotary};
