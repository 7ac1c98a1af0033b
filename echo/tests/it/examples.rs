//! The examples of the crates, as processes: their output, their status, and their answers to
//! clients and signals.

use std::env;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{OnceLock, mpsc};
use std::thread;

use rustix::process::{Pid, Signal, kill_process};

use crate::process::{DEADLINE, connect, pattern};

/// Builds the examples, so that no test runs an outdated one.
fn directory() -> &'static PathBuf {
    static DIRECTORY: OnceLock<PathBuf> = OnceLock::new();
    DIRECTORY.get_or_init(|| {
        let profile = env::current_exe().unwrap();
        let profile = profile.ancestors().nth(2).unwrap().to_owned();
        let mut cargo = Command::new(env!("CARGO"));
        // With all packages: `cargo test` has built them with the same features of dependencies.
        cargo.args(["build", "--quiet", "--workspace"]);
        for example in ["happy_eyeballs", "chat", "poll_driver", "supervisor", "job_queue"] {
            cargo.args(["--example", example]);
        }
        cargo.arg("--target-dir").arg(profile.parent().unwrap());
        if profile.ends_with("release") {
            cargo.arg("--release");
        }
        assert!(cargo.status().unwrap().success());
        profile.join("examples")
    })
}

/// A running example, killed when it is dropped.
struct Example {
    child: Child,
    input: Option<ChildStdin>,
    /// The lines of both outputs; those of standard error begin with `! `.
    lines: mpsc::Receiver<String>,
    skipped: Vec<String>,
}

impl Example {
    fn start(name: &str, arguments: &[&str]) -> Example {
        let mut command = Command::new(directory().join(name));
        command.args(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (sender, lines) = mpsc::channel();
        read_lines(child.stdout.take().unwrap(), "", sender.clone());
        read_lines(child.stderr.take().unwrap(), "! ", sender);
        let input = child.stdin.take();
        Example { child, input, lines, skipped: Vec::new() }
    }

    /// Waits for a line that begins with `start`, and returns the rest of it. The lines before it
    /// can still be read.
    #[track_caller]
    fn line(&mut self, start: &str) -> String {
        if let Some(index) = self.skipped.iter().position(|line| line.starts_with(start)) {
            return self.skipped.remove(index)[start.len()..].to_owned();
        }
        while let Ok(line) = self.lines.recv_timeout(DEADLINE) {
            match line.strip_prefix(start) {
                Some(rest) => return rest.to_owned(),
                None => self.skipped.push(line),
            }
        }
        panic!("there is no line `{start}` after {:?}", self.skipped)
    }

    /// Writes a line to the standard input.
    fn input(&mut self, line: &str) {
        let input = self.input.as_mut().unwrap();
        input.write_all(format!("{line}\n").as_bytes()).unwrap();
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for the end. Returns the status, and the lines that were not read.
    #[track_caller]
    fn end(mut self) -> (ExitStatus, Vec<String>) {
        self.input = None;
        let mut lines = std::mem::take(&mut self.skipped);
        loop {
            match self.lines.recv_timeout(DEADLINE) {
                Ok(line) => lines.push(line),
                Err(mpsc::RecvTimeoutError::Disconnected) => break,
                Err(mpsc::RecvTimeoutError::Timeout) => panic!("it does not end: {lines:?}"),
            }
        }
        (self.child.wait().unwrap(), lines)
    }

    /// Waits for the end, which must be a success.
    #[track_caller]
    fn success(self) -> Vec<String> {
        let (status, lines) = self.end();
        assert!(status.success(), "{status}: {lines:?}");
        assert!(!lines.iter().any(|line| line.starts_with('!')), "{lines:?}");
        lines
    }
}

impl Drop for Example {
    fn drop(&mut self) {
        // Has no effect if the process has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn read_lines(output: impl Read + Send + 'static, mark: &'static str, to: mpsc::Sender<String>) {
    thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            if to.send(format!("{mark}{line}")).is_err() {
                return;
            }
        }
    });
}

/// A port of this machine that refuses connections while the socket exists, which only binds it.
fn refusing_port() -> (socket2::Socket, u16) {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&"127.0.0.1:0".parse::<std::net::SocketAddr>().unwrap().into()).unwrap();
    let port = socket.local_addr().unwrap().as_socket().unwrap().port();
    (socket, port)
}

#[test]
fn happy_eyeballs_connects_to_the_first_address_that_answers() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (_refusing, port) = refusing_port();
    let refused = format!("127.0.0.1:{port}");
    let mut example = Example::start("happy_eyeballs", &[&refused, "no-port", &address]);
    let (mut server, _) = listener.accept().unwrap();
    assert_eq!(example.line("no-port: "), "expected HOST:PORT");
    assert!(example.line(&format!("failed to connect to {refused}: ")).contains("refused"));
    assert_eq!(example.line("connected to "), address);
    server.write_all(b"welcome\n").unwrap();
    drop(server);
    assert_eq!(example.success(), ["welcome"]);
}

