//! The runtime's promises, one module per question.

mod r01_children_are_awaited;
mod smoke;
mod support;
