use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use matou_net::{FinishLimit, TcpListener, TcpStream};
use matou_runtime::{Orphans, Outcome, Task, TaskError, now, parallel, race, timeout, try_spawn};

use crate::client::{Client, DisconnectReason};
use crate::context::ServerContext;
use crate::{Level, Limits, Listeners, Log, Shutdown, Stats};

/// How long a client that was cancelled may take to receive the bytes that were sent to it.
const FINISH_TIMEOUT: Duration = Duration::from_secs(1);

/// Serves the clients that connect to `listeners`, until `shutdown` begins and all connections have
/// ended. Returns the numbers of served connections and bytes.
///
/// The first server runs on the current domain. The other servers run on one further domain each,
/// by [`parallel`]. Each server has its own listeners, and collects its clients in [`Orphans`].
///
/// The shutdown has three steps. The listeners are closed, and with them the connections that were
/// not accepted yet. Then the clients have the drain timeout to finish. Then the remaining ones are
/// cancelled: the server echoes nothing more, and closes their connections so that they receive all
/// bytes that were sent before, for which they have one more second.
///
/// # Errors
///
/// If the limits are invalid, or if there are several servers and no other domain. If a listener
/// fails permanently, after the shutdown of the other servers.
///
/// # Panics
///
/// Outside a run, and without listeners.
///
/// # Examples
///
/// ```
/// use std::sync::Arc;
/// use matou_echo::{Level, Limits, Listeners, Log, Shutdown, run};
/// use matou_net::TcpStream;
/// use matou_runtime::{Builder, RunError, try_spawn};
///
/// # fn main() -> Result<(), RunError> {
/// Builder::new().domains(2).run(async {
///     let listeners = Listeners::bind(&["127.0.0.1:0".parse()?], 2)?;
///     let address = listeners.addresses()[0];
///     let shutdown = Arc::new(Shutdown::new());
///     let log = Arc::new(Log::new(Level::Error));
///     let server = try_spawn(run(listeners, Limits::default(), Arc::clone(&shutdown), log));
///
///     let mut stream = TcpStream::connect(address).await?;
///     stream.write_all(b"purr").await?;
///     let mut buf = [0; 16];
///     let count = stream.read(&mut buf).await?;
///     assert_eq!(&buf[..count], b"purr");
///     drop(stream);
///
///     shutdown.begin().await;
///     let stats = server.await?;
///     assert_eq!((stats.connections, stats.bytes), (1, 4));
///     Ok(())
/// })
/// # }
/// ```
pub async fn run(
    listeners: Listeners,
    limits: Limits,
    shutdown: Arc<Shutdown>,
    log: Arc<Log>,
) -> io::Result<Stats> {
    let invalid = |error| io::Error::new(io::ErrorKind::InvalidInput, error);
    limits.validate().map_err(invalid)?;
    let servers = listeners.servers();
    let mut jobs = listeners.into_per_server().into_iter().enumerate();
    let (_, first) = jobs.next().expect("there is at least one server");
    let serve = move |index: usize, listeners: Vec<TcpListener>| {
        let (shutdown, log) = (Arc::clone(&shutdown), Arc::clone(&log));
        async move {
            let share = limits.share(index, servers);
            let result = serve(listeners, share, limits, &shutdown, log).await;
            if result.is_err() {
                shutdown.begin().await;
            }
            result
        }
    };
    let local = try_spawn(serve(0, first));
    let remote = match parallel(jobs, move |(index, listeners)| serve(index, listeners)) {
        Ok(remote) => remote,
        Err(error) => {
            local.cancel().await;
            return Err(io::Error::other(error));
        }
    };
    // Join all servers before the first error is returned: a promise that is dropped unjoined is a
    // violation.
    let (local, remote) = (local.await, remote.await);
    let remote = remote.into_iter().map(|outcome| outcome.map_err(io::Error::other)?);
    remote.chain([local.map_err(to_io_error)]).sum()
}

fn to_io_error(error: TaskError<io::Error>) -> io::Error {
    match error {
        TaskError::Failed { error, .. } => error,
        other => io::Error::other(other),
    }
}

fn accept_failed(error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("failed to accept connections: {error}"))
}

enum Event {
    Accepted(io::Result<(TcpStream, SocketAddr)>),
    Disconnected(Outcome<DisconnectReason>),
    Shutdown,
}

/// The server of one domain.
async fn serve(
    mut listeners: Vec<TcpListener>,
    connections_max: usize,
    limits: Limits,
    shutdown: &Shutdown,
    log: Arc<Log>,
) -> io::Result<Stats> {
    for listener in &mut listeners {
        let log = Arc::clone(&log);
        listener.on_pause(move |pause| log.accept_pause(pause));
    }
    let context = Rc::new(ServerContext::new(limits, log));
    let clients = Orphans::with_limit(connections_max);
    let mut stop = pin!(shutdown.wait());
    loop {
        match next_event(&mut listeners, &clients, &context, stop.as_mut()).await {
            Event::Accepted(accepted) => {
                spawn_client(accepted.map_err(accept_failed)?, &clients, &context);
            }
            Event::Disconnected(outcome) => log_disconnect(outcome, &context.log),
            Event::Shutdown => break,
        }
    }
    drop(listeners);
    drain(&clients, &context).await;
    Ok(context.counters.stats())
}

