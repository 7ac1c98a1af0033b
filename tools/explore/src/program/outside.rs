//! The steps that leave the domain: blocking jobs and datagrams.

use std::io;
use std::time::Duration;

use matou_net::UdpSocket;
use matou_runtime::{blocking, timeout};

use super::interpreter::Interpreter;
use crate::event::Event;

/// The looks of a job that waits for its stop flag. They take about half a second, much longer than
/// the parent waits for it.
const LOOKS_MAX: usize = 60;

impl Interpreter<'_> {
    /// Waits for a blocking job that looks at its stop flag so many times, or until it is set.
    pub(super) async fn block(&self, looks: Option<usize>, millis: u64) {
        let (job, record) = (self.job.id, self.environment.record.clone());
        let blocking = blocking(move |stop| {
            record.add(Event::BlockingStarted { job });
            let most = looks.unwrap_or(LOOKS_MAX);
            let looked = (0..most).take_while(|_| !stop.is_set()).count();
            let was_stopped = looked < most;
            record.add(Event::BlockingEnded { job, was_stopped, must_stop: looks.is_none() });
            was_stopped
        });
        if let Ok(outcome) = timeout(Duration::from_millis(millis), blocking).await {
            let stopped = outcome.unwrap_or_else(|error| panic!("a blocking job failed: {error}"));
            assert!(!stopped, "a job is asked to stop without a cause");
        }
    }

    /// Sends datagrams to itself and receives them.
    pub(super) async fn send_datagrams(&self, count: u8) {
        let exchanged = self.exchange_datagrams(count).await;
        exchanged.unwrap_or_else(|error| panic!("a datagram failed: {error}"));
    }

    async fn exchange_datagrams(&self, count: u8) -> io::Result<()> {
        let any = "10.0.0.1:0";
        let (mut sender, mut receiver) = (UdpSocket::bind(any)?, UdpSocket::bind(any)?);
        let address = receiver.local_addr()?;
        for number in 0..count {
            self.record(Event::DatagramSent { job: self.job.id, number });
            sender.send_to(&[number; 3], address).await?;
        }
        let mut buffer = [0; 8];
        for _ in 0..count {
            let length = receiver.recv(&mut buffer).await?;
            let [number, ..] = buffer;
            assert_eq!(buffer[..length], [number; 3], "wrong bytes");
            self.record(Event::DatagramReceived { job: self.job.id, number });
        }
        Ok(())
    }
}
