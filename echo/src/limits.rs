use std::error::Error;
use std::fmt;
use std::time::Duration;

/// What a peer may take, at most. See the [table](crate) of the threats that each one answers.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use matou_echo::Limits;
///
/// let limits = Limits { connections_max: 100, ..Limits::default() };
/// assert_eq!(limits.idle_timeout, Duration::from_millis(30_000));
/// assert!(limits.validate().is_ok());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How many connections are served at a time. Further ones wait in the system's backlog: the
    /// permit comes before the accept. Default: 1,024.
    pub connections_max: usize,
    /// How long a client may be silent, counted from its accept and from each of its messages.
    /// Default: 30 s.
    pub idle_timeout: Duration,
    /// How long a client may take none of what it is owed. Default: 30 s.
    pub write_timeout: Duration,
    /// How long clients have to come to an end when the server does. Default: 5 s.
    pub drain_timeout: Duration,
    /// How many bytes of one connection are held at a time. Default: 16 KiB.
    pub buffered_bytes_max: usize,
}

/// The most memory that one connection may be given.
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
    /// Finds out whether a server can work with these limits.
    ///
    /// # Errors
    ///
    /// Names the limit that makes no sense.
    pub fn validate(&self) -> Result<(), InvalidLimits> {
        let rules = [
            (self.connections_max > 0, "at least one client must be allowed"),
            (!self.idle_timeout.is_zero(), "the idle timeout must be longer than zero"),
            (!self.write_timeout.is_zero(), "the write timeout must be longer than zero"),
            (
                (1..=BUFFERED_BYTES_MAX).contains(&self.buffered_bytes_max),
                "the buffer of a connection must have 1 byte to 16 MiB",
            ),
        ];
        match rules.into_iter().find(|(holds, _)| !holds) {
            Some((_, rule)) => Err(InvalidLimits(rule)),
            None => Ok(()),
        }
    }

    /// Returns how many connections server number `index` of so many may serve.
    pub(crate) fn share(&self, index: usize, servers: usize) -> usize {
        debug_assert!(index < servers);
        let (each, rest) = (self.connections_max / servers, self.connections_max % servers);
        each + usize::from(index < rest)
    }
}

/// A limit that makes no sense; found by [`Limits::validate`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidLimits(&'static str);

impl fmt::Display for InvalidLimits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl Error for InvalidLimits {}
