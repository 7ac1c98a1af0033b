//! A queue of jobs, one for each line of the standard input:
//! `cargo run -p matou-os --example job_queue`
//!
//! - `hash PATH` computes a checksum of a file, on a thread for blocking work.
//! - `run COMMAND` runs a command of the shell, and prints its output.
//! - Any other line prints how many jobs wait.
//!
//! Two jobs run at a time. One that fails is tried again, twice. Its attempts together have 10
//! seconds, or as many milliseconds as the argument says. Then its processes are terminated and
//! reaped, and its blocking work is asked to stop, before the next job begins.
//!
//! At the end of the input it completes all jobs; at SIGTERM or SIGINT those that have begun, and
//! names the others. Its status is 0 if all jobs succeeded.

#![expect(clippy::print_stdout, reason = "an example prints its results")]

use std::fs::File;
use std::io::{self, Read};
use std::rc::Rc;
use std::time::Duration;

use matou_os::process::Command;
use matou_os::runtime::{
    RunError, Stop, Task, await_all, run, select, signal, sleep, spawn, timeout, try_blocking,
};
use matou_os::stdio::stdin;
use matou_sync::Queue;

const JOBS_WAITING_MAX: usize = 100;
const PAUSES: [Duration; 2] = [Duration::from_millis(20), Duration::from_millis(80)];

struct Job {
    number: usize,
    work: Work,
}

enum Work {
    Hash(String),
    Run(String),
}

/// Reads jobs until the end of the input. While the queue is full, no further line is read.
async fn read_jobs(jobs: &Queue<Job>) -> io::Result<()> {
    let (mut input, mut number) = (stdin()?, 0);
    while let Some(line) = input.next_line().await? {
        let work = match line.split_once(' ') {
            Some(("hash", path)) => Work::Hash(path.to_owned()),
            Some(("run", command)) => Work::Run(command.to_owned()),
            _ => {
                println!("{} jobs wait; a job is `hash PATH` or `run COMMAND`", jobs.len());
                continue;
            }
        };
        number += 1;
        let Ok(()) = jobs.push(Job { number, work }).await else { break };
    }
    jobs.close();
    Ok(())
}

/// Runs jobs until the queue is closed and empty. Returns how many have failed.
async fn run_jobs(jobs: Rc<Queue<Job>>, limit_ms: u64) -> usize {
    let mut failed = 0;
    while let Ok(job) = jobs.pop().await {
        let number = job.number;
        println!("job {number} begins");
        let mut attempts = Task::new().name(format!("job {number}")).try_spawn(attempts(job));
        match timeout(Duration::from_millis(limit_ms), &mut attempts).await {
            Ok(Ok(output)) => {
                println!("job {number}: {output}");
                continue;
            }
            Ok(Err(error)) => println!("job {number} failed: {error}"),
            Err(elapsed) => {
                // Returns when its processes and its blocking work have ended.
                attempts.cancel_because("the deadline of the job").await;
                println!("job {number} failed: {elapsed}");
            }
        }
        failed += 1;
    }
    failed
}

async fn attempts(job: Job) -> io::Result<String> {
    for pause in PAUSES {
        match attempt(&job.work).await {
            Ok(output) => return Ok(output),
            Err(error) => println!("job {}: {error}; again in {pause:?}", job.number),
        }
        sleep(pause).await;
    }
    attempt(&job.work).await
}

async fn attempt(work: &Work) -> io::Result<String> {
    match work {
        Work::Hash(path) => {
            let path = path.clone();
            let hash = try_blocking(move |stop| hash(File::open(path)?, &stop)).await;
            hash.map(|hash| format!("{hash:016x}")).map_err(io::Error::other)
        }
        Work::Run(command) => {
            let mut shell = Command::new("sh");
            let output = shell.arg("-c").arg(command).process_group().output().await?;
            match output.status.success() {
                true => Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned()),
                false => Err(io::Error::other(output.status.to_string())),
            }
        }
    }
}

/// The FNV-1a hash of the content. Looks at `stop` between two reads.
fn hash(mut file: File, stop: &Stop) -> io::Result<u64> {
    let (mut hash, mut buf) = (0xcbf2_9ce4_8422_2325_u64, vec![0; 1 << 16]);
    loop {
        let count = file.read(&mut buf)?;
        if count == 0 || stop.is_set() {
            return Ok(hash);
        }
        for &byte in &buf[..count] {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
        }
    }
}

fn main() -> Result<(), RunError> {
    run(async {
        let limit_ms = std::env::args().nth(1).map_or(Ok(10_000), |limit| limit.parse())?;
        let termination = signal::termination()?;
        let jobs = Rc::new(Queue::bounded(JOBS_WAITING_MAX));
        let mut workers = await_all([(); 2].map(|()| spawn(run_jobs(Rc::clone(&jobs), limit_ms))));
        let outcomes = select! {
            outcomes = &mut workers => outcomes,
            Err(error) = read_jobs(&jobs) => return Err(error.into()),
            signal = termination => {
                println!("{signal:?}: no further jobs");
                jobs.close();
                while let Ok(job) = jobs.try_pop() {
                    println!("job {} was not begun", job.number);
                }
                workers.await // each job has its deadline
            }
        };
        let failed = outcomes.into_iter().sum::<Result<usize, _>>()?;
        if failed > 0 { Err(format!("{failed} jobs failed").into()) } else { Ok(()) }
    })
}
