//! The forms in which a program states an address.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

/// A value that says where to connect to or what to bind, as
/// [`ToSocketAddrs`](std::net::ToSocketAddrs) in the standard library:
///
/// | form | example |
/// | --- | --- |
/// | [`SocketAddr`], `SocketAddrV4`, `SocketAddrV6`, `&SocketAddr` | `listener.local_addr()?` |
/// | an IP address and a port | `(Ipv4Addr::LOCALHOST, 80)` |
/// | text: `&str`, `String` | `"127.0.0.1:80"`, `"[::1]:80"`, `"localhost:80"` |
/// | text and a port | `("::1", 80)`, `("localhost", 80)` |
///
/// In contrast to the standard library no form blocks the thread: only
/// [`TcpStream::connect`](crate::TcpStream::connect) and its relatives look names up, as
/// [`lookup_host`](crate::lookup_host) does. To bind `localhost` means `127.0.0.1`; other names are
/// refused there.
///
/// The trait is implemented by this crate only.
///
/// # Examples
///
/// ```
/// use std::net::Ipv4Addr;
/// use matou_net::{TcpListener, TcpStream};
/// use matou_runtime::{RunError, run};
///
/// # fn main() -> Result<(), RunError> {
/// run(async {
///     let mut listener = TcpListener::bind("127.0.0.1:0")?;
///     let port = listener.local_addr()?.port();
///     TcpStream::connect(("localhost", port)).await?;
///     TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
///     TcpStream::connect(format!("localhost:{port}")).await?;
///
///     let error = TcpListener::bind("cat.example:80").unwrap_err();
///     assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
///     Ok(())
/// })
/// # }
/// ```
#[doc(alias = "ToSocketAddrs")]
pub trait ToAddress: sealed::Sealed {}

pub(crate) mod sealed {
    use std::io;

    use super::Target;

    pub trait Sealed {
        /// # Errors
        ///
        /// `InvalidInput` if the text is not of the form that is expected.
        fn target(self) -> io::Result<Target>;
    }
}

/// An address, or the name of a host with a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    Address(SocketAddr),
    Host(String, u16),
}

impl Target {
    /// Returns the address to bind.
    pub(crate) fn address(self) -> io::Result<SocketAddr> {
        match self {
            Target::Address(address) => Ok(address),
            // RFC 6761, 6.3.
            Target::Host(name, port) if name.eq_ignore_ascii_case("localhost") => {
                Ok((Ipv4Addr::LOCALHOST, port).into())
            }
            Target::Host(..) => Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("`{self}` is the name of a host; `lookup_host` returns its IP addresses"),
            )),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Address(address) => address.fmt(f),
            Target::Host(name, port) => write!(f, "{name}:{port}"),
        }
    }
}

fn parse(text: &str) -> io::Result<Target> {
    if let Ok(address) = text.parse() {
        return Ok(Target::Address(address));
    }
    let host = text.rsplit_once(':').and_then(|(name, port)| {
        let is_name = !name.is_empty() && !name.contains([':', '/', ' ']);
        is_name.then(|| Some(Target::Host(name.to_owned(), port.parse().ok()?))).flatten()
    });
    host.ok_or_else(|| {
        let expected = "expected `127.0.0.1:80`, `[::1]:80` or `localhost:80`";
        io::Error::new(io::ErrorKind::InvalidInput, format!("`{text}` is no address: {expected}"))
    })
}

macro_rules! to_address {
    ($($form:ty: |$it:ident| $target:expr;)*) => {
        $(
            impl ToAddress for $form {}

            impl sealed::Sealed for $form {
                fn target(self) -> io::Result<Target> {
                    let $it = self;
                    $target
                }
            }
        )*
    };
}

to_address! {
    SocketAddr: |address| Ok(Target::Address(address));
    &SocketAddr: |address| Ok(Target::Address(*address));
    SocketAddrV4: |address| Ok(Target::Address(address.into()));
    SocketAddrV6: |address| Ok(Target::Address(address.into()));
    (IpAddr, u16): |pair| Ok(Target::Address(pair.into()));
    (Ipv4Addr, u16): |pair| Ok(Target::Address(pair.into()));
    (Ipv6Addr, u16): |pair| Ok(Target::Address(pair.into()));
    &str: |text| parse(text);
    &String: |text| parse(text);
    String: |text| parse(&text);
    (&str, u16): |pair| Ok(match pair.0.parse::<IpAddr>() {
        Ok(ip) => Target::Address((ip, pair.1).into()),
        Err(_) => Target::Host(pair.0.to_owned(), pair.1),
    });
    (String, u16): |pair| (pair.0.as_str(), pair.1).target();
}

#[cfg(test)]
mod tests {
    use super::sealed::Sealed;
    use super::*;

    #[test]
    fn texts_are_addresses_names_or_errors() {
        let host = |name: &str, port| Some(Target::Host(name.into(), port));
        let address = |text: &str| text.parse().ok().map(Target::Address);
        for (text, expected) in [
            ("127.0.0.1:80", address("127.0.0.1:80")),
            ("[::1]:80", address("[::1]:80")),
            ("localhost:80", host("localhost", 80)),
            ("cat.example:65535", host("cat.example", 65_535)),
            ("cat.example:65536", None),
            ("cat.example", None),
            ("::1:80", None),
            (":80", None),
            ("http://cat.example:80", None),
            ("", None),
        ] {
            assert_eq!(text.target().ok(), expected, "{text}");
            assert_eq!(String::from(text).target().ok(), expected, "{text}");
        }
        assert_eq!(("::1", 7).target().ok(), address("[::1]:7"));
        assert_eq!(("cat.example", 7).target().ok(), host("cat.example", 7));
    }

    #[test]
    fn only_localhost_is_a_name_that_can_be_bound() {
        let local = "LocalHost:7".target().and_then(Target::address);
        assert_eq!(local.ok(), Some((Ipv4Addr::LOCALHOST, 7).into()));
        let error = "cat.example:7".target().and_then(Target::address).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        assert!(error.to_string().contains("`cat.example:7`"), "{error}");
    }
}
