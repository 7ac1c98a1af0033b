//! Host names: on the system by the blocking pool, and in simulated runs by a table.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use matou_net::test::{Faults, add_host, set_faults};
use matou_net::{TcpListener, TcpStream, UdpSocket, lookup_host};
use matou_runtime::test::{check, simulation};
use matou_runtime::{MainError, now, try_spawn};

use crate::support::*;

#[test]
fn a_literal_address_needs_no_lookup() {
    let body = || async {
        assert_eq!(lookup_host("127.0.0.1", 7).await?, ["127.0.0.1:7".parse()?]);
        assert_eq!(lookup_host("::1", 7).await?, ["[::1]:7".parse()?]);
        Ok(())
    };
    check(0..3, body);
    run_on(1, body()).unwrap();
}

#[test]
fn a_host_is_connected_by_its_name() {
    let body = || async {
        let mut listener = TcpListener::bind(any_v4())?;
        let address = listener.local_addr()?;
        let mut stream = TcpStream::connect_host("LocalHost", address.port()).await?;
        assert_eq!(stream.peer_addr()?, address);
        Ok(())
    };
    check(0..20, body);
    run_on(1, body()).unwrap();
}

#[test]
fn connect_looks_names_up() {
    let body = || async {
        let mut listener = TcpListener::bind("localhost:0")?;
        let address = listener.local_addr()?;
        let port = address.port();
        let limit = Duration::from_secs(60);
        for mut stream in [
            TcpStream::connect(("localhost", port)).await?,
            TcpStream::connect(format!("localhost:{port}")).await?,
            TcpStream::options().nodelay(true).connect(("127.0.0.1", port)).await?,
            TcpStream::connect_timeout(("localhost", port), limit).await?,
        ] {
            assert_eq!(stream.peer_addr()?, address);
        }
        Ok(())
    };
    check(0..20, body);
    run_on(1, body()).unwrap();
}

#[test]
fn a_text_that_is_no_address_is_an_error_of_the_wait() {
    let body = || async {
        for error in [
            TcpStream::connect("localhost").await.unwrap_err(),
            TcpStream::connect_timeout("localhost", Duration::MAX).await.unwrap_err(),
            TcpListener::bind("localhost").unwrap_err(),
            UdpSocket::bind("localhost").unwrap_err(),
        ] {
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
            assert!(error.to_string().starts_with("`localhost` is no address: "), "{error}");
        }
        let error = TcpListener::bind("cat.example:80").unwrap_err();
        assert!(error.to_string().contains("`lookup_host`"), "{error}");
        Ok(())
    };
    check(0..3, body);
    run_on(1, body()).unwrap();
}

#[test]
fn an_unknown_host_is_an_error_that_names_it() {
    let body = || async {
        // No name contains a space, so the system asks no server.
        let error = TcpStream::connect_host("no such host", 80).await.unwrap_err();
        assert!(error.to_string().starts_with("failed to look up no such host: "), "{error}");
        assert_eq!(error.to_string().matches("look").count(), 1, "{error}");
        if simulation().is_some() {
            assert_eq!(error.kind(), ErrorKind::NotFound);
        }
        Ok(())
    };
    check(0..3, body);
    run_on(1, body()).unwrap();
}

#[test]
fn both_versions_of_a_host_are_tried() {
    check(0..20, || async {
        set_faults(Faults::none());
        let silent: IpAddr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into();
        let answering: IpAddr = Ipv4Addr::new(192, 0, 2, 1).into();
        // A listener whose backlog is full answers no attempt.
        let mut full = TcpListener::options().backlog(0).listen((silent, 80))?;
        let _first = TcpStream::connect(full.local_addr()?).await?;
        let _listener = TcpListener::bind((answering, 80))?;
        add_host("cat.example", [silent, silent, answering]);
        let begun = now();
        let mut stream = TcpStream::connect_host("cat.example", 80).await?;
        assert_eq!(stream.peer_addr()?.ip(), answering);
        assert!((250..450).contains(&(now() - begun).as_millis()));
        Ok::<_, MainError>(())
    });
}

#[test]
fn a_lookup_that_is_given_up_leaves_no_child() {
    run_on(1, async {
        let lookup = try_spawn(async { lookup_host("localhost", 80).await });
        lookup.cancel().await;
        // A future that was never polled has no job.
        drop(lookup_host("localhost", 80));
        drop(TcpStream::connect_host("localhost", 80));
        Ok(())
    })
    .unwrap();
}
