//! PostgreSQL by tokio-postgres, with a real server.

mod pool;
mod server;

use std::rc::Rc;
use std::time::Duration;

use matou_http::runtime::{Orphans, live_tasks, sleep, spawn, try_spawn};
use matou_tokio::Tokio;
use sqlx::postgres::PgPoolOptions;
use tokio_postgres::Config;

use self::pool::{Pool, PoolError};
use self::server::PostgresServer;
use crate::support::{TestResult, not_run, run_test};

/// One test, because a server takes seconds to start.
#[test]
fn a_pool_serves_tasks_and_outlives_none_of_them() {
    let Some(server) = PostgresServer::start() else {
        return not_run("PostgreSQL is not installed");
    };
    let server = Rc::new(server);
    run_test(async move {
        let connections = Orphans::new().discarding();
        let pool = Pool::new(config(), server.port(), 4, &connections);
        many_tasks_share_few_connections(&pool).await?;
        a_cancelled_query_is_cancelled_on_the_server(&pool).await?;
        a_transaction_of_a_cancelled_task_is_rolled_back(&pool).await?;
        a_server_that_was_restarted_is_used_again(&pool, &server).await?;
        sqlx_runs_through_the_bridge(server.port()).await?;
        drop(pool);
        connections.cancel_all();
        connections.next().await;
        assert_eq!(live_tasks(), 1);
        Ok(())
    });
}

fn config() -> Config {
    let mut config = Config::new();
    config.user("postgres").dbname("postgres").application_name("matou");
    config
}

/// Returns the number that a query yields.
async fn number(pool: &Pool, query: &str) -> Result<i64, PoolError> {
    let mut session = pool.session().await?;
    let row = session.run(async |client| client.query_one(query, &[]).await).await?;
    Ok(row.get(0))
}

async fn many_tasks_share_few_connections(pool: &Rc<Pool>) -> TestResult {
    let tasks = (0..50_i64).map(|n| {
        let pool = Rc::clone(pool);
        spawn(async move { number(&pool, &format!("SELECT {n}::bigint * 2")).await.unwrap() })
    });
    for (n, task) in tasks.collect::<Vec<_>>().into_iter().enumerate() {
        assert_eq!(task.await?, 2 * n as i64);
    }
    let open = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'matou'";
    let open = number(pool, open).await.unwrap();
    assert!((1..=4).contains(&open), "{open}");
    Ok(())
}

async fn a_cancelled_query_is_cancelled_on_the_server(pool: &Rc<Pool>) -> TestResult {
    let sleeping = "SELECT count(*) FROM pg_stat_activity \
                    WHERE state = 'active' AND query LIKE 'SELECT pg_sleep%'";
    let sleeper = Rc::clone(pool);
    let task = spawn(async move {
        let mut session = sleeper.session().await.unwrap();
        let sleep = async |client: &mut tokio_postgres::Client| {
            client.query("SELECT pg_sleep(600)", &[]).await
        };
        session.run(sleep).await.unwrap();
    });
    until(pool, sleeping, 1).await;
    task.cancel().await;
    until(pool, sleeping, 0).await;
    Ok(())
}

async fn a_transaction_of_a_cancelled_task_is_rolled_back(pool: &Rc<Pool>) -> TestResult {
    let mut session = pool.session().await.unwrap();
    let create = "CREATE TABLE cats (name text)";
    session.run(async |client| client.batch_execute(create).await).await.unwrap();
    drop(session);
    for is_waiting_for_the_server in [false, true] {
        let writer = Rc::clone(pool);
        let task = try_spawn(async move {
            let mut session = writer.session().await?;
            let work = async |client: &mut tokio_postgres::Client| {
                let transaction = client.transaction().await?;
                transaction.execute("INSERT INTO cats VALUES ('Mia')", &[]).await?;
                if is_waiting_for_the_server {
                    transaction.query("SELECT pg_sleep(600)", &[]).await?;
                } else {
                    std::future::pending::<()>().await;
                }
                transaction.commit().await
            };
            session.run(work).await
        });
        let state = if is_waiting_for_the_server { "active" } else { "idle in transaction" };
        let open = format!(
            "SELECT count(*) FROM pg_stat_activity WHERE state = '{state}' \
             AND backend_xid IS NOT NULL"
        );
        until(pool, &open, 1).await;
        task.cancel().await;
        until(pool, &open, 0).await;
        assert_eq!(number(pool, "SELECT count(*) FROM cats").await.unwrap(), 0);
    }
    Ok(())
}

async fn a_server_that_was_restarted_is_used_again(
    pool: &Rc<Pool>,
    server: &Rc<PostgresServer>,
) -> TestResult {
    // A session that is in use during the restart, and idle ones.
    let mut session = pool.session().await.unwrap();
    session.run(async |client| client.batch_execute("SELECT 1").await).await.unwrap();
    server.stop();
    let lost = session.run(async |client| client.batch_execute("SELECT 1").await).await;
    assert!(matches!(lost, Err(PoolError::Postgres(_))), "{lost:?}");
    drop(session);
    let refused = pool.session().await.map(drop);
    assert!(matches!(refused, Err(PoolError::Connect(_))), "{refused:?}");
    server.restart();
    assert_eq!(number(pool, "SELECT 7::bigint").await.unwrap(), 7);
    Ok(())
}

/// sqlx starts its own tasks, timers and sockets of tokio.
async fn sqlx_runs_through_the_bridge(port: u16) -> TestResult {
    let tokio = Tokio::start()?;
    let queries = async move {
        let options = PgPoolOptions::new().max_connections(3);
        let url = format!("postgres://postgres@127.0.0.1:{port}/postgres");
        let pool = options.connect(&url).await?;
        let mut sum = 0;
        for number in 0..10_i64 {
            let query = sqlx::query_scalar::<_, i64>("SELECT $1 * 2").bind(number);
            sum += query.fetch_one(&pool).await?;
        }
        pool.close().await;
        Ok::<_, sqlx::Error>(sum)
    };
    assert_eq!(tokio.enter(queries).await?, 90);
    assert!(tokio.shutdown().await.in_time);
    Ok(())
}

/// Waits until a query yields a number.
async fn until(pool: &Pool, query: &str, expected: i64) {
    while number(pool, query).await.unwrap() != expected {
        sleep(Duration::from_millis(20)).await;
    }
}
