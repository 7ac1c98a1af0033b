//! The program as a process.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};

pub(crate) struct Service {
    child: Child,
    lines: BufReader<ChildStderr>,
    pub(crate) address: String,
    pub(crate) scheme: &'static str,
}

impl Service {
    pub(crate) fn start(args: &[&str]) -> Service {
        let mut child = Command::new(env!("CARGO_BIN_EXE_service"))
            .args(["--listen", "127.0.0.1:0", "--domains", "2"])
            .args(args)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        lines.read_line(&mut line).unwrap();
        let address = line.trim_end().strip_prefix("listening on ").expect(&line).to_owned();
        Service { child, lines, address, scheme: "http" }
    }

    pub(crate) fn curl(&self, path: &str, args: &[&str]) -> Child {
        Command::new("curl")
            .args(["--silent", "--show-error", "--max-time", "20"])
            .args(["--write-out", "\n%{http_code}"])
            .args(args)
            .arg(format!("{}://{}{path}", self.scheme, self.address))
            .stdout(Stdio::piped())
            .spawn()
            .expect("curl is installed")
    }

    pub(crate) fn get(&self, path: &str, args: &[&str]) -> (String, String) {
        output(self.curl(path, args))
    }

    pub(crate) fn terminate(&self) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
    }

    /// Waits for the end; returns the status and the rest of standard error.
    pub(crate) fn wait(mut self) -> (ExitStatus, String) {
        let mut rest = String::new();
        self.lines.read_to_string(&mut rest).unwrap();
        (self.child.wait().unwrap(), rest)
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // After a failed assertion.
        drop(self.child.kill());
    }
}

/// The body and the status.
pub(crate) fn output(curl: Child) -> (String, String) {
    let output = curl.wait_with_output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let (body, status) = text.rsplit_once('\n').unwrap();
    (body.to_owned(), status.to_owned())
}
