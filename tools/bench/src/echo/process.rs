//! A server's process, and how its cost is found out from outside.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::process::{ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::time::ClockId;
use nix::unistd::{Pid, SysconfVar, sysconf};

use super::servers::Setting;
use crate::meter::{CpuTime, resident};
use crate::process::Kept;

/// A running server, which is ended when this is dropped.
pub(super) struct Server {
    _process: Kept,
    pub(super) address: SocketAddr,
}

/// Tells what a server has cost so far.
pub(super) struct Probe {
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    pub(super) pid: u32,
}

impl Server {
    pub(super) fn start(runtime: &str, setting: &Setting) -> Result<(Server, Probe)> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["server", runtime, "--cores", &setting.cores.to_string()]);
        command.args(["--hogs", &setting.hogs.to_string()]);
        command.args(setting.labour.then_some("--labour"));
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = Kept::start(&mut command)?;
        let input = process.0.stdin.take().context("it has a standard input")?;
        let output = process.0.stdout.take().context("it has a standard output")?;
        let mut output = BufReader::new(output);
        let mut line = String::new();
        output.read_line(&mut line)?;
        let words = line.trim().split_once(' ').context("the server did not start")?;
        let (port, pid) = (words.0.parse::<u16>()?, words.1.parse()?);
        let address = ([127, 0, 0, 1], port).into();
        Ok((Server { _process: process, address }, Probe { input, output, pid }))
    }
}

impl Probe {
    /// How often the server has allocated.
    pub(super) fn allocations(&mut self) -> Result<u64> {
        self.input.write_all(b"\n")?;
        let mut line = String::new();
        ensure!(self.output.read_line(&mut line)? > 0, "the server has ended");
        Ok(line.trim().parse()?)
    }

    /// The CPU time of all threads that the server has or had.
    pub(super) fn cpu_time(&self) -> Result<CpuTime> {
        let pid = Pid::from_raw(self.pid.try_into()?);
        let clock: ClockId = nix::time::clock_getcpuclockid(pid)?;
        let total = Duration::from(clock.now()?);
        let text = std::fs::read_to_string(format!("/proc/{}/stat", self.pid))?;
        // The name, which may hold anything, ends with the last parenthesis.
        let (_, fields) = text.rsplit_once(')').context("unknown form")?;
        let mut fields = fields.split_whitespace().skip(11);
        let per_second = sysconf(SysconfVar::CLK_TCK)?.context("there is a clock")?;
        let mut ticks = || -> Result<Duration> {
            let ticks: u64 = fields.next().context("unknown form")?.parse()?;
            Ok(Duration::from_secs_f64(ticks as f64 / per_second as f64))
        };
        Ok(CpuTime { total, user: ticks()?, system: ticks()? })
    }

    /// Bytes of user-space memory.
    pub(super) fn resident(&self) -> Result<u64> {
        resident(&self.pid.to_string()).context("the system does not tell what memory is used")
    }
}
