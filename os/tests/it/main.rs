//! Tests of the guarantees of processes and files, one module per subject.

mod file;
mod fs;
#[path = "../../examples/jobs.rs"]
#[expect(dead_code, reason = "its `main` is not called")]
mod jobs;
mod process;
mod stdio;
mod support;
