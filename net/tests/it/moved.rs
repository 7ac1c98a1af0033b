//! Sockets whose handles move between tasks: through channels, as halves, into pools.
//!
//! Each program runs on threads and over the simulated network, with the default settings, and
//! nothing may be reported.

use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures::channel::oneshot;
use futures::{
    AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, Sink, SinkExt, Stream, StreamExt,
};
use matou_net::{TcpListener, TcpStream};
use matou_runtime::test::Check;
use matou_runtime::{
    Builder, Leaks, MainError, Orphans, Task, Violations, call, sleep, spawn, try_call, try_spawn,
    yield_now,
};
use matou_sync::Queue;

use crate::support::*;

type Reports = Arc<Mutex<Vec<String>>>;

/// Runs `main` on threads, where it must leak no descriptor, and over the simulated network.
#[track_caller]
fn runs<F>(main: impl Fn() -> F)
where
    F: Future<Output = Result<(), MainError>> + 'static,
{
    let reports = Reports::default();
    let collect = |reports: &Reports| {
        let reports = reports.clone();
        move |diagnostic: &matou_runtime::Diagnostic| {
            reports.lock().unwrap().push(diagnostic.to_string());
        }
    };
    {
        let _exclusive = exclusive();
        let before = descriptors();
        // On a busy machine any poll may be slow.
        let builder = Builder::new().domains(3).slow_poll(Duration::MAX);
        let builder = builder.on_report(collect(&reports));
        bounded(builder, main()).unwrap_or_else(|error| panic!("on threads: {error}"));
        // Other threads of the process may open a file for a moment.
        let is_closed = (0..500).any(|_| {
            std::thread::sleep(Duration::from_millis(1));
            descriptors() <= before
        });
        assert!(is_closed, "{} descriptors, {before} before", descriptors());
    }
    for seed in 0..20 {
        let check = Check::simulated()
            .violations(Violations::FailTask)
            .leaks(Leaks::AtRunEnd)
            .on_report(collect(&reports));
        let outcome = check.trial(seed, main()).outcome;
        outcome.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    }
    let reports = reports.lock().unwrap();
    assert!(reports.is_empty(), "{reports:?}");
}

/// The shape of hyper's upgrades: the connection's task reads the request, sends the stream through
/// a oneshot channel, and returns in the same poll.
#[test]
fn b19_an_upgraded_stream_outlives_the_task_of_its_connection() {
    runs(|| async {
        let (mut client, mut server) = pair().await?;
        let (sender, receiver) = oneshot::channel::<TcpStream>();
        let connection = try_spawn(async move {
            let mut request = [0; 8];
            server.read_exact(&mut request).await?;
            assert_eq!(&request, b"upgrade!");
            assert!(sender.send(server).is_ok());
            Ok::<_, io::Error>(())
        });
        let upgraded = try_spawn(async move {
            let mut stream = receiver.await.map_err(io::Error::other)?;
            stream.write_all(b"bye").await
        });
        client.write_all(b"upgrade!").await?;
        connection.await?;
        upgraded.await?;
        assert_eq!(read_to_end(&mut client).await?, b"bye");
        Ok(())
    });
}

#[test]
fn b19_a_stream_sent_to_another_domain_outlives_its_sender() {
    runs(|| async {
        let (mut client, mut server) = pair().await?;
        let queue = Arc::new(Queue::bounded(1));
        let sender = queue.clone();
        let connection = try_call(move || async move {
            let mut request = [0; 8];
            server.read_exact(&mut request).await?;
            sender.push(server).await.map_err(|_| io::Error::other("closed"))
        })?;
        client.write_all(b"upgrade!").await?;
        connection.await?;
        // No task uses the stream for a while.
        sleep(Duration::from_millis(5)).await;
        let upgraded = try_call(move || async move {
            let mut stream: TcpStream = queue.pop().await.map_err(io::Error::other)?;
            stream.write_all(b"bye").await
        })?;
        upgraded.await?;
        assert_eq!(read_to_end(&mut client).await?, b"bye");
        Ok(())
    });
}

