//! Tests of the guarantees of processes and files, one module per subject.

mod fs;
mod process;
mod support;
