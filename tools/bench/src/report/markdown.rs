//! The parts of the documents that come from the figures.

use std::fmt::Write;

use anyhow::{Result, bail};

use super::short;
use super::table::{curves, table};
use crate::contest::{Contest, Standing};
use crate::echo::SILENT;
use crate::figure::{Figure, Kind, Measured, Outcome};
use crate::record::{Machine, Part, Record};

/// How far from 1 a ratio must be to be told from noise.
const NOISE: f64 = 0.03;

/// The part with this name.
pub(super) fn part(name: &str, record: &Record) -> Result<String> {
    let figures = record.figures.as_ref();
    let results = figures.map_or(&[][..], |part| &part.results);
    Ok(match name {
        "machine" => figures.map_or_else(not_yet, machine),
        "headline" => headline(results),
        "echo" => echo(results),
        "silence" => silence(results),
        "cores" => cores(results),
        "primitives" => primitives(results),
        "behind" => behind(results),
        "ahead" => ahead(results),
        "table" => format!("```text\n{}\n```", table(results).trim()),
        "scaling" => match &record.curves {
            Some(part) => {
                let measured = measured_on(&part.machine, part.rounds, part.quick);
                format!("{measured}\n\n```text\n{}\n```", curves(&part.results).trim())
            }
            None => not_yet(),
        },
        other => bail!("there is no part called {other}"),
    })
}

fn not_yet() -> String {
    "Not measured yet.".into()
}

fn machine(part: &Part<Figure>) -> String {
    let machine = &part.machine;
    let mut text = measured_on(machine, part.rounds, part.quick) + "\n\n";
    let _ = writeln!(text, "| | |\n| --- | --- |");
    let _ = writeln!(text, "| processor | {}, {} cores |", machine.processor, machine.cores);
    let _ = writeln!(text, "| memory | {} MiB |", machine.memory_mib);
    let _ = writeln!(text, "| system | {} |", machine.system);
    let _ = writeln!(text, "| compiler | {} |", machine.rustc);
    let _ = writeln!(text, "| matou | commit {} |", machine.commit);
    let peers: Vec<_> =
        machine.peers.iter().map(|(name, version)| format!("{name} {version}")).collect();
    let _ = writeln!(text, "| peers | {} |", peers.join(", "));
    let yes = |yes: bool| if yes { "yes" } else { "no" };
    let _ = writeln!(text, "| io_uring allowed | {} |", yes(machine.io_uring));
    let _ = writeln!(text, "| strace allowed | {} |", yes(machine.strace));
    let _ = writeln!(text, "| descriptors at most | {} |", machine.descriptors_max);
    text
}

fn measured_on(machine: &Machine, rounds: usize, quick: bool) -> String {
    let quick = if quick { ", of a quick run, which is good for a first look only" } else { "" };
    format!("Measured on {}: medians of {rounds} rounds{quick}.", machine.date)
}

fn ratio(standing: Option<Standing<'_>>) -> String {
    standing.map_or("-".into(), |it| format!("{:.2} ({})", it.ratio, it.other))
}

/// A few works, for the front page.
fn headline(figures: &[Figure]) -> String {
    const WORKS: &[&str] = &[
        "echo-1-64",
        "echo-64-64",
        "echo-1000-64",
        "echo-64-4096",
        "echo-churn",
        "echo-idle",
        "echo-mixed",
        "spawn",
        "spawn-1000",
        "call",
        "lock",
        "notify",
        "sleepers",
        "cancel-fan",
        "memory",
    ];
    let mut text = String::from(
        "| work | what counts | matou | of bare epoll | of tokio | of the best peer |\n\
         | --- | --- | ---: | ---: | ---: | ---: |\n",
    );
    let contests = Contest::all(figures);
    for contest in WORKS.iter().filter_map(|work| contests.iter().find(|it| it.work() == *work)) {
        let Some(ours) = contest.ours().and_then(|it| contest.counts(it)) else { continue };
        let tokio = contest.beside_tokio().map(|it| it.ratio);
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} |",
            contest.about(),
            contest.unit(),
            short(ours.median),
            two_digits(contest.beside_limit()),
            two_digits(tokio),
            ratio(contest.beside_best()),
        );
    }
    text
}

