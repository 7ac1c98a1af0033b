//! Tests of the service: as a process with real clients, and in simulated runs.

mod postgres;
mod process;
mod simulated;
mod support;
