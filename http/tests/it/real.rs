//! Real sockets.

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use http::Response;
use hyper::rt::Write;
use matou_http::runtime::{
    Builder, MainError, domain_count, live_tasks, run, spawn, try_spawn, yield_now,
};
use matou_http::{HyperIo, serve, serve_on_all, service_fn};
use matou_net::{TcpListener, TcpStream, UnixListener, UnixStream};

use crate::support::{Client, start, text};

#[test]
fn clients_that_reset_at_any_moment_disturb_no_other() {
    run(async {
        let service = service_fn(|_| async {
            let (a, b) = (spawn(yield_now()), spawn(yield_now()));
            a.await.unwrap();
            b.await.unwrap();
            text("purr".repeat(500))
        });
        let server = start(service, |server| server);
        let mut sentinel = server.connect().await;
        for round in 0..200_usize {
            let mut client = server.connect().await;
            client.stream.set_linger(Some(Duration::ZERO))?;
            let request = "GET / HTTP/1.1\r\nhost: test\r\n\r\n".repeat(2);
            let bytes = &request.as_bytes()[..request.len() * (round % 5) / 4];
            client.stream.write_all(bytes).await?;
            for _ in 0..round % 7 {
                yield_now().await;
            }
            drop(client);
            assert_eq!(sentinel.get("/").await.0, 200);
        }
        drop(sentinel);
        assert!(server.stop().await.is_empty());
        assert_eq!(live_tasks(), 1);
        Ok::<_, MainError>(())
    })
    .unwrap();
}

#[test]
fn a_stream_that_is_shut_down_stays_ready() {
    run(async {
        let mut listener = TcpListener::bind("127.0.0.1:0")?;
        for is_reset in [false, true] {
            let mut client = TcpStream::connect(listener.local_addr()?).await?;
            let mut io = HyperIo::new(listener.accept().await?.0);
            if is_reset {
                client.set_linger(Some(Duration::ZERO))?;
                drop(client);
            }
            poll_fn(|cx| Pin::new(&mut io).poll_shutdown(cx)).await?;
            let mut cx = Context::from_waker(Waker::noop());
            for _ in 0..10 {
                assert!(matches!(Pin::new(&mut io).poll_flush(&mut cx), Poll::Ready(Ok(()))));
                assert!(matches!(Pin::new(&mut io).poll_shutdown(&mut cx), Poll::Ready(Ok(()))));
            }
        }
        Ok::<_, MainError>(())
    })
    .unwrap();
}

#[test]
fn one_server_runs_on_each_domain() {
    Builder::new()
        .domains(2)
        .run(async {
            let options = TcpListener::options();
            let mut listeners = options.listen_many("127.0.0.1:0", domain_count())?;
            let address = listeners[0].local_addr()?;
            let servers = try_spawn(serve_on_all(listeners, |listener| {
                let state = Rc::new("purr");
                let hello = move |_| {
                    let state = Rc::clone(&state);
                    async move { Ok::<_, Infallible>(Response::new(state.to_string())) }
                };
                serve(listener, service_fn(hello))
            }));
            for _ in 0..20 {
                let mut client = Client::new(TcpStream::connect(address).await?);
                assert_eq!(client.get("/").await, (200, "purr".into()));
            }
            servers.cancel().await;
            Ok::<_, MainError>(())
        })
        .unwrap();
}

#[test]
fn a_unix_socket_is_served() {
    let path = std::env::temp_dir().join(format!("matou-http-{}", std::process::id()));
    run(async move {
        let listener = UnixListener::options().remove_on_close(true).listen(&path)?;
        let peer = service_fn(|_| async { text(matou_http::peer_addr().unwrap().to_string()) });
        let mut client = UnixStream::connect(&path).await?;
        let server = try_spawn(std::future::IntoFuture::into_future(serve(listener, peer)));
        client.write_all(b"GET / HTTP/1.0\r\n\r\n").await?;
        let (mut answer, mut buf) = (Vec::new(), [0; 256]);
        while let count @ 1.. = client.read(&mut buf).await? {
            answer.extend_from_slice(&buf[..count]);
        }
        assert!(answer.ends_with(b"\r\n\r\nunix"), "{answer:?}");
        drop(client); // the server waits for that
        server.cancel().await;
        Ok::<_, MainError>(())
    })
    .unwrap();
}
