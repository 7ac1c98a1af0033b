//! The tables for the terminal.

use std::fmt::Write;

use super::{short, short_or_dash};
use crate::comparison::Comparison;
use crate::figure::{Figure, Measured, Outcome};
use crate::scaling::Point;

/// Each workload with its ratios and a line for each runtime.
pub(crate) fn table(figures: &[Figure]) -> String {
    let mut text = String::new();
    for comparison in Comparison::all(figures) {
        // Writing to a string succeeds.
        let _ = writeln!(text, "\n{}: {}", comparison.work(), comparison.about());
        if let Some(headline) = headline(&comparison) {
            let _ = writeln!(text, "  {headline}");
        }
        let _ = writeln!(
            text,
            "  {:11} {:>9} {:>17} {:>9} {:>15} {:>7} {:>8} {:>9} {:>9}",
            "",
            "wall ns",
            "min..max",
            "CPU ns",
            "user+system",
            "allocs",
            "syscalls",
            "p99 us",
            "bytes",
        );
        for figure in &comparison.figures {
            let line = match &figure.outcome {
                Outcome::Measured(measured) => line(measured),
                Outcome::Missing { reason, failed: false } => format!("  ({reason})"),
                Outcome::Missing { reason, failed: true } => format!("  FAILED: {reason}"),
            };
            let _ = writeln!(text, "  {:11} {line}", figure.subject.runtime);
        }
    }
    text
}

fn headline(comparison: &Comparison<'_>) -> Option<String> {
    let best = comparison.to_best()?;
    let (own, unit) = (comparison.kind().own_runtime(), comparison.kind().unit());
    let mut text = format!("{own}: {unit} {:.2} of the best peer's ({})", best.value, best.other);
    if let Some(baseline) = comparison.to_baseline() {
        let _ = write!(text, ", {baseline:.2} of bare epoll's");
    }
    if let Some(wall) = comparison.to_fastest() {
        let _ = write!(text, "; time {:.2} ({})", wall.value, wall.other);
    }
    if let Some(p99) = comparison.to_best_p99() {
        let _ = write!(text, "; p99 {:.2} ({})", p99.value, p99.other);
    }
    Some(text)
}

fn line(it: &Measured) -> String {
    let range = format!("{}..{}", short(it.wall_min), short(it.wall_max));
    let parts = format!("{}+{}", short(it.user_ns), short((it.cpu_ns - it.user_ns).max(0.0)));
    let both = match (it.bytes, it.resident) {
        (Some(bytes), Some(resident)) => {
            format!("  {} allocated, {} resident", short(bytes), short(resident))
        }
        _ => String::new(),
    };
    format!(
        "{:>9} {range:>17} {:>9} {parts:>15} {:>7} {:>8} {:>9} {:>9}{both}",
        short(it.wall_ns),
        short(it.cpu_ns),
        short(it.allocations),
        short_or_dash(it.system_calls),
        short_or_dash(it.p99_us),
        short_or_dash(it.resident.or(it.bytes)),
    )
}

/// A line for each operation and runtime, a column for each population: CPU time in nanoseconds.
pub(crate) fn scaling(points: &[Point]) -> String {
    let mut populations: Vec<u64> = points.iter().map(|point| point.population).collect();
    populations.sort_unstable();
    populations.dedup();
    let mut text = format!("{:12} {:9}", "CPU ns", "");
    for population in &populations {
        let _ = write!(text, " {population:>9}");
    }
    // The points of an operation are ordered by population, then by runtime.
    let mut lines: Vec<(&str, &str)> = Vec::new();
    for point in points {
        let line = (point.name.as_str(), point.runtime.as_str());
        if !lines.contains(&line) {
            lines.push(line);
        }
    }
    for (name, runtime) in lines {
        let _ = write!(text, "\n{name:12} {runtime:9}");
        for population in &populations {
            let is_here = |it: &&Point| {
                (it.name.as_str(), it.runtime.as_str(), it.population)
                    == (name, runtime, *population)
            };
            let cpu_ns = points.iter().find(is_here).and_then(|it| it.cpu_ns.clone().ok());
            let _ = write!(text, " {:>9}", short_or_dash(cpu_ns));
        }
    }
    text.push('\n');
    for Point { name, runtime, population, cpu_ns } in points {
        if let Err(reason) = cpu_ns {
            let _ = writeln!(text, "{name} of {runtime} beside {population}: {reason}");
        }
    }
    text
}