/// Halves that share the stream in a `BiLock`. The writer ends long before the reader.
#[test]
fn b18_a_reader_continues_after_the_task_of_the_writer_has_ended() {
    runs(|| async {
        let (client, mut server) = pair().await?;
        let (mut reader, mut writer) = AsyncReadExt::split(client);
        let reading = try_spawn(async move {
            let mut all = Vec::new();
            reader.read_to_end(&mut all).await?;
            Ok::<_, io::Error>(all.len())
        });
        let writing = try_spawn(async move {
            for _ in 0..10 {
                writer.write_all(&[1; 100]).await?;
                yield_now().await;
            }
            Ok::<_, io::Error>(())
        });
        let mut sent = [0; 1000];
        server.read_exact(&mut sent).await?;
        writing.await?;
        for _ in 0..10 {
            sleep(Duration::from_millis(1)).await;
            server.write_all(&[2; 50]).await?;
        }
        drop(server);
        assert_eq!(reading.await?, 500);
        Ok(())
    });
}

/// A stream with a buffer and a layer of its own around the socket, as in TLS: both directions need
/// `&mut` of the whole, so it is split by a `BiLock`.
struct Layered {
    stream: TcpStream,
    written: u64,
    read: u64,
}

impl AsyncRead for Layered {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let count = ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        self.read += count as u64;
        buf[..count].iter_mut().for_each(|byte| *byte ^= 0x55);
        Poll::Ready(Ok(count))
    }
}

impl AsyncWrite for Layered {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let masked: Vec<u8> = buf.iter().map(|byte| byte ^ 0x55).collect();
        let count = ready!(Pin::new(&mut self.stream).poll_write(cx, &masked))?;
        self.written += count as u64;
        Poll::Ready(Ok(count))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_close(cx)
    }
}

#[test]
fn f14_the_halves_of_a_layered_stream_live_in_two_tasks_and_are_reunited() {
    const SIZE: usize = 100_000;
    runs(|| async {
        let (client, server) = pair().await?;
        let layered = |stream| Layered { stream, written: 0, read: 0 };
        let echo = try_spawn(async move {
            let (mut reader, mut writer) = AsyncReadExt::split(layered(server));
            futures::io::copy(&mut reader, &mut writer).await?;
            writer.close().await
        });
        let (mut reader, mut writer) = AsyncReadExt::split(layered(client));
        let reading = try_spawn(async move {
            let mut all = vec![0; SIZE];
            reader.read_exact(&mut all).await?;
            Ok::<_, io::Error>((all, reader))
        });
        let writing = try_spawn(async move {
            writer.write_all(&pattern(1, SIZE)).await?;
            Ok::<_, io::Error>(writer)
        });
        let writer = writing.await?;
        let (all, reader) = reading.await?;
        assert_eq!(all, pattern(1, SIZE));
        let mut whole = reader.reunite(writer).map_err(|_| "halves of one stream")?;
        assert_eq!((whole.written, whole.read), (SIZE as u64, SIZE as u64));
        whole.close().await?;
        echo.await?;
        Ok(())
    });
}

/// Messages of one byte length and that many bytes over a stream, as WebSockets have them.
struct Messages {
    stream: TcpStream,
    unsent: Vec<u8>,
    received: Vec<u8>,
}

impl Stream for Messages {
    type Item = io::Result<Vec<u8>>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(&len) = self.received.first()
                && self.received.len() > usize::from(len)
            {
                let rest = self.received.split_off(1 + usize::from(len));
                let message = std::mem::replace(&mut self.received, rest).split_off(1);
                return Poll::Ready(Some(Ok(message)));
            }
            let mut buf = [0; 64];
            match ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buf))? {
                0 => return Poll::Ready(None),
                count => self.received.extend_from_slice(&buf[..count]),
            }
        }
    }
}

impl Sink<Vec<u8>> for Messages {
    type Error = io::Error;

    fn poll_ready(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush(cx)
    }

    fn start_send(mut self: Pin<&mut Self>, message: Vec<u8>) -> io::Result<()> {
        self.unsent.push(message.len() as u8);
        self.unsent.extend(message);
        Ok(())
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        while !this.unsent.is_empty() {
            let count = ready!(Pin::new(&mut this.stream).poll_write(cx, &this.unsent))?;
            this.unsent.drain(..count);
        }
        Poll::Ready(Ok(()))
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.as_mut().poll_flush(cx))?;
        Pin::new(&mut self.stream).poll_close(cx)
    }
}

