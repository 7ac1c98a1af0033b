//! Auto traits and sizes of the public types.

use matou_net::{
    ConnectOptions, DatagramSocketRef, LineReader, ListenOptions, ReadHalf, TcpListener,
    TcpListenerRef, TcpStream, TcpStreamRef, Udp, UdpSocket, UnixDatagram, UnixListener,
    UnixStream, WriteHalf, futures,
};

fn is_send_sync_unpin<T: Send + Sync + Unpin>() {}

#[test]
fn sockets_and_their_futures_are_send_sync_unpin() {
    is_send_sync_unpin::<TcpStream>();
    is_send_sync_unpin::<TcpListener>();
    is_send_sync_unpin::<ReadHalf>();
    is_send_sync_unpin::<WriteHalf>();
    is_send_sync_unpin::<futures::Peek<'_>>();
    is_send_sync_unpin::<TcpStreamRef<'_>>();
    is_send_sync_unpin::<TcpListenerRef<'_>>();
    is_send_sync_unpin::<ListenOptions>();
    is_send_sync_unpin::<ConnectOptions>();
    is_send_sync_unpin::<UdpSocket>();
    is_send_sync_unpin::<DatagramSocketRef<'_, Udp>>();
    is_send_sync_unpin::<UnixStream>();
    is_send_sync_unpin::<UnixListener>();
    is_send_sync_unpin::<UnixDatagram>();
    is_send_sync_unpin::<LineReader<TcpStream>>();
    is_send_sync_unpin::<futures::ConnectAny>();
    is_send_sync_unpin::<futures::ConnectUnix>();
    is_send_sync_unpin::<futures::CopyAll<'_, TcpStream, TcpStream>>();
    is_send_sync_unpin::<futures::CopyBidirectional<'_, TcpStream, TcpStream>>();
    is_send_sync_unpin::<futures::Recv<'_>>();
    is_send_sync_unpin::<futures::RecvFrom<'_>>();
    is_send_sync_unpin::<futures::SendDatagram<'_>>();
    is_send_sync_unpin::<futures::Accept<'_>>();
    is_send_sync_unpin::<futures::Connect>();
    is_send_sync_unpin::<futures::ConnectTimeout>();
    is_send_sync_unpin::<futures::Read<'_>>();
    is_send_sync_unpin::<futures::Write<'_>>();
    is_send_sync_unpin::<futures::WriteAll<'_>>();
}

#[test]
fn a_stream_has_the_size_of_a_pointer() {
    assert_eq!(size_of::<TcpStream>(), size_of::<usize>());
}
