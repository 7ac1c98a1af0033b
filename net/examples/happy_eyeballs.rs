//! Connects to a host with several addresses, by the algorithm of RFC 8305 ("happy eyeballs"):
//! `cargo run -p matou-net --example happy_eyeballs -- localhost:80 [::1]:8080`
//!
//! The addresses of all arguments are tried in turn, IPv6 and IPv4 alternately. The next attempt
//! starts when the one before has failed, or after 250 milliseconds in which it has not succeeded.
//! The first connection wins. All other attempts have ended, and their sockets are closed, when it
//! is returned. The program prints it, and then copies to standard output what the server sends.
//!
//! `TcpStream::connect_host` does the same for one host. This program shows how little it takes.

#![expect(clippy::print_stdout, reason = "an example prints its results")]

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use futures::io::AllowStdIo;
use matou_net::runtime::{
    FirstSuccess, MainError, Outcome, RunError, race, run, sleep, task_scope_with,
};
use matou_net::{TcpStream, copy, lookup_host};
use matou_sync::Trigger;

/// The "Connection Attempt Delay" of the RFC.
const DELAY: Duration = Duration::from_millis(250);

/// Connects to the address that answers first; `None` if there is no address.
async fn connect(addresses: Vec<SocketAddr>) -> Outcome<Option<TcpStream>, io::Error> {
    task_scope_with(FirstSuccess::new(), async move |attempts| {
        for address in addresses {
            let failed = Rc::new(Trigger::latched());
            attempts.try_spawn(attempt(address, Rc::clone(&failed)));
            race(failed.wait(), sleep(DELAY)).await;
        }
        Ok(())
    })
    .await
}

async fn attempt(address: SocketAddr, failed: Rc<Trigger>) -> io::Result<TcpStream> {
    let connected = TcpStream::connect(address).await;
    if let Err(error) = &connected {
        println!("{error}");
        failed.signal();
    }
    connected
}

/// Looks up the addresses of `HOST:PORT`.
async fn addresses(target: &str) -> Result<Vec<SocketAddr>, MainError> {
    let (host, port) = target.rsplit_once(':').ok_or("expected HOST:PORT")?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    Ok(lookup_host(host, port.parse()?).await?)
}

/// Alternates between the two versions of the protocol, beginning with IPv6.
fn interleave(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let (v6, v4): (Vec<_>, Vec<_>) = addresses.into_iter().partition(SocketAddr::is_ipv6);
    let mut v4 = v4.into_iter();
    let mut order: Vec<_> = v6.into_iter().flat_map(|v6| [Some(v6), v4.next()]).flatten().collect();
    order.extend(v4);
    order
}

async fn program(targets: Vec<String>) -> Result<(), MainError> {
    let mut found = Vec::new();
    for target in targets {
        match addresses(&target).await {
            Ok(addresses) => found.extend(addresses),
            // The other hosts may answer.
            Err(error) => println!("{target}: {error}"),
        }
    }
    let mut stream =
        connect(interleave(found)).await?.ok_or("there is no address to connect to")?;
    println!("connected to {}", stream.peer_addr()?);
    // Standard output may block the domain: no other task needs it.
    copy(&mut stream, &mut AllowStdIo::new(io::stdout())).await?;
    Ok(())
}

fn main() -> Result<(), RunError> {
    run(program(std::env::args().skip(1).collect()))
}
