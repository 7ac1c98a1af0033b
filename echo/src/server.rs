use std::cell::RefCell;
use std::future::{Future, pending, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

use matou_net::{TcpListener, TcpStream};
use matou_runtime::{Orphans, Outcome, Task, TaskError, now, parallel, race, timeout, try_spawn};

use crate::client::{Client, End};
use crate::stats::Counters;
use crate::{Level, Limits, Listeners, Log, Shutdown, Stats};

/// Serves whoever comes in at the listeners, until the shutdown begins and the clients are gone.
///
/// The structure is that of the seed: the first server runs on this domain, the others each on one
/// of the others, in [`parallel`]. Each has its own listeners, and collects its clients in
/// [`Orphans`].
///
/// The order of the shutdown: the listeners are closed, and with them the connections that nobody
/// had accepted yet; the clients go on until they are done or the drain timeout is over; those that
/// are left are cancelled; then this returns.
///
/// # Errors
///
/// If the limits make no sense, or there are several servers and no other domain. If a listener
/// cannot work at all; then the other servers are shut down as well.
///
/// # Panics
///
/// Outside a run, and if there are no listeners.
///
/// # Examples
///
/// ```
/// use std::sync::Arc;
/// use matou_echo::{Listeners, Level, Limits, Log, Shutdown, run};
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
///     let mut sound = [0; 16];
///     let count = stream.read(&mut sound).await?;
///     assert_eq!(&sound[..count], b"purr");
///     drop(stream);
///
///     shutdown.begin().await;
///     let served = server.await?;
///     assert_eq!((served.connections, served.bytes), (1, 4));
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
    let (_, first) = jobs.next().expect("there is a server");
    let serve = move |index: usize, listeners: Vec<TcpListener>| {
        let (shutdown, log) = (Arc::clone(&shutdown), Arc::clone(&log));
        async move {
            let share = limits.share(index, servers);
            let served = serve(listeners, share, limits, &shutdown, log).await;
            if served.is_err() {
                shutdown.begin().await;
            }
            served
        }
    };
    let here = try_spawn(serve(0, first));
    let there = parallel(jobs, move |(index, listeners)| serve(index, listeners));
    let there = match there {
        Ok(there) => there,
        Err(error) => {
            here.cancel().await;
            return Err(io::Error::other(error));
        }
    };
    // Everybody first, so that nobody is forgotten because another one has failed.
    let (here, there) = (here.await, there.await);
    let there = there.into_iter().map(|outcome| outcome.map_err(io::Error::other)?);
    there.chain([here.map_err(flatten)]).sum()
}

fn flatten(error: TaskError<io::Error>) -> io::Error {
    match error {
        TaskError::Failed(error) => error,
        other => io::Error::other(other),
    }
}

/// What the clients of one domain share.
pub(crate) struct Hall {
    pub(crate) limits: Limits,
    pub(crate) log: Arc<Log>,
    pub(crate) counters: Counters,
    /// One allocation for all of them.
    client_name: Arc<str>,
    /// What is read lies here until it is sent, within one poll. Only what could not be sent at
    /// once is kept for longer, so a client that is silent holds no buffer.
    pub(crate) buffer: RefCell<Box<[u8]>>,
}

/// What a server waits for.
enum Event {
    Accepted(io::Result<(TcpStream, SocketAddr)>),
    Ended(Outcome<End>),
    Stop,
}

/// The server of one domain.
async fn serve(
    mut listeners: Vec<TcpListener>,
    share: usize,
    limits: Limits,
    shutdown: &Shutdown,
    log: Arc<Log>,
) -> io::Result<Stats> {
    for listener in &mut listeners {
        let log = Arc::clone(&log);
        listener.on_pause(move |pause| log.shortage(pause));
    }
    let hall = Rc::new(Hall {
        limits,
        log,
        counters: Counters::default(),
        client_name: Arc::from("client"),
        buffer: RefCell::new(vec![0; limits.buffered_bytes_max].into_boxed_slice()),
    });
    let clients = Orphans::with_limit(share);
    let mut stop = pin!(shutdown.wait());
    loop {
        match next_event(&mut listeners, &clients, &hall, stop.as_mut()).await {
            Event::Accepted(accepted) => admit(accepted?, &clients, &hall).await,
            Event::Ended(outcome) => note(outcome, &hall.log).await,
            Event::Stop => break,
        }
    }
    drop(listeners);
    drain(&clients, &hall).await;
    Ok(hall.counters.served())
}

/// Waits for what comes first. The permit comes before the accept: a full server accepts nobody.
async fn next_event(
    listeners: &mut [TcpListener],
    clients: &Orphans<End>,
    hall: &Hall,
    stop: Pin<&mut impl Future<Output = ()>>,
) -> Event {
    let stop = async {
        stop.await;
        Event::Stop
    };
    let ended = async {
        match clients.next().await {
            Some(outcome) => Event::Ended(outcome),
            // There is nobody who could end.
            None => pending().await,
        }
    };
    if clients.is_full() {
        return race(stop, ended).await;
    }
    // A listener that always has a connection must not bar the others.
    let first = hall.counters.served().connections as usize;
    let accepted = async { Event::Accepted(accept_any(listeners, first).await) };
    race(stop, race(ended, accepted)).await
}

/// Accepts from whichever listener has a connection, and looks at number `first` first.
///
/// # Cancel safety
///
/// Dropping the future loses no connection: each poll takes one at most, and returns it.
async fn accept_any(
    listeners: &mut [TcpListener],
    first: usize,
) -> io::Result<(TcpStream, SocketAddr)> {
    if let [listener] = listeners {
        return listener.accept().await;
    }
    let mut accepts: Vec<_> = listeners.iter_mut().map(TcpListener::accept).collect();
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

/// Makes a child of a new connection.
async fn admit((stream, peer): (TcpStream, SocketAddr), clients: &Orphans<End>, hall: &Rc<Hall>) {
    let accepted_at = now();
    hall.counters.connection();
    let client = Client::new(stream, accepted_at, Rc::clone(hall));
    let task = Task::new().name(Arc::clone(&hall.client_name));
    let admitted = task.orphans(clients).spawn(client);
    let id = admitted.expect("the permit came before the accept");
    if hall.log.enabled(Level::Debug) {
        let text = format_args!("client {id} comes from {peer}");
        hall.log.line(Level::Debug, text).await;
    }
}

/// Takes note of how a client ended.
async fn note(outcome: Outcome<End>, log: &Log) {
    let (level, text) = match outcome {
        Ok(End::Closed) => return,
        Ok(end) if !log.enabled(Level::Debug) => return drop(end),
        Ok(end) => (Level::Debug, format!("a client {end}")),
        Err(error) if error.is_cancelled() => return,
        Err(error) => (Level::Error, format!("a client failed: {error}")),
    };
    log.line(level, format_args!("{text}")).await;
}

/// Lets the clients come to their ends, and ends those that do not in time.
async fn drain(clients: &Orphans<End>, hall: &Hall) {
    let drained = async {
        while let Some(outcome) = clients.next().await {
            note(outcome, &hall.log).await;
        }
    };
    if timeout(hall.limits.drain_timeout, drained).await.is_ok() {
        return;
    }
    // All are told before the first is waited for.
    let mut cancelled = Vec::with_capacity(clients.len());
    while let Some(promise) = clients.take() {
        cancelled.push(promise.cancel());
    }
    let line = format!(
        "{} clients were not done within {:?} and are cut off",
        cancelled.len(),
        hall.limits.drain_timeout
    );
    hall.log.line(Level::Info, format_args!("{line}")).await;
    for cancelled in cancelled {
        cancelled.await;
    }
}
