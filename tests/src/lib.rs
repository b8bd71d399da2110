//! End-to-end tests of the real program; see the files in `tests/`.
