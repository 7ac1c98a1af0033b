//! Tests of the guarantees of processes and files, one module per subject.

mod file;
mod fs;
mod process;
mod stdio;
mod support;
