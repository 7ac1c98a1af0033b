#![doc = include_str!("../../../../net/README.md")]
