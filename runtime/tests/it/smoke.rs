use std::time::Duration;

use matou_runtime::*;

#[test]
fn the_basics_work_together() {
    let result: Result<i32, RunError> = Builder::new().domains(3).run(async {
        let a = spawn(async { 40 });
        let b = call(|| async {
            sleep(Duration::from_millis(3)).await;
            2
        })?;
        let c = try_spawn(async { "7".parse::<i32>() });
        let all = parallel(0..10, |n| async move {
            yield_now().await;
            n
        })?
        .await;
        assert_eq!(all.len(), 10);
        Ok(a.await? + b.await? + c.await?)
    });
    assert_eq!(result.unwrap(), 49);
}
