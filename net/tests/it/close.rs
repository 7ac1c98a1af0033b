//! Every descriptor is closed exactly once, however its owner ends.

use std::cell::Cell;
use std::future::pending;
use std::io;
use std::rc::Rc;
use std::sync::Arc;

use matou_net::{TcpListener, TcpStream};
use matou_runtime::{RunError, TaskError, call, spawn, try_spawn, yield_now};

use crate::support::*;

/// Runs a child that creates two sockets and passes them to `end`, and asserts that both are closed
/// when the child has been joined.
#[track_caller]
fn open_then<F>(end: impl FnOnce(TcpStream, TcpStream) -> F + 'static) -> Result<(), RunError>
where
    F: Future<Output = Result<()>> + 'static,
{
    let (result, left) = count_on(1, async move {
        let before = descriptors();
        let child = try_spawn(async move {
            let (client, server) = pair().await?;
            end(client, server).await
        });
        // The child runs, creates its sockets, and waits or completes.
        for _ in 0..8 {
            yield_now().await;
        }
        let outcome: Result<_, TaskError<_>> = child.await;
        assert_eq!(descriptors(), before, "after the join");
        outcome.map_err(|error| error.to_string())?;
        Ok(())
    });
    assert_eq!(left, 0);
    result
}

#[test]
fn a_return_closes() {
    open_then(|client, server| async {
        drop((client, server));
        Ok(())
    })
    .unwrap();
}

#[test]
fn a_close_closes() {
    open_then(|client, server| async {
        client.close();
        server.close();
        Ok(())
    })
    .unwrap();
}

#[test]
fn an_error_closes() {
    let error = open_then(|client, server| async {
        let _open = (client, server);
        Err("intended".into())
    });
    assert!(error.unwrap_err().to_string().contains("intended"));
}

#[test]
fn a_panic_closes() {
    let error = open_then(|client, server| async {
        let _open = (client, server);
        panic!("intended")
    });
    assert!(error.unwrap_err().to_string().contains("intended"));
}

#[test]
fn a_panic_closes_leaked_handles() {
    let error = open_then(|client, server| async {
        leak((client, server));
        panic!("intended")
    });
    assert!(error.unwrap_err().to_string().contains("intended"));
}

#[test]
fn a_leak_closes() {
    let error = open_then(|client, server| async {
        leak((client, server));
        Ok(())
    });
    assert!(matches!(error, Err(RunError::Violated(_))));
}

#[test]
fn a_handle_in_a_reference_cycle_is_closed_with_its_owner() {
    struct Cycle {
        _stream: TcpStream,
        _next: Cell<Option<Rc<Cycle>>>,
    }
    let error = open_then(|client, server| async {
        drop(client);
        let cycle = Rc::new(Cycle { _stream: server, _next: Cell::new(None) });
        cycle._next.set(Some(Rc::clone(&cycle)));
        // The leak detector must not report this cycle.
        leak(Rc::as_ptr(&cycle));
        Ok(())
    });
    assert!(matches!(error, Err(RunError::Violated(_))));
}

/// Cancels a child that waits with open sockets, and asserts that they are closed immediately
/// afterwards.
#[track_caller]
fn cancel_in<F>(wait: impl FnOnce(TcpStream, TcpStream) -> F + Send + 'static, domains: usize)
where
    F: Future<Output = io::Result<()>> + 'static,
{
    let (result, left) = count_on(domains, async move {
        let before = descriptors();
        let waiting = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let notify = Arc::clone(&waiting);
        let body = move || async move {
            let (client, server) = pair().await?;
            notify.store(true, std::sync::atomic::Ordering::SeqCst);
            wait(client, server).await
        };
        let child = if domains == 1 { spawn(body()) } else { call(body)? };
        wait_until(|| waiting.load(std::sync::atomic::Ordering::SeqCst)).await;
        assert!(descriptors() >= before + 2);
        assert!(child.cancel().await.is_none());
        assert_eq!(descriptors(), before, "after the cancellation");
        Ok(())
    });
    result.unwrap();
    assert_eq!(left, 0);
}

#[test]
fn o2_a_cancelled_read_closes() {
    for domains in [1, 3] {
        cancel_in(
            |client, mut server| async move {
                let _open = client;
                server.read(&mut [0]).await.map(drop)
            },
            domains,
        );
    }
}

#[test]
fn a_cancelled_write_closes() {
    for domains in [1, 3] {
        cancel_in(
            |client, mut server| async move {
                let _open = client;
                server.write_all(&vec![0; 64 << 20]).await
            },
            domains,
        );
    }
}

#[test]
fn r15_a_cancelled_accept_closes() {
    for domains in [1, 3] {
        cancel_in(
            |client, server| async move {
                let _open = (client, server);
                let mut listener = TcpListener::bind(any_v4())?;
                listener.accept().await.map(drop)
            },
            domains,
        );
    }
}

#[test]
fn a_cancelled_connect_closes() {
    cancel_in(
        |client, server| async move {
            let _open = (client, server);
            let full = crate::connect::FullListener::new();
            TcpStream::connect(full.address).await.map(drop)
        },
        1,
    );
}

#[test]
fn a_violation_on_another_domain_closes() {
    let (result, left) = count_on(2, async {
        let waiter = call(|| async {
            let (_client, mut server) = pair().await?;
            server.read(&mut [0]).await
        })?;
        let (_client, _server) = pair().await?;
        let culprit = spawn(async { drop(spawn(pending::<()>())) });
        culprit.await?;
        waiter.await??;
        Ok(())
    });
    assert!(matches!(result, Err(RunError::Violated(_))));
    assert_eq!(left, 0);
}

/// A value that keeps the memory of a run alive (a waker, the signal thread, or, as here, a
/// promise) does not keep its descriptors open.
#[test]
fn a_leaked_promise_keeps_no_descriptor() {
    let (result, left) = count_on(2, async {
        leak(spawn(async {}));
        Ok(())
    });
    assert!(matches!(result, Err(RunError::Violated(_))));
    assert_eq!(left, 0);
}

#[test]
fn a_stream_of_a_task_that_never_started_is_closed() {
    let (result, left) = count_on(2, async {
        let before = descriptors();
        let (client, server) = pair().await?;
        let here = spawn(async move { drop(client) });
        let there = call(move || async move { drop(server) })?;
        here.cancel().await;
        there.cancel().await;
        assert_eq!(descriptors(), before);
        Ok(())
    });
    result.unwrap();
    assert_eq!(left, 0);
}

#[test]
fn x7_a_hundred_runs_leak_no_descriptor() {
    let _exclusive = exclusive();
    let before = descriptors();
    for _ in 0..100 {
        let builder = strict().domains(2);
        bounded(builder, async {
            let (mut client, mut server) = pair().await?;
            let child = try_spawn(async move {
                let mut byte = [0];
                server.read(&mut byte).await?;
                server.write_all(&byte).await
            });
            client.write_all(b"x").await?;
            assert_eq!(client.read(&mut [0]).await?, 1);
            child.await?;
            Ok(())
        })
        .unwrap();
    }
    assert_eq!(descriptors(), before);
}
