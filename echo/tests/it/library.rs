//! The library, called by a program other than the `echo` binary.

use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::time::Duration;

use matou_echo::{Level, Limits, Listeners, Log, Shutdown, Stats, run};
use matou_net::TcpStream;
use matou_runtime::{Builder, MainError, RunError, live_tasks, sleep, timeout, try_spawn};

use crate::process::DEADLINE;

fn on<T: 'static>(
    domains: usize,
    main: impl Future<Output = Result<T, MainError>> + 'static,
) -> Result<T, RunError> {
    let builder = Builder::new().domains(domains);
    builder.run(async { timeout(DEADLINE, main).await? })
}

fn log() -> Arc<Log> {
    Arc::new(Log::new(Level::Error))
}

#[test]
fn a_shutdown_that_begins_before_the_server_stops_it() {
    let served = on(2, async {
        let listeners = Listeners::bind(&["127.0.0.1:0".parse()?], 2)?;
        let shutdown = Arc::new(Shutdown::new());
        shutdown.begin().await;
        Ok(run(listeners, Limits::default(), shutdown, log()).await?)
    });
    assert_eq!(served.unwrap(), Stats::default());
}

#[test]
fn several_servers_need_several_domains() {
    let result = on(1, async {
        let listeners = Listeners::bind(&["127.0.0.1:0".parse()?], 2)?;
        let shutdown = Arc::new(Shutdown::new());
        let error = run(listeners, Limits::default(), shutdown, log()).await.unwrap_err();
        assert!(error.to_string().contains("no other domain"), "{error}");
        Ok(())
    });
    result.unwrap();
}

#[test]
fn invalid_limits_are_rejected() {
    let limits = [
        Limits { connections_max: 0, ..Limits::default() },
        Limits { idle_timeout: Duration::ZERO, ..Limits::default() },
        Limits { write_timeout: Duration::ZERO, ..Limits::default() },
        Limits { buffered_bytes_max: 0, ..Limits::default() },
    ];
    for limits in limits {
        let result = on(1, async move {
            let listeners = Listeners::bind(&["127.0.0.1:0".parse()?], 1)?;
            let shutdown = Arc::new(Shutdown::new());
            Ok(run(listeners, limits, shutdown, log()).await.unwrap_err())
        });
        assert_eq!(result.unwrap().kind(), ErrorKind::InvalidInput);
    }
}

#[test]
fn an_infinite_timeout_is_allowed() {
    let served = on(1, async {
        let limits = Limits {
            idle_timeout: Duration::MAX,
            write_timeout: Duration::MAX,
            drain_timeout: Duration::MAX,
            ..Limits::default()
        };
        let listeners = Listeners::bind(&["127.0.0.1:0".parse()?], 1)?;
        let address = listeners.addresses()[0];
        let shutdown = Arc::new(Shutdown::new());
        let server = try_spawn(run(listeners, limits, Arc::clone(&shutdown), log()));
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(b"for ever").await?;
        let mut buf = [0; 8];
        let mut filled = 0;
        while filled < 8 {
            filled += stream.read(&mut buf[filled..]).await?;
        }
        drop(stream);
        shutdown.begin().await;
        Ok(server.await?)
    });
    let expected = Stats { connections: 1, bytes: 8 };
    assert_eq!(served.unwrap(), expected);
}

#[test]
fn a_cancelled_server_cancels_its_clients() {
    let result = on(2, async {
        let listeners = Listeners::bind(&["127.0.0.1:0".parse()?], 2)?;
        let address = listeners.addresses()[0];
        let server = try_spawn(run(listeners, Limits::default(), Arc::new(Shutdown::new()), log()));
        let mut streams = Vec::new();
        for _ in 0..20 {
            let mut stream = TcpStream::connect(address).await?;
            stream.write_all(b"x").await?;
            assert_eq!(stream.read(&mut [0]).await?, 1);
            streams.push(stream);
        }
        // The main task, `run`, two servers, and one task for each client. The other domain
        // publishes its count with a short delay.
        while live_tasks() != 24 {
            sleep(Duration::from_millis(1)).await;
        }
        assert!(server.cancel().await.is_none());
        assert_eq!(live_tasks(), 1);
        for stream in &mut streams {
            let end = stream.read(&mut [0]).await;
            let reset = |error: &io::Error| error.kind() == ErrorKind::ConnectionReset;
            assert!(matches!(&end, Ok(0)) || end.as_ref().is_err_and(reset), "{end:?}");
        }
        Ok(())
    });
    result.unwrap();
}
