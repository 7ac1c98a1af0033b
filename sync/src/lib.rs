//! matou-sync
