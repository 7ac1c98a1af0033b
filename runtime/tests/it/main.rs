//! The runtime's promises, one module per question.

mod smoke;
mod support;
