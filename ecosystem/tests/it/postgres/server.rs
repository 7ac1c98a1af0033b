//! A PostgreSQL server of the test's own.

use std::cell::RefCell;
use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

/// A server in a temporary directory, on a free port. It is stopped, and its files are removed,
/// when the value is dropped.
pub(crate) struct PostgresServer {
    binaries: PathBuf,
    directory: PathBuf,
    port: u16,
    process: RefCell<Option<Child>>,
}

impl PostgresServer {
    /// Returns `None` if PostgreSQL is not installed.
    pub(crate) fn start() -> Option<PostgresServer> {
        let binaries = binaries()?;
        let name = format!("matou-postgres-{}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        drop(fs::remove_dir_all(&directory));
        fs::create_dir(&directory).unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let server = PostgresServer { binaries, directory, port, process: RefCell::default() };
        server.initialize();
        server.restart();
        Some(server)
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    fn data(&self) -> PathBuf {
        self.directory.join("data")
    }

    /// Returns a command of the server. It refuses to run as root.
    fn command(&self, program: &str) -> Command {
        let program = self.binaries.join(program);
        let mut command = if is_root() {
            let mut command = Command::new("setpriv");
            command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups", "--"]);
            command.arg(program);
            command
        } else {
            Command::new(program)
        };
        command.current_dir(&self.directory).stdin(Stdio::null()).stdout(Stdio::null());
        command
    }

    fn initialize(&self) {
        if is_root() {
            let owner = Command::new("chown").arg("postgres").arg(&self.directory).status();
            assert!(owner.unwrap().success());
        }
        let mut initdb = self.command("initdb");
        initdb.args(["--auth=trust", "--no-sync", "--username=postgres", "--pgdata"]);
        assert!(initdb.arg(self.data()).status().unwrap().success());
    }

    pub(crate) fn restart(&self) {
        let mut postgres = self.command("postgres");
        postgres.arg("-D").arg(self.data()).arg("-k").arg(&self.directory);
        postgres.args(["-F", "-h", "127.0.0.1", "-p", &self.port.to_string()]);
        let log = fs::File::create(self.directory.join("log")).unwrap();
        *self.process.borrow_mut() = Some(postgres.stderr(log).spawn().unwrap());
        for _ in 0..3000 {
            // It answers connections only when it is ready for them.
            let log = fs::read_to_string(self.directory.join("log")).unwrap();
            if log.contains("ready to accept connections")
                && TcpStream::connect(("127.0.0.1", self.port)).is_ok()
            {
                return;
            }
            sleep(Duration::from_millis(20));
        }
        panic!("{}", fs::read_to_string(self.directory.join("log")).unwrap());
    }

    /// Ends the server, with its connections.
    pub(crate) fn stop(&self) {
        let Some(mut process) = self.process.borrow_mut().take() else { return };
        // "Fast shutdown".
        drop(Command::new("kill").args(["-INT", &process.id().to_string()]).status());
        drop(process.wait());
    }
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        self.stop();
        drop(fs::remove_dir_all(&self.directory));
    }
}

fn is_root() -> bool {
    let user = Command::new("id").arg("--user").output().unwrap();
    user.stdout == b"0\n"
}

/// Returns the directory of the newest server that is installed.
fn binaries() -> Option<PathBuf> {
    let mut versions: Vec<_> = fs::read_dir("/usr/lib/postgresql").ok()?.flatten().collect();
    versions.sort_by_key(|version| version.file_name());
    let found = versions.into_iter().rev().map(|version| version.path().join("bin"));
    found.into_iter().find(|bin: &PathBuf| Path::new(bin).join("postgres").is_file())
}
