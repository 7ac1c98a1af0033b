//! The tests of matou-ownership, one module per question.

mod support;

mod finalize;
mod ids;
mod inherited;
mod memory;
mod operations;
mod owned;
mod races;
mod reference_model;
mod release;
mod scenarios;
mod scope;
mod threads;
mod types;
