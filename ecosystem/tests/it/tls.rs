//! TLS by rustls: servers and clients.

use std::io::{self, ErrorKind};
use std::process::Command;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use futures::{AsyncReadExt, AsyncWriteExt};
use matou_http::Limits;
use matou_http::Listener;
use matou_http::net::{TcpListener, TcpStream};
use matou_http::runtime::test::Check;
use matou_http::runtime::{Violations, live_tasks, now, sleep, spawn, try_spawn, yield_now};
use matou_http::tls::{
    ConfigError, TlsConnector, TlsListener, TlsStream, client_config, server_config,
};

use crate::support::{Identity, TestResult, TlsServer, has, output, run_test};

fn router() -> Router {
    Router::new()
        .route("/", get(|| async { "purr" }))
        .route("/big", get(|| async { "purr ".repeat(1_000_000) }))
}

fn connector(identity: &Identity) -> TlsConnector {
    TlsConnector::new(client_config(identity.certificate.as_bytes()).unwrap())
}

/// Runs a test in simulated runs.
fn check<F: Future<Output = TestResult> + 'static>(body: fn() -> F) {
    let check = Check::simulated().repeatable(false).violations(Violations::FailTask);
    check.on_report(|_| {}).run(0..16, body);
}

#[test]
fn texts_without_certificates_or_keys_are_errors_that_say_so() {
    assert!(matches!(client_config(b"purr"), Err(ConfigError::NoCertificate)));
    let broken = b"-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n";
    assert!(matches!(client_config(broken), Err(ConfigError::Pem(_))));
    let wrong = b"-----BEGIN CERTIFICATE-----\ncHVycg==\n-----END CERTIFICATE-----\n";
    assert!(matches!(client_config(wrong), Err(ConfigError::Tls(_))));
    assert!(matches!(server_config(wrong, b""), Err(ConfigError::NoKey)));
}

#[test]
fn curl_reads_over_both_versions_of_http() {
    if !has("curl") {
        return;
    }
    run_test(async {
        let identity = Identity::new();
        let file = identity.file();
        let server = TlsServer::start(&identity, router(), Limits::default());
        for (option, version) in [("--http1.1", "1.1"), ("--http2", "2")] {
            for (path, length) in [("", 4), ("big", 5_000_000)] {
                let mut curl = Command::new("curl");
                curl.args(["--silent", "--show-error", "--max-time", "60", option, "--cacert"]);
                curl.arg(&file.0).args(["--write-out", "\n%{http_version} %{response_code}"]);
                curl.arg(format!("https://localhost:{}/{path}", server.address.port()));
                let out = output(curl, "").await;
                let text = String::from_utf8_lossy(&out.stdout);
                let (body, end) = text.rsplit_once('\n').unwrap_or_default();
                assert_eq!((body.len(), end), (length, &*format!("{version} 200")), "{out:?}");
            }
        }
        assert_eq!(server.stop().await, [""; 0]);
        assert_eq!(live_tasks(), 1);
        Ok(())
    });
}

/// curl reports an error if a body that ends with the connection is not followed by a
/// `close_notify`.
#[test]
fn openssl_sees_the_end_of_the_connection() {
    if !has("openssl") {
        return;
    }
    run_test(async {
        let identity = Identity::new();
        let file = identity.file();
        let server = TlsServer::start(&identity, router(), Limits::default());
        let mut openssl = Command::new("openssl");
        openssl.args(["s_client", "-quiet", "-verify_return_error", "-ign_eof", "-msg"]);
        openssl.arg("-CAfile").arg(&file.0).arg("-connect").arg(server.address.to_string());
        let request = "GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
        let out = output(openssl, request).await;
        let text = String::from_utf8_lossy(&out.stdout);
        assert!(text.contains("HTTP/1.1 200 OK") && text.contains("purr"), "{out:?}");
        assert!(text.contains("warning close_notify"), "{out:?}");
        assert_eq!(server.stop().await, [""; 0]);
        Ok(())
    });
}

#[test]
fn a_client_that_does_not_speak_tls_costs_its_own_connection_only() {
    check(|| async {
        let identity = Identity::new();
        let server = TlsServer::start(&identity, router(), Limits::default());
        let mut plain = TcpStream::connect(server.address).await?;
        plain.write_all(b"GET / HTTP/1.1\r\nhost: test\r\n\r\n").await?;
        let mut rest = Vec::new();
        drop(plain.read_to_end(&mut rest).await);
        let gone = TcpStream::connect(server.address).await?;
        drop(gone);
        assert!(answer(&identity, &server).await?.ends_with("purr"));
        let events = server.stop().await;
        assert_eq!(events.len(), 1, "{events:?}");
        assert!(events[0].contains("has no readable beginning: "), "{events:?}");
        Ok(())
    });
}

#[test]
fn a_silent_handshake_keeps_no_one_waiting_and_is_cut_off() {
    check(|| async {
        let identity = Identity::new();
        let limits = Limits { header_timeout: Duration::from_secs(3), ..Limits::default() };
        let server = TlsServer::start(&identity, router(), limits);
        let begun = now();
        let mut silent = TcpStream::connect(server.address).await?;
        assert!(answer(&identity, &server).await?.ends_with("purr"));
        assert!(now() - begun < Duration::from_secs(3));
        assert_eq!(silent.read(&mut [0]).await.unwrap_or(0), 0);
        let waited = (now() - begun).as_secs_f64();
        assert!((2.9..4.5).contains(&waited), "{waited}");
        server.stop().await;
        Ok(())
    });
}

