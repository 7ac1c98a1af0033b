//! A daemon that loads its configuration again at each SIGHUP, and ends at SIGTERM. It sends the
//! signals to itself: `cargo run -p matou-os --example reload`.

#![expect(clippy::print_stdout, reason = "an example prints its results")]

use std::io;

use matou_os::fs;
use matou_os::runtime::signal::{self, Signal};
use matou_os::runtime::{RunError, race, run};
use rustix::process::{getpid, kill_process};

fn main() -> Result<(), RunError> {
    let path = std::env::temp_dir().join(format!("matou-reload-{}.conf", std::process::id()));
    run(async move {
        let mut hangups = signal::stream(Signal::Hangup)?;
        let mut terminated = signal::stream(Signal::Terminate)?;

        let configured = async {
            for version in 1..=3 {
                // The administrator changes the file and asks for it to be loaded.
                fs::write_atomic(&path, format!("version = {version}\n")).await?;
                kill_process(getpid(), rustix::process::Signal::HUP)?;

                hangups.next().await;
                let configuration = fs::read_to_string(&path).await?;
                println!("loaded: {}", configuration.trim());
            }
            kill_process(getpid(), rustix::process::Signal::TERM)?;
            std::future::pending::<io::Result<()>>().await
        };
        race(configured, async {
            terminated.next().await;
            Ok(())
        })
        .await?;

        fs::remove_file(&path).await?;
        println!("terminated");
        Ok(())
    })
}
