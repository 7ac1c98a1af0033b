//! Tests of crates that run on matou, one module per crate or protocol.

mod axum_router;