/// Waits for the first of three events. A full server does not accept, so that further connections
/// stay in the backlog.
async fn next_event(
    listeners: &mut [TcpListener],
    clients: &Orphans<DisconnectReason>,
    context: &ServerContext,
    stop: Pin<&mut impl Future<Output = ()>>,
) -> Event {
    let stop = async {
        stop.await;
        Event::Shutdown
    };
    let disconnected = async { Event::Disconnected(clients.next_or_pending().await) };
    if clients.is_full() {
        return race(stop, disconnected).await;
    }
    // Start at a different listener each time: one that always has a connection must not starve
    // the others.
    let first = context.counters.stats().connections as usize;
    let accepted = async { Event::Accepted(accept_any(listeners, first).await) };
    race(stop, race(disconnected, accepted)).await
}

/// Accepts a connection of any listener. Polls the listeners in order, beginning at index `first`.
///
/// # Cancel safety
///
/// Dropping the future loses no connection: a poll that accepts a connection returns it.
async fn accept_any(
    listeners: &mut [TcpListener],
    first: usize,
) -> io::Result<(TcpStream, SocketAddr)> {
    if let [listener] = listeners {
        return listener.accept().await;
    }
    // A closure, because the caller of a function that is passed is a line of the standard library.
    let mut accepts: Vec<_> = listeners.iter_mut().map(|listener| listener.accept()).collect();
    poll_fn(move |cx| {
        for step in 0..accepts.len() {
            let index = (first + step) % accepts.len();
            if let Poll::Ready(accepted) = Pin::new(&mut accepts[index]).poll(cx) {
                return Poll::Ready(accepted);
            }
        }
        Poll::Pending
    })
    .await
}

fn spawn_client(
    (stream, peer): (TcpStream, SocketAddr),
    clients: &Orphans<DisconnectReason>,
    context: &Rc<ServerContext>,
) {
    let accepted_at = now();
    context.counters.add_connection();
    let client = Client::new(stream, accepted_at, Rc::clone(context));
    let task = Task::new().name(Arc::clone(&context.client_name));
    let spawned = task.orphans(clients).spawn(client);
    let id = spawned.expect("a full server does not accept");
    if context.log.enabled(Level::Debug) {
        let text = format_args!("client {id} connected from {peer}");
        context.log.line(Level::Debug, text);
    }
}

fn log_disconnect(outcome: Outcome<DisconnectReason>, log: &Log) {
    let (level, text) = match outcome {
        Ok(DisconnectReason::Closed) => return,
        Ok(reason) if !log.enabled(Level::Debug) => return drop(reason),
        Ok(reason) => (Level::Debug, format!("client disconnected: {reason}")),
        Err(error) if error.is_cancelled() => return,
        Err(error) => (Level::Error, format!("client task failed: {error}")),
    };
    log.line(level, format_args!("{text}"));
}

/// Waits until the clients have finished, and cancels those that exceed the drain timeout.
async fn drain(clients: &Orphans<DisconnectReason>, context: &ServerContext) {
    let drained = async {
        while let Some(outcome) = clients.next().await {
            log_disconnect(outcome, &context.log);
        }
    };
    if timeout(context.limits.drain_timeout, drained).await.is_ok() {
        return;
    }
    // fault: streams-of-cancelled-clients-reset
    context.streams_of_cancelled.start();
    // Request all cancellations before the first one is awaited, so that they run concurrently.
    let mut cancelled = Vec::with_capacity(clients.len());
    while let Some(promise) = clients.take() {
        cancelled.push(promise.cancel());
    }
    context.log.line(
        Level::Info,
        format_args!(
            "drain timeout of {:?} elapsed, cancelling {} clients",
            context.limits.drain_timeout,
            cancelled.len()
        ),
    );
    for cancelled in cancelled {
        cancelled.await;
    }
    finish_all(context.streams_of_cancelled.take()).await;
}

/// Closes the connections of cancelled clients after they have received everything that was sent.
///
/// A mere close would reset a connection whose input was not read completely, and the system would
/// discard the output that it has not delivered.
async fn finish_all(streams: Vec<TcpStream>) {
    let limit = FinishLimit::new().bytes(u64::MAX).time(FINISH_TIMEOUT);
    let finishing = Orphans::new();
    for stream in streams {
        let task = Task::new().name("finish").orphans(&finishing);
        task.spawn(stream.finish(limit)).expect("the group has no limit");
    }
    // A client that does not end its side in time has had its time.
    while finishing.next().await.is_some() {}
}
