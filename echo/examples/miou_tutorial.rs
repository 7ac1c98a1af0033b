//! The last program of the seed document, statement by statement; the names in the comments are
//! those of the original.
//!
//! It takes an address and a number of domains: `seed [ADDR] [N | --domains N]`. The crate's own
//! server is the same program made fit for production; here it is as it was told, to show that each
//! mechanism carries: children that accept, resources that are given down and transferred up, a
//! condition that races with the system, orphans that are cleaned up, and a signal that is a task.

#![forbid(unsafe_code)]

use std::error::Error;
use std::io::{self, ErrorKind, Write};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;

use matou_net::{TcpListener, TcpStream};
use matou_runtime::{
    Builder, MainError, Orphans, Outcome, Task, TaskError, TryNext, await_first, parallel, signal,
    signal::Signal, transfer, try_spawn,
};
use matou_sync::{Condition, Mutex};

/// `condition`
static CONDITION: Condition = Condition::new();

/// `mutex_sigint`. It guards the predicate that the original does not have: there, a signal that
/// comes while a server is between two waits (it has accepted somebody) finds nobody waiting, and
/// is lost. Here it is remembered, and the next wait ends at once.
static MUTEX_SIGINT: Mutex<bool> = Mutex::new(false);

/// `mutex_out`
static MUTEX_OUT: Mutex<()> = Mutex::new(());

/// `printf`
async fn printf(line: std::fmt::Arguments<'_>) {
    let _out = MUTEX_OUT.lock().await;
    let mut stdout = io::stdout().lock();
    // If nobody reads it any more, that is no reason to end.
    let _ = writeln!(stdout, "{line}").and_then(|()| stdout.flush());
}

/// `echo`
async fn echo(mut client: TcpStream) -> io::Result<()> {
    let mut buf = [0; 0x100];
    loop {
        let len = client.read(&mut buf).await?;
        if len == 0 {
            client.close();
            return Ok(());
        }
        client.write_all(&buf[..len]).await?;
    }
}

/// The two ends of `accept_or_die`.
enum Fate {
    /// `` `Accept``
    Accept(TcpStream, SocketAddr),
    /// `` `Die``
    Die,
}

/// `accept_or_die`
async fn accept_or_die(fd: &Arc<TcpListener>) -> Result<Fate, TaskError<io::Error>> {
    // `accept`: it owns the listener while it waits. If it is cancelled, because the condition
    // comes first, its end closes the listener: nothing is left to be done about that.
    let lent = Arc::clone(fd);
    let accept = async move {
        let (client, sockaddr) = lent.shared().accept().await?;
        transfer(&client).map_err(io::Error::other)?;
        transfer(&lent).map_err(io::Error::other)?;
        Ok(Fate::Accept(client, sockaddr))
    };
    let or_die = async {
        let sigint = MUTEX_SIGINT.lock().await;
        drop(CONDITION.wait_while(sigint, |sigint| !*sigint).await);
        Ok(Fate::Die)
    };
    await_first([
        Task::new().name("accept").give(fd).try_spawn(accept),
        Task::new().name("or_die").try_spawn(or_die),
    ])
    .await
}

type Clients = Orphans<(), io::Error>;

/// `clean_up`
fn clean_up(orphans: &Clients) -> io::Result<()> {
    match orphans.care() {
        TryNext::Empty | TryNext::Pending => Ok(()),
        TryNext::Completed(outcome) => raise(outcome),
    }
}

/// `terminate`. The original yields while all are busy, which takes a whole core; this waits.
async fn terminate(orphans: &Clients) -> io::Result<()> {
    while let Some(outcome) = orphans.next().await {
        raise(outcome)?;
    }
    Ok(())
}

/// `function Ok () -> () | Error exn -> raise exn`. A peer that breaks its connection is not a
/// fault of the server, so it does not end it, as it would in the original.
fn raise(outcome: Outcome<(), io::Error>) -> io::Result<()> {
    match outcome {
        Ok(()) => Ok(()),
        Err(TaskError::Failed(error)) => match error.kind() {
            ErrorKind::ConnectionReset | ErrorKind::BrokenPipe | ErrorKind::TimedOut => Ok(()),
            _ => Err(error),
        },
        Err(other) => Err(io::Error::other(other)),
    }
}

/// `server`
async fn server(sockaddr: SocketAddr, first: bool) -> io::Result<()> {
    // `tcpv4` and `bind_and_listen`
    let options = TcpListener::options().reuse_port(true);
    let socket = Arc::new(options.listen(sockaddr)?);
    if first {
        let sockaddr = socket.shared().local_addr()?;
        printf(format_args!("listening on {sockaddr}")).await;
    }
    let orphans = Clients::new();
    // `go`
    loop {
        clean_up(&orphans)?;
        match accept_or_die(&socket).await {
            Ok(Fate::Die) => return terminate(&orphans).await,
            Ok(Fate::Accept(client, sockaddr)) => {
                printf(format_args!("new client: {sockaddr}")).await;
                let child = Task::new().name("echo").give(&client).orphans(&orphans);
                child.try_spawn(echo(client)).map_err(io::Error::other)?;
            }
            Err(error) => return Err(io::Error::other(error)),
        }
    }
}

/// `stop`
async fn stop() {
    let mut sigint = MUTEX_SIGINT.lock().await;
    *sigint = true;
    CONDITION.broadcast();
}

/// `let () = Miou_unix.run @@ fun () ->`
fn main() -> ExitCode {
    let done = arguments().and_then(|(sockaddr, domains)| {
        // With port 0 every server has to find the same port: the system chooses it for a socket
        // that shares it, but does not listen, and so takes no connection from the servers.
        let (_port, sockaddr) = hold_port(sockaddr)?;
        let builder = Builder::new().domains(domains);
        builder.run::<_, _, MainError>(async move {
            signal::on(Signal::Interrupt, stop)?;
            let prm = try_spawn(server(sockaddr, true));
            let others = parallel(1..domains, move |_| server(sockaddr, false))?;
            let (first, others) = (prm.await, others.await);
            first?;
            for outcome in others {
                outcome??;
            }
            Ok(())
        })?;
        Ok(())
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn hold_port(sockaddr: SocketAddr) -> io::Result<(socket2::Socket, SocketAddr)> {
    let domain = socket2::Domain::for_address(sockaddr);
    let socket = socket2::Socket::new(domain, socket2::Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    // Alone at first, so that a second program of this kind is told that the address is in use.
    socket.bind(&sockaddr.into())?;
    socket.set_reuse_port(true)?;
    let sockaddr = socket.local_addr()?.as_socket();
    Ok((socket, sockaddr.ok_or(ErrorKind::Unsupported)?))
}

/// `Stdlib.Domain.recommended_domain_count ()`, unless it is said how many.
fn arguments() -> Result<(SocketAddr, usize), Box<dyn Error + Send + Sync>> {
    let mut sockaddr: SocketAddr = "127.0.0.1:3000".parse()?;
    let mut domains = std::thread::available_parallelism()?.get();
    for argument in std::env::args().skip(1).filter(|it| it != "--domains") {
        match argument.parse() {
            Ok(number) => domains = number,
            Err(_) => {
                let usage = "usage: seed [ADDR] [N | --domains N]";
                sockaddr = argument.parse().map_err(|_| usage)?;
            }
        }
    }
    Ok((sockaddr, domains))
}
