//! The echo server of the Miou tutorial, statement by statement. The comments quote the names of
//! the original program.
//!
//! Usage: `miou_tutorial [ADDR] [N | --domains N]`, with an address and a number of domains.
//!
//! The `echo` binary of this package is the same server, fit for production. This one shows each
//! mechanism of the tutorial: children that accept, resources that are given to a child and
//! transferred back, a condition variable that is raced against a system call, the collection of
//! orphans, and a signal handler that is a task.

#![forbid(unsafe_code)]

use std::error::Error;
use std::io::{self, ErrorKind, Write};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;

use matou_net::{TcpListener, TcpStream};
use matou_runtime::{
    Builder, Forgotten, Leaks, MainError, Orphans, Outcome, Task, TaskError, TryNext, Violations,
    await_first, parallel, signal, signal::Signal, transfer, try_spawn,
};
use matou_sync::{Condition, Mutex};

/// `condition`
static CONDITION: Condition = Condition::new();

/// `mutex_sigint`. It protects a predicate, which the original does not have: there, a signal that
/// arrives between two waits of a server is lost. Here the next wait returns immediately.
static MUTEX_SIGINT: Mutex<bool> = Mutex::new(false);

/// `mutex_out`
static MUTEX_OUT: Mutex<()> = Mutex::new(());

/// `printf`
async fn printf(line: std::fmt::Arguments<'_>) {
    let _out = MUTEX_OUT.lock().await;
    let mut stdout = io::stdout().lock();
    // The server continues if standard output is closed.
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

/// The result of `accept_or_die`.
enum AcceptOrDie {
    /// `` `Accept``
    Accept(TcpStream, SocketAddr),
    /// `` `Die``
    Die,
}

/// `accept_or_die`
async fn accept_or_die(fd: &Arc<TcpListener>) -> Result<AcceptOrDie, TaskError<io::Error>> {
    // `accept`: the child owns the listener while it waits. If the condition wins the race, the
    // child is cancelled, and the runtime closes the listener.
    let listener = Arc::clone(fd);
    let accept = async move {
        let (client, sockaddr) = listener.shared().accept().await?;
        transfer(&client).map_err(io::Error::other)?;
        transfer(&listener).map_err(io::Error::other)?;
        Ok(AcceptOrDie::Accept(client, sockaddr))
    };
    let or_die = async {
        let sigint = MUTEX_SIGINT.lock().await;
        drop(CONDITION.wait_while(sigint, |sigint| !*sigint).await);
        Ok(AcceptOrDie::Die)
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
        TryNext::Completed(outcome) => check(outcome),
    }
}

/// `terminate`. The original yields in a loop while all clients are busy, which occupies a core.
/// This function waits.
async fn terminate(orphans: &Clients) -> io::Result<()> {
    while let Some(outcome) = orphans.next().await {
        check(outcome)?;
    }
    Ok(())
}

/// `function Ok () -> () | Error exn -> raise exn`. Unlike in the original, a client that resets
/// its connection does not end the server.
fn check(outcome: Outcome<(), io::Error>) -> io::Result<()> {
    match outcome {
        Ok(()) => Ok(()),
        Err(TaskError::Failed { error, .. }) => match error.kind() {
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
            Ok(AcceptOrDie::Die) => return terminate(&orphans).await,
            Ok(AcceptOrDie::Accept(client, sockaddr)) => {
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
        // With port 0 all servers must bind the same port. The system chooses it for a socket that
        // shares the port and does not listen, so it receives no connections.
        let (_port, sockaddr) = hold_port(sockaddr)?;
        // The rules of the original are strict: a violation fails the run, and each task releases
        // or transfers what it owns.
        let builder = Builder::new()
            .domains(domains)
            .violations(Violations::FailRun)
            .forgotten(Forgotten::Strict)
            .leaks(Leaks::AtTaskEnd);
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
    // Bind without sharing first, so that a second process fails because the address is in use.
    socket.bind(&sockaddr.into())?;
    socket.set_reuse_port(true)?;
    let sockaddr = socket.local_addr()?.as_socket();
    Ok((socket, sockaddr.ok_or(ErrorKind::Unsupported)?))
}

/// The number of domains is `Stdlib.Domain.recommended_domain_count ()` by default.
fn arguments() -> Result<(SocketAddr, usize), Box<dyn Error + Send + Sync>> {
    let mut sockaddr: SocketAddr = "127.0.0.1:3000".parse()?;
    let mut domains = std::thread::available_parallelism()?.get();
    for argument in std::env::args().skip(1).filter(|it| it != "--domains") {
        match argument.parse() {
            Ok(number) => domains = number,
            Err(_) => {
                let usage = "usage: miou_tutorial [ADDR] [N | --domains N]";
                sockaddr = argument.parse().map_err(|_| usage)?;
            }
        }
    }
    Ok((sockaddr, domains))
}
