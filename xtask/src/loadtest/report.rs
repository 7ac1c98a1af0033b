//! The result of a run: as a table for people, as JSON for programs, and as a verdict.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Value, json};

use super::failure::Failures;
use super::generator::{Counts, Tally};
use super::idle::IdleReport;
use super::patterns::Pattern;
use super::process::Sample;
use super::server::{Ending, Summary, quote};

const QUANTILES: [(&str, f64); 4] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999)];

/// All that is known of a run.
pub(super) struct Report {
    pub(super) pattern: Pattern,
    pub(super) clients: usize,
    pub(super) message_bytes: usize,
    pub(super) tally: Tally,
    /// How often a listening socket's queue was full, on this machine. The kernel then forgets or
    /// resets connections that the server never saw.
    pub(super) backlog_overflows: u64,
    /// None for a server that somebody else started.
    pub(super) server: Option<ServerReport>,
    pub(super) idle: Option<IdleReport>,
}

/// What the server cost, and how it ended.
pub(super) struct ServerReport {
    pub(super) name: &'static str,
    pub(super) before: Sample,
    /// Taken at the end of the load, or right before the signal in the middle of it.
    pub(super) after: Sample,
    /// What had been counted when `after` was taken.
    pub(super) counts_after: Counts,
    pub(super) ending: Ending,
    /// Whether it prints a summary as its last line.
    pub(super) summarizes: bool,
}

impl ServerReport {
    fn cpu(&self) -> Duration {
        self.after.cpu.saturating_sub(self.before.cpu)
    }

    fn summary(&self) -> Option<Summary> {
        Summary::parse(&self.ending.last_line)
    }
}

impl Report {
    /// Everything that makes the run a failure, in words.
    pub(super) fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let failures = &self.tally.failures;
        if failures.total() > 0 {
            let details = quote(failures.details().iter());
            problems.push(format!("{} errors: {}{details}", failures.total(), kinds(failures)));
        }
        if self.tally.counts.messages == 0 {
            problems.push("not a single message came back".to_string());
        }
        if let Some(server) = &self.server {
            self.judge_ending(server, &mut problems);
        }
        problems
    }

    fn judge_ending(&self, server: &ServerReport, problems: &mut Vec<String>) {
        let ending = &server.ending;
        if !ending.status.success() {
            let words = quote(ending.errors.iter());
            problems.push(format!("the server ended with {}{words}", ending.status));
        }
        if !server.summarizes {
            return;
        }
        let Some(summary) = server.summary() else {
            problems.push(format!("the server's last line is no summary: {:?}", ending.last_line));
            return;
        };
        if (summary.tasks_left, summary.descriptors_left) != (0, 0) {
            problems.push(format!("the server left something: {}", ending.last_line));
        }
        let counts = self.tally.counts;
        if summary.connections < counts.connections || summary.bytes < counts.bytes {
            problems.push(format!(
                "the server says {:?}, but {} connections and {} bytes were counted",
                ending.last_line, counts.connections, counts.bytes,
            ));
        }
    }

    pub(super) fn table(&self) -> String {
        let rows = self.rows();
        let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        rows.iter().fold(String::new(), |mut table, (name, value)| {
            writeln!(table, "{name:width$}  {value}").expect("a string takes all");
            table
        })
    }

    fn rows(&self) -> Vec<(String, String)> {
        let mut rows = Rows(Vec::new());
        let counts = self.tally.counts;
        let size = self.message_bytes;
        rows.add(
            "pattern",
            format!(
                "{}, {} clients, messages of {size} bytes, {:.2} s",
                self.pattern.name(),
                self.clients,
                self.tally.elapsed.as_secs_f64(),
            ),
        );
        rows.add("connections", self.rate(counts.connections));
        rows.add("messages", self.rate(counts.messages));
        let megabytes = counts.bytes as f64 / 1e6;
        let per_second = megabytes / self.tally.elapsed.as_secs_f64();
        rows.add("bytes", format!("{} ({per_second:.1} MB/s each way)", counts.bytes));
        for (name, micros) in self.latencies() {
            rows.add(&format!("latency {name}"), format!("{micros:.1} us"));
        }
        let failures = &self.tally.failures;
        let kinds = if failures.total() == 0 { String::new() } else { kinds(failures) };
        rows.add("errors", format!("{} {kinds}", failures.total()).trim_end().to_string());
        if self.tally.cuts.total() > 0 {
            rows.add("cut after the signal", kinds_with_total(&self.tally.cuts));
        }
        if self.tally.port_waits > 0 {
            rows.add("waits for a free port", self.tally.port_waits.to_string());
        }
        if self.backlog_overflows > 0 {
            let count = self.backlog_overflows;
            rows.add("backlog overflows", format!("{count}: more clients than its queue holds"));
        }
        if let Some(idle) = &self.idle {
            rows.add_idle(idle);
        }
        if let Some(server) = &self.server {
            rows.add_server(server, self.pattern);
        }
        rows.0
    }

    pub(super) fn json(&self) -> Value {
        let counts = self.tally.counts;
        let seconds = self.tally.elapsed.as_secs_f64();
        let latencies: serde_json::Map<String, Value> =
            self.latencies().map(|(name, micros)| (name.to_string(), json!(micros))).collect();
        let by_name = |failures: &Failures| -> Value {
            failures.by_name().map(|(name, count)| (name.to_string(), json!(count))).collect()
        };
        json!({
            "pattern": self.pattern.name(),
            "clients": self.clients,
            "message_bytes": self.message_bytes,
            "seconds": seconds,
            "connections": counts.connections,
            "connections_per_second": counts.connections as f64 / seconds,
            "messages": counts.messages,
            "messages_per_second": counts.messages as f64 / seconds,
            "bytes": counts.bytes,
            "bytes_per_second": counts.bytes as f64 / seconds,
            "latency_us": latencies,
            "errors": self.tally.failures.total(),
            "errors_by_kind": by_name(&self.tally.failures),
            "cut_after_signal": by_name(&self.tally.cuts),
            "port_waits": self.tally.port_waits,
            "backlog_overflows": self.backlog_overflows,
            "idle": self.idle.as_ref().map(idle_json),
            "server": self.server.as_ref().map(|server| server_json(server, self.pattern)),
            "problems": self.problems(),
        })
    }

    fn rate(&self, count: u64) -> String {
        format!("{count} ({:.0} per second)", count as f64 / self.tally.elapsed.as_secs_f64())
    }

    /// Quantiles in microseconds; all zero when nothing was measured.
    fn latencies(&self) -> impl Iterator<Item = (&'static str, f64)> + '_ {
        let histogram = &self.tally.latencies.0;
        let quantiles = QUANTILES
            .iter()
            .map(|&(name, quantile)| (name, histogram.value_at_quantile(quantile) as f64 / 1e3));
        quantiles.chain([("max", histogram.max() as f64 / 1e3)])
    }
}

