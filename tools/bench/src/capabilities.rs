//! Facilities of this machine. A measurement that needs a missing facility is skipped and reported.

use std::fmt;
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, bail};
use matou_loadgen::process;

/// The facilities that some measurements need.
pub(crate) struct Capabilities {
    pub(crate) strace: bool,
    pub(crate) io_uring: bool,
}

impl Capabilities {
    pub(crate) fn detect() -> Capabilities {
        let mut strace = Command::new("strace");
        // The program may exist and still not be allowed to trace.
        strace.args(["-c", "true"]);
        let strace = process::run(&mut strace, Duration::from_secs(10)).is_ok();
        #[cfg(feature = "peers")]
        let io_uring = monoio::utils::detect_uring();
        #[cfg(not(feature = "peers"))]
        let io_uring = false;
        Capabilities { strace, io_uring }
    }

    pub(crate) fn check_runtime(&self, runtime: &str) -> Result<()> {
        if ["monoio", "compio"].contains(&runtime) && !self.io_uring {
            bail!(Unsupported("io_uring is not allowed here".into()));
        }
        Ok(())
    }
}

/// Why something is not measured, although nothing has failed.
#[derive(Debug)]
pub(crate) struct Unsupported(pub(crate) String);

impl fmt::Display for Unsupported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Unsupported {}
