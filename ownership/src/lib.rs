//! matou-ownership
