//! A server of a few lines, whose handlers have children, under thousands of clients that reset
//! their connections at random moments, beside clients that verify every byte of their echo.
//!
//! `cargo run --release -p matou-net --example resets -- [RESETS [GAP_MAX_MS]]`
//!
//! The status is 0 if each echo was right and no task or descriptor is left. The longest time that
//! a client waited is asserted only if a limit is given, because it depends on the machine.

use std::cell::Cell;
use std::error::Error;
use std::fs;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use matou_net::{TcpListener, TcpStream};
use matou_runtime::futures::Sleep;
use matou_runtime::{
    Builder, Orphans, RunError, Task, TryNext, live_tasks, race, sleep, spawn, timeout, try_spawn,
};

/// How many clients verify their echo, and how many reset their connection at a time.
const SENTINELS: usize = 50;
const ATTACKERS: usize = 8;

/// Serves connections until `stop` is ready. A handler that fails ends alone.
async fn serve(mut listener: TcpListener, stop: impl Future<Output = ()>) -> io::Result<()> {
    let connections = Orphans::new();
    let mut stop = std::pin::pin!(stop);
    loop {
        let accepted = race(async { Some(listener.accept().await) }, async {
            stop.as_mut().await;
            None
        });
        let Some(accepted) = accepted.await else { break };
        let served = Task::new().orphans(&connections).try_spawn(handle(accepted?.0));
        served.expect("the group has no limit");
        while let TryNext::Completed(_) = connections.care() {}
    }
    while connections.next().await.is_some() {}
    Ok(())
}

/// Echoes. Each message is prepared by a child while another one waits, and a reset ends all three.
async fn handle(mut stream: TcpStream) -> io::Result<()> {
    let _watchdog: matou_runtime::Promise<()> = spawn(watch());
    let mut buf = [0; 4096];
    loop {
        let count = timeout(Duration::from_secs(10), stream.read(&mut buf)).await??;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into()); // ends the watchdog
        }
        let message = buf[..count].to_vec();
        let prepared = try_spawn(async move {
            sleep(Duration::from_micros(50)).await;
            Ok::<_, io::Error>(message)
        });
        let message = prepared.await.map_err(io::Error::other)?;
        stream.write_all(&message).await?;
    }
}

fn watch() -> Sleep {
    sleep(Duration::from_secs(3600))
}

/// The observations of the sentinels and of the process.
#[derive(Debug)]
pub struct Report {
    /// Connections that were reset.
    pub resets: usize,
    /// Bytes that the sentinels received and verified.
    pub verified: u64,
    /// The fewest echoes that one sentinel received.
    pub echoes_min: u64,
    /// The longest time that a sentinel waited for an echo.
    pub longest_gap: Duration,
    /// Tasks of the server's run at its end, beside `main`.
    pub tasks_left: usize,
    /// Descriptors that were opened and not closed.
    pub descriptors_left: isize,
}

/// Resets that many connections at random moments.
async fn attack(address: SocketAddr, resets: usize, mut random: u64) -> io::Result<()> {
    let mut draw = move |below: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (random >> 33) % below
    };
    for _ in 0..resets {
        let mut stream = TcpStream::connect(address).await?;
        stream.set_linger(Some(Duration::ZERO))?;
        let has_sent = draw(4) > 0;
        if has_sent {
            stream.write_all(&[7; 512][..1 + draw(512) as usize]).await?;
        }
        match draw(3) {
            0 => {}
            // Without a message there is no echo to wait for.
            2 if has_sent => drop(stream.read(&mut [0; 1]).await),
            _ => drop(timeout(Duration::from_micros(draw(200)), stream.read(&mut [0; 100])).await),
        }
        if draw(4) == 0 {
            // There are unread bytes on the way.
            stream.write_all(&[8; 4096]).await?;
        }
    }
    Ok(())
}

