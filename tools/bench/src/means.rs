//! What this machine allows: what it does not is told in the table, and not measured.

use std::fmt;
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, bail};

use crate::process;

/// What can be used here.
pub(crate) struct Means {
    pub(crate) strace: bool,
    pub(crate) io_uring: bool,
}

/// Finds out what can be used here.
pub(crate) fn find() -> Means {
    let mut strace = Command::new("strace");
    // That it is there does not say that it may.
    strace.args(["-c", "true"]);
    let strace = process::run(&mut strace, Duration::from_secs(10)).is_ok();
    #[cfg(feature = "peers")]
    let io_uring = monoio::utils::detect_uring();
    #[cfg(not(feature = "peers"))]
    let io_uring = false;
    Means { strace, io_uring }
}

impl Means {
    pub(crate) fn check_runtime(&self, runtime: &str) -> Result<()> {
        if ["monoio", "compio"].contains(&runtime) && !self.io_uring {
            bail!(Lacking("io_uring is not allowed here".into()));
        }
        Ok(())
    }
}

/// Why something is not measured, although nothing has failed.
#[derive(Debug)]
pub(crate) struct Lacking(pub(crate) String);

impl fmt::Display for Lacking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Lacking {}
