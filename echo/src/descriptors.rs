use std::fs;
use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Returns how many descriptors this process has open, where the system tells.
pub fn open_descriptors() -> Option<usize> {
    // The listing itself takes one.
    let listing = fs::read_dir("/proc/self/fd").ok()?;
    Some(listing.count().saturating_sub(1))
}

/// Raises the limit of open descriptors to what the system allows this process, and returns it.
///
/// # Errors
///
/// When the system refuses.
pub fn raise_descriptor_limit() -> io::Result<u64> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
        // A maximum without end is more than some systems grant: then it stays as it was.
        if setrlimit(Resource::Nofile, raised).is_err() && limit.maximum.is_some() {
            return Ok(limit.current.unwrap_or(u64::MAX));
        }
    }
    Ok(getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX))
}
