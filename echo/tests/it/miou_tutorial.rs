//! The example `miou_tutorial` behaves as the tutorial describes.

use std::env;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;
use std::thread;

use rustix::process::Signal;

use crate::process::{Server, connect, exchange, finish, pattern, run};

/// Builds the example, so that the test never runs an outdated one.
fn program() -> &'static PathBuf {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let profile = env::current_exe().unwrap();
        let profile = profile.ancestors().nth(2).unwrap().to_owned();
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "--quiet", "--package", "matou-echo", "--example", "miou_tutorial"]);
        cargo.arg("--target-dir").arg(profile.parent().unwrap());
        if profile.ends_with("release") {
            cargo.arg("--release");
        }
        assert!(cargo.status().unwrap().success());
        profile.join("examples/miou_tutorial")
    })
}

fn tutorial(arguments: &[&str]) -> Command {
    let mut command = Command::new(program());
    command.args(arguments);
    command
}

#[test]
fn the_server_echoes_and_exits_with_status_0() {
    for domains in ["1", "2", "4"] {
        let server = Server::spawn(tutorial(&["127.0.0.1:0", "--domains", domains]));
        let address = server.address;
        let threads: Vec<_> = (0..20)
            .map(|seed| {
                thread::spawn(move || {
                    for round in 0..10 {
                        let mut stream = connect(address);
                        exchange(&mut stream, &pattern(seed + round, 1000)).unwrap();
                        finish(stream);
                    }
                })
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
        let exit = server.interrupt();
        assert!(exit.status.success(), "{exit:?}");
        assert_eq!(exit.err, "");
        let new = |line: &&String| line.starts_with("new client: 127.0.0.1:");
        assert_eq!(exit.out.iter().filter(new).count(), 200);
    }
}

#[test]
fn clients_may_finish_after_the_signal() {
    for domains in ["1", "2"] {
        let server = Server::spawn(tutorial(&["127.0.0.1:0", domains]));
        let mut streams: Vec<_> = (0..10).map(|_| server.connect()).collect();
        for stream in &mut streams {
            exchange(stream, b"before").unwrap();
        }
        server.signal(Signal::INT);
        for mut stream in streams {
            exchange(&mut stream, b"after").unwrap();
            finish(stream);
        }
        let exit = server.wait();
        assert!(exit.status.success(), "{exit:?}");
        assert_eq!(exit.err, "");
    }
}

#[test]
fn a_signal_between_two_accepts_is_not_lost() {
    // The signal must not be lost if it arrives right after an accept, while the server waits for
    // neither event. Therefore it is sent during many accepts, in many runs.
    for round in 0..20 {
        let server = Server::spawn(tutorial(&["127.0.0.1:0", "2"]));
        let address = server.address;
        let client = thread::spawn(move || {
            let mut accepted = 0;
            while let Ok(stream) = std::net::TcpStream::connect(address) {
                drop(stream);
                accepted += 1;
            }
            accepted
        });
        thread::sleep(std::time::Duration::from_millis(round % 7));
        let exit = server.interrupt();
        assert!(exit.status.success(), "{exit:?}");
        client.join().unwrap();
    }
}

#[test]
fn a_port_in_use_and_a_bad_address_are_errors() {
    let holder = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = holder.local_addr().unwrap().to_string();
    for arguments in [&[address.as_str()][..], &["nowhere"], &["127.0.0.1:0", "-3"]] {
        let exit = run(&mut tutorial(arguments));
        assert!(!exit.startup_error().is_empty());
    }
}
