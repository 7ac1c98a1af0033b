//! Ctrl-C during a load test: the load stops, the server shuts down, the partial result is printed,
//! and the exit code is 130.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

/// Echoes to all clients until the test process ends. Returns the port.
fn start_echo() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    let port = listener.local_addr().expect("it is bound").port();
    let echo = |mut stream: TcpStream| {
        let mut buffer = [0; 4_096];
        while let Ok(n @ 1..) = stream.read(&mut buffer) {
            if stream.write_all(&buffer[..n]).is_err() {
                return;
            }
        }
    };
    thread::spawn(move || {
        listener.incoming().flatten().for_each(|stream| {
            thread::spawn(move || echo(stream));
        });
    });
    port
}

/// Starts a load test whose server process is a shell: it announces the port of the threads above,
/// prints its process id to standard error, and runs `on_term` on SIGTERM.
fn start_load_test(folder: &std::path::Path, on_term: &str) -> Child {
    let port = start_echo();
    let script = format!(
        "trap '{on_term}' TERM; echo $$ >&3; echo listening on 127.0.0.1:{port};
         while :; do sleep 0.01; done"
    );
    // The descriptor 3 is this test's pipe; the load test's pipes are read by the load test.
    let mut command = Command::new("sh");
    let load_test = env!("CARGO_BIN_EXE_matou-loadgen");
    let arguments = "--pattern pingpong --clients 4 --seconds 60 --drain-timeout 100ms";
    command
        .args(["-c", &format!("exec {load_test} {arguments} --server sh -- -c \"$SCRIPT\" 3>&2")]);
    command.env("SCRIPT", script).env("TMPDIR", folder).current_dir(folder);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().expect("there is a shell")
}

/// Interrupts a load test under load. Returns its exit code and its output.
fn interrupt(on_term: &str, name: &str) -> (Option<i32>, String) {
    let folder = std::env::temp_dir().join(format!("loadgen-{name}-{}", std::process::id()));
    std::fs::create_dir(&folder).expect("the folder is new");
    let mut test = start_load_test(&folder, on_term);
    let mut lines = BufReader::new(test.stderr.take().expect("it is piped")).lines();
    let line = lines.next().expect("the server prints its id").expect("it is text");
    let server: i32 = line.parse().unwrap_or_else(|_| panic!("no process id: {line}"));
    thread::sleep(Duration::from_millis(300));
    kill_process(Pid::from_child(&test), Signal::INT).expect("the load test runs");
    let mut output = String::new();
    test.stdout.take().expect("it is piped").read_to_string(&mut output).expect("it is text");
    let status = test.wait().expect("it is a child");
    assert!(!std::path::Path::new(&format!("/proc/{server}")).exists(), "the server runs");
    // Fails unless the folder is empty.
    std::fs::remove_dir(&folder).expect("no file is left");
    (status.code(), output)
}

#[test]
fn ctrl_c_shuts_the_server_down_and_prints_the_partial_result() {
    let (code, output) = interrupt("echo bye; exit 0", "graceful");
    assert_eq!(code, Some(130), "{output}");
    assert!(output.contains("4 clients"), "{output}");
    assert!(output.contains("server end") && output.contains("exit status: 0"), "{output}");
    let messages = output.lines().find_map(|line| line.strip_prefix("messages"));
    let count = messages.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    assert!(count > Some(0), "{output}");
}

#[test]
fn ctrl_c_kills_a_server_that_does_not_shut_down() {
    let (code, output) = interrupt(":", "stubborn");
    assert_eq!(code, Some(130), "{output}");
    assert!(output.contains("signal: 9"), "{output}");
}
