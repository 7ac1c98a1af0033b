use std::error::Error;
use std::fmt;
use std::time::Duration;

/// Limits on the resources that a peer can consume. The [table](crate) lists the threat that each
/// limit addresses.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use matou_echo::Limits;
///
/// let limits = Limits { connections_max: 100, ..Limits::default() };
/// assert_eq!(limits.idle_timeout, Duration::from_secs(30));
/// assert!(limits.validate().is_ok());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The maximum number of concurrent connections. Further ones stay in the system's backlog,
    /// because a full server does not accept. Default: 1,024.
    pub connections_max: usize,
    /// For how long a client may send nothing. It starts with the accept and again with each read.
    /// Default: 30 s.
    pub idle_timeout: Duration,
    /// For how long a client may receive none of the pending bytes. Default: 30 s.
    pub write_timeout: Duration,
    /// For how long clients may continue after the shutdown has begun. Default: 5 s.
    pub drain_timeout: Duration,
    /// The maximum number of buffered bytes per connection. Default: 16 KiB.
    pub buffered_bytes_max: usize,
}

/// The upper bound of [`Limits::buffered_bytes_max`].
const BUFFERED_BYTES_MAX: usize = 16 << 20;

impl Default for Limits {
    fn default() -> Self {
        Limits {
            connections_max: 1024,
            idle_timeout: Duration::from_secs(30),
            write_timeout: Duration::from_secs(30),
            drain_timeout: Duration::from_secs(5),
            buffered_bytes_max: 16 << 10,
        }
    }
}

impl Limits {
    /// Checks that a server can work with these limits.
    ///
    /// # Errors
    ///
    /// Names the first limit that is out of range.
    pub fn validate(&self) -> Result<(), InvalidLimits> {
        let rules = [
            (self.connections_max > 0, "at least one connection must be allowed"),
            (!self.idle_timeout.is_zero(), "the idle timeout must be longer than zero"),
            (!self.write_timeout.is_zero(), "the write timeout must be longer than zero"),
            (
                (1..=BUFFERED_BYTES_MAX).contains(&self.buffered_bytes_max),
                "the buffer size of a connection must be 1 byte to 16 MiB",
            ),
        ];
        match rules.into_iter().find(|(holds, _)| !holds) {
            Some((_, rule)) => Err(InvalidLimits(rule)),
            None => Ok(()),
        }
    }

    /// Returns the maximum number of connections of the server `index` out of `servers`.
    pub(crate) fn share(&self, index: usize, servers: usize) -> usize {
        debug_assert!(index < servers);
        let (each, rest) = (self.connections_max / servers, self.connections_max % servers);
        each + usize::from(index < rest)
    }
}

/// A limit is out of range; returned by [`Limits::validate`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidLimits(&'static str);

impl fmt::Display for InvalidLimits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl Error for InvalidLimits {}
