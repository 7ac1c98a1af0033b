//! The errors of `accept`.

use std::io;

use rustix::io::Errno;

/// The effect of an error of `accept` on the listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AcceptErrorClass {
    /// It concerns one connection only.
    Connection,
    /// The system is out of descriptors or memory.
    Exhausted,
    /// The listener does not work; every later call fails as well.
    Fatal,
}

/// Classifies an error of `accept`.
///
/// An unknown error counts as [`Connection`](AcceptErrorClass::Connection): Linux passes on errors
/// that were pending on the new socket, and a server that retries with delays is preferable to one
/// that stops because of a single connection.
pub(crate) fn classify_accept_error(error: &io::Error) -> AcceptErrorClass {
    let Some(errno) = Errno::from_io_error(error) else {
        // Not from the system: the listener is closed, or the domain's driver has no poller.
        return match error.kind() {
            io::ErrorKind::ConnectionAborted => AcceptErrorClass::Connection,
            _ => AcceptErrorClass::Fatal,
        };
    };
    match errno {
        Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM | Errno::NOSPC => {
            AcceptErrorClass::Exhausted
        }
        Errno::BADF | Errno::INVAL | Errno::NOTSOCK | Errno::OPNOTSUPP | Errno::FAULT => {
            AcceptErrorClass::Fatal
        }
        _ => AcceptErrorClass::Connection,
    }
}

/// An error of `accept` that the simulated network injects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AcceptFault {
    /// The process has no free descriptors.
    ProcessDescriptors,
    /// The system has no free descriptors.
    SystemDescriptors,
    /// The system has no memory for buffers.
    Buffers,
    /// The peer closed the connection before it was accepted.
    ConnectionAborted,
}

impl From<AcceptFault> for io::Error {
    fn from(fault: AcceptFault) -> io::Error {
        let errno = match fault {
            AcceptFault::ProcessDescriptors => Errno::MFILE,
            AcceptFault::SystemDescriptors => Errno::NFILE,
            AcceptFault::Buffers => Errno::NOBUFS,
            AcceptFault::ConnectionAborted => Errno::CONNABORTED,
        };
        errno.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn assert_class(errnos: &[Errno], class: AcceptErrorClass) {
        for &errno in errnos {
            assert_eq!(classify_accept_error(&errno.into()), class, "{errno:?}");
        }
    }

    #[test]
    fn r2_an_error_of_one_connection_does_not_end_the_listener() {
        assert_class(
            &[
                Errno::CONNABORTED,
                Errno::PROTO,
                Errno::PERM,
                Errno::NETDOWN,
                Errno::HOSTUNREACH,
                Errno::TIMEDOUT,
            ],
            AcceptErrorClass::Connection,
        );
    }

    #[test]
    fn r1_a_lack_of_descriptors_or_memory_is_exhaustion() {
        assert_class(
            &[Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM],
            AcceptErrorClass::Exhausted,
        );
    }

    #[test]
    fn a_socket_that_does_not_listen_is_fatal() {
        assert_class(&[Errno::INVAL, Errno::BADF], AcceptErrorClass::Fatal);
        let closed = io::Error::from(io::ErrorKind::NotConnected);
        assert_eq!(classify_accept_error(&closed), AcceptErrorClass::Fatal);
    }
}
