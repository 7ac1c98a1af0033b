//! Halves of a stream that two tasks own.

use std::error::Error;
use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::net::Shutdown;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use matou_ownership::{Resource, ResourceHandle, Ticket, disown, release};

use super::handle::StreamHandle;
use super::{Read, SocketStream, Write, WriteAll};
use crate::access::AccessMode;
use crate::kind::{SocketKind, Tcp};

/// The half of a stream that reads; created by [`SocketStream::into_split`].
///
/// It is a resource with an owner of its own: the task that uses it. Dropping it closes the stream
/// if the other half is dropped already, and has no other effect.
#[doc(alias = "OwnedReadHalf")]
pub struct ReadHalf<K: SocketKind = Tcp> {
    handle: StreamHandle,
    split: Arc<Split>,
    kind: PhantomData<fn() -> K>,
}

/// The half of a stream that writes; created by [`SocketStream::into_split`].
///
/// It is a resource with an owner of its own: the task that uses it. Dropping it shuts down the
/// write direction, so that the peer reads the end of the stream, and closes the stream if the
/// other half is dropped already.
#[doc(alias = "OwnedWriteHalf")]
pub struct WriteHalf<K: SocketKind = Tcp> {
    handle: StreamHandle,
    split: Arc<Split>,
    kind: PhantomData<fn() -> K>,
}

/// The halves that were passed to [`ReadHalf::reunite`] do not belong to one stream. It returns
/// them.
pub struct ReuniteError<K: SocketKind = Tcp>(pub ReadHalf<K>, pub WriteHalf<K>);

/// The state that the halves of a stream share.
#[derive(Debug)]
struct Split {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// The stream, which no task owns; `None` once it is reunited or closed.
    stream: Option<StreamHandle>,
    /// How many halves are not finalized.
    halves: u8,
}

impl Split {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The finalizer of a half.
    fn finalize_half(&self, writes: bool) {
        let mut state = self.state();
        let Some(stream) = &state.stream else { return };
        if writes {
            // An error means that the connection has ended, or that another half closed it.
            // fault: dropped-write-half-sends-no-end
            let _ = stream.backend().shutdown(Shutdown::Write);
        }
        state.halves -= 1;
        // fault: dropped-halves-leave-the-stream-open
        let closed = if state.halves == 0 { state.stream.take() } else { None };
        drop(state);
        drop(closed);
    }
}

impl<K: SocketKind> SocketStream<K> {
    /// Splits the stream into two halves, which two tasks can own: one reads, the other writes.
    ///
    /// Each half is a resource; see [`ReadHalf`] and [`WriteHalf`] for the effect of their drops.
    /// [`reunite`](ReadHalf::reunite) makes one stream of them again. Within one task,
    /// [`halves`](SocketStream::halves) is simpler.
    ///
    /// Keep both halves on one domain. A descriptor is registered with the poller of one domain: if
    /// halves on two domains wait at the same time, each wait takes the registration from the other
    /// domain, and wakes its task, which then takes it back. Both make progress, at the price of
    /// system calls and wake-ups for as long as both wait.
    ///
    /// # Panics
    ///
    /// In a finalizer, which cannot own resources.
    ///
    /// # Examples
    ///
    /// ```
    /// use matou_net::{TcpListener, TcpStream};
    /// use matou_runtime::{RunError, run, try_spawn};
    ///
    /// # fn main() -> Result<(), RunError> {
    /// run(async {
    ///     let mut listener = TcpListener::bind("127.0.0.1:0")?;
    ///     let client = TcpStream::connect(listener.local_addr()?).await?;
    ///     let (mut server, _) = listener.accept().await?;
    ///
    ///     let (mut reader, mut writer) = client.into_split();
    ///     let writing = try_spawn(async move {
    ///         writer.write_all(b"purr").await // dropping the half ends the stream to the peer
    ///     });
    ///     let mut buf = [0; 16];
    ///     assert_eq!(server.read(&mut buf).await?, 4);
    ///     assert_eq!(server.read(&mut buf).await?, 0);
    ///     server.write_all(b"hiss").await?;
    ///     assert_eq!(reader.read(&mut buf).await?, 4);
    ///     writing.await?;
    ///     Ok(())
    /// })
    /// # }
    /// ```
    #[doc(alias = "OwnedReadHalf")]
    #[doc(alias = "OwnedWriteHalf")]
    #[track_caller]
    pub fn into_split(self) -> (ReadHalf<K>, WriteHalf<K>) {
        let handle = self.handle;
        // If the stream is closed, the next operation of a half returns the error.
        let _ = AccessMode::Exclusive.check(&handle);
        // From now on its halves are the resources.
        let _ = disown(&handle);
        let backends = [handle.backend().clone(), handle.backend().clone()];
        let [for_reads, for_writes] = backends;
        let state = Mutex::new(State { stream: Some(handle), halves: 2 });
        let split = Arc::new(Split { state });
        let part = Arc::clone(&split);
        let finalizer = Box::new(move |_: &_| part.finalize_half(false));
        let reads = StreamHandle::with_finalizer(Ticket::new(K::READ_HALF), for_reads, finalizer);
        let part = Arc::clone(&split);
        let finalizer = Box::new(move |_: &_| part.finalize_half(true));
        let writes =
            StreamHandle::with_finalizer(Ticket::new(K::WRITE_HALF), for_writes, finalizer);
        (
            ReadHalf { handle: reads, split: Arc::clone(&split), kind: PhantomData },
            WriteHalf { handle: writes, split, kind: PhantomData },
        )
    }
}

