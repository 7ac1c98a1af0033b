//! The service with a real PostgreSQL, in a temporary directory and on a free port.

use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::support::{Service, output};

struct Postgres {
    server: Child,
    dir: PathBuf,
    port: u16,
}

impl Postgres {
    /// Returns `None` if PostgreSQL is not installed.
    fn start() -> Option<Postgres> {
        let bin = bin()?;
        let dir = std::env::temp_dir().join(format!("service-postgres-{}", std::process::id()));
        std::fs::create_dir(&dir).unwrap();
        if is_root() {
            assert!(Command::new("chown").arg("postgres").arg(&dir).status().unwrap().success());
        }
        let data = dir.join("data");
        let init = unprivileged(&bin.join("initdb"))
            .args(["--auth=trust", "--username=postgres", "--no-sync", "--pgdata"])
            .arg(&data)
            .stdout(Stdio::null())
            .status();
        assert!(init.unwrap().success());
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let server = unprivileged(&bin.join("postgres"))
            .args(["-F", "-h", "127.0.0.1", "-p", &port.to_string(), "-k"])
            .arg(&dir)
            .arg("-D")
            .arg(&data)
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let postgres = Postgres { server, dir, port };
        let is_ready = (0..200).any(|_| {
            thread::sleep(Duration::from_millis(50));
            TcpStream::connect(("127.0.0.1", port)).is_ok() && postgres.psql("select 1").is_some()
        });
        assert!(is_ready, "PostgreSQL does not answer");
        Some(postgres)
    }

    fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres", self.port)
    }

    fn psql(&self, statement: &str) -> Option<String> {
        let url = self.url();
        let args = [url.as_str(), "--tuples-only", "--no-align", "--command", statement];
        let output = Command::new("psql").args(args).stderr(Stdio::null()).output().unwrap();
        output.status.success().then(|| String::from_utf8(output.stdout).unwrap())
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // SIGINT: it disconnects its clients and ends.
        let id = self.server.id().to_string();
        drop(Command::new("kill").args(["-INT", &id]).status());
        drop(self.server.wait());
        drop(std::fs::remove_dir_all(&self.dir));
    }
}

/// The directory of the newest version's programs.
fn bin() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?;
    let bins = versions.map(|version| version.unwrap().path().join("bin"));
    bins.filter(|bin| bin.join("initdb").exists()).max()
}

fn is_root() -> bool {
    let output = Command::new("id").arg("-u").output().unwrap();
    output.stdout == b"0\n"
}

/// PostgreSQL refuses to run as root.
fn unprivileged(program: &Path) -> Command {
    if !is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--init-groups"]).arg(program);
    command
}

fn words(service: &Service, id: &Value, expected: i64) -> bool {
    (0..200).any(|_| {
        thread::sleep(Duration::from_millis(25));
        let (body, status) = service.get(&format!("/notes/{id}"), &[]);
        status == "200" && serde_json::from_str::<Value>(&body).unwrap()["words"] == expected
    })
}

#[test]
fn notes_and_jobs_survive_the_process_and_the_connection() {
    let Some(postgres) = Postgres::start() else {
        eprintln!("not run: PostgreSQL is not installed");
        return;
    };
    let url = postgres.url();
    let service = Service::start(&["--database", &url]);
    let (body, status) = service.get("/notes", &["--data", "the cat's \"purr\""]);
    assert_eq!(status, "201", "{body}");
    let note: Value = serde_json::from_str(&body).unwrap();
    assert!(words(&service, &note["id"], 3));
    assert_eq!(service.get("/notes/77", &[]).1, "404");

    // The database ends the connection: the service makes a new one.
    let end = "select count(pg_terminate_backend(pid)) from pg_stat_activity \
               where pid <> pg_backend_pid() and backend_type = 'client backend'";
    assert_eq!(postgres.psql(end).as_deref(), Some("1\n"));
    assert!(words(&service, &note["id"], 3));

    // A request that the shutdown waits for is stored.
    let body = "word ".repeat(2000);
    let file = postgres.dir.join("body");
    std::fs::write(&file, &body).unwrap();
    let data = format!("@{}", file.display());
    let slow = service.curl("/notes", &["--limit-rate", "8k", "--data-binary", &data]);
    thread::sleep(Duration::from_millis(400));
    service.terminate();
    let (answer, status) = output(slow);
    assert_eq!(status, "201", "{answer}");
    let (status, rest) = service.wait();
    assert!(status.success(), "{rest}");
    assert_eq!(postgres.psql("select words from notes where id > 1").as_deref(), Some("2000\n"));

    // A job that no process has done.
    postgres.psql("insert into notes (text) values ('left by another')").unwrap();
    let service = Service::start(&["--database", &url]);
    assert!(words(&service, &3.into(), 3));
    assert_eq!(service.get("/notes/3", &["--request", "DELETE"]).1, "204");
    let (list, _) = service.get("/notes", &[]);
    let list: Vec<Value> = serde_json::from_str(&list).unwrap();
    assert_eq!(list.iter().map(|note| &note["id"]).collect::<Vec<_>>(), [2, 1]);
    service.terminate();
    assert!(service.wait().0.success());
}
