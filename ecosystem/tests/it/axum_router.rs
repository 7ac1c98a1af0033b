//! axum's Router as the service of a server.

use axum::Router;
use axum::extract::Query;
use axum::routing::{get, post};
use futures::AsyncReadExt;
use matou_http::net::{TcpListener, TcpStream};
use matou_http::runtime::{MainError, run, try_spawn};
use matou_http::serve;

#[derive(serde::Deserialize)]
struct Name {
    name: String,
}

async fn greet(Query(Name { name }): Query<Name>) -> String {
    format!("hello, {name}")
}

#[test]
fn a_router_answers_queries_and_bodies() {
    run(async {
        let mut listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let router = Router::new()
            .route("/greet", get(greet))
            .route("/echo", post(|body: String| async move { body }));
        let server = try_spawn(serve(listener, router).into_future());

        let mut client = TcpStream::connect(address).await?;
        client
            .write_all(
                b"GET /greet?name=Mia HTTP/1.1\r\nhost: test\r\n\r\n\
                  POST /echo HTTP/1.1\r\nhost: test\r\ncontent-length: 4\r\n\
                  connection: close\r\n\r\npurr",
            )
            .await?;
        let mut answer = String::new();
        client.read_to_string(&mut answer).await?;
        assert_eq!(answer.matches("HTTP/1.1 200 OK").count(), 2, "{answer}");
        assert!(answer.contains("hello, Mia") && answer.ends_with("purr"), "{answer}");

        server.cancel().await;
        Ok::<_, MainError>(())
    })
    .unwrap();
}