fn two_digits(number: Option<f64>) -> String {
    number.map_or_else(|| "-".into(), |number| format!("{number:.2}"))
}

/// A line for each work: how matou stands beside the limit and beside the best peer.
fn standings<'a>(contests: impl Iterator<Item = &'a Contest<'a>>) -> String {
    let mut text = String::from(
        "| work | what counts | matou | of epoll | of tokio | of the best peer | time | p99 |\n\
         | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |\n",
    );
    for contest in contests {
        let Some(ours) = contest.ours().and_then(|it| contest.counts(it)) else { continue };
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} | {} | {} |",
            contest.about(),
            contest.unit(),
            short(ours.median),
            two_digits(contest.beside_limit()),
            two_digits(contest.beside_tokio().map(|it| it.ratio)),
            ratio(contest.beside_best()),
            ratio(contest.beside_fastest()),
            ratio(contest.beside_most_punctual()),
        );
    }
    text
}

fn echo(figures: &[Figure]) -> String {
    let contests = Contest::all(figures);
    let is_echo = |it: &&Contest<'_>| it.kind().is_server() && it.kind() != Kind::Cores;
    let contests = contests.iter().filter(is_echo);
    let mut text = standings(contests.clone());
    let mut add = |title: &str, value: fn(&Measured) -> Option<f64>| {
        let lines = by_runtime(contests.clone(), |_, it| value(it));
        let lines = lines.as_deref().unwrap_or("Not measured in this run.");
        let _ = writeln!(text, "\n{title}:\n\n{}", lines.trim());
    };
    add("CPU time of each server for one operation, in ns", |it| Some(it.cpu_ns.median));
    add("Latency, 99th percentile, in us", |it| Some(it.p99_us.as_ref()?.median));
    add("System calls for one operation", |it| it.system_calls);
    add("Allocations for one operation", |it| Some(it.allocations));
    text + &missing(figures)
}

/// What was not measured, and why.
fn missing(figures: &[Figure]) -> String {
    let mut text = String::new();
    for Figure { subject, outcome } in figures {
        let why = match outcome {
            Outcome::Measured(_) => continue,
            Outcome::Lacking(why) => why.clone(),
            Outcome::Failed(why) => format!("failed: {why}"),
        };
        let _ = writeln!(text, "- {} of {}: {why}", subject.work, subject.runtime);
    }
    match text.is_empty() {
        true => text,
        false => format!("Not measured:\n\n{text}"),
    }
}

/// What silent connections take, and how soon all have their first echo after the silence.
fn silence(figures: &[Figure]) -> String {
    let mut text = String::from("| server | bytes each | ms to the echo of all |\n");
    text += "| --- | ---: | ---: |\n";
    for figure in figures.iter().filter(|figure| figure.subject.kind == Kind::Silence) {
        let Some(measured) = figure.measured() else { continue };
        let bytes = measured.resident.as_ref().map(|bytes| bytes.median);
        let bytes = super::short_or_dash(bytes);
        let all_ms = measured.wall_ns.median * SILENT as f64 / 1e6;
        let _ = writeln!(text, "| {} | {bytes} | {} |", figure.subject.runtime, short(all_ms));
    }
    text
}

fn primitives(figures: &[Figure]) -> String {
    let contests = Contest::all(figures);
    let contests = contests.iter().filter(|it| !it.kind().is_server());
    let mut text = standings(contests.clone());
    let mut add = |title: &str, value: fn(&Contest<'_>, &Measured) -> Option<f64>| {
        let lines = by_runtime(contests.clone(), value);
        let lines = lines.as_deref().unwrap_or("Not measured in this run.");
        let _ = writeln!(text, "\n{title}:\n\n{}", lines.trim());
    };
    add("Each runtime, in the unit that counts", |contest, it| Some(contest.counts(it)?.median));
    add("Allocations for one operation", |_, it| Some(it.allocations));
    add("System calls for one operation", |_, it| it.system_calls);
    text
}

