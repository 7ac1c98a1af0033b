//! The tests of matou-ownership, a module for each question.

mod doubles;

mod ids;
mod memory;
mod model;
mod owned;
mod races;
mod release;
mod scenarios;
mod scope;
mod settle;
mod threads;
mod transitions;
mod types;