#[test]
fn happy_eyeballs_fails_if_no_address_answers() {
    let (_refusing, port) = refusing_port();
    let refused = format!("127.0.0.1:{port}");
    for (argument, text) in [(refused.as_str(), "refused"), ("no-port", "no address")] {
        let (status, lines) = Example::start("happy_eyeballs", &[argument]).end();
        assert_eq!(status.code(), Some(1), "{lines:?}");
        assert!(lines.iter().any(|line| line.starts_with("! Error: ")), "{lines:?}");
        assert!(lines.iter().any(|line| line.contains(text)), "{lines:?}");
    }
}

#[test]
fn the_supervisor_restarts_a_command_that_fails_until_it_succeeds() {
    let file = env::temp_dir().join(format!("matou-supervisor-{}", std::process::id()));
    let file = file.to_str().unwrap();
    let fails_once = format!("test -e {file} && rm {file} || {{ touch {file}; exit 3; }}");
    let example = Example::start("supervisor", &["echo once", &fails_once]);
    let (status, mut lines) = example.end();
    assert!(status.success(), "{lines:?}");
    lines.sort();
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines[0].starts_with("! task #"), "{lines:?}");
    assert!(lines[0].ends_with("exit status: 3; next start in 10ms"), "{lines:?}");
    assert_eq!(lines[1], "once");
}

#[test]
fn the_supervisor_gives_up_a_command_that_fails_too_often_and_ends_the_others() {
    let other = "trap 'echo ended; exit' TERM; echo started; while :; do sleep 0.01; done";
    let mut example = Example::start("supervisor", &[other, "exit 7"]);
    example.line("started");
    let (status, lines) = example.end();
    assert_eq!(status.code(), Some(1), "{lines:?}");
    // The trap runs before the supervisor ends, because it waits for each process.
    assert!(lines.iter().any(|line| line == "ended"), "{lines:?}");
    let pauses = lines.iter().filter_map(|line| line.split_once("next start in "));
    let pauses: Vec<_> = pauses.map(|(_, pause)| pause).collect();
    assert_eq!(pauses, ["10ms", "20ms", "40ms", "80ms", "160ms"]);
    assert!(lines.iter().any(|line| line.contains("gave up `exit 7` after 5 restarts")));
}

#[test]
fn the_supervisor_ends_its_commands_at_sigterm() {
    let mut example = Example::start("supervisor", &["echo $$; exec sleep 1000"]);
    let process = Pid::from_raw(example.line("").parse().unwrap()).unwrap();
    example.signal(Signal::TERM);
    let (status, lines) = example.end();
    assert!(status.success(), "{lines:?}");
    assert_eq!(lines, ["! Terminate: ending the commands"]);
    assert!(rustix::process::test_kill_process(process).is_err(), "the process is left");
}

#[test]
fn the_job_queue_completes_all_jobs_before_its_end() {
    let file = env::temp_dir().join(format!("matou-job-queue-{}", std::process::id()));
    let mut example = Example::start("job_queue", &[]);
    std::fs::write(&file, "purr").unwrap();
    example.input(&format!("hash {}", file.display()));
    assert_eq!(example.line("job 1: "), "6c7c070e275e6392");
    // The first attempt fails.
    example.input(&format!("run test ! -e {0} || {{ rm {0}; exit 4; }}", file.display()));
    assert_eq!(example.line("job 2: "), "exit status: 4; again in 20ms");
    assert_eq!(example.line("job 2: "), "");
    example.input("run exit 3");
    for pause in ["20ms", "80ms"] {
        assert_eq!(example.line("job 3: "), format!("exit status: 3; again in {pause}"));
    }
    example.input("run echo last");
    let (status, lines) = example.end();
    assert_eq!(status.code(), Some(1), "{lines:?}");
    assert!(lines.iter().any(|line| line == "job 4: last"), "{lines:?}");
    assert_eq!(lines.iter().filter(|line| line.starts_with("job 3 failed: ")).count(), 1);
    assert_eq!(lines.iter().filter(|line| line.ends_with("1 jobs failed")).count(), 1);
}

#[test]
fn a_job_that_misses_its_deadline_is_ended_with_its_process() {
    let mut example = Example::start("job_queue", &["50"]);
    example.input("run sleep 1000");
    assert_eq!(example.line("job 1 failed: "), "deadline has elapsed");
    assert_eq!(example.end().0.code(), Some(1));
}

#[test]
fn the_job_queue_completes_what_has_begun_at_sigterm_and_names_the_rest() {
    let path = env::temp_dir().join(format!("matou-job-queue-{}-go", std::process::id()));
    let mut example = Example::start("job_queue", &["60000"]);
    for _ in 0..2 {
        let path = path.display();
        example.input(&format!("run until test -e {path}; do sleep 0.01; done; echo done"));
    }
    for job in 1..=2 {
        assert_eq!(example.line(&format!("job {job} ")), "begins");
    }
    example.input("run echo never");
    example.input("");
    assert!(example.line("1 jobs wait").contains("`run COMMAND`"));
    example.signal(Signal::TERM);
    example.line("Terminate: no further jobs");
    assert_eq!(example.line("job 3 "), "was not begun");
    std::fs::write(&path, "").unwrap();
    let mut lines = example.success();
    std::fs::remove_file(path).unwrap();
    lines.sort();
    assert_eq!(lines, ["job 1: done", "job 2: done"]);
}