/// A line for each work, a column for each runtime; None if there is nothing to show.
fn by_runtime<'a>(
    contests: impl Iterator<Item = &'a Contest<'a>> + Clone,
    value: impl Fn(&Contest<'_>, &Measured) -> Option<f64>,
) -> Option<String> {
    let mut runtimes: Vec<&str> = Vec::new();
    for figure in contests.clone().flat_map(|contest| &contest.figures) {
        if !runtimes.contains(&figure.subject.runtime.as_str()) {
            runtimes.push(&figure.subject.runtime);
        }
    }
    let mut lines = String::new();
    for contest in contests {
        let value = |runtime: &&str| contest.of(runtime).and_then(|it| value(contest, it));
        let values: Vec<Option<f64>> = runtimes.iter().map(value).collect();
        if values.iter().any(Option::is_some) {
            let values: Vec<_> = values.into_iter().map(super::short_or_dash).collect();
            let _ = writeln!(lines, "| {} | {} |", contest.work(), values.join(" | "));
        }
    }
    let head = format!("| work | {} |\n| --- |", runtimes.join(" | "));
    (!lines.is_empty()).then(|| format!("{head}{}\n{lines}", " ---: |".repeat(runtimes.len())))
}

/// How much more is done on both cores than on one.
fn cores(figures: &[Figure]) -> String {
    let contests = Contest::all(figures);
    let find = |work: &str| contests.iter().find(|contest| contest.work() == work);
    let mut text = String::from("| server | 64 B, both cores | 200 us each, both cores |\n");
    text += "| --- | ---: | ---: |\n";
    let (Some(one), Some(two)) = (find("labour-one"), find("labour-both")) else {
        return not_yet();
    };
    let (plain_one, plain_two) = (find("echo-64-64"), find("echo-both"));
    let times = |one: Option<&Contest<'_>>, two: Option<&Contest<'_>>, runtime: &str| {
        one?.of(runtime)?.wall_ns.of_other(&two?.of(runtime)?.wall_ns)
    };
    for figure in &two.figures {
        let runtime = figure.subject.runtime.as_str();
        let plain = times(plain_one, plain_two, runtime);
        let labour = times(Some(one), Some(two), runtime);
        let _ = writeln!(text, "| {runtime} | {} | {} |", two_digits(plain), two_digits(labour));
    }
    text
}

/// Where matou needs more than the best peer: first in what counts, then in the time that passes
/// and in how late the latest are.
fn behind(figures: &[Figure]) -> String {
    let (mut first, mut then) = (Vec::new(), Vec::new());
    for contest in Contest::all(figures) {
        let is_behind = |standing: &Standing<'_>| standing.ratio > 1.0 + NOISE;
        let line = |what: &str, Standing { ratio, other }: Standing<'_>| {
            (ratio, format!("- {ratio:.2} of {other}'s {what}: {}\n", contest.about()))
        };
        let counts = contest.beside_best().filter(is_behind);
        first.extend(counts.map(|it| line(contest.unit(), it)));
        // Computing takes the time there, and the system says who is served.
        if contest.kind() == Kind::Echo {
            let time = contest.beside_fastest().filter(is_behind);
            then.extend(time.map(|it| line("time", it)));
        }
        if contest.kind() == Kind::Echo || contest.work() == "sleepers" {
            let p99 = contest.beside_most_punctual().filter(is_behind);
            then.extend(p99.map(|it| line("p99", it)));
        }
    }
    format!("{}\nIn time and p99:\n\n{}", most_first(first), most_first(then))
}

fn most_first(mut lines: Vec<(f64, String)>) -> String {
    lines.sort_by(|a, b| b.0.total_cmp(&a.0));
    match lines.is_empty() {
        true => "Nowhere, as far as it was measured.\n".into(),
        false => lines.into_iter().map(|(_, line)| line).collect(),
    }
}

/// Where matou needs less than every peer.
fn ahead(figures: &[Figure]) -> String {
    let mut lines: Vec<(f64, String)> = Vec::new();
    for contest in Contest::all(figures) {
        let ahead = contest.beside_best().filter(|it| it.ratio < 1.0 - NOISE);
        if let Some(Standing { ratio, other }) = ahead {
            let (unit, about) = (contest.unit(), contest.about());
            lines.push((ratio, format!("- {ratio:.2} of {other}'s {unit}: {about}\n")));
        }
    }
    lines.sort_by(|a, b| a.0.total_cmp(&b.0));
    match lines.len() {
        0 => "Nowhere yet.".into(),
        _ => lines.into_iter().map(|(_, line)| line).collect(),
    }
}
