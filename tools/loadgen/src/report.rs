//! The result of a load test: as a table, and as a list of problems.

use std::fmt::Write as _;
use std::time::Duration;

use matou_loadgen::process::Sample;
use matou_loadgen::{Counts, Failures, Pattern, SystemCalls, Totals};

use crate::quote;
use crate::server::{Ending, Summary};

const QUANTILES: [(&str, f64); 5] =
    [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999), ("max", 1.0)];

pub(crate) struct Report {
    pub(crate) pattern: Pattern,
    pub(crate) clients: usize,
    pub(crate) message_bytes: u64,
    pub(crate) totals: Totals,
    /// From the start until the last client had finished.
    pub(crate) elapsed: Duration,
    /// `None` for a server that the load test did not start.
    pub(crate) server: Option<ServerReport>,
    pub(crate) idle: Option<IdleReport>,
}

/// A line of the table: its name and its text.
type Row = (String, String);

/// The cost of the server, and how it ended.
pub(crate) struct ServerReport {
    /// CPU time under load.
    pub(crate) cpu: Duration,
    /// Taken at the end of the load, or right before the signal at half time.
    pub(crate) after: Sample,
    /// The counts when `after` was taken.
    pub(crate) counts_after: Counts,
    pub(crate) ending: Ending,
    /// Whether its last line is a summary.
    pub(crate) prints_summary: bool,
}

/// The activity of a server while its clients were silent.
#[derive(Debug)]
pub(crate) struct IdleReport {
    pub(crate) silence: Duration,
    /// CPU time as a share of one processor.
    pub(crate) cpu_share: f64,
    pub(crate) voluntary_switches: u64,
    pub(crate) threads: u64,
    /// System calls during a further silence, or why they could not be counted.
    pub(crate) system_calls: Result<SystemCalls, String>,
    pub(crate) resident_kib: u64,
    /// Bytes per connection, beyond what the server used before.
    pub(crate) resident_per_connection: u64,
    pub(crate) proportional_per_connection: u64,
}

impl Report {
    /// Everything that makes the load test fail.
    pub(crate) fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let failures = &self.totals.failures;
        if failures.total() > 0 {
            let details = quote(failures.details());
            problems.push(format!("errors: {}{details}", by_kind(failures)));
        }
        if self.totals.counts.messages == 0 {
            problems.push("no message was echoed".to_string());
        }
        if let Some(server) = &self.server {
            check_ending(server, self.totals.counts, &mut problems);
        }
        problems
    }

    pub(crate) fn table(&self) -> String {
        let rows = self.rows();
        let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        rows.iter().fold(String::new(), |mut table, (name, text)| {
            writeln!(table, "{name:width$}  {text}").expect("writing to a string succeeds");
            table
        })
    }

    fn rows(&self) -> Vec<Row> {
        let (pattern, clients, size) = (self.pattern.name(), self.clients, self.message_bytes);
        let (Counts { connections, messages, bytes }, totals) = (self.totals.counts, &self.totals);
        let seconds = self.elapsed.as_secs_f64();
        let rate = |count: u64| format!("{count} ({:.0} per second)", count as f64 / seconds);
        let mut rows = Vec::new();
        let mut add = |name: &str, text: String| rows.push((name.to_owned(), text));
        let load =
            format!("{pattern}, {clients} clients, messages of {size} bytes, {seconds:.2} s");
        add("pattern", load);
        add("connections", rate(connections));
        add("messages", rate(messages));
        let megabytes = bytes as f64 / 1e6 / seconds;
        add("bytes", format!("{bytes} ({megabytes:.1} MB/s each way)"));
        for (name, micros) in self.latencies() {
            add(&format!("latency {name}"), format!("{micros:.1} us"));
        }
        add("errors", by_kind(&totals.failures));
        if totals.cut.total() > 0 {
            add("cut after the signal", by_kind(&totals.cut));
        }
        if totals.port_waits > 0 {
            add("waits for a free port", totals.port_waits.to_string());
        }
        if let Some(idle) = &self.idle {
            let (seconds, share) = (idle.silence.as_secs_f64(), idle.cpu_share);
            add("idle CPU", format!("{:.3} % of one core in {seconds:.1} s", share * 1e2));
            add("idle system calls", system_calls(&idle.system_calls));
            let (switches, threads) = (idle.voluntary_switches, idle.threads);
            add("idle wake-ups", format!("{switches} in {threads} threads"));
            let (resident, shared) =
                (idle.resident_per_connection, idle.proportional_per_connection);
            let each = format!("{resident} bytes resident, {shared} proportional");
            add("memory per connection", each);
            add("memory with all", format!("{} KiB", idle.resident_kib));
        }
        if let Some(server) = &self.server {
            let (unit, each) = self.cpu_each(server);
            let cpu = server.cpu.as_secs_f64();
            add("server CPU", format!("{cpu:.2} s, {each:.2} us per {unit}"));
            add("server peak memory", format!("{} KiB", server.after.peak_kib));
            let (status, took) = (server.ending.status, server.ending.took.as_millis());
            add("server end", format!("{status}, {took} ms after the signal"));
            if server.prints_summary {
                add("server summary", server.ending.last_line.clone());
            }
        }
        rows
    }

    /// Quantiles in microseconds; zero if nothing was measured.
    fn latencies(&self) -> impl Iterator<Item = (&'static str, f64)> + '_ {
        let nanos = |quantile| self.totals.latencies.value_at_quantile(quantile) as f64;
        QUANTILES.iter().map(move |&(name, quantile)| (name, nanos(quantile) / 1e3))
    }

    /// The unit of work, and the server's CPU time for each in microseconds.
    fn cpu_each(&self, server: &ServerReport) -> (&'static str, f64) {
        let Counts { connections, messages, .. } = server.counts_after;
        let (unit, count) = match self.pattern {
            Pattern::Churn => ("connection", connections),
            _ => ("message", messages),
        };
        (unit, server.cpu.as_secs_f64() * 1e6 / count.max(1) as f64)
    }
}

