use std::fmt;
use std::io;
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use matou_net::AcceptPause;
use matou_runtime::now;

use crate::LineWriter;

/// The shortest time between two lines about pauses of `accept`.
const PAUSE_LINE_INTERVAL: Duration = Duration::from_secs(1);

/// The level of a log line, or the highest level that is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Nothing is logged.
    Off,
    /// Errors of the server itself.
    Error,
    /// Conditions that an operator should know about, such as a lack of descriptors.
    Warn,
    /// The start and the end of the server.
    Info,
    /// Every connection.
    Debug,
}

const LEVELS: [(Level, &str); 5] = [
    (Level::Off, "off"),
    (Level::Error, "error"),
    (Level::Warn, "warn"),
    (Level::Info, "info"),
    (Level::Debug, "debug"),
];

impl FromStr for Level {
    type Err = String;

    fn from_str(text: &str) -> Result<Level, String> {
        let found = LEVELS.iter().find(|(_, name)| *name == text);
        found.map(|(level, _)| *level).ok_or_else(|| {
            let names = LEVELS.map(|(_, name)| name).join(", ");
            format!("expected one of {names}")
        })
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let found = LEVELS.iter().find(|(level, _)| level == self);
        f.write_str(found.map_or("", |(_, name)| name))
    }
}

/// A log, shared by all servers.
///
/// A thread writes the lines, so that a reader that is slow or gone delays neither the servers nor
/// their shutdown; see [`LineWriter`].
///
/// # Examples
///
/// ```
/// use matou_echo::{Level, Log};
///
/// let log = Log::new(Level::Error);
/// assert!(!log.enabled(Level::Debug));
/// ```
#[derive(Debug)]
pub struct Log {
    level: Level,
    output: LineWriter,
    /// The time of the last line about a pause of `accept`.
    last_pause: Mutex<Option<Instant>>,
}

impl Log {
    /// Creates a log on standard error of all lines up to `level`.
    pub fn new(level: Level) -> Log {
        Log::to(LineWriter::new("echo-log", io::stderr()), level)
    }

    /// Creates a log on `output` of all lines up to `level`.
    pub fn to(output: LineWriter, level: Level) -> Log {
        Log { level, output, last_pause: Mutex::new(None) }
    }

    /// Returns whether lines of `level` are written. Check it before a line that is expensive to
    /// format.
    pub fn enabled(&self, level: Level) -> bool {
        level != Level::Off && level <= self.level
    }

    /// Logs a line, without waiting until it is written.
    pub fn line(&self, level: Level, text: fmt::Arguments<'_>) {
        if self.enabled(level) {
            self.output.line(format!("{level}: {text}"));
        }
    }

    /// Waits until all lines are written, but no longer than `limit`. Returns whether they are.
    pub fn flush(&self, limit: Duration) -> bool {
        self.output.flush(limit)
    }

    /// Logs a pause of `accept`, at most one per second.
    pub(crate) fn accept_pause(&self, pause: &AcceptPause<'_>) {
        if !self.enabled(Level::Warn) {
            return;
        }
        let now = now();
        let mut last_pause = self.last_pause.lock().unwrap_or_else(PoisonError::into_inner);
        if last_pause.is_some_and(|last| now.duration_since(last) < PAUSE_LINE_INTERVAL) {
            return;
        }
        *last_pause = Some(now);
        drop(last_pause);
        self.line(
            Level::Warn,
            format_args!(
                "accepting no connections for {:?}: {} (pause {})",
                pause.duration, pause.error, pause.count
            ),
        );
    }
}
