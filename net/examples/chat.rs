//! A chat server over TCP and a Unix socket:
//! `cargo run -p matou-net --example chat -- 127.0.0.1:3000 /tmp/chat.sock`, then
//! `nc 127.0.0.1 3000` or `nc -U /tmp/chat.sock`. The first line that a member sends is the name.
//!
//! - No member makes the others wait: each has a queue of lines, and one whose queue is full is cut
//!   off.
//! - Lines and names have a limit, and a client has ten seconds to send its name.
//! - At SIGTERM or SIGINT the server accepts no more clients, sends a farewell, waits until each
//!   member has received it, at most five seconds, and removes the file of the socket.

#![expect(clippy::print_stdout, reason = "an example prints its results")]

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use matou_net::runtime::{MainError, Orphans, RunError, run, select, signal, timeout};
use matou_net::{
    FinishLimit, LineReader, SocketKind, SocketListener, SocketStream, TcpListener, UnixListener,
};
use matou_sync::{Queue, Trigger, TryPushError};

const LINE_BYTES_MAX: usize = 1000;
const LINES_WAITING_MAX: usize = 64;

/// The lines that wait for a member. `None` ends the member; a queue that is closed cuts it off.
type Lines = Queue<Option<Rc<str>>>;

/// All tasks of the server run on one domain, so the room needs no lock.
struct Room {
    members: RefCell<BTreeMap<String, Rc<Lines>>>,
    closed: Trigger,
}

impl Room {
    /// Sends a line to all members, or ends them.
    fn send(&self, line: Option<&str>) {
        let line = line.map(|line| Rc::from(format!("{line}\n")));
        for (name, lines) in self.members.borrow().iter() {
            if let Err(TryPushError::Full(_)) = lines.try_push(line.clone()) {
                println!("{name} is too slow");
                lines.close();
            }
        }
    }

    fn join(self: Rc<Room>, name: String) -> Option<Member> {
        if name.is_empty() || self.members.borrow().contains_key(&name) {
            return None;
        }
        let lines = Rc::new(Lines::bounded(LINES_WAITING_MAX));
        self.members.borrow_mut().insert(name.clone(), Rc::clone(&lines));
        self.send(Some(&format!("* {name} joined")));
        Some(Member { room: self, name, lines })
    }
}

/// Leaves the room when it is dropped, however the task of the client ends.
struct Member {
    room: Rc<Room>,
    name: String,
    lines: Rc<Lines>,
}

impl Drop for Member {
    fn drop(&mut self) {
        self.room.members.borrow_mut().remove(&self.name);
        self.room.send(Some(&format!("* {} left", self.name)));
    }
}

async fn serve<K: SocketKind>(stream: SocketStream<K>, room: Rc<Room>) -> io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut input = LineReader::new(reader, LINE_BYTES_MAX);
    let name = select! {
        biased;
        () = room.closed.wait() => return Ok(()),
        line = timeout(Duration::from_secs(10), input.next_line()) => line??.unwrap_or_default(),
    };
    if let Some(Member { room, name, lines }) = &room.join(name) {
        let read = async {
            while let Some(line) = input.next_line().await? {
                room.send(Some(&format!("{name}: {line}")));
            }
            Ok(())
        };
        let write = async {
            while let Ok(Some(line)) = lines.pop().await {
                writer.write_all(line.as_bytes()).await?;
            }
            Ok::<_, io::Error>(())
        };
        select! {
            () = lines.closed() => return Ok(()), // too slow
            result = read => return result, // the client has left
            result = write => result?,
        }
    } else {
        writer.write_all(b"* choose another name\n").await?;
    }
    // Delivers the last line although the client may go on sending.
    let stream = input.into_inner().0.reunite(writer).map_err(io::Error::other)?;
    stream.finish(FinishLimit::new()).await.map(drop)
}

async fn accept<K: SocketKind>(
    mut listener: SocketListener<K>,
    clients: &Orphans<()>,
    room: &Rc<Room>,
) -> io::Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        let client = serve(stream, Rc::clone(room));
        clients.spawn(async { client.await.unwrap_or_else(|error| println!("error: {error}")) });
    }
}

async fn chat() -> Result<(), MainError> {
    let mut arguments = std::env::args().skip(1);
    let (Some(address), Some(path)) = (arguments.next(), arguments.next()) else {
        return Err("usage: chat ADDRESS PATH".into());
    };
    let termination = signal::termination()?;
    let mut tcp = TcpListener::bind(address)?;
    let unix = UnixListener::options().remove_stale_file(true).remove_on_close(true);
    let unix = unix.listen(&path)?;
    println!("listening on {} and {path}", tcp.local_addr()?);
    let room = Rc::new(Room { members: RefCell::default(), closed: Trigger::latched() });
    let clients = Orphans::new().discarding();
    select! {
        result = accept(tcp, &clients, &room) => result?,
        result = accept(unix, &clients, &room) => result?,
        _ = termination => {}
    }
    room.send(Some("* the server shuts down"));
    room.send(None);
    room.closed.signal();
    if timeout(Duration::from_secs(5), clients.next()).await.is_err() {
        println!("{} clients are cut off", clients.cancel_all());
        clients.next().await;
    }
    Ok(())
}

fn main() -> Result<(), RunError> {
    run(chat())
}
