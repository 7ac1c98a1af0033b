#![doc = include_str!("../../../../runtime/README.md")]
