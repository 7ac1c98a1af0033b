//! A server that answers one line and closes, also if the client sends more than it reads.
//!
//! `cargo run -p matou-net --example answer -- 127.0.0.1:3000`, then
//! `printf 'Anna\n' | nc 127.0.0.1 3000`
//!
//! A mere close of a stream with unread input resets the connection, and the client may lose the
//! answer. `TcpStream::finish` ends the output, and discards input until the client closes.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use matou_net::{Ending, FinishLimit, TcpListener, TcpStream};
use matou_runtime::{Orphans, RunError, Task, TryNext, run, timeout};

/// The longest line that is read.
const LINE_MAX: usize = 64;

/// Reads a line without its end; `None` if it is too long or incomplete.
async fn read_line(stream: &mut TcpStream) -> io::Result<Option<Vec<u8>>> {
    let (mut line, mut buf) = (Vec::new(), [0; LINE_MAX]);
    while line.len() <= LINE_MAX {
        let count = stream.read(&mut buf).await?;
        line.extend_from_slice(&buf[..count]);
        if let Some(end) = line.iter().position(|&byte| byte == b'\n') {
            line.truncate(end);
            return Ok(Some(line));
        }
        if count == 0 {
            break;
        }
    }
    Ok(None)
}

async fn answer(mut stream: TcpStream) -> io::Result<Ending> {
    match timeout(Duration::from_secs(10), read_line(&mut stream)).await?? {
        Some(name) => {
            stream.write_all(b"Hello, ").await?;
            stream.write_all(&name).await?;
            stream.write_all(b"\n").await?;
        }
        None => stream.write_all(b"error: not a line\n").await?,
    }
    stream.finish(FinishLimit::new()).await
}

async fn serve(mut listener: TcpListener) -> io::Result<()> {
    let clients = Orphans::new();
    loop {
        let (stream, _) = listener.accept().await?;
        let task = Task::new().orphans(&clients).try_spawn(answer(stream));
        task.expect("the group has no limit");
        // A client that fails ends alone.
        while let TryNext::Completed(_) = clients.care() {}
    }
}

fn main() -> Result<(), RunError> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:3000".to_owned());
    run(async move { Ok(serve(TcpListener::bind(address.parse::<SocketAddr>()?)?).await?) })
}
