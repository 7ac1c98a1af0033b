#![doc = include_str!("../../../../sync/README.md")]
