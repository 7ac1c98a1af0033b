//! The program as a process, used by curl and a WebSocket client, and terminated by a signal.

use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use std::thread;
use std::time::Duration;

use async_tungstenite::client_async;
use async_tungstenite::tungstenite::Message;
use async_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use futures::StreamExt;
use matou_http::net::TcpStream;
use matou_http::runtime::{MainError, run};
use serde_json::Value;

use crate::support::{Service, output};

#[test]
fn requests_in_progress_are_completed_at_a_signal_and_nothing_is_left() {
    let service = Service::start(&[]);
    assert_eq!(service.get("/notes/1", &[]).1, "404");
    let (body, status) = service.get("/notes", &["--data", "the cat purrs"]);
    assert_eq!(status, "201", "{body}");
    let note: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((&note["id"], &note["text"]), (&1.into(), &"the cat purrs".into()));
    let counted = (0..100).any(|_| {
        thread::sleep(Duration::from_millis(20));
        let (body, _) = service.get("/notes/1", &[]);
        serde_json::from_str::<Value>(&body).unwrap()["words"] == 3
    });
    assert!(counted, "the job has counted the words");

    // A watcher, and a request whose body takes about 2 s.
    let address = service.address.clone();
    let watcher = thread::spawn(move || watch(&address));
    let body = "word ".repeat(4_000);
    let file = std::env::temp_dir().join(format!("service-test-{}", std::process::id()));
    std::fs::write(&file, &body).unwrap();
    let data = format!("@{}", file.display());
    let slow = service.curl("/notes", &["--limit-rate", "8k", "--data-binary", &data]);
    thread::sleep(Duration::from_millis(500));
    let (metrics, _) = service.get("/metrics", &[]);
    assert!(metrics.contains("service_live_clients 1\n"), "{metrics}");
    assert!(metrics.contains("service_requests_total{status=\"404\"} 1\n"), "{metrics}");
    service.terminate();
    thread::sleep(Duration::from_millis(200));
    let refused = service.curl("/health", &[]).wait_with_output().unwrap();
    assert_eq!(refused.status.code(), Some(7), "curl could not connect");

    let (answer, status) = output(slow);
    std::fs::remove_file(&file).unwrap();
    assert_eq!(status, "201", "{answer}");
    let note: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!(note["text"], body);
    let code = watcher.join().unwrap();
    assert_eq!(code, CloseCode::Away);
    let (status, rest) = service.wait();
    assert!(status.success(), "{status}: {rest}");
    assert!(rest.starts_with("Terminate: completing"), "{rest}");
    let lines: Vec<_> = rest.lines().collect();
    assert_eq!(lines.len(), 2, "no report, no violation: {rest}");
    assert!(lines[1].starts_with("served ") && !lines[1].contains(" 0 "), "{rest}");
}

/// Watches until the service closes the connection.
fn watch(address: &str) -> CloseCode {
    let address = address.to_owned();
    let code = run(async move {
        let stream = TcpStream::connect(address).await?;
        let (mut socket, _) = client_async("ws://service/live", stream).await?;
        while let Some(message) = socket.next().await {
            if let Message::Close(Some(frame)) = message? {
                return Ok(frame.code);
            }
        }
        Err::<_, MainError>("the service has ended the connection without a close frame".into())
    });
    code.unwrap()
}

#[test]
fn tls_is_spoken_with_both_versions_of_http() {
    let dir = std::env::temp_dir().join(format!("service-tls-{}", std::process::id()));
    std::fs::create_dir(&dir).unwrap();
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let rcgen::CertifiedKey { cert, signing_key } =
        rcgen::generate_simple_self_signed(names).unwrap();
    let (cert_file, key_file) = (dir.join("cert.pem"), dir.join("key.pem"));
    std::fs::write(&cert_file, cert.pem()).unwrap();
    std::fs::write(&key_file, signing_key.serialize_pem()).unwrap();
    let (cert, key) = (cert_file.to_str().unwrap(), key_file.to_str().unwrap());

    let mut service = Service::start(&["--tls-cert", cert, "--tls-key", key]);
    service.scheme = "https";
    for version in ["--http1.1", "--http2"] {
        let (body, status) = service.get("/notes", &[version, "--cacert", cert, "--data", "purr"]);
        assert_eq!(status, "201", "{version}: {body}");
    }
    let (list, _) = service.get("/notes", &["--cacert", cert]);
    assert_eq!(serde_json::from_str::<Vec<Value>>(&list).unwrap().len(), 2);
    let body = "word ".repeat(2000);
    std::fs::write(dir.join("body"), &body).unwrap();
    let data = format!("@{}", dir.join("body").display());
    let args = ["--http2", "--cacert", cert, "--limit-rate", "8k", "--data-binary", &data];
    let slow = service.curl("/notes", &args);
    thread::sleep(Duration::from_millis(500));
    service.terminate();
    assert_eq!(output(slow).1, "201");
    let (status, rest) = service.wait();
    assert!(status.success(), "{rest}");
    std::fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn a_second_signal_ends_the_process_at_once() {
    let service = Service::start(&["--drain-limit", "60", "--request-limit", "60"]);
    // A request whose body does not come.
    let mut stuck = std::net::TcpStream::connect(&service.address).unwrap();
    stuck.write_all(b"POST /notes HTTP/1.1\r\nhost: test\r\ncontent-length: 9\r\n\r\n").unwrap();
    thread::sleep(Duration::from_millis(500));
    service.terminate();
    thread::sleep(Duration::from_millis(500));
    service.terminate();
    let (status, rest) = service.wait();
    assert_eq!(status.signal(), Some(15), "{status}: {rest}");
}

#[test]
fn mistakes_of_the_operator_are_explained() {
    let cases = [
        (&["--domains", "x"][..], "invalid value 'x' for '--domains <DOMAINS>'"),
        (&["--request-limit", "0"], "expected a number of seconds above 0"),
        (&["--database", "postgres://127.0.0.1:1/x"], "Connection refused"),
        (&["--tls-cert", "/nowhere"], "--tls-key <TLS_KEY>"),
        (&["--tls-cert", "/nowhere", "--tls-key", "/nowhere"], "/nowhere: No such file"),
        (&["--workers", "0"], "invalid value '0' for '--workers <WORKERS>'"),
    ];
    for (args, expected) in cases {
        let mut service = Command::new(env!("CARGO_BIN_EXE_service"));
        let output = service.args(["--listen", "127.0.0.1:0"]).args(args).output().unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success(), "{args:?}");
        assert!(text.contains(expected), "{args:?}: {text}");
    }
}
