//! Descriptors of the process. This is the only module of the library that depends on the system.

use std::fs;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Returns the number of open descriptors of this process; `None` on systems without
/// `/proc/self/fd`.
pub fn open_descriptors() -> Option<usize> {
    // Reading the directory opens one descriptor.
    let listing = fs::read_dir("/proc/self/fd").ok()?;
    Some(listing.count().saturating_sub(1))
}

/// Raises the limit of open descriptors to the maximum of this process, if the system permits it.
/// Returns the limit.
pub fn raise_descriptor_limit() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        // Some systems have an infinite maximum and refuse it: the limit stays the same then.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
    }
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}
