//! The file of figures, and the machine that they were measured on.

use std::fmt::Write;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use matou_loadgen::process::{raise_descriptor_limit, run};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::capabilities::Capabilities;
use crate::figure::Figure;
use crate::scaling::Point;

/// The runtimes and locks that are compared, as cargo names them.
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

/// The content of a file of figures.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Record {
    pub(crate) figures: Option<Part<Figure>>,
    pub(crate) scaling: Option<Part<Point>>,
}

/// The measurements of one run.
#[derive(Debug, Deserialize)]
#[serde(bound = "T: DeserializeOwned")]
pub(crate) struct Part<T> {
    pub(crate) machine: Machine,
    pub(crate) rounds: usize,
    /// Whether fewer operations were done than reliable figures need.
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
    /// Reads a file; one that does not exist is empty.
    pub(crate) fn read(path: &Path) -> Result<Record> {
        if !path.exists() {
            return Ok(Record::default());
        }
        let name = || path.display().to_string();
        let text = std::fs::read_to_string(path).with_context(name)?;
        serde_json::from_str(&text).with_context(name)
    }

    /// Writes the file with a line for each result.
    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        let parts = [
            self.figures.as_ref().map(|part| part.json("figures")),
            self.scaling.as_ref().map(|part| part.json("scaling")),
        ];
        let parts: Vec<String> = parts.into_iter().flatten().collect::<Result<_>>()?;
        let text = format!("{{\n{}\n}}\n", parts.join(",\n"));
        std::fs::write(path, text).with_context(|| path.display().to_string())
    }
}

impl<T: Serialize> Part<T> {
    fn json(&self, name: &str) -> Result<String> {
        let machine = serde_json::to_string(&self.machine)?;
        let mut text = format!("\"{name}\": {{\n\"machine\": {machine},\n");
        let (rounds, quick) = (self.rounds, self.quick);
        writeln!(text, "\"rounds\": {rounds}, \"quick\": {quick}, \"results\": [")?;
        let lines: Vec<String> =
            self.results.iter().map(serde_json::to_string).collect::<Result<_, _>>()?;
        Ok(text + &lines.join(",\n") + "\n]}")
    }
}

impl Machine {
    pub(crate) fn describe(capabilities: &Capabilities) -> Machine {
        let known = |text: Option<String>| text.unwrap_or_else(|| "unknown".into());
        let now = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
        Machine {
            date: now.split('T').next().unwrap_or_default().into(),
            processor: known(field("/proc/cpuinfo", "model name")),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory_mib: memory_mib().unwrap_or(0),
            system: known(output_of("uname", &["-s", "-r", "-m"])),
            rustc: known(output_of("rustc", &["--version"])),
            commit: known(commit()),
            descriptors_max: raise_descriptor_limit(),
            io_uring: capabilities.io_uring,
            strace: capabilities.strace,
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

fn output_of(program: &str, arguments: &[&str]) -> Option<String> {
    let mut command = Command::new(program);
    let output = run(command.args(arguments), Duration::from_secs(10)).ok()?;
    Some(output.stdout.trim().into())
}

/// The measured commit, with a plus if the working tree had changes.
fn commit() -> Option<String> {
    let folder = env!("CARGO_MANIFEST_DIR");
    let commit = output_of("git", &["-C", folder, "rev-parse", "--short", "HEAD"])?;
    let status = output_of("git", &["-C", folder, "status", "--porcelain", "--", "../.."])?;
    Some(if status.is_empty() { commit } else { commit + "+" })
}

/// The version of a peer in the lock file.
fn version(name: &str) -> Option<String> {
    let lock = include_str!("../Cargo.lock");
    let (_, rest) = lock.split_once(&format!("name = \"{name}\"\nversion = \""))?;
    Some(rest.split_once('"')?.0.into())
}

/// Writes all rounds of all figures, a line for each figure.
pub(crate) fn write_rounds(figures: &[Figure], path: &Path) -> Result<()> {
    let mut text = String::new();
    for Figure { subject, rounds, .. } in figures {
        writeln!(text, "{}", serde_json::to_string(&(&subject.work, &subject.runtime, rounds))?)?;
    }
    std::fs::write(path, text).with_context(|| path.display().to_string())
}
