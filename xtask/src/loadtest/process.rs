//! What `/proc` tells of the server.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};

/// A look at a process.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sample {
    /// User and system time of all threads, also of ended ones, in the kernel's ticks (10 ms).
    pub(super) cpu: Duration,
    /// Time on a processor of the threads that live, exact to the nanosecond.
    pub(super) cpu_of_threads: Duration,
    pub(super) resident_kib: u64,
    /// The proportional share of what is resident: the honest number for memory per connection.
    pub(super) proportional_kib: u64,
    /// The most that was ever resident.
    pub(super) peak_kib: u64,
    pub(super) threads: u64,
    pub(super) descriptors: u64,
    /// How often the threads gave up the processor of their own accord, thus went to sleep.
    pub(super) voluntary_switches: u64,
}

pub(super) fn sample(pid: u32) -> Result<Sample> {
    let read = |name: &str| {
        let path = format!("/proc/{pid}/{name}");
        fs::read_to_string(&path).with_context(|| format!("failed to read {path}"))
    };
    let status = read("status")?;
    let mut sample = Sample {
        cpu: cpu_time(&read("stat")?, rustix::param::clock_ticks_per_second())
            .context("/proc/PID/stat has an unknown form")?,
        resident_kib: field(&status, "VmRSS:"),
        peak_kib: field(&status, "VmHWM:"),
        // Only root, or the owner of an ordinary process, may read it.
        proportional_kib: read("smaps_rollup").map(|text| field(&text, "Pss:")).unwrap_or(0),
        descriptors: fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count) as u64,
        ..Sample::default()
    };
    for thread in fs::read_dir(format!("/proc/{pid}/task"))?.flatten() {
        // A thread may end between the listing and the reading.
        let text = |name| fs::read_to_string(thread.path().join(name)).unwrap_or_default();
        sample.threads += 1;
        sample.voluntary_switches += field(&text("status"), "voluntary_ctxt_switches:");
        let on_processor = text("schedstat");
        let nanos = on_processor.split_whitespace().next().and_then(|n| n.parse().ok());
        sample.cpu_of_threads += Duration::from_nanos(nanos.unwrap_or(0));
    }
    Ok(sample)
}

/// How often a connection found the queue of a listening socket full, on the whole machine.
pub(super) fn backlog_overflows() -> u64 {
    let text = fs::read_to_string("/proc/net/netstat").unwrap_or_default();
    paired_field(&text, "TcpExt:", "ListenOverflows").unwrap_or(0)
}

/// A number from pairs of lines, the names in the first and the values in the second.
fn paired_field(text: &str, prefix: &str, name: &str) -> Option<u64> {
    let mut lines = text.lines().filter(|line| line.starts_with(prefix));
    let place = lines.next()?.split_whitespace().position(|word| word == name)?;
    lines.next()?.split_whitespace().nth(place)?.parse().ok()
}

/// The number behind `name` at the start of a line, or 0.
fn field(text: &str, name: &str) -> u64 {
    let rest = text.lines().find_map(|line| line.strip_prefix(name));
    rest.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// User and system time from `/proc/PID/stat`.
fn cpu_time(stat: &str, ticks_per_second: u64) -> Option<Duration> {
    // The second field is the name in brackets, which may itself hold spaces and brackets.
    let (_, fields) = stat.rsplit_once(')')?;
    // They are the fields 14 and 15 of proc(5), and the first one behind the name is field 3.
    let mut times = fields.split_whitespace().skip(11);
    let user: u64 = times.next()?.parse().ok()?;
    let system: u64 = times.next()?.parse().ok()?;
    Some(Duration::from_secs_f64((user + system) as f64 / ticks_per_second as f64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_read_behind_a_name_with_brackets() {
        let stat = "7 (a) b (c)) S 1 7 7 0 -1 4194560 100 0 0 0 120 30 0 0 20 0 3 0 100 0 0";
        assert_eq!(cpu_time(stat, 100), Some(Duration::from_millis(1_500)));
        assert_eq!(cpu_time("nothing", 100), None);
    }

    #[test]
    fn a_field_is_found_at_the_start_of_a_line_only() {
        let text = "nonvoluntary_ctxt_switches:\t7\nvoluntary_ctxt_switches:\t3\nVmRSS:\t  12 kB\n";
        assert_eq!(field(text, "voluntary_ctxt_switches:"), 3);
        assert_eq!((field(text, "VmRSS:"), field(text, "VmHWM:")), (12, 0));
    }

    #[test]
    fn a_value_is_found_below_its_name() {
        let text = "IpExt: A B\nTcpExt: X ListenOverflows\nTcpExt: 4 5\nIpExt: 1 2\n";
        assert_eq!(paired_field(text, "TcpExt:", "ListenOverflows"), Some(5));
        assert_eq!(paired_field(text, "TcpExt:", "Y"), None);
    }

    #[test]
    fn this_process_can_be_looked_at() {
        let sample = sample(std::process::id()).expect("we may look at ourselves");
        assert!(sample.resident_kib > 0 && sample.peak_kib >= sample.resident_kib);
        assert!(sample.threads >= 1 && sample.descriptors >= 3);
        assert!(sample.cpu_of_threads > Duration::ZERO);
    }
}
