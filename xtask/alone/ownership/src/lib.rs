#![doc = include_str!("../../../../ownership/README.md")]
