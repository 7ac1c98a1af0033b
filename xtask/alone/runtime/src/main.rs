//! A tree of tasks over two domains, and a run that fails because a child was forgotten.

use std::convert::Infallible;

use matou_runtime::{Builder, RunError, call, run, spawn, try_spawn};

fn main() {
    let sum: Result<i32, RunError<Infallible>> = Builder::new().domains(2).run(async {
        let here = spawn(async { 40 });
        let there = call(|| async { 2 }).expect("there is a second domain");
        let parsed = try_spawn(async { "7".parse::<i32>() });
        let parsed = parsed.await.expect("a number");
        Ok(here.await.expect("it ends") + there.await.expect("it ends") + parsed)
    });
    assert_eq!(sum.expect("nothing is lost"), 49);

    let forgotten: Result<(), RunError<Infallible>> = run(async {
        std::mem::forget(spawn(std::future::pending::<()>()));
        Ok(())
    });
    let report = forgotten.expect_err("a child was forgotten").to_string();
    assert!(report.contains("src/main.rs"), "{report}");
    println!("matou-runtime works alone");
}