/// Verifies echoes until `stop`. Returns how many there were, their bytes, and the longest wait.
async fn verify(address: SocketAddr, stop: &Cell<bool>) -> io::Result<(u64, u64, Duration)> {
    let mut stream = TcpStream::connect(address).await?;
    let (mut echoes, mut bytes, mut longest) = (0_u64, 0, Duration::ZERO);
    while !stop.get() {
        let message: Vec<u8> = (0..100_u64).map(|index| (echoes * 31 + index) as u8).collect();
        let begun = Instant::now();
        stream.write_all(&message).await?;
        let (mut received, mut buf) = (Vec::new(), [0; 128]);
        while received.len() < message.len() {
            match stream.read(&mut buf).await? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => received.extend_from_slice(&buf[..count]),
            }
        }
        assert_eq!(received, message, "an echo differs from its message");
        longest = longest.max(begun.elapsed());
        (echoes, bytes) = (echoes + 1, bytes + message.len() as u64);
        sleep(Duration::from_millis(2)).await;
    }
    Ok((echoes, bytes, longest))
}

/// All clients, on one domain.
async fn clients(
    address: SocketAddr,
    resets: usize,
) -> Result<Report, Box<dyn Error + Send + Sync>> {
    let stop = Rc::new(Cell::new(false));
    let sentinels: Vec<_> = (0..SENTINELS)
        .map(|_| {
            let stop = Rc::clone(&stop);
            try_spawn(async move { verify(address, &stop).await })
        })
        .collect();
    let each = resets.div_ceil(ATTACKERS);
    let attackers: Vec<_> =
        (0..ATTACKERS).map(|index| try_spawn(attack(address, each, index as u64))).collect();
    for attacker in attackers {
        attacker.await?;
    }
    stop.set(true);
    let mut report = Report {
        resets: each * ATTACKERS,
        verified: 0,
        echoes_min: u64::MAX,
        longest_gap: Duration::ZERO,
        tasks_left: 0,
        descriptors_left: 0,
    };
    for sentinel in sentinels {
        let (echoes, bytes, longest) = sentinel.await?;
        report.verified += bytes;
        report.echoes_min = report.echoes_min.min(echoes);
        report.longest_gap = report.longest_gap.max(longest);
    }
    Ok(report)
}

fn descriptors() -> isize {
    fs::read_dir("/proc/self/fd").map_or(0, Iterator::count) as isize
}

/// Runs the server in this thread, and the clients in another one.
pub fn run(resets: usize) -> Result<Report, RunError> {
    let before = descriptors();
    let (send_address, address) = mpsc::channel();
    let clients = std::thread::spawn(move || {
        let address = address.recv().expect("the server's address");
        Builder::new().domains(1).run(clients(address, resets))
    });
    let served = Builder::new().domains(1).run(async move {
        let mut listener = TcpListener::bind("127.0.0.1:0")?;
        send_address.send(listener.local_addr()?)?;
        serve(listener, async {
            while !clients.is_finished() {
                sleep(Duration::from_millis(5)).await;
            }
        })
        .await?;
        Ok::<_, matou_runtime::MainError>((live_tasks() - 1, clients))
    });
    let (tasks_left, clients) = served?;
    let report = clients.join().expect("the thread of the clients panicked")?;
    Ok(Report { tasks_left, descriptors_left: descriptors() - before, ..report })
}

impl Report {
    /// The differences from what is expected, if any.
    fn faults(&self, resets: usize, gap_max: Option<Duration>) -> Vec<String> {
        let mut faults = Vec::new();
        let mut check = |is_right: bool, fault: String| {
            if !is_right {
                faults.push(fault);
            }
        };
        check(self.resets >= resets, format!("{} of {resets} resets were made", self.resets));
        check(self.echoes_min > 0, "a client received no echo".to_owned());
        check(self.tasks_left == 0, format!("{} tasks are left", self.tasks_left));
        let left = self.descriptors_left;
        check(left == 0, format!("{left} descriptors are left"));
        if let Some(limit) = gap_max {
            let gap = self.longest_gap;
            check(gap <= limit, format!("a client waited {gap:?}, at most {limit:?} is allowed"));
        }
        faults
    }
}

#[allow(clippy::print_stdout, reason = "the example prints its result")]
fn main() -> Result<ExitCode, Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let resets = arguments.next().map_or(Ok(10_000), |text| text.parse())?;
    let gap_max = arguments.next().map(|text| text.parse().map(Duration::from_millis));
    let report = run(resets)?;
    println!("{report:#?}");
    let faults = report.faults(resets, gap_max.transpose()?);
    for fault in &faults {
        eprintln!("error: {fault}");
    }
    Ok(if faults.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
