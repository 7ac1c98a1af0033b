use std::any::Any;
use std::error::Error;
use std::fmt;

use tokio::task::JoinError;

/// Why a future on tokio's thread has no output.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CallError {
    /// It panicked.
    Panicked {
        /// The message of the panic.
        message: String,
    },
    /// The runtime of tokio was shut down before the future was ready.
    ShutDown,
}

impl From<JoinError> for CallError {
    fn from(error: JoinError) -> CallError {
        match error.try_into_panic() {
            Ok(payload) => CallError::Panicked { message: text(&*payload) },
            Err(_) => CallError::ShutDown,
        }
    }
}

fn text(payload: &(dyn Any + Send)) -> String {
    let literal = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = literal.or_else(|| payload.downcast_ref::<String>().cloned());
    text.unwrap_or_else(|| "a value that is no text".to_owned())
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CallError::Panicked { message } => {
                write!(f, "it panicked on tokio's thread: {message}")
            }
            CallError::ShutDown => f.write_str("tokio's runtime was shut down"),
        }
    }
}

impl Error for CallError {}
