//! Ownership of sockets, and the violations of tasks that use one without owning it.

use std::io::{self, ErrorKind};
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::{AsyncReadExt, AsyncWriteExt};
use matou_net::{TcpListener, TcpStream};
use matou_runtime::{
    Outcome, RunError, Task, Violation, call, spawn, timeout, transfer, try_call, try_spawn,
};

use crate::support::*;

/// Returns the only violation of a run.
#[track_caller]
fn only_violation<T>(result: Result<T, RunError>) -> Violation {
    let Err(error) = result else { panic!("the violation was not reported") };
    let report = error.report().unwrap_or_else(|| panic!("{error}"));
    assert_eq!(report.violations().len(), 1, "{error}");
    report.violations()[0].clone()
}

#[test]
fn a_stream_moved_into_a_child_is_owned_by_the_child() {
    let result = run_on(1, async {
        let (mut client, mut server) = pair().await?;
        client.write_all(b"meow").await?;
        // Any method can be the first use.
        let first = [
            spawn(async move { server.peer_addr().map(|_| server) }),
            spawn(async move { client.local_addr().map(|_| client) }),
        ];
        for child in first {
            // The child returns the stream without a transfer, which is a leak: close it.
            let back: Outcome<_> = child.await;
            drop(back);
        }
        Ok(())
    });
    let Err(RunError::Violated(report)) = result else {
        panic!("a returned stream must be transferred")
    };
    assert_eq!(report.violations()[0].name(), "ResourceLeaked");
}

#[test]
fn a_move_gives_a_stream_to_a_child_and_a_transfer_returns_it() {
    let result = run_on(2, async {
        let (mut client, server) = pair().await?;
        let child = try_call(move || async move {
            let mut server = server;
            server.set_nodelay(true)?;
            assert!(server.nodelay()?);
            transfer(&server).map_err(io::Error::other)?;
            Ok::<_, io::Error>(server)
        })?;
        let mut server = child.await?;
        server.write_all(b"back").await?;
        let mut buf = [0; 8];
        assert_eq!(client.read(&mut buf).await?, 4);
        Ok(())
    });
    result.unwrap();
}

#[test]
fn a_socket_moved_to_another_domain_is_deregistered() {
    let _exclusive = exclusive();
    let (builder, [here, there]) = CountingReactor::builder();
    let result = bounded(builder, async move {
        let mut listener = TcpListener::bind(any_v4())?;
        let mut client = std::net::TcpStream::connect(listener.local_addr()?)?;
        let (mut server, _) = listener.accept().await?;
        // The first wait registers the stream on this domain.
        assert!(timeout(Duration::ZERO, server.read(&mut [0])).await.is_err());
        wait_until(|| here.registered.load(SeqCst) == 1).await;
        let child = try_call(move || async move {
            let mut buf = [0; 8];
            while server.read(&mut buf).await? > 0 {}
            Ok::<_, io::Error>(())
        })?;
        wait_until(|| there.registered.load(SeqCst) == 1).await;
        wait_until(|| here.registered.load(SeqCst) == 0).await;
        io::Write::write_all(&mut client, b"still there?")?;
        drop(client);
        child.await?;
        wait_until(|| here.registered.load(SeqCst) == 0).await;
        Ok(())
    });
    result.unwrap();
}

#[test]
fn a_socket_accepted_for_another_domain_is_never_registered_on_the_first() {
    let _exclusive = exclusive();
    let (builder, [here, there]) = CountingReactor::builder();
    let seen = here.clone();
    let result = bounded(builder, async move {
        let mut listener = TcpListener::bind(any_v4())?;
        let address = listener.local_addr()?;
        let mut children = Vec::new();
        let mut clients = Vec::new();
        for _ in 0..50 {
            clients.push(std::net::TcpStream::connect(address)?);
            let (mut stream, _) = listener.accept().await?;
            children.push(try_call(move || async move {
                while stream.read(&mut [0; 8]).await? > 0 {}
                Ok::<_, io::Error>(())
            })?);
        }
        wait_until(|| there.registered.load(SeqCst) == 50).await;
        drop(clients);
        for child in children {
            child.await?;
        }
        Ok(())
    });
    result.unwrap();
    // The listener is not registered either: each accept found a connection.
    assert_eq!(seen.registered_max.load(SeqCst), 0);
}

#[test]
fn a_shared_stream_is_used_by_the_task_it_is_given_to() {
    let result = run_on(2, async {
        let (mut client, server) = pair().await?;
        let server = Arc::new(server);
        let clone = Arc::clone(&server);
        let child = Task::new().give(&server).try_call(move || async move {
            clone.shared().write_all(b"given").await?;
            (&*clone).write_all(b" twice").await?;
            transfer(&clone).map_err(io::Error::other)?;
            Ok::<_, io::Error>(())
        })?;
        child.await?;
        server.shared().shutdown(std::net::Shutdown::Write)?;
        assert_eq!(read_to_end(&mut client).await?, b"given twice");
        Ok(())
    });
    result.unwrap();
}

#[test]
fn r07_a_task_that_was_not_given_a_shared_stream_cannot_read() {
    let line = line_below(include_str!("owner.rs"), "Read here.");
    let (result, left) = count_on(1, async move {
        let (_client, server) = pair().await?;
        let server = Arc::new(server);
        let clone = Arc::clone(&server);
        let child = spawn(async move {
            // Read here.
            let _ = clone.shared().read(&mut [0; 8]).await;
            unreachable!("the offending task is not resumed")
        });
        child.await?;
        Ok(())
    });
    let Violation::NotOwner { error, .. } = only_violation(result) else {
        panic!("a different violation")
    };
    assert_eq!(error.resource.kind, "tcp stream");
    assert_eq!((error.used_at.file(), error.used_at.line()), (file!(), line));
    assert_eq!(left, 0);
}

