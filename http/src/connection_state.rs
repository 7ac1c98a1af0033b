//! The state that a connection shares with its requests, and a server with its connections.

use std::cell::{Cell, OnceCell, RefCell};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Context;
use std::time::Instant;

use matou_runtime::{Spawner, WakerKey, WakerSet, now};

use crate::events::Reporter;
use crate::limits::Limits;
use crate::listener::PeerAddr;
use crate::sending::Sending;
use crate::served::Served;

/// The state of one server.
pub(crate) struct ServerState {
    pub(crate) limits: Limits,
    pub(crate) half_close: bool,
    pub(crate) reporter: Reporter,
    pub(crate) served: RefCell<Served>,
    is_draining: Cell<bool>,
    /// The connections, to be woken when the shutdown begins.
    waiting: RefCell<WakerSet>,
    /// For handlers, whose futures may have to be `Send`.
    pub(crate) announcement: Arc<Announcement>,
}

impl ServerState {
    pub(crate) fn new(limits: Limits, half_close: bool, reporter: Reporter) -> ServerState {
        ServerState {
            limits,
            half_close,
            reporter,
            served: RefCell::default(),
            is_draining: Cell::new(false),
            waiting: RefCell::default(),
            announcement: Arc::default(),
        }
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.is_draining.get()
    }

    /// Begins the shutdown: connections end after the requests that are in progress.
    pub(crate) fn drain(&self) {
        self.is_draining.set(true);
        // A waker may run any code, so the borrow ends first.
        let waiting = self.waiting.borrow_mut().take();
        // fault: idle-connections-not-drained
        waiting.wake_all();
        self.announcement.make();
    }

    /// Wakes the task when the shutdown begins.
    pub(crate) fn register(&self, key: &mut WakerKey, cx: &Context<'_>) {
        if self.waiting.borrow().is_registered(key, cx.waker()) {
            return;
        }
        let waker = cx.waker().clone();
        let replaced = self.waiting.borrow_mut().register(key, waker);
        drop(replaced);
    }

    pub(crate) fn unregister(&self, key: &mut WakerKey) {
        let removed = self.waiting.borrow_mut().remove(key);
        drop(removed);
    }

    pub(crate) fn count(&self, count: impl FnOnce(&mut Served)) {
        count(&mut self.served.borrow_mut());
    }
}

/// That the server shuts down, for any task.
#[derive(Default)]
pub(crate) struct Announcement {
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    is_made: bool,
    tasks: WakerSet,
}

impl Announcement {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn make(&self) {
        // A waker may run any code, so the lock is released first.
        let tasks = {
            let mut waiting = self.waiting();
            waiting.is_made = true;
            waiting.tasks.take()
        };
        tasks.wake_all();
    }

    /// Returns whether it is made. If not, the task is woken when it is.
    pub(crate) fn poll(&self, key: &mut WakerKey, cx: &Context<'_>) -> bool {
        let waker = cx.waker().clone();
        let mut waiting = self.waiting();
        if waiting.is_made {
            return true;
        }
        let replaced = waiting.tasks.register(key, waker);
        drop(waiting);
        drop(replaced);
        false
    }

    pub(crate) fn forget(&self, key: &mut WakerKey) {
        let removed = self.waiting().tasks.remove(key);
        drop(removed);
    }
}

/// The state of one connection, which its requests share.
pub(crate) struct ConnectionState {
    pub(crate) server: Rc<ServerState>,
    pub(crate) peer: PeerAddr,
    /// Makes children of the connection's task.
    pub(crate) spawner: Spawner<()>,
    /// Whether the stream was read since the last request ended.
    pub(crate) has_read: Arc<AtomicBool>,
    /// The responses that wait for the client; `None` unless it speaks HTTP/2.
    pub(crate) sending: OnceCell<Sending>,
    /// The requests whose response is not complete, those of clones included.
    in_progress: Cell<usize>,
    /// Since when there is no request.
    idle_since: Cell<Instant>,
    /// Since when a head is being received.
    head_since: Cell<Option<Instant>>,
}

impl ConnectionState {
    pub(crate) fn new(
        server: Rc<ServerState>,
        peer: PeerAddr,
        spawner: Spawner<()>,
    ) -> ConnectionState {
        let accepted_at = now();
        ConnectionState {
            server,
            peer,
            spawner,
            has_read: Arc::default(),
            sending: OnceCell::new(),
            in_progress: Cell::new(0),
            idle_since: Cell::new(accepted_at),
            head_since: Cell::new(Some(accepted_at)),
        }
    }

    /// Begins a request, which is in progress until the value is dropped.
    pub(crate) fn begin(self: &Rc<ConnectionState>) -> InProgress {
        self.in_progress.set(self.in_progress.get() + 1);
        self.head_since.set(None);
        self.server.count(|served| served.requests += 1);
        InProgress { connection: Rc::clone(self) }
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.in_progress.get() == 0
    }

    /// Returns when the connection must have got its next request; `None` while there is one.
    pub(crate) fn due(&self) -> Option<Instant> {
        if !self.is_idle() {
            return None;
        }
        let limits = &self.server.limits;
        // Bytes that have arrived since the last request are the beginning of the next head.
        if self.head_since.get().is_none() && self.has_read.load(Ordering::Relaxed) {
            self.head_since.set(Some(now()));
        }
        match self.head_since.get() {
            Some(since) => since.checked_add(limits.header_timeout),
            None => self.idle_since.get().checked_add(limits.idle_timeout),
        }
    }

    /// Returns whether a head has begun to arrive, or the first one has not.
    pub(crate) fn is_receiving_head(&self) -> bool {
        self.head_since.get().is_some()
    }

    /// Forgets that bytes were read. In HTTP/2 they need not belong to a head.
    pub(crate) fn forget_reads(&self) {
        self.has_read.store(false, Ordering::Relaxed);
        self.head_since.set(None);
    }
}

/// A request that is in progress, as long as this or a clone exists.
pub(crate) struct InProgress {
    connection: Rc<ConnectionState>,
}

impl InProgress {
    pub(crate) fn connection(&self) -> &Rc<ConnectionState> {
        &self.connection
    }
}

impl Clone for InProgress {
    fn clone(&self) -> InProgress {
        let connection = Rc::clone(&self.connection);
        connection.in_progress.set(connection.in_progress.get() + 1);
        InProgress { connection }
    }
}

impl Drop for InProgress {
    fn drop(&mut self) {
        let connection = &*self.connection;
        connection.in_progress.set(connection.in_progress.get() - 1);
        if connection.is_idle() {
            connection.idle_since.set(now());
            connection.has_read.store(false, Ordering::Relaxed);
        }
    }
}
