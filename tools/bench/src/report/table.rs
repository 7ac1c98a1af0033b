//! The table for the terminal.

use std::fmt::Write;

use super::{short, short_or_dash};
use crate::contest::Contest;
use crate::curves::Point;
use crate::figure::{Figure, Measured, Outcome, Spread};

/// Each work with its headline and a line for each runtime.
pub(crate) fn table(figures: &[Figure]) -> String {
    let mut text = String::new();
    for contest in Contest::all(figures) {
        // Writing to a string does not fail.
        let _ = writeln!(text, "\n{}: {}", contest.work(), contest.about());
        if let Some(headline) = headline(&contest) {
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
        for figure in &contest.figures {
            let line = match &figure.outcome {
                Outcome::Measured(measured) => line(measured),
                Outcome::Lacking(reason) => format!("  ({reason})"),
                Outcome::Failed(reason) => format!("  FAILED: {reason}"),
            };
            let _ = writeln!(text, "  {:11} {line}", figure.subject.runtime);
        }
    }
    text
}

/// The ratios, which are what counts.
fn headline(contest: &Contest<'_>) -> Option<String> {
    let best = contest.beside_best()?;
    let mut text = format!(
        "{}: {} {:.2} of the best peer's ({})",
        contest.champion(),
        contest.unit(),
        best.ratio,
        best.other
    );
    if let Some(limit) = contest.beside_limit() {
        let _ = write!(text, ", {limit:.2} of bare epoll's");
    }
    if let Some(wall) = contest.beside_fastest() {
        let _ = write!(text, "; time {:.2} ({})", wall.ratio, wall.other);
    }
    if let Some(p99) = contest.beside_most_punctual() {
        let _ = write!(text, "; p99 {:.2} ({})", p99.ratio, p99.other);
    }
    Some(text)
}

fn line(measured: &Measured) -> String {
    let wall = &measured.wall_ns;
    let range = format!("{}..{}", short(wall.min), short(wall.max));
    let parts = format!("{}+{}", short(measured.user_ns), short(measured.system_ns));
    let median = |spread: &Option<Spread>| spread.as_ref().map(|spread| spread.median);
    let (bytes, resident) = (median(&measured.bytes), median(&measured.resident));
    let both = match (bytes, resident) {
        (Some(bytes), Some(resident)) => {
            format!("  {} allocated, {} resident", short(bytes), short(resident))
        }
        _ => String::new(),
    };
    format!(
        "{:>9} {range:>17} {:>9} {parts:>15} {:>7} {:>8} {:>9} {:>9}{both}",
        short(wall.median),
        short(measured.cpu_ns.median),
        short(measured.allocations),
        short_or_dash(measured.system_calls),
        short_or_dash(median(&measured.p99_us)),
        short_or_dash(resident.or(bytes)),
    )
}

/// A line for each curve and runtime, a column for each crowd: CPU time in nanoseconds.
pub(crate) fn curves(points: &[Point]) -> String {
    let mut text = String::new();
    let mut lines: Vec<(&str, &str)> = Vec::new();
    let mut crowds: Vec<u64> = points.iter().map(|point| point.crowd).collect();
    crowds.sort_unstable();
    crowds.dedup();
    let _ = write!(text, "{:12} {:9}", "CPU ns", "");
    for crowd in &crowds {
        let _ = write!(text, " {crowd:>9}");
    }
    let _ = writeln!(text);
    for point in points {
        let line = (point.curve.as_str(), point.runtime.as_str());
        if !lines.contains(&line) {
            lines.push(line);
        }
    }
    for (curve, runtime) in lines {
        let _ = write!(text, "{curve:12} {runtime:9}");
        for crowd in &crowds {
            let mine = |it: &&Point| {
                (it.curve.as_str(), it.runtime.as_str(), it.crowd) == (curve, runtime, *crowd)
            };
            let cpu_ns = points.iter().find(mine).and_then(|point| point.cpu_ns.as_ref());
            let _ = write!(text, " {:>9}", short_or_dash(cpu_ns.map(|spread| spread.median)));
        }
        let _ = writeln!(text);
    }
    let reasons = points.iter().filter_map(|point| Some((point, point.lacking.as_ref()?)));
    for (point, reason) in reasons {
        let (curve, runtime, crowd) = (&point.curve, &point.runtime, point.crowd);
        let _ = writeln!(text, "{curve} of {runtime} among {crowd}: {reason}");
    }
    text
}
