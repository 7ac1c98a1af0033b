//! The command line: its effects, its output and its errors.

use std::net::TcpListener;
use std::process::Command;

use crate::process::{Server, connect, echo, exchange, finish, run};

#[test]
fn the_version_is_printed() {
    let exit = run(&mut echo(&["--version"]));
    assert!(exit.status.success());
    assert_eq!(exit.out, [concat!("echo ", env!("CARGO_PKG_VERSION"))]);
}

#[test]
fn invalid_arguments_exit_with_status_2() {
    for arguments in [
        ["--listen", "nowhere"],
        ["--listen", "127.0.0.1"],
        ["--listen", "127.0.0.1:65536"],
        ["--domains", "0"],
        ["--domains", "1025"],
        ["--max-clients", "0"],
        ["--idle-timeout", "0s"],
        ["--write-timeout", "30"],
        ["--drain-timeout", "soon"],
        ["--log", "loud"],
        ["--no-such-thing", "1"],
    ] {
        let exit = run(&mut echo(&arguments));
        assert_eq!(exit.status.code(), Some(2), "{arguments:?}: {exit:?}");
        assert!(exit.err.starts_with("error: "), "{exit:?}");
        assert!(exit.err.contains(arguments[0]), "{exit:?}");
        assert_eq!(exit.out, [""; 0]);
    }
}

#[test]
fn a_port_in_use_is_reported_in_one_line() {
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = holder.local_addr().unwrap().to_string();
    for domains in ["1", "3"] {
        let exit = run(&mut echo(&["--listen", &address, "--domains", domains]));
        let line = exit.startup_error();
        assert!(line.starts_with(&format!("failed to bind {address}: ")), "{line}");
    }
}

#[test]
fn a_second_server_does_not_share_the_port_of_the_first() {
    let first = Server::start(&["--domains", "3"]);
    let address = first.address.to_string();
    for domains in ["1", "3"] {
        let exit = run(&mut echo(&["--listen", &address, "--domains", domains]));
        assert!(exit.startup_error().contains(&address), "{exit:?}");
    }
    // The first server is not affected.
    let mut stream = first.connect();
    exchange(&mut stream, b"still here").unwrap();
    drop(stream);
    assert_eq!(first.interrupt().served(), (1, 10));
}

#[test]
fn a_stopped_server_frees_its_port_immediately() {
    let first = Server::start(&[]);
    let address = first.address;
    let mut stream = first.connect();
    exchange(&mut stream, b"x").unwrap();
    // The server closes the connection first, so the system keeps it in `TIME_WAIT`.
    let waiting = std::thread::spawn(move || crate::process::is_disconnected(&mut stream));
    let mut command = echo(&["--listen", &address.to_string()]);
    first.signal(rustix::process::Signal::INT);
    assert!(waiting.join().unwrap());
    first.wait().served();
    let second = Server::spawn(std::mem::replace(&mut command, Command::new("true")));
    assert_eq!(second.address, address);
    second.interrupt().served();
}

#[test]
fn an_address_of_another_host_is_reported_in_one_line() {
    let exit = run(&mut echo(&["--listen", "192.0.2.1:3000"]));
    let line = exit.startup_error();
    assert!(line.starts_with("failed to bind 192.0.2.1:3000: "), "{line}");
}

#[test]
fn too_few_descriptors_are_reported_in_one_line() {
    let shell = |limit: &str, arguments: &str| {
        let echo = env!("CARGO_BIN_EXE_echo");
        let script = format!("ulimit -n {limit} && exec {echo} --listen 127.0.0.1:0 {arguments}");
        let mut command = Command::new("sh");
        command.args(["-c", &script]);
        command
    };
    for (limit, arguments) in
        [("20", ""), ("64", "--domains 2 --max-clients 64"), ("64", "--domains 30")]
    {
        let exit = run(&mut shell(limit, arguments));
        let line = exit.startup_error();
        assert!(line.contains("too few descriptors"), "{line}");
        assert!(line.contains(limit), "{line}");
    }
    // Enough descriptors for a few clients at a time.
    let server = Server::spawn(shell("64", "--domains 2"));
    for _ in 0..100 {
        let mut stream = server.connect();
        exchange(&mut stream, b"few").unwrap();
        finish(stream);
    }
    assert_eq!(server.interrupt().served(), (100, 300));
}

#[test]
fn several_addresses_are_served_concurrently() {
    for domains in ["1", "2"] {
        let arguments = ["--listen", "127.0.0.1:0", "--listen", "[::1]:0"];
        let mut server = Server::start(&[&arguments[..], &["--domains", domains]].concat());
        let addresses = [server.address, server.next_address(), server.next_address()];
        assert!(addresses[2].is_ipv6());
        let mut streams = addresses.map(connect);
        for (seed, stream) in streams.iter_mut().enumerate() {
            exchange(stream, &[seed as u8; 100]).unwrap();
        }
        drop(streams);
        assert_eq!(server.interrupt().served(), (3, 300));
    }
}

#[test]
fn a_quiet_server_prints_nothing() {
    let port = {
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        free.local_addr().unwrap()
    };
    let mut command = echo(&["--listen", &port.to_string(), "--quiet"]);
    let mut child = command
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let deadline = std::time::Instant::now() + crate::process::DEADLINE;
    let mut stream = loop {
        match std::net::TcpStream::connect(port) {
            Ok(stream) => break stream,
            Err(error) => assert!(std::time::Instant::now() < deadline, "{error}"),
        }
        std::thread::yield_now();
    };
    exchange(&mut stream, b"hush").unwrap();
    drop(stream);
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert!(child.wait().unwrap().success());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.stdout, output.stderr), (Vec::new(), Vec::new()));
}

#[test]
fn the_log_level_selects_the_lines() {
    for (level, expected) in [
        ("off", [false, false]),
        ("error", [false, false]),
        ("warn", [false, false]),
        ("info", [true, false]),
        ("debug", [true, true]),
    ] {
        let server = Server::start(&["--log", level]);
        let mut stream = server.connect();
        exchange(&mut stream, b"x").unwrap();
        let peer = stream.local_addr().unwrap().to_string();
        finish(stream);
        let exit = server.interrupt();
        exit.served();
        let seen = [exit.err.contains("info: "), exit.err.contains(&peer)];
        assert_eq!(seen, expected, "{level}: {}", exit.err);
    }
}
