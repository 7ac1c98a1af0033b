//! A server for tests, and other programs.

use std::cell::RefCell;
use std::future::IntoFuture;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::rc::Rc;

use matou_http::net::TcpListener;
use matou_http::runtime::{MainError, Promise, blocking, run, try_spawn};
use matou_http::tls::{TlsListener, rustls, server_config};
use matou_http::{HttpService, Limits, Served, serve};

pub(crate) type TestResult = Result<(), MainError>;

/// Runs a test on real sockets.
pub(crate) fn run_test(body: impl Future<Output = TestResult> + 'static) {
    run(body).unwrap();
}

/// Returns whether a program is installed; says so if it is not.
pub(crate) fn has(program: &str) -> bool {
    let is_there = std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())
        .any(|folder| folder.join(program).is_file());
    if !is_there {
        not_run(&format!("{program} is not installed"));
    }
    is_there
}

/// Says that a test was not run, on a line of its own that the test runner does not hide.
pub(crate) fn not_run(reason: &str) {
    let name = std::thread::current().name().unwrap_or("?").to_owned();
    let line = format!("not run: {name}: {reason}\n");
    io::Write::write_all(&mut io::stderr(), line.as_bytes()).unwrap();
}

/// Runs a program to its end, outside the domain. `input` is its standard input.
pub(crate) async fn output(mut command: Command, input: &'static str) -> Output {
    let job = move |_| {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn()?;
        let mut stdin = child.stdin.take().expect("it is piped");
        // The program may have ended already.
        drop(io::Write::write_all(&mut stdin, input.as_bytes()));
        drop(stdin);
        child.wait_with_output()
    };
    blocking(job).await.unwrap().unwrap()
}

/// A certificate for `localhost` and `127.0.0.1`, and its key.
pub(crate) struct Identity {
    pub(crate) certificate: String,
    key: String,
}

impl Identity {
    pub(crate) fn new() -> Identity {
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let made = rcgen::generate_simple_self_signed(names).unwrap();
        Identity { certificate: made.cert.pem(), key: made.signing_key.serialize_pem() }
    }

    pub(crate) fn server_config(&self) -> rustls::ServerConfig {
        server_config(self.certificate.as_bytes(), self.key.as_bytes()).unwrap()
    }

    /// Writes the certificate to a file, which is removed when the value is dropped.
    pub(crate) fn file(&self) -> TempFile {
        let name = format!("matou-{}-{:p}.pem", std::process::id(), self);
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, &self.certificate).unwrap();
        TempFile(path)
    }
}

pub(crate) struct TempFile(pub(crate) PathBuf);

impl Drop for TempFile {
    fn drop(&mut self) {
        drop(std::fs::remove_file(&self.0));
    }
}

/// A server with TLS, a child of the current task.
pub(crate) struct TlsServer {
    pub(crate) address: SocketAddr,
    promise: Promise<Served, io::Error>,
    events: Rc<RefCell<Vec<String>>>,
}

impl TlsServer {
    pub(crate) fn start<S: HttpService>(identity: &Identity, service: S, limits: Limits) -> Self {
        let mut listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let listener = TlsListener::new(listener, identity.server_config());
        let events = Rc::new(RefCell::new(Vec::new()));
        let log = Rc::clone(&events);
        let server = serve(listener, service)
            .limits(limits)
            .on_event(move |event| log.borrow_mut().push(event.to_string()));
        TlsServer { address, promise: try_spawn(server.into_future()), events }
    }

    /// Shuts the server down. Returns its events.
    pub(crate) async fn stop(self) -> Vec<String> {
        self.promise.cancel().await;
        self.events.take()
    }
}
