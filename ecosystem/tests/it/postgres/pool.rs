//! A pool of connections to PostgreSQL for the tasks of one domain: a recipe to copy.
//!
//! - The task of each connection is a child of the task that owns the group `connections`. When
//!   that task ends, so do the connections, and no other task has to think of them.
//! - A task that is cancelled in the middle of a query drops its [`Session`]. The query is then
//!   cancelled on the server, and its connection is closed, which rolls a transaction back.
//! - A transaction that is dropped between two queries rolls back before the connection is used
//!   again: tokio-postgres sends the `ROLLBACK` first.

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;

use matou_http::net::TcpStream;
use matou_http::runtime::{Orphans, Spawner};
use matou_sync::{Semaphore, SemaphorePermit};
use tokio_postgres::{Client, Config, Error, NoTls};

/// Connections that are opened when they are needed, and kept.
pub(crate) struct Pool {
    config: Config,
    address: (String, u16),
    permits: Semaphore,
    idle: RefCell<Vec<Client>>,
    connections: Spawner<()>,
}

/// A connection for one task, which goes back to the pool when it is dropped.
pub(crate) struct Session<'a> {
    pool: &'a Pool,
    client: Option<Client>,
    is_busy: bool,
    _permit: SemaphorePermit<'a>,
}

#[derive(Debug)]
pub(crate) enum PoolError {
    Connect(std::io::Error),
    Postgres(Error),
}

impl fmt::Display for PoolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PoolError::Connect(error) => error.fmt(f),
            PoolError::Postgres(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for PoolError {}

impl From<Error> for PoolError {
    fn from(error: Error) -> PoolError {
        PoolError::Postgres(error)
    }
}

impl Pool {
    /// Creates a pool of at most `size` connections, whose tasks are children in `connections`.
    pub(crate) fn new(
        config: Config,
        port: u16,
        size: usize,
        connections: &Orphans<()>,
    ) -> Rc<Pool> {
        let address = ("127.0.0.1".to_owned(), port);
        let (permits, idle) = (Semaphore::new(size), RefCell::default());
        Rc::new(Pool { config, address, permits, idle, connections: connections.spawner() })
    }

    /// Waits until fewer than `size` sessions are in use, and returns one.
    pub(crate) async fn session(&self) -> Result<Session<'_>, PoolError> {
        let permit = self.permits.acquire().await.expect("it is never closed");
        let idle = || self.idle.borrow_mut().pop();
        let client = loop {
            match idle() {
                // The server may have closed it in the meantime.
                Some(client) if client.is_closed() => {}
                Some(client) => break client,
                None => break self.connect().await?,
            }
        };
        Ok(Session { pool: self, client: Some(client), is_busy: false, _permit: permit })
    }

    async fn connect(&self) -> Result<Client, PoolError> {
        let stream = TcpStream::connect(self.address.clone()).await.map_err(PoolError::Connect)?;
        let (client, connection) = self.config.connect_raw(stream, NoTls).await?;
        // An error of the connection is also the error of the query that waits for it.
        drop(self.connections.spawn(async move { drop(connection.await) }));
        Ok(client)
    }
}

impl Session<'_> {
    /// Runs queries. If the current task is cancelled in between, so are they on the server.
    pub(crate) async fn run<T>(
        &mut self,
        queries: impl AsyncFnOnce(&mut Client) -> Result<T, Error>,
    ) -> Result<T, PoolError> {
        let client = self.client.as_mut().expect("only the drop takes it");
        self.is_busy = true;
        let result = queries(client).await;
        self.is_busy = false;
        Ok(result?)
    }
}

impl Drop for Session<'_> {
    fn drop(&mut self) {
        let client = self.client.take().expect("only the drop takes it");
        if !self.is_busy {
            return self.pool.idle.borrow_mut().push(client);
        }
        // A destructor cannot wait. The owner of the connections does.
        let (token, address) = (client.cancel_token(), self.pool.address.clone());
        drop(self.pool.connections.spawn(async move {
            if let Ok(stream) = TcpStream::connect(address).await {
                drop(token.cancel_query_raw(stream, NoTls).await);
            }
            drop(client);
        }));
    }
}
