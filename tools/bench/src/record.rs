//! What was measured, where and when: the file from which the documents are made.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::curves::Point;
use crate::figure::Figure;
use crate::means::Means;
use crate::process::{self, raise_descriptors};

/// The runtimes and locks that are compared, as cargo calls them.
const PEERS: &[&str] = &[
    "tokio",
    "async-executor",
    "async-io",
    "async-lock",
    "async-channel",
    "event-listener",
    "monoio",
    "compio",
    "parking_lot",
    "futures",
];

/// All that is known.
#[derive(Debug, Default, Deserialize, Serialize)]
pub(crate) struct Record {
    pub(crate) figures: Option<Part<Figure>>,
    pub(crate) curves: Option<Part<Point>>,
}

/// What was measured at one time.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Part<T> {
    pub(crate) machine: Machine,
    pub(crate) rounds: usize,
    /// Whether fewer operations were done than are needed for figures that can be trusted.
    pub(crate) quick: bool,
    pub(crate) results: Vec<T>,
}

#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Machine {
    pub(crate) date: String,
    pub(crate) processor: String,
    pub(crate) cores: usize,
    pub(crate) memory_mib: u64,
    pub(crate) system: String,
    pub(crate) rustc: String,
    pub(crate) commit: String,
    pub(crate) descriptors_max: u64,
    pub(crate) io_uring: bool,
    pub(crate) strace: bool,
    /// Names and versions.
    pub(crate) peers: Vec<(String, String)>,
}

impl Record {
    /// What is in the file, or nothing if there is none.
    pub(crate) fn read(path: &Path) -> Result<Record> {
        if !path.exists() {
            return Ok(Record::default());
        }
        let name = || path.display().to_string();
        let text = std::fs::read_to_string(path).with_context(name)?;
        serde_json::from_str(&text).with_context(name)
    }

    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self)? + "\n";
        std::fs::write(path, text).with_context(|| path.display().to_string())
    }
}

impl Machine {
    pub(crate) fn look(means: &Means) -> Machine {
        let known = |text: Option<String>| text.unwrap_or_else(|| "unknown".into());
        let now = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
        Machine {
            date: now.split('T').next().unwrap_or_default().into(),
            processor: known(field("/proc/cpuinfo", "model name")),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory_mib: memory_mib().unwrap_or(0),
            system: known(said_by("uname", &["-s", "-r", "-m"])),
            rustc: known(said_by("rustc", &["--version"])),
            commit: known(commit()),
            descriptors_max: raise_descriptors(),
            io_uring: means.io_uring,
            strace: means.strace,
            peers: PEERS.iter().map(|name| ((*name).into(), known(version(name)))).collect(),
        }
    }
}

fn field(file: &str, name: &str) -> Option<String> {
    let text = std::fs::read_to_string(file).ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().into())
}

fn memory_mib() -> Option<u64> {
    let total = field("/proc/meminfo", "MemTotal")?;
    Some(total.split_whitespace().next()?.parse::<u64>().ok()? / 1024)
}

fn said_by(program: &str, arguments: &[&str]) -> Option<String> {
    let mut command = Command::new(program);
    let said = process::run(command.args(arguments), Duration::from_secs(10)).ok()?;
    Some(said.output.trim().into())
}

/// The commit that was measured, with a plus if the tree had changes.
fn commit() -> Option<String> {
    let folder = env!("CARGO_MANIFEST_DIR");
    let commit = said_by("git", &["-C", folder, "rev-parse", "--short", "HEAD"])?;
    let status = said_by("git", &["-C", folder, "status", "--porcelain", "--", ".."])?;
    Some(if status.is_empty() { commit } else { commit + "+" })
}

/// The version of a peer that cargo has chosen.
fn version(name: &str) -> Option<String> {
    let lock = include_str!("../Cargo.lock");
    let (_, rest) = lock.split_once(&format!("name = \"{name}\"\nversion = \""))?;
    Some(rest.split_once('"')?.0.into())
}
