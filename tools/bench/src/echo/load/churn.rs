use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use hdrhistogram::Histogram;
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::IpBindAddressNoPort;
use socket2::{Domain, Socket, Type};

use super::PATIENCE;

/// The last bytes of the addresses that the clients come from. A connection that was closed in good
/// order bars its pair of ports for a minute, and one address has not ports enough.
const SOURCES: u64 = 200;

/// Comes and goes for so long, and returns how often.
pub(super) fn churn(
    address: SocketAddr,
    time: Duration,
    latencies: &mut Histogram<u64>,
) -> Result<u64> {
    let (begun, mut count) = (Instant::now(), 0_u64);
    while begun.elapsed() < time {
        let come_at = Instant::now();
        let mut stream = connect(address, count)?;
        let message = [count as u8; 64];
        stream.write_all(&message)?;
        let mut echo = [0; 64];
        stream.read_exact(&mut echo).context("no echo")?;
        ensure!(echo == message, "wrong bytes");
        drop(stream);
        latencies.record(come_at.elapsed().as_nanos() as u64)?;
        count += 1;
    }
    Ok(count)
}

fn connect(address: SocketAddr, count: u64) -> Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    let source = Ipv4Addr::new(127, 0, 0, (2 + count % SOURCES) as u8);
    // The port is chosen when the other end is known, so that it need not be free for all others.
    setsockopt(&socket, IpBindAddressNoPort, &true)?;
    socket.bind(&SocketAddr::from((source, 0)).into())?;
    socket.connect(&address.into()).context("failed to connect")?;
    socket.set_tcp_nodelay(true)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    Ok(socket.into())
}
