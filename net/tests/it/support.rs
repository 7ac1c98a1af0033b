//! Helpers: runs with a deadline, counted descriptors, pairs of sockets, and a driver that counts
//! registrations.

use std::fs;
use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use matou_net::{TcpListener, TcpStream};
use matou_runtime::{
    Builder, Driver, Forgotten, Leaks, MainError, ParkTimeout, Poller, Reactor, RunError, Unpark,
    Violations, timeout,
};

/// Longer than any test, unless it hangs.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// Tests that count the descriptors of the process take the write lock, all others the read lock.
static DESCRIPTORS: RwLock<()> = RwLock::new(());

pub(crate) type Result<T = (), E = MainError> = std::result::Result<T, E>;

/// Forgets a value, as `std::mem::forget` does, and keeps it reachable from a static, so that the
/// leak detector reports unintended leaks only.
pub(crate) fn leak<T>(value: T) {
    static LEAKED: Mutex<Vec<usize>> = Mutex::new(Vec::new());
    let address = Box::into_raw(Box::new(value)).expose_provenance();
    LEAKED.lock().unwrap_or_else(PoisonError::into_inner).push(address);
}

/// Strict settings: every violation is the error of the run, so that no test overlooks one.
pub(crate) fn strict() -> Builder {
    Builder::new()
        .violations(Violations::FailRun)
        .forgotten(Forgotten::Strict)
        .leaks(Leaks::AtTaskEnd)
}

/// Runs `main` on `domains` domains, with a deadline.
#[track_caller]
pub(crate) fn run_on<T: 'static>(
    domains: usize,
    main: impl Future<Output = Result<T>> + 'static,
) -> Result<T, RunError> {
    let _shared = shared();
    bounded(strict().domains(domains), main)
}

#[track_caller]
pub(crate) fn bounded<T: 'static>(
    builder: Builder,
    main: impl Future<Output = Result<T>> + 'static,
) -> Result<T, RunError> {
    bounded_boxed(builder, Box::pin(main))
}

/// The future is boxed, so that the code of a run is compiled once and not for each test.
#[track_caller]
fn bounded_boxed<T: 'static>(
    builder: Builder,
    main: Pin<Box<dyn Future<Output = Result<T>>>>,
) -> Result<T, RunError> {
    builder.run(async { timeout(DEADLINE, main).await? })
}

/// Runs `main` while no other test opens descriptors, and returns how many it has leaked.
#[track_caller]
pub(crate) fn count_on<T: 'static>(
    domains: usize,
    main: impl Future<Output = Result<T>> + 'static,
) -> (Result<T, RunError>, isize) {
    let _exclusive = exclusive();
    let before = descriptors();
    let result = bounded(strict().domains(domains), main);
    (result, descriptors() as isize - before as isize)
}

/// Must be held by tests that open descriptors without [`run_on`].
pub(crate) fn shared() -> impl Drop {
    DESCRIPTORS.read().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn exclusive() -> impl Drop {
    DESCRIPTORS.write().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn descriptors() -> usize {
    // Reading the directory opens one descriptor.
    fs::read_dir("/proc/self/fd").unwrap().count() - 1
}

pub(crate) fn any_v4() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}

pub(crate) fn any_v6() -> SocketAddr {
    (Ipv6Addr::LOCALHOST, 0).into()
}

/// Returns the number of the line below the comment `mark` in the text of a file.
pub(crate) fn line_below(text: &str, mark: &str) -> u32 {
    let mark = format!("// {mark}");
    let index = text.lines().position(|line| line.trim() == mark);
    index.expect("the mark is there") as u32 + 2
}

/// Returns two connected streams of the current task: the connecting and the accepted one.
#[track_caller]
pub(crate) fn pair() -> impl Future<Output = io::Result<(TcpStream, TcpStream)>> {
    let listener = TcpListener::bind(any_v4());
    async move {
        let mut listener = listener?;
        let client = TcpStream::connect(listener.local_addr()?).await?;
        let (server, _) = listener.accept().await?;
        Ok((client, server))
    }
}

/// Reads until the end of the stream.
pub(crate) async fn read_to_end(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut all = Vec::new();
    let mut buf = [0; 4096];
    loop {
        match stream.read(&mut buf).await? {
            0 => return Ok(all),
            count => all.extend_from_slice(&buf[..count]),
        }
    }
}

/// Returns bytes that depend on their position and on `seed`.
pub(crate) fn pattern(seed: usize, len: usize) -> Vec<u8> {
    (0..len).map(|i| ((i * 31 + i / 251 + seed * 7) % 256) as u8).collect()
}

/// Polls the condition `done` until it is true, and lets other tasks run.
pub(crate) async fn wait_until(mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !done() {
        assert!(Instant::now() < deadline, "the condition never became true");
        // Yield at least once, so that the domain processes its events.
        matou_runtime::sleep(Duration::from_millis(1)).await;
    }
}

/// A [`Reactor`] that records how many descriptors are registered, and how often it parked.
pub(crate) struct CountingReactor {
    reactor: Reactor,
    counters: Arc<ReactorCounters>,
}

#[derive(Debug, Default)]
pub(crate) struct ReactorCounters {
    pub(crate) registered: AtomicUsize,
    /// The maximum of `registered`.
    pub(crate) registered_max: AtomicUsize,
    pub(crate) parks: AtomicUsize,
}

impl CountingReactor {
    pub(crate) fn builder<const N: usize>() -> (Builder, [Arc<ReactorCounters>; N]) {
        let counters: [Arc<ReactorCounters>; N] = std::array::from_fn(|_| Arc::default());
        let for_domains = counters.clone();
        let builder = strict().domains(N).driver(move |index| {
            Ok(CountingReactor {
                reactor: Reactor::new()?,
                counters: Arc::clone(&for_domains[index]),
            })
        });
        (builder, counters)
    }
}

impl Driver for CountingReactor {
    fn now(&self) -> Instant {
        self.reactor.now()
    }

    fn park(&self, timeout: ParkTimeout) -> io::Result<()> {
        let registered = self.reactor.registered();
        self.counters.registered.store(registered, SeqCst);
        self.counters.registered_max.fetch_max(registered, SeqCst);
        self.counters.parks.fetch_add(1, SeqCst);
        self.reactor.park(timeout)
    }

    fn unparker(&self) -> Arc<dyn Unpark> {
        self.reactor.unparker()
    }

    fn poller(&self) -> Option<Arc<dyn Poller>> {
        self.reactor.poller()
    }
}