#[test]
fn f14_a_stream_of_messages_is_read_and_written_by_two_tasks() {
    runs(|| async {
        let (client, server) = pair().await?;
        let messages = |stream| Messages { stream, unsent: Vec::new(), received: Vec::new() };
        let echo = try_spawn(async move {
            let (sink, stream) = messages(server).split();
            stream.forward(sink).await
        });
        let (mut sink, mut stream) = messages(client).split();
        let sending = try_spawn(async move {
            for number in 0..100_u8 {
                sink.send(vec![number; usize::from(number)]).await?;
            }
            // The half ends here, and the socket stays open for the other one.
            Ok::<_, io::Error>(())
        });
        let receiving = try_spawn(async move {
            for number in 0..100_u8 {
                let message = stream.next().await.ok_or(io::ErrorKind::UnexpectedEof)??;
                assert_eq!(message, vec![number; usize::from(number)]);
                if number % 10 == 0 {
                    sleep(Duration::from_millis(1)).await;
                }
            }
            Ok::<_, io::Error>(())
        });
        sending.await?;
        receiving.await?;
        echo.await?;
        Ok(())
    });
}

/// Each request takes a connection from the pool, uses it, and puts it back; then its task ends.
#[test]
fn f14_connections_of_a_pool_outlive_the_tasks_that_use_them() {
    runs(|| async {
        let mut listener = TcpListener::bind(any_v4())?;
        let address = listener.local_addr()?;
        let server = try_spawn(async move {
            let connections = Orphans::<_, io::Error>::new();
            for _ in 0..3 {
                let (mut stream, _) = listener.accept().await?;
                let echo = Task::new().orphans(&connections).try_spawn(async move {
                    let mut buf = [0; 64];
                    loop {
                        match stream.read(&mut buf).await? {
                            0 => return Ok(()),
                            count => stream.write_all(&buf[..count]).await?,
                        }
                    }
                });
                echo.map_err(|_| io::Error::other("no limit"))?;
            }
            while let Some(outcome) = connections.next().await {
                outcome.map_err(io::Error::other)?;
            }
            Ok::<_, io::Error>(())
        });
        let pool = Rc::new(RefCell::new(Vec::<TcpStream>::new()));
        for round in 0..20 {
            let requests: Vec<_> = (0..3_u8)
                .map(|number| {
                    let pool = pool.clone();
                    try_spawn(async move {
                        let pooled = pool.borrow_mut().pop();
                        let mut stream = match pooled {
                            Some(stream) => stream,
                            None => TcpStream::connect(address).await?,
                        };
                        let request = [round, number];
                        stream.write_all(&request).await?;
                        let mut answer = [0; 2];
                        stream.read_exact(&mut answer).await?;
                        assert_eq!(answer, request);
                        pool.borrow_mut().push(stream);
                        Ok::<_, io::Error>(())
                    })
                })
                .collect();
            for request in requests {
                request.await?;
            }
        }
        assert_eq!(pool.borrow().len(), 3);
        drop(pool);
        server.await?;
        Ok(())
    });
}

/// The task that accepts ends, and the sockets that it has handed out stay open.
#[test]
fn f14_accepted_streams_outlive_the_task_that_accepts() {
    runs(|| async {
        let mut listener = TcpListener::bind(any_v4())?;
        let address = listener.local_addr()?;
        let queue = Arc::new(Queue::unbounded());
        let accepted = queue.clone();
        let acceptor = try_call(move || async move {
            for _ in 0..10 {
                let (stream, _) = listener.accept().await?;
                accepted.push(stream).await.map_err(|_| io::Error::other("closed"))?;
            }
            Ok::<_, io::Error>(())
        })?;
        let mut clients = Vec::new();
        for _ in 0..10 {
            clients.push(TcpStream::connect(address).await?);
        }
        acceptor.await?;
        let worker = call(move || async move {
            for _ in 0..10 {
                let mut stream: TcpStream = queue.pop().await.expect("it is open");
                stream.write_all(b"served").await.expect("the socket is open");
            }
        })?;
        worker.await?;
        for mut client in clients {
            assert_eq!(read_to_end(&mut client).await?, b"served");
        }
        Ok(())
    });
}

/// A server with handlers that return their streams, which it drops: none stays open.
#[test]
fn f14_a_returned_stream_is_closed_when_the_parent_drops_it() {
    runs(|| async {
        for _ in 0..20 {
            let (mut client, mut server) = pair().await?;
            let handler = spawn(async move { server.write_all(b"!").await.map(|()| server) });
            drop(handler.await??);
            assert_eq!(read_to_end(&mut client).await?, b"!");
        }
        Ok(())
    });
}
