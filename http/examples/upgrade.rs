//! A connection that changes its protocol: `cargo run --example upgrade`, then
//! `curl --no-buffer -H 'connection: upgrade' -H 'upgrade: count' localhost:3001`.

use std::time::Duration;

use futures::AsyncWriteExt;
use http::{Request, Response, StatusCode, header};
use matou_http::runtime::{RunError, run, sleep};
use matou_http::{RequestBody, UpgradeError, Upgraded, serve, service_fn, upgrade};
use matou_net::TcpListener;

/// The protocol: one number per second. It ends when the client leaves.
async fn count(mut connection: Upgraded) {
    for number in 1.. {
        if connection.write_all(format!("{number}\n").as_bytes()).await.is_err() {
            break;
        }
        sleep(Duration::from_secs(1)).await;
    }
}

async fn handler(mut request: Request<RequestBody>) -> Result<Response<String>, UpgradeError> {
    let mut response = Response::new(String::new());
    *response.status_mut() = match upgrade(&mut request, count) {
        Ok(()) => StatusCode::SWITCHING_PROTOCOLS,
        Err(_) => StatusCode::UPGRADE_REQUIRED,
    };
    let (connection, protocol) = ("upgrade".parse(), "count".parse());
    response.headers_mut().insert(header::CONNECTION, connection.expect("a valid header"));
    response.headers_mut().insert(header::UPGRADE, protocol.expect("a valid header"));
    Ok(response)
}

fn main() -> Result<(), RunError> {
    run(async {
        let listener = TcpListener::bind("127.0.0.1:3001")?;
        serve(listener, service_fn(handler)).await?;
        Ok(())
    })
}
