//! matou-runtime
