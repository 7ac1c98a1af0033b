//! What the operator can set.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;

/// Notes over HTTP, with live updates over WebSocket.
#[derive(Clone, Debug, Parser)]
#[command(name = "service", version)]
pub struct Config {
    /// The address to listen on; port 0 means any free one
    #[arg(long, env = "SERVICE_LISTEN", default_value = "127.0.0.1:8080")]
    pub listen: SocketAddr,
    /// The certificate chain for TLS, a file in the format PEM [default: no TLS]
    #[arg(long, env = "SERVICE_TLS_CERT", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// The key of the certificate
    #[arg(long, env = "SERVICE_TLS_KEY", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// The database, as postgres://user:password@host/name [default: in memory]
    #[arg(long, env = "DATABASE_URL")]
    pub database: Option<tokio_postgres::Config>,
    /// The number of threads that serve [default: one per core]
    #[arg(long, env = "SERVICE_DOMAINS")]
    pub domains: Option<NonZeroUsize>,
    /// The time limit of a request to /notes, in seconds
    #[arg(long, env = "SERVICE_REQUEST_SECONDS", default_value = "5", value_parser = seconds)]
    pub request_limit: Duration,
    /// How long a shutdown waits for what is in progress, in seconds
    #[arg(long, env = "SERVICE_DRAIN_SECONDS", default_value = "10", value_parser = seconds)]
    pub drain_limit: Duration,
    /// The number of jobs that run at the same time
    #[arg(long, env = "SERVICE_WORKERS", default_value = "2")]
    pub workers: NonZeroUsize,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let number: f64 = text.parse().map_err(|_| format!("{text:?} is not a number"))?;
    match Duration::try_from_secs_f64(number) {
        Ok(duration) if !duration.is_zero() => Ok(duration),
        _ => Err("expected a number of seconds above 0".to_owned()),
    }
}