struct Rows(Vec<(String, String)>);

impl Rows {
    fn add(&mut self, name: &str, value: String) {
        self.0.push((name.to_string(), value));
    }

    fn add_idle(&mut self, idle: &IdleReport) {
        let seconds = idle.silence.as_secs_f64();
        self.add(
            "idle CPU",
            format!("{:.3} % of one core in {seconds:.1} s", idle.cpu_share * 1e2),
        );
        let calls = match &idle.system_calls {
            Ok(calls) => {
                let names: Vec<String> =
                    calls.by_name.iter().take(5).map(|(name, n)| format!("{name} {n}")).collect();
                let names = if names.is_empty() { String::new() } else { names.join(", ") + "; " };
                format!("{} ({names}attaching restarts up to one per thread)", calls.total)
            }
            Err(reason) => format!("not counted: {reason}"),
        };
        self.add("idle system calls", calls);
        let (switches, threads) = (idle.voluntary_switches, idle.threads);
        self.add("idle wake-ups", format!("{switches} in {threads} threads"));
        self.add(
            "memory per connection",
            format!(
                "{} bytes resident, {} proportional",
                idle.resident_per_connection, idle.proportional_per_connection,
            ),
        );
        self.add("memory with all", format!("{} KiB", idle.resident_kib));
    }

    fn add_server(&mut self, server: &ServerReport, pattern: Pattern) {
        let (cpu, each) = (server.cpu(), cpu_each(server, pattern));
        let unit = pattern.unit();
        let each = format!("{:.2} s, {each:.2} us per {unit}", cpu.as_secs_f64());
        self.add("server CPU", each);
        self.add("server peak memory", format!("{} KiB", server.after.peak_kib));
        let (status, took) = (server.ending.status, server.ending.took);
        self.add("server end", format!("{status}, {} ms after the signal", took.as_millis()));
        if server.summarizes {
            self.add("server summary", server.ending.last_line.clone());
        }
    }
}

fn cpu_each(server: &ServerReport, pattern: Pattern) -> f64 {
    let counts = server.counts_after;
    let count = if pattern == Pattern::Churn { counts.connections } else { counts.messages };
    server.cpu().as_secs_f64() * 1e6 / count.max(1) as f64
}

fn idle_json(idle: &IdleReport) -> Value {
    let calls = idle.system_calls.as_ref();
    json!({
        "seconds": idle.silence.as_secs_f64(),
        "cpu_share": idle.cpu_share,
        "voluntary_switches": idle.voluntary_switches,
        "threads": idle.threads,
        "system_calls": calls.ok().map(|calls| calls.total),
        "system_calls_not_counted": calls.err(),
        "resident_kib": idle.resident_kib,
        "resident_bytes_per_connection": idle.resident_per_connection,
        "proportional_bytes_per_connection": idle.proportional_per_connection,
    })
}

fn server_json(server: &ServerReport, pattern: Pattern) -> Value {
    json!({
        "name": server.name,
        "cpu_seconds": server.cpu().as_secs_f64(),
        format!("cpu_us_per_{}", pattern.unit()): cpu_each(server, pattern),
        "peak_kib": server.after.peak_kib,
        "descriptors": server.after.descriptors,
        "exit_code": server.ending.status.code(),
        "end_ms": server.ending.took.as_millis() as u64,
        "last_line": server.ending.last_line,
    })
}

fn kinds(failures: &Failures) -> String {
    let kinds: Vec<String> =
        failures.by_name().map(|(name, count)| format!("{name} {count}")).collect();
    format!("({})", kinds.join(", "))
}

fn kinds_with_total(failures: &Failures) -> String {
    format!("{} {}", failures.total(), kinds(failures))
}