fn check_ending(server: &ServerReport, counts: Counts, problems: &mut Vec<String>) {
    let ending = &server.ending;
    if !ending.status.success() {
        problems.push(format!("the server ended with {}{}", ending.status, quote(&ending.errors)));
    }
    if !server.prints_summary {
        return;
    }
    let line = &ending.last_line;
    let Some(summary) = Summary::parse(line) else {
        problems.push(format!("the server's last line is no summary: {line:?}"));
        return;
    };
    if (summary.tasks_left, summary.descriptors_left) != (0, 0) {
        problems.push(format!("the server left tasks or descriptors: {line}"));
    }
    if summary.connections < counts.connections || summary.bytes < counts.bytes {
        let Counts { connections, bytes, .. } = counts;
        problems.push(format!(
            "the server reports {line:?}, but {connections} connections and {bytes} bytes were \
             counted",
        ));
    }
}

fn by_kind(failures: &Failures) -> String {
    let kinds: Vec<String> =
        failures.by_name().map(|(name, count)| format!("{name} {count}")).collect();
    match failures.total() {
        0 => "0".into(),
        total => format!("{total} ({})", kinds.join(", ")),
    }
}

fn system_calls(calls: &Result<SystemCalls, String>) -> String {
    match calls {
        Ok(calls) => {
            let mut names: Vec<String> =
                calls.by_name.iter().take(5).map(|(name, n)| format!("{name} {n}")).collect();
            names.push("attaching restarts up to one per thread".into());
            format!("{} ({})", calls.total, names.join(", "))
        }
        Err(reason) => format!("not counted: {reason}"),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::process::ExitStatus;

    use super::*;

    fn problems(last_line: &str, status: i32) -> Vec<String> {
        let ending = Ending {
            status: ExitStatus::from_raw(status),
            took: Duration::ZERO,
            last_line: last_line.into(),
            errors: Vec::new(),
        };
        let server = ServerReport {
            cpu: Duration::ZERO,
            after: Sample::default(),
            counts_after: Counts::default(),
            ending,
            prints_summary: true,
        };
        let mut problems = Vec::new();
        let counts = Counts { connections: 3, messages: 3, bytes: 192 };
        check_ending(&server, counts, &mut problems);
        problems
    }

    #[test]
    fn tasks_and_descriptors_that_are_left_fail_the_test() {
        let line = "served 3 connections, 192 bytes, tasks left 0, descriptors left 0";
        assert_eq!(problems(line, 0), Vec::<String>::new());
        for left in ["tasks left 1, descriptors left 0", "tasks left 0, descriptors left 2"] {
            let line = format!("served 3 connections, 192 bytes, {left}");
            assert_eq!(problems(&line, 0).len(), 1, "{left}");
        }
    }

    #[test]
    fn a_missing_summary_lost_bytes_and_a_bad_status_fail_the_test() {
        let line = "served 3 connections, 191 bytes, tasks left 0, descriptors left 0";
        assert!(problems(line, 0)[0].contains("were counted"));
        assert!(problems("bye", 0)[0].contains("no summary"));
        assert_eq!(problems("bye", 9).len(), 2);
    }
}