#[test]
fn a_server_whose_certificate_is_not_trusted_is_refused() {
    check(|| async {
        let identity = Identity::new();
        let server = TlsServer::start(&identity, router(), Limits::default());
        for (identity, name) in [(&Identity::new(), "localhost"), (&identity, "cat.example")] {
            let stream = TcpStream::connect(server.address).await?;
            let error = connector(identity).connect(name, stream).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidData, "{error}");
        }
        let stream = TcpStream::connect(server.address).await?;
        let error = connector(&identity).connect("no name", stream).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        // The server learns why, unless its client has left before.
        let events = server.stop().await;
        assert!(events.iter().all(|event| event.contains("fatal alert")), "{events:?}");
        Ok(())
    });
}

/// Reads `/` from the server.
async fn answer(identity: &Identity, server: &TlsServer) -> io::Result<String> {
    let stream = TcpStream::connect(server.address).await?;
    let mut stream = connector(identity).connect("localhost", stream).await?;
    stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await?;
    stream.flush().await?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await?;
    Ok(text)
}

/// Accepts a connection, completes its handshake, and returns both ends.
async fn pair() -> io::Result<(TlsStream<TcpStream>, TlsStream<TcpStream>)> {
    let identity = Identity::new();
    let mut listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let mut listener = TlsListener::new(listener, identity.server_config());
    let connect = async {
        let stream = TcpStream::connect(address).await?;
        connector(&identity).connect("127.0.0.1", stream).await
    };
    let accept = async {
        let accepted = std::future::poll_fn(|cx| listener.poll_accept(cx)).await;
        let mut stream = accepted?.0;
        stream.handshake().await?;
        Ok::<_, io::Error>(stream)
    };
    let (client, server) = futures::join!(connect, accept);
    Ok((client?, server?))
}

#[test]
fn a_cancelled_task_says_goodbye() {
    check(|| async {
        let (mut client, mut server) = pair().await?;
        let task = spawn(async move {
            server.write_all(b"purr").await.unwrap();
            server.flush().await.unwrap();
            std::future::pending::<()>().await;
        });
        let mut buf = [0; 8];
        assert_eq!(client.read(&mut buf).await?, 4);
        task.cancel().await;
        // The end, rather than an error.
        assert_eq!(client.read(&mut buf).await?, 0);
        Ok(())
    });
}

/// Writes until it is cancelled, or the connection fails.
async fn flood(mut stream: TlsStream<TcpStream>) {
    while stream.write_all(&[b'x'; 1000]).await.is_ok() {}
}

#[test]
fn a_cancelled_task_waits_for_space_to_say_goodbye() {
    check(|| async {
        let second = Duration::from_secs(1);
        let (mut client, server) = pair().await?;
        let task = spawn(flood(server));
        sleep(second).await;
        let read = async {
            sleep(second / 2).await;
            let mut received = Vec::new();
            client.read_to_end(&mut received).await.map(|_| received)
        };
        // The end, rather than an error.
        let received = futures::join!(read, task.cancel()).0?;
        assert!(received.len() > 10_000 && received.iter().all(|byte| *byte == b'x'));

        // A peer that reads nothing is given up.
        let (client, server) = pair().await?;
        let task = spawn(flood(server));
        sleep(second).await;
        let begun = now();
        task.cancel().await;
        assert!(now() - begun < 2 * second, "{:?}", now() - begun);
        drop(client);
        assert_eq!(live_tasks(), 1);
        Ok(())
    });
}

#[test]
fn a_connection_that_is_cut_off_is_an_error() {
    check(|| async {
        let (mut client, server) = pair().await?;
        // The socket is moved out of the stream of TLS, which says nothing then.
        let raw = server.into_socket().expect("the handshake is complete");
        drop(raw);
        let error = client.read(&mut [0; 8]).await.unwrap_err();
        let kinds = [ErrorKind::UnexpectedEof, ErrorKind::ConnectionReset];
        assert!(kinds.contains(&error.kind()), "{error}");
        Ok(())
    });
}

#[test]
fn both_directions_flow_at_once() {
    const LENGTH: usize = 300_000;
    check(|| async {
        let (client, server) = pair().await?;
        assert!(client.session().is_some() && client.protocol().is_none());
        let exchange = |stream: TlsStream<TcpStream>| async move {
            let (mut reader, mut writer) = stream.split();
            let write = async {
                for chunk in vec![7; LENGTH].chunks(10_000) {
                    writer.write_all(chunk).await?;
                    yield_now().await;
                }
                writer.close().await
            };
            let mut received = Vec::new();
            let (written, read) = futures::join!(write, reader.read_to_end(&mut received));
            written.and(read)
        };
        let other = try_spawn(exchange(server));
        assert_eq!(exchange(client).await?, LENGTH);
        assert_eq!(other.await?, LENGTH);
        sleep(Duration::ZERO).await;
        Ok(())
    });
}