#[test]
fn r07_a_task_on_another_domain_that_was_not_given_a_shared_stream_cannot_write() {
    let (result, left) = count_on(2, async move {
        let (_client, server) = pair().await?;
        let server = Arc::new(server);
        let clone = Arc::clone(&server);
        let child = call(move || async move {
            let _ = (&*clone).write_all(b"mine!").await;
            unreachable!("the offending task is not resumed")
        })?;
        child.await?;
        drop(server);
        Ok(())
    });
    assert_eq!(only_violation(result).name(), "NotOwner");
    assert_eq!(left, 0);
}

#[test]
fn r10_an_operation_that_cannot_wait_returns_an_error_and_fails_the_run() {
    let text = include_str!("owner.rs");
    let (made, used) = (line_below(text, "Made here."), line_below(text, "Asked here."));
    let result = run_on(1, async move {
        // Made here.
        let listener = Arc::new(TcpListener::bind(any_v4())?);
        listener.shared().local_addr()?;
        let clone = Arc::clone(&listener);
        let child = spawn(async move {
            // Asked here.
            let error = clone.shared().local_addr().unwrap_err();
            // The error can be inspected; the run fails nevertheless.
            assert_eq!(error.kind(), ErrorKind::PermissionDenied);
            assert!(error.to_string().contains("tcp listener"), "{error}");
        });
        child.await?;
        Ok(())
    });
    let Violation::NotOwner { error, .. } = only_violation(result) else {
        panic!("a different violation")
    };
    assert_eq!(error.used_at.file(), file!());
    assert_eq!(error.used_at.line(), used);
    assert_eq!(error.resource.made_at.line(), made);
}

#[test]
fn r07_a_task_that_was_not_given_the_listener_cannot_accept() {
    let line = line_below(include_str!("owner.rs"), "Accepted here.");
    let result = run_on(1, async move {
        let listener = Arc::new(TcpListener::bind(any_v4())?);
        listener.shared().local_addr()?;
        let clone = Arc::clone(&listener);
        // Accepted here.
        let child = spawn(async move { clone.shared().accept().await.map(drop) });
        child.await??;
        Ok(())
    });
    let Violation::NotOwner { error, .. } = only_violation(result) else {
        panic!("a different violation")
    };
    assert_eq!(error.used_at.file(), file!());
    assert_eq!(error.used_at.line(), line);
}

#[test]
fn outside_a_run_a_stream_of_a_task_is_an_error() {
    let result = run_on(1, async {
        let (client, _server) = pair().await?;
        let client = Arc::new(client);
        client.shared().local_addr()?;
        let clone = Arc::clone(&client);
        let error = std::thread::spawn(move || clone.shared().local_addr().unwrap_err());
        let error = error.join().map_err(|_| "the thread panicked")?;
        assert_eq!(error.kind(), ErrorKind::PermissionDenied);
        Ok(())
    });
    // Not a violation: the use was outside any task.
    result.unwrap();
}

#[test]
fn a_closed_stream_is_not_connected() {
    let result = run_on(1, async {
        let (mut client, server) = pair().await?;
        let server = Arc::new(server);
        drop(matou_ownership::release(&server));
        let error = server.shared().read(&mut [0]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotConnected);
        assert_eq!(client.read(&mut [0]).await?, 0);
        Ok(())
    });
    result.unwrap();
}

static HANDLES: Mutex<Vec<TcpStream>> = Mutex::new(Vec::new());

#[test]
fn a_stream_in_a_static_is_closed_with_its_owner_and_reported() {
    let _exclusive = exclusive();
    let before = descriptors();
    let made = line_below(include_str!("owner.rs"), "Accepted and stored.");
    let result = bounded(strict().domains(1), async {
        let mut listener = TcpListener::bind(any_v4())?;
        let address = listener.local_addr()?;
        let client = std::net::TcpStream::connect(address)?;
        client.set_nonblocking(true)?;
        let child = try_spawn(async move {
            // Accepted and stored.
            let (stream, _) = listener.accept().await?;
            HANDLES.lock().unwrap().push(stream);
            Ok::<_, io::Error>(client)
        });
        let mut client = child.await?;
        // The child has completed, so the socket is closed, although its handle still exists.
        assert_eq!(io::Read::read(&mut client, &mut [0]).unwrap(), 0);
        Ok(())
    });
    let Violation::ResourceLeaked { resources, .. } = only_violation(result) else {
        panic!("a different violation")
    };
    assert_eq!(resources.len(), 1);
    assert_eq!(resources[0].kind, "tcp stream");
    assert_eq!(resources[0].made_at.file(), file!());
    assert_eq!(resources[0].made_at.line(), made);
    assert_eq!(descriptors(), before);
    // The late drop must not close a descriptor with the same number.
    let late = HANDLES.lock().unwrap().pop().unwrap();
    let reused = std::net::TcpListener::bind(any_v4()).unwrap();
    drop(late);
    assert!(reused.local_addr().is_ok());
}

#[test]
fn the_traits_check_ownership_as_the_methods_do() {
    let result = run_on(1, async {
        let (client, server) = pair().await?;
        let server = Arc::new(server);
        let clone = Arc::clone(&server);
        drop(client);
        let child = spawn(async move { (&*clone).read(&mut [0; 8]).await.map(drop) });
        child.await??;
        drop(server);
        Ok(())
    });
    let violation = only_violation(result);
    assert_eq!(violation.name(), "NotOwner");
}
