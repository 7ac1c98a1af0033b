//! The process of a server, and its resources.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::process::{ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, ensure};
use matou_loadgen::process::ChildGuard;

use super::servers::Setting;
use crate::cost::resident;

/// A running server, which is terminated when this is dropped.
pub(super) struct Server {
    _process: ChildGuard,
    pub(super) address: SocketAddr,
}

/// Queries the resource use of a server.
pub(super) struct Probe {
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    pub(super) pid: u32,
}

impl Server {
    pub(super) fn start(runtime: &str, setting: &Setting) -> Result<(Server, Probe)> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["server", runtime, "--cores", &setting.cores.to_string()]);
        command.args(["--cpu-hogs", &setting.cpu_hogs.to_string()]);
        command.args(setting.cpu_work.then_some("--cpu-work"));
        command.args(["--protocol", setting.protocol.name()]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = ChildGuard::start(&mut command)?;
        let pid = process.id();
        let input = process.child().stdin.take().context("it has no standard input")?;
        let output = process.child().stdout.take().context("it has no standard output")?;
        let mut output = BufReader::new(output);
        let mut line = String::new();
        output.read_line(&mut line)?;
        let port: u16 = line.trim().parse().context("the server did not start")?;
        let address = ([127, 0, 0, 1], port).into();
        Ok((Server { _process: process, address }, Probe { input, output, pid }))
    }
}

impl Probe {
    /// The number of allocations of the server.
    pub(super) fn allocations(&mut self) -> Result<u64> {
        self.input.write_all(b"\n")?;
        let mut line = String::new();
        ensure!(self.output.read_line(&mut line)? > 0, "the server has ended");
        Ok(line.trim().parse()?)
    }

    /// Bytes of resident anonymous memory.
    pub(super) fn resident(&self) -> Result<u64> {
        resident(&self.pid.to_string()).context("the system does not report the memory")
    }
}
