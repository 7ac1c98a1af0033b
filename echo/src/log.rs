use std::fmt;
use std::io::{self, Write};
use std::str::FromStr;
use std::time::{Duration, Instant};

use matou_net::AcceptPause;
use matou_runtime::now;
use matou_sync::Mutex;

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

/// A log on standard error, shared by all servers.
///
/// An asynchronous mutex protects each line: lines are not mixed, and a domain does not block while
/// another one writes.
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
    /// Locked while a line is written. Contains the time of the last line about a pause of
    /// `accept`.
    output: Mutex<Option<Instant>>,
}

impl Log {
    /// Creates a log of all lines up to `level`.
    pub fn new(level: Level) -> Log {
        Log { level, output: Mutex::new(None) }
    }

    /// Returns whether lines of `level` are written. Check it before a line that is expensive to
    /// format.
    pub fn enabled(&self, level: Level) -> bool {
        level != Level::Off && level <= self.level
    }

    /// Writes a line, after those of other tasks.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the line was written completely or not at all.
    pub async fn line(&self, level: Level, text: fmt::Arguments<'_>) {
        if self.enabled(level) {
            let _guard = self.output.lock().await;
            write_line(level, text);
        }
    }

    /// Logs a pause of `accept`, at most one per second. The caller cannot wait: while another task
    /// writes a line, the pause is not logged.
    pub(crate) fn accept_pause(&self, pause: &AcceptPause<'_>) {
        if !self.enabled(Level::Warn) {
            return;
        }
        let Some(mut last_pause) = self.output.try_lock() else {
            return;
        };
        let now = now();
        if last_pause.is_some_and(|last| now.duration_since(last) < PAUSE_LINE_INTERVAL) {
            return;
        }
        *last_pause = Some(now);
        write_line(
            Level::Warn,
            format_args!(
                "accepting no connections for {:?}: {} (pause {})",
                pause.duration, pause.error, pause.count
            ),
        );
    }
}

fn write_line(level: Level, text: fmt::Arguments<'_>) {
    let line = format!("{level}: {text}\n");
    // If standard error is closed, there is nowhere to report that.
    let _ = io::stderr().write_all(line.as_bytes());
}
