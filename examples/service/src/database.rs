//! PostgreSQL by tokio-postgres, which needs tokio's traits, but no runtime of tokio.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use matou_http::runtime::{MainError, daemon, sleep, timeout};
use matou_net::TcpStream;
use tokio_postgres::config::Host;
use tokio_postgres::tls::NoTlsStream;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Config, Connection, NoTls};

use crate::api::Error;
use crate::lock;
use crate::store::Note;

const CONNECT_LIMIT: Duration = Duration::from_secs(5);
const SCHEMA: &str = "create table if not exists notes \
    (id bigint generated always as identity primary key, text text not null, words bigint)";

/// One connection, which all requests share: tokio-postgres sends their queries one after another
/// without waiting for the answers.
pub(crate) struct Database {
    config: Config,
    client: Mutex<Option<Arc<Client>>>,
}

impl Database {
    /// Connects. A child of the current task keeps the connection, until the others have ended.
    pub(crate) async fn open(config: Config) -> Result<Arc<Database>, MainError> {
        let database = Arc::new(Database { config, client: Mutex::default() });
        let connection = timeout(CONNECT_LIMIT, database.connect()).await??;
        let keeper = Arc::clone(&database);
        daemon(async move { keeper.keep(connection).await });
        database.client()?.batch_execute(SCHEMA).await?;
        Ok(database)
    }

    async fn connect(&self) -> Result<Connection<TcpStream, NoTlsStream>, MainError> {
        let port = self.config.get_ports().first().copied().unwrap_or(5432);
        let stream = match self.config.get_hosts().first() {
            Some(Host::Tcp(host)) => TcpStream::connect((host.as_str(), port)).await?,
            _ => return Err("the URL of the database needs the name of a host".into()),
        };
        let (client, connection) = self.config.connect_raw(stream, NoTls).await?;
        *lock(&self.client) = Some(Arc::new(client));
        Ok(connection)
    }

    /// Runs the connection, and makes a new one whenever it has ended.
    async fn keep(&self, mut connection: Connection<TcpStream, NoTlsStream>) {
        loop {
            let ended = connection.await;
            lock(&self.client).take();
            eprintln!("the connection to the database has ended: {ended:?}");
            connection = loop {
                match timeout(CONNECT_LIMIT, self.connect()).await {
                    Ok(Ok(connection)) => break connection,
                    Ok(Err(error)) => eprintln!("database: {error}"),
                    Err(elapsed) => eprintln!("database: {elapsed}"),
                }
                sleep(Duration::from_secs(1)).await;
            };
        }
    }

    fn client(&self) -> Result<Arc<Client>, Error> {
        lock(&self.client).clone().ok_or(Error::NO_DATABASE)
    }

    /// Runs a statement that returns notes.
    pub(crate) async fn notes(
        &self,
        statement: &str,
        values: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Note>, Error> {
        let failed = |error| {
            eprintln!("database: {error}");
            Error::NO_DATABASE
        };
        let rows = self.client()?.query(statement, values).await.map_err(failed)?;
        let note = |row: &tokio_postgres::Row| Note {
            id: row.get("id"),
            text: row.get("text"),
            words: row.get("words"),
        };
        Ok(rows.iter().map(note).collect())
    }
}