impl<K: SocketKind> ReadHalf<K> {
    /// Reads available bytes; see [`SocketStream::read`].
    #[track_caller]
    pub fn read<'a>(&'a mut self, buf: &'a mut [u8]) -> Read<'a> {
        Read::new(&self.handle, AccessMode::Exclusive, buf)
    }

    /// Makes one stream of the two halves that [`into_split`](SocketStream::into_split) returned.
    /// The current task owns it.
    ///
    /// # Errors
    ///
    /// If the halves do not belong to one stream; the error contains them.
    ///
    /// # Examples
    ///
    /// ```
    /// use matou_net::{TcpListener, TcpStream};
    /// use matou_runtime::{RunError, run, try_spawn};
    ///
    /// # fn main() -> Result<(), RunError> {
    /// run(async {
    ///     let mut listener = TcpListener::bind("127.0.0.1:0")?;
    ///     let client = TcpStream::connect(listener.local_addr()?).await?;
    ///     let (reader, mut writer) = client.into_split();
    ///     let writing = try_spawn(async move {
    ///         writer.write_all(b"purr").await?;
    ///         Ok::<_, std::io::Error>(writer)
    ///     });
    ///     let mut client = reader.reunite(writing.await?)?;
    ///     client.write_all(b"hiss").await?;
    ///     Ok(())
    /// })
    /// # }
    /// ```
    #[track_caller]
    pub fn reunite(self, other: WriteHalf<K>) -> Result<SocketStream<K>, ReuniteError<K>> {
        if !Arc::ptr_eq(&self.split, &other.split) {
            return Err(ReuniteError(self, other));
        }
        let stream = self.split.state().stream.take();
        // Without the stream, the finalizers of the halves have no effect.
        release(&self.handle);
        release(&other.handle);
        // A stream that is closed already is closed: the next operation returns that error.
        let handle = stream.unwrap_or_else(|| self.closed(K::STREAM));
        let _ = AccessMode::Exclusive.check(&handle);
        Ok(SocketStream::from_handle(handle))
    }

    /// Returns a handle of the closed stream.
    #[track_caller]
    fn closed(&self, name: &'static str) -> StreamHandle {
        StreamHandle::new(Ticket::new(name), self.handle.backend().clone())
    }

    /// Returns the address of the peer; see [`SocketStream::peer_addr`].
    ///
    /// # Errors
    ///
    /// As [`SocketStream::peer_addr`].
    #[track_caller]
    pub fn peer_addr(&mut self) -> io::Result<K::Address> {
        AccessMode::Exclusive.check(self)?;
        K::address(self.handle.backend().peer_addr()?)
    }
}

impl<K: SocketKind> WriteHalf<K> {
    /// Writes a prefix of `buf`; see [`SocketStream::write`].
    #[track_caller]
    pub fn write<'a>(&'a mut self, buf: &'a [u8]) -> Write<'a> {
        Write::new(&self.handle, AccessMode::Exclusive, buf)
    }

    /// Writes all of `buf`; see [`SocketStream::write_all`].
    #[track_caller]
    pub fn write_all<'a>(&'a mut self, buf: &'a [u8]) -> WriteAll<'a> {
        WriteAll::new(&self.handle, AccessMode::Exclusive, buf)
    }

    /// Ends the stream to the peer, as dropping the half does, and reports an error.
    ///
    /// # Errors
    ///
    /// As [`SocketStream::shutdown`].
    #[track_caller]
    pub fn shutdown(&mut self) -> io::Result<()> {
        AccessMode::Exclusive.check(self)?;
        self.handle.backend().shutdown(Shutdown::Write)
    }
}

macro_rules! half {
    ($half:ident) => {
        impl<K: SocketKind> $half<K> {
            pub(super) fn handle(&self) -> &StreamHandle {
                &self.handle
            }
        }

        impl<K: SocketKind> ResourceHandle for $half<K> {
            fn ticket(&self) -> &Ticket {
                self.handle.ticket()
            }

            fn resource(&self) -> Arc<dyn Resource> {
                self.handle.resource()
            }
        }

        impl<K: SocketKind> fmt::Debug for $half<K> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($half)).field("handle", &self.handle).finish()
            }
        }
    };
}

half!(ReadHalf);
half!(WriteHalf);

impl<K: SocketKind> fmt::Debug for ReuniteError<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ReuniteError").field(&self.0).field(&self.1).finish()
    }
}

impl<K: SocketKind> fmt::Display for ReuniteError<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the halves do not belong to one stream")
    }
}

impl<K: SocketKind> Error for ReuniteError<K> {}
