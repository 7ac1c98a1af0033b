use std::fmt;
use std::io::{self, Write};
use std::str::FromStr;
use std::time::{Duration, Instant};

use matou_net::AcceptPause;
use matou_runtime::now;
use matou_sync::Mutex;

/// How often a shortage is told of, at most.
const SHORTAGE_INTERVAL: Duration = Duration::from_secs(1);

/// What is told on standard error: everything up to this level.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Nothing.
    Off,
    /// What an operator has to look at.
    Error,
    /// What an operator may want to look at, such as a shortage.
    Warn,
    /// The beginning and the end.
    Info,
    /// Every connection.
    Debug,
}

/// All of them with their names.
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
        found
            .map(|(level, _)| *level)
            .ok_or_else(|| "it is one of off, error, warn, info, debug".to_owned())
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let found = LEVELS.iter().find(|(level, _)| level == self);
        f.write_str(found.map_or("", |(_, name)| name))
    }
}

/// The log: lines on standard error, one at a time.
///
/// The mutex around the line is the seed's: its formatter could not be used from two domains at a
/// time. Ours keeps lines whole, and a domain from waiting for another one's in the system.
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
    /// When a shortage was told of for the last time.
    line: Mutex<Option<Instant>>,
}

impl Log {
    /// Makes a log of what is at most at `level`.
    pub fn new(level: Level) -> Log {
        Log { level, line: Mutex::new(None) }
    }

    /// Returns whether lines of `level` are written; ask before an expensive one.
    pub fn enabled(&self, level: Level) -> bool {
        level != Level::Off && level <= self.level
    }

    /// Writes a line, when it is its turn.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future writes nothing, or has written all of it.
    pub async fn line(&self, level: Level, text: fmt::Arguments<'_>) {
        if self.enabled(level) {
            let _line = self.line.lock().await;
            write_line(level, text);
        }
    }

    /// Tells of a shortage, once a second at most. Whoever calls it cannot wait, so if another line
    /// is being written, the next pause will tell.
    pub(crate) fn shortage(&self, pause: &AcceptPause<'_>) {
        if !self.enabled(Level::Warn) {
            return;
        }
        let Some(mut told) = self.line.try_lock() else {
            return;
        };
        let now = now();
        if told.is_some_and(|told| now.duration_since(told) < SHORTAGE_INTERVAL) {
            return;
        }
        *told = Some(now);
        write_line(
            Level::Warn,
            format_args!(
                "accepting nobody for {:?}: {} (pause {})",
                pause.duration, pause.error, pause.count
            ),
        );
    }
}

fn write_line(level: Level, text: fmt::Arguments<'_>) {
    let line = format!("{level}: {text}\n");
    // There is nobody left to tell if standard error is gone.
    let _ = io::stderr().write_all(line.as_bytes());
}
