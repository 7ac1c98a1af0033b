//! reqwest through matou-tokio, against a server on matou.

use std::future::IntoFuture;
use std::time::Duration;

use axum::Router;
use axum::routing::{get, post};
use matou_http::net::TcpListener;
use matou_http::runtime::{sleep, spawn, try_spawn};
use matou_http::serve;
use matou_tokio::Tokio;

use crate::support::run_test;

#[test]
fn reqwest_talks_to_a_server_on_matou() {
    run_test(async {
        let mut listener = TcpListener::bind("127.0.0.1:0")?;
        let url = format!("http://{}", listener.local_addr()?);
        let router = Router::new()
            .route("/", get(|| async { "purr" }))
            .route("/echo", post(|body: String| async move { body }))
            .route("/never", get(|| async { std::future::pending::<String>().await }));
        let server = try_spawn(serve(listener, router).on_event(|_| {}).into_future());

        let tokio = Tokio::start()?;
        let client = tokio.enter(async { reqwest::Client::new() }).await;
        let tasks: Vec<_> = (0..20)
            .map(|number| {
                let (client, tokio, url) = (client.clone(), tokio.handle(), url.clone());
                spawn(async move {
                    let body = "meow ".repeat(number);
                    let request = client.post(format!("{url}/echo")).body(body.clone());
                    let answer = tokio.enter(async { request.send().await?.text().await }).await;
                    assert_eq!(answer.unwrap(), body);
                })
            })
            .collect();
        for task in tasks {
            task.await?;
        }
        // A request on the thread of tokio.
        let request = client.get(&url);
        let status = tokio.spawn(async move { request.send().await.map(|answer| answer.status()) });
        assert_eq!(status.await??.as_u16(), 200);
        // The handler of a request that is given up is cancelled.
        let (handle, request) = (tokio.handle(), client.get(format!("{url}/never")));
        let given_up = spawn(async move { drop(handle.enter(request.send()).await) });
        sleep(Duration::from_millis(20)).await;
        given_up.cancel().await;
        drop(client);
        assert!(tokio.shutdown().await.in_time);
        server.cancel().await;
        Ok(())
    });
}
