//! The parts of the documents that come from the figures.

use std::fmt::Write;

use anyhow::{Result, bail};

use super::table::{scaling, table};
use super::{short, short_or_dash};
use crate::comparison::{Comparison, Ratio};
use crate::figure::{Figure, Kind};
use crate::record::{Machine, Part, Record};

/// Ratios within this distance from 1 are noise.
const NOISE: f64 = 0.03;

/// The workloads on the front page.
const HEADLINE: &[&str] = &[
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

/// The part with this name.
pub(super) fn part(name: &str, record: &Record) -> Result<String> {
    let figures = record.figures.as_ref();
    let results = figures.map_or(&[][..], |part| &part.results);
    let all = Comparison::all(results);
    let not_measured = || "Not measured yet.".into();
    Ok(match name {
        "machine" => figures.map_or_else(not_measured, machine),
        "headline" => {
            let find = |work: &&str| all.iter().find(|it| it.work() == *work);
            ratios(HEADLINE.iter().filter_map(find), 6)
        }
        "echo" => {
            let is_included = |it: &&Comparison<'_>| {
                let kind = it.kind();
                kind.is_server() && kind != Kind::Cores && !kind.is_http()
            };
            ratios(all.iter().filter(is_included), 8)
        }
        "http" => ratios(all.iter().filter(|it| it.kind().is_http()), 8),
        "cores" => cores(&all),
        "primitives" => ratios(all.iter().filter(|it| !it.kind().is_server()), 8),
        "behind" => ranking(&all, |ratio| ratio > 1.0 + NOISE, true),
        "ahead" => ranking(&all, |ratio| ratio < 1.0 - NOISE, false),
        "table" => format!("```text\n{}\n```", table(results).trim()),
        "scaling" => record.scaling.as_ref().map_or_else(not_measured, |part| {
            let measured = measured_on(&part.machine, part.rounds, part.quick);
            format!("{measured}\n\n```text\n{}\n```", scaling(&part.results).trim())
        }),
        other => bail!("there is no part {other}"),
    })
}

fn machine(part: &Part<Figure>) -> String {
    let it = &part.machine;
    let peers: Vec<_> =
        it.peers.iter().map(|(name, version)| format!("{name} {version}")).collect();
    let yes = |yes: bool| if yes { "yes" } else { "no" };
    let rows = [
        ("processor", format!("{}, {} cores", it.processor, it.cores)),
        ("memory", format!("{} MiB", it.memory_mib)),
        ("system", it.system.clone()),
        ("compiler", it.rustc.clone()),
        ("matou", format!("commit {}", it.commit)),
        ("peers", peers.join(", ")),
        ("io_uring allowed", yes(it.io_uring).into()),
        ("strace allowed", yes(it.strace).into()),
        ("maximum of descriptors", it.descriptors_max.to_string()),
    ];
    let mut text = measured_on(it, part.rounds, part.quick) + "\n\n| | |\n| --- | --- |\n";
    for (name, value) in rows {
        let _ = writeln!(text, "| {name} | {value} |");
    }
    text
}

fn measured_on(machine: &Machine, rounds: usize, quick: bool) -> String {
    let quick = if quick { ", of a quick run, for a first look only" } else { "" };
    format!("Measured on {}: medians of {rounds} rounds{quick}.", machine.date)
}

/// A line for each workload, with the ratios to the bare epoll loop and to the peers. Only the
/// first `columns` are included.
fn ratios<'a>(works: impl Iterator<Item = &'a Comparison<'a>>, columns: usize) -> String {
    let head = ["workload", "compared", "matou", "to epoll", "to tokio", "to the best peer"];
    let head: Vec<&str> = head.into_iter().chain(["by time", "by p99"]).take(columns).collect();
    let aligned = ["---", "---"].into_iter().chain(std::iter::repeat_n("---:", columns - 2));
    let aligned: Vec<&str> = aligned.collect();
    let mut text = format!("| {} |\n| {} |\n", head.join(" | "), aligned.join(" | "));
    let with_name = |ratio: Option<Ratio<'_>>| {
        ratio.map_or_else(|| "-".into(), |it| format!("{:.2} ({})", it.value, it.other))
    };
    for it in works {
        let Some(own) = it.own().and_then(|own| it.kind().value(own)) else { continue };
        let cells = [
            it.about().into(),
            it.kind().unit().into(),
            short(own),
            two_digits(it.to_baseline()),
            two_digits(it.to_tokio().map(|it| it.value)),
            with_name(it.to_best()),
            with_name(it.to_fastest()),
            with_name(it.to_best_p99()),
        ];
        let _ = writeln!(text, "| {} |", cells[..columns].join(" | "));
    }
    text
}

fn two_digits(number: Option<f64>) -> String {
    number.map_or_else(|| "-".into(), |number| format!("{number:.2}"))
}

/// The throughput of each server on two cores, relative to that on one.
fn cores(all: &[Comparison<'_>]) -> String {
    let mut text = String::from(
        "| server | 64 B, both cores | 200 us of CPU each, both cores |\n\
         | --- | ---: | ---: |\n",
    );
    let wall = |work: &str, runtime: &str| {
        Some(all.iter().find(|it| it.work() == work)?.of(runtime)?.wall_ns)
    };
    let speedup = |one, both, runtime| Some(wall(one, runtime)? / wall(both, runtime)?);
    let both = all.iter().find(|it| it.work() == "echo-both");
    for figure in both.iter().flat_map(|both| &both.figures) {
        let runtime = figure.subject.runtime.as_str();
        let plain = short_or_dash(speedup("echo-64-64", "echo-both", runtime));
        let cpu_work = short_or_dash(speedup("cpu-work-one", "cpu-work-both", runtime));
        let _ = writeln!(text, "| {runtime} | {plain} | {cpu_work} |");
    }
    text
}

/// The ratios to the best peers that are wanted, in order.
fn ranking(all: &[Comparison<'_>], is_wanted: fn(f64) -> bool, highest_first: bool) -> String {
    let mut lines: Vec<(f64, String)> = Vec::new();
    for it in all {
        let p99 = it.to_best_p99().filter(|_| it.kind() == Kind::Echo || it.work() == "sleepers");
        let time = it.to_fastest().filter(|_| it.kind() == Kind::Echo);
        let compared = [(it.to_best(), it.kind().unit()), (time, "time"), (p99, "p99")];
        for (ratio, what) in compared {
            if let Some(Ratio { value, other }) = ratio.filter(|ratio| is_wanted(ratio.value)) {
                lines.push((value, format!("- {value:.2} to {other} in {what}: {}\n", it.about())));
            }
        }
    }
    lines.sort_by(|a, b| a.0.total_cmp(&b.0));
    if highest_first {
        lines.reverse();
    }
    match lines.is_empty() {
        true => "None of the workloads that were measured.".into(),
        false => lines.into_iter().map(|(_, line)| line).collect(),
    }
}