/// A client of the chat, over either kind of socket.
struct Member<S> {
    stream: BufReader<S>,
}

impl<S: Read + Write> Member<S> {
    fn join(stream: S, name: &str) -> Member<S> {
        let mut member = Member { stream: BufReader::new(stream) };
        member.say(name);
        member.receives(&format!("* {name} joined"));
        member
    }

    fn say(&mut self, line: &str) {
        // By one system call: a second one would wait for the acknowledgement of the first.
        self.stream.get_mut().write_all(format!("{line}\n").as_bytes()).unwrap();
    }

    /// Reads one line.
    fn line(&mut self) -> String {
        let mut line = String::new();
        self.stream.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    #[track_caller]
    fn receives(&mut self, line: &str) {
        assert_eq!(self.line(), line);
    }
}

/// Starts the chat. Returns its two addresses, too.
fn chat(test: &str) -> (Example, String, String) {
    let path = env::temp_dir().join(format!("matou-chat-{}-{test}", std::process::id()));
    let mut example = Example::start("chat", &["127.0.0.1:0", path.to_str().unwrap()]);
    let line = example.line("listening on ");
    let (address, path) = line.split_once(" and ").unwrap();
    (example, address.to_owned(), path.to_owned())
}

fn unix(path: &str) -> UnixStream {
    let stream = UnixStream::connect(path).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.set_write_timeout(Some(DEADLINE)).unwrap();
    stream
}

#[test]
fn members_of_the_chat_talk_over_both_kinds_of_sockets_until_the_server_ends() {
    let (example, address, path) = chat("talk");
    let mut anna = Member::join(connect(address.parse().unwrap()), "anna");
    let mut bob = Member::join(unix(&path), "bob");
    anna.receives("* bob joined");
    bob.say("miaow");
    anna.receives("bob: miaow");
    anna.say("purr\r");
    for line in ["bob: miaow", "anna: purr"] {
        bob.receives(line);
    }
    anna.receives("anna: purr");
    let mut second = connect(address.parse().unwrap());
    second.write_all(b"anna\n").unwrap();
    let mut refused = String::new();
    second.read_to_string(&mut refused).unwrap();
    assert_eq!(refused, "* choose another name\n");
    drop(second);
    // A client without a name does not hold up the end.
    let mut unnamed = connect(address.parse().unwrap());
    drop(bob);
    anna.receives("* bob left");
    example.signal(Signal::TERM);
    anna.receives("* the server shuts down");
    anna.receives("");
    drop(anna);
    assert_eq!(unnamed.read(&mut [0]).unwrap_or(0), 0);
    assert_eq!(example.success(), [""; 0]);
    assert!(!PathBuf::from(path).exists(), "the file of the socket is left");
}

#[test]
fn a_member_of_the_chat_that_reads_nothing_is_cut_off() {
    let (mut example, address, path) = chat("slow");
    let mut slow = Member::join(unix(&path), "slow");
    let mut anna = Member::join(connect(address.parse().unwrap()), "anna");
    let line = "x".repeat(900);
    // The sender reads each line, too, so she is not slow. A megabyte fills all buffers.
    let answers = (0..2000).map(|_| {
        anna.say(&line);
        anna.line()
    });
    let other = answers.into_iter().find(|answer| !answer.starts_with("anna: "));
    assert_eq!(other.as_deref(), Some("* slow left"));
    assert_eq!(example.line("slow "), "is too slow");
    while slow.stream.read_line(&mut String::new()).is_ok_and(|count| count > 0) {}
    example.signal(Signal::INT);
    assert!(example.end().0.success());
}

#[test]
fn the_driver_on_poll_carries_an_echo_server() {
    let mut example = Example::start("poll_driver", &["127.0.0.1:0"]);
    let address = example.line("listening on ").parse().unwrap();
    let clients: Vec<_> = (0..4).map(|_| connect(address)).collect();
    let threads = clients.into_iter().enumerate().map(|(seed, mut client)| {
        thread::spawn(move || -> io::Result<()> {
            let (sent, mut received) = (pattern(seed, 300_000), Vec::new());
            let mut writer = client.try_clone()?;
            let bytes = sent.clone();
            let writing = thread::spawn(move || -> io::Result<TcpStream> {
                writer.write_all(&bytes)?;
                writer.shutdown(std::net::Shutdown::Write)?;
                Ok(writer)
            });
            client.read_to_end(&mut received)?;
            writing.join().expect("no panic")?;
            assert!(received == sent, "bytes came back changed");
            Ok(())
        })
    });
    for thread in threads.collect::<Vec<_>>() {
        thread.join().unwrap().unwrap();
    }
    example.signal(Signal::TERM);
    assert_eq!(example.success(), [""; 0]);
}
