//! A web server: `cargo run --example hello`, then `curl localhost:3000/cat`. Ctrl-C completes the
//! requests that are in progress.

use axum::Router;
use axum::extract::Path;
use axum::routing::get;
use matou_http::runtime::{Builder, RunError, domain_count, signal, try_spawn};
use matou_http::{serve, serve_on_all};
use matou_net::TcpListener;

fn router() -> Router {
    Router::new()
        .route("/", get(|| async { "purr\n" }))
        .route("/{name}", get(|Path(name): Path<String>| async move { format!("hello {name}\n") }))
}

fn main() -> Result<(), RunError> {
    Builder::new().run(async {
        let mut interrupt = signal::stream(signal::Signal::Interrupt)?;
        let address = "127.0.0.1:3000";
        let listeners = TcpListener::options().listen_many(address, domain_count())?;
        let servers = try_spawn(serve_on_all(listeners, |listener| serve(listener, router())));
        interrupt.next().await;
        servers.cancel().await;
        Ok(())
    })
}
