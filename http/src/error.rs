use std::error::Error;

/// An error of any type.
pub type BoxError = Box<dyn Error + Send + Sync>;
