//! redis, with a real server: one connection, which many tasks share.

use std::net::{TcpListener, TcpStream as StdStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use matou_http::net::TcpStream;
use matou_http::runtime::{Orphans, live_tasks, spawn, timeout};
use redis::aio::MultiplexedConnection;
use redis::{AsyncCommands, AsyncConnectionConfig, RedisConnectionInfo};

use crate::support::{has, run_test};

struct RedisServer {
    process: Child,
    port: u16,
}

impl RedisServer {
    fn start() -> RedisServer {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut command = Command::new("redis-server");
        command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""]);
        command.args(["--appendonly", "no"]).stdout(Stdio::null()).stdin(Stdio::null());
        let process = command.current_dir(std::env::temp_dir()).spawn().unwrap();
        let server = RedisServer { process, port };
        while StdStream::connect(("127.0.0.1", port)).is_err() {
            std::thread::sleep(Duration::from_millis(10));
        }
        server
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// The time limits of redis need tokio's timers. Without one, `timeout` limits a request.
#[test]
fn tasks_share_a_connection_to_redis() {
    if !has("redis-server") {
        return;
    }
    let server = RedisServer::start();
    let port = server.port;
    run_test(async move {
        let connections = Orphans::new().discarding();
        let stream = TcpStream::connect(("127.0.0.1", port)).await?;
        let config = AsyncConnectionConfig::new().set_response_timeout(None);
        let info = RedisConnectionInfo::default();
        let (connection, driver) =
            MultiplexedConnection::new_with_config(&info, stream, config).await?;
        connections.spawn(driver);
        let tasks: Vec<_> = (0..50_u32)
            .map(|number| {
                let mut redis = connection.clone();
                spawn(async move {
                    let key = format!("cat:{number}");
                    redis.set::<_, _, ()>(&key, 3 * number).await.unwrap();
                    redis.incr::<_, _, u32>(&key, 1).await.unwrap()
                })
            })
            .collect();
        for (number, task) in tasks.into_iter().enumerate() {
            assert_eq!(task.await?, 3 * number as u32 + 1);
        }
        // A request that waits on the server is given up, and the connection stays usable.
        let mut blocked = connection.clone();
        let wait = blocked.blpop::<_, Option<(String, String)>>("nothing", 0.3);
        assert!(timeout(Duration::from_millis(20), wait).await.is_err());
        let mut redis = connection.clone();
        assert_eq!(redis.get::<_, u32>("cat:7").await?, 22);
        drop((redis, blocked, connection));
        // The driver ends with the last handle.
        connections.next().await;
        assert_eq!(live_tasks(), 1);
        Ok(())
    });
}
