//! matou-net
