//! What the compiler is to grant users of the types.

use matou_net::{ListenOptions, TcpListener, TcpListenerRef, TcpStream, TcpStreamRef, futures};

fn is_send_sync_unpin<T: Send + Sync + Unpin>() {}

#[test]
fn sockets_and_their_futures_may_go_anywhere() {
    is_send_sync_unpin::<TcpStream>();
    is_send_sync_unpin::<TcpListener>();
    is_send_sync_unpin::<TcpStreamRef<'_>>();
    is_send_sync_unpin::<TcpListenerRef<'_>>();
    is_send_sync_unpin::<ListenOptions>();
    is_send_sync_unpin::<futures::Accept<'_>>();
    is_send_sync_unpin::<futures::Connect>();
    is_send_sync_unpin::<futures::ConnectTimeout>();
    is_send_sync_unpin::<futures::Read<'_>>();
    is_send_sync_unpin::<futures::Write<'_>>();
    is_send_sync_unpin::<futures::WriteAll<'_>>();
}

#[test]
fn a_stream_is_one_word() {
    assert_eq!(size_of::<TcpStream>(), size_of::<usize>());
}
