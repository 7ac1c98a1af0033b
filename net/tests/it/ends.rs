//! Is every descriptor closed, and closed once, however its owner ends?

use std::cell::Cell;
use std::future::pending;
use std::io;
use std::rc::Rc;
use std::sync::Arc;

use matou_net::{TcpListener, TcpStream};
use matou_runtime::{RunError, TaskError, call, spawn, try_spawn, yield_now};

use crate::doubles::*;

/// Two sockets in a child that ends as `end` says; afterwards none of them is open.
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
        // It runs, opens, and waits (or is over).
        for _ in 0..8 {
            yield_now().await;
        }
        let outcome: Result<_, TaskError<_>> = child.await;
        assert_eq!(descriptors(), before, "before the parent goes on");
        outcome.map_err(|error| error.to_string())?;
        Ok(())
    });
    assert_eq!(left, 0);
    result
}

#[test]
fn a_normal_end_closes() {
    open_then(|client, server| async {
        drop((client, server));
        Ok(())
    })
    .unwrap();
}

#[test]
fn an_explicit_close_closes() {
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
        Err("as it happens".into())
    });
    assert!(error.unwrap_err().to_string().contains("as it happens"));
}

#[test]
fn a_panic_closes() {
    let error = open_then(|client, server| async {
        let _open = (client, server);
        panic!("as it happens")
    });
    assert!(error.unwrap_err().to_string().contains("as it happens"));
}

#[test]
fn a_panic_closes_what_was_forgotten_too() {
    let error = open_then(|client, server| async {
        lose((client, server));
        panic!("as it happens")
    });
    assert!(error.unwrap_err().to_string().contains("as it happens"));
}

#[test]
fn a_leak_closes() {
    let error = open_then(|client, server| async {
        lose((client, server));
        Ok(())
    });
    assert!(matches!(error, Err(RunError::Violated(_))));
}

#[test]
fn a_cycle_is_closed_with_its_owner() {
    struct Cycle {
        _stream: TcpStream,
        _next: Cell<Option<Rc<Cycle>>>,
    }
    let error = open_then(|client, server| async {
        drop(client);
        let cycle = Rc::new(Cycle { _stream: server, _next: Cell::new(None) });
        cycle._next.set(Some(Rc::clone(&cycle)));
        // Only that the leak detector does not take the cycle for a fault of ours.
        lose(Rc::as_ptr(&cycle));
        Ok(())
    });
    assert!(matches!(error, Err(RunError::Violated(_))));
}

/// Cancels a child that waits with open sockets, and looks right behind that.
#[track_caller]
fn cancel_in<F>(wait: impl FnOnce(TcpStream, TcpStream) -> F + Send + 'static, domains: usize)
where
    F: Future<Output = io::Result<()>> + 'static,
{
    let (result, left) = count_on(domains, async move {
        let before = descriptors();
        let waiting = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let told = Arc::clone(&waiting);
        let body = move || async move {
            let (client, server) = pair().await?;
            told.store(true, std::sync::atomic::Ordering::SeqCst);
            wait(client, server).await
        };
        let child = if domains == 1 { spawn(body()) } else { call(body)? };
        until(|| waiting.load(std::sync::atomic::Ordering::SeqCst)).await;
        assert!(descriptors() >= before + 2);
        assert!(child.cancel().await.is_none());
        assert_eq!(descriptors(), before, "when the cancellation is over");
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
            let mute = crate::connect::Mute::new();
            TcpStream::connect(mute.address).await.map(drop)
        },
        1,
    );
}

#[test]
fn a_violation_elsewhere_closes() {
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

/// What keeps a run's memory must not keep its descriptors: a waker, the thread that watches for
/// signals, or, as here, a promise.
#[test]
fn a_leaked_promise_keeps_no_descriptor() {
    let (result, left) = count_on(2, async {
        lose(spawn(async {}));
        Ok(())
    });
    assert!(matches!(result, Err(RunError::Violated(_))));
    assert_eq!(left, 0);
}

#[test]
fn a_stream_whose_task_never_began_is_closed() {
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
fn x7_a_hundred_runs_leave_nothing() {
    let _alone = alone();
    let before = descriptors();
    for _ in 0..100 {
        let builder = matou_runtime::Builder::new().domains(2);
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
