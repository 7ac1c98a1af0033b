//! Starts processes and cancels them, a hundred at a time, and shows that none is left:
//! `cargo run -p matou-os --example processes -- 10000`. Without an argument there are 100.

#![expect(clippy::print_stdout, reason = "an example prints its results")]

use std::error::Error;
use std::process::ExitCode;

use matou_os::process::Command;
use matou_os::runtime::{RunError, run};

/// The number of processes that run at the same time.
const AT_ONCE: usize = 100;

fn main() -> ExitCode {
    let count = std::env::args().nth(1).map_or(Ok(100), |count| count.parse());
    let result: Result<(), RunError> = run(async {
        let count: usize = count?;
        let before = descriptors()?;
        for round in 0..count.div_ceil(AT_ONCE) {
            start_and_cancel(AT_ONCE.min(count - round * AT_ONCE)).await?;
        }
        let after = descriptors()?;
        println!("{count} processes started and cancelled; {before} descriptors, then {after}");
        // The first process may make the domain open a few, but not each of them.
        match after <= before + 4 {
            true => Ok(()),
            false => Err("descriptors are left".into()),
        }
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn start_and_cancel(count: usize) -> Result<(), Box<dyn Error + Send + Sync>> {
    let mut children = Vec::new();
    for _ in 0..count {
        children.push(Command::new("sleep").arg("1000").spawn()?);
    }
    for child in children {
        let id = child.id();
        child.cancel().await;
        let pid = rustix::process::Pid::from_raw(i32::try_from(id)?);
        if pid.is_some_and(|pid| rustix::process::test_kill_process(pid).is_ok()) {
            return Err(format!("process {id} is left").into());
        }
    }
    Ok(())
}

fn descriptors() -> std::io::Result<usize> {
    Ok(std::fs::read_dir("/dev/fd")?.count())
}
