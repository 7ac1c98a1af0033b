//! The results of the measurements.

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::capabilities::Unsupported;
use crate::cost::Cost;
use crate::{echo, primitives};

/// The subject of a measurement.
#[derive(Clone, Debug)]
pub(crate) struct Subject {
    pub(crate) kind: Kind,
    pub(crate) work: String,
    pub(crate) about: &'static str,
    pub(crate) runtime: String,
}

/// Kinds of workloads, which differ in the quantity that is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A server under load: its CPU time.
    Echo,
    /// A server whose clients are silent: its memory.
    Silent,
    /// A server of HTTP under load: its CPU time.
    Http,
    /// A server of HTTP whose clients are silent: its memory.
    HttpSilent,
    /// A server beside tasks that use the CPU: the latency of its clients.
    Mixed,
    /// A server on one core and on several: its throughput.
    Cores,
    /// An operation on one thread: its CPU time.
    Primitive,
    /// An operation between two threads: its wall time.
    Across,
    /// A task that waits: its memory.
    Memory,
}

impl Kind {
    pub(crate) fn is_server(self) -> bool {
        let is_echo = matches!(self, Kind::Echo | Kind::Silent | Kind::Mixed | Kind::Cores);
        is_echo || self.is_http()
    }

    pub(crate) fn is_http(self) -> bool {
        matches!(self, Kind::Http | Kind::HttpSilent)
    }

    /// The quantity that is compared.
    pub(crate) fn value(self, measured: &Measured) -> Option<f64> {
        match self {
            Kind::Echo | Kind::Http | Kind::Primitive => Some(measured.cpu_ns),
            Kind::Across | Kind::Cores => Some(measured.wall_ns),
            Kind::Silent | Kind::HttpSilent => measured.resident,
            Kind::Mixed => measured.p99_us,
            Kind::Memory => measured.bytes,
        }
    }

    /// The program of ours that is compared. For silent connections it is `echo`, which frees its
    /// buffers then; the plain server keeps one per connection, like those of the peers.
    pub(crate) fn own_runtime(self) -> &'static str {
        if self == Kind::Silent { "echo" } else { "matou" }
    }

    /// The name of that quantity.
    pub(crate) fn unit(self) -> &'static str {
        match self {
            Kind::Echo | Kind::Http | Kind::Primitive => "CPU ns",
            Kind::Across | Kind::Cores => "wall ns",
            Kind::Silent | Kind::HttpSilent => "resident bytes",
            Kind::Mixed => "p99 us",
            Kind::Memory => "bytes",
        }
    }
}

impl Subject {
    /// # Panics
    ///
    /// If there is no workload of this name.
    pub(crate) fn new(work: &str, runtime: &str) -> Subject {
        let known = describe(work);
        let (kind, about) = known.unwrap_or_else(|| panic!("there is no workload {work}"));
        Subject { kind, work: work.into(), about, runtime: runtime.into() }
    }
}

/// The kind of a workload, and its description.
pub(crate) fn describe(work: &str) -> Option<(Kind, &'static str)> {
    let small = primitives::WORKS.iter().find(|it| it.name == work).map(|it| (it.kind, it.about));
    small.or_else(|| echo::describe(work))
}

/// The cost of one workload in one runtime, over all rounds.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(from = "Row", into = "Row")]
pub(crate) struct Figure {
    pub(crate) subject: Subject,
    pub(crate) outcome: Outcome,
    /// The rounds, if this was measured in this process.
    pub(crate) rounds: Vec<Cost>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(untagged)]
pub(crate) enum Outcome {
    /// The medians.
    Measured(Measured),
    /// Why there is no result.
    Missing { reason: String, failed: bool },
}

/// Workload, runtime and outcome: a line in the file of figures.
type Row = (String, String, Outcome);

/// Medians over the rounds.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(from = "Columns", into = "Columns")]
pub(crate) struct Measured {
    pub(crate) wall_ns: f64,
    pub(crate) wall_min: f64,
    pub(crate) wall_max: f64,
    pub(crate) cpu_ns: f64,
    pub(crate) user_ns: f64,
    pub(crate) allocations: f64,
    pub(crate) system_calls: Option<f64>,
    pub(crate) p99_us: Option<f64>,
    pub(crate) bytes: Option<f64>,
    pub(crate) resident: Option<f64>,
    /// Ratios of our program to this one: by the quantity that is compared, by wall time, and by
    /// p99. Each is the median of the ratios of the rounds, so a temporary slowdown of the machine
    /// affects both sides.
    pub(crate) ratio: Option<f64>,
    pub(crate) time_ratio: Option<f64>,
    pub(crate) p99_ratio: Option<f64>,
}

/// The columns of the file of figures, in the order of the fields above.
type Columns = ([f64; 6], [Option<f64>; 7]);

impl From<Columns> for Measured {
    fn from((numbers, optional): Columns) -> Measured {
        let [wall_ns, wall_min, wall_max, cpu_ns, user_ns, allocations] = numbers;
        let [system_calls, p99_us, bytes, resident, ratio, time_ratio, p99_ratio] = optional;
        Measured {
            wall_ns,
            wall_min,
            wall_max,
            cpu_ns,
            user_ns,
            allocations,
            system_calls,
            p99_us,
            bytes,
            resident,
            ratio,
            time_ratio,
            p99_ratio,
        }
    }
}

impl From<Measured> for Columns {
    fn from(it: Measured) -> Columns {
        let numbers = [it.wall_ns, it.wall_min, it.wall_max, it.cpu_ns, it.user_ns, it.allocations];
        let optional = [
            it.system_calls,
            it.p99_us,
            it.bytes,
            it.resident,
            it.ratio,
            it.time_ratio,
            it.p99_ratio,
        ];
        (numbers.map(four_digits), optional.map(|number| number.map(four_digits)))
    }
}

/// Rounds to four significant digits.
fn four_digits(number: f64) -> f64 {
    format!("{number:.3e}").parse().expect("it is a number")
}

impl From<Row> for Figure {
    fn from((work, runtime, outcome): Row) -> Figure {
        Figure { subject: Subject::new(&work, &runtime), outcome, rounds: Vec::new() }
    }
}

impl From<Figure> for Row {
    fn from(figure: Figure) -> Row {
        (figure.subject.work, figure.subject.runtime, figure.outcome)
    }
}

impl Figure {
    pub(crate) fn of(
        subject: Subject,
        rounds: Result<Vec<Cost>>,
        system_calls: Option<f64>,
    ) -> Figure {
        let missing = |reason: String, failed| Outcome::Missing { reason, failed };
        let (outcome, rounds) = match rounds {
            Ok(rounds) => match Measured::of(&rounds, system_calls) {
                Some(measured) => (Outcome::Measured(measured), rounds),
                None => (missing("not measured".into(), false), rounds),
            },
            Err(error) => match error.downcast_ref::<Unsupported>() {
                Some(unsupported) => (missing(unsupported.to_string(), false), Vec::new()),
                None => (missing(format!("{error:#}"), true), Vec::new()),
            },
        };
        Figure { subject, outcome, rounds }
    }

    pub(crate) fn measured(&self) -> Option<&Measured> {
        match &self.outcome {
            Outcome::Measured(measured) => Some(measured),
            Outcome::Missing { .. } => None,
        }
    }

    /// Whether matou failed. Failures of the other runtimes do not fail the benchmark.
    pub(crate) fn is_own_failure(&self) -> bool {
        self.is_own() && matches!(self.outcome, Outcome::Missing { failed: true, .. })
    }

    pub(crate) fn is_own(&self) -> bool {
        ["matou", "echo"].contains(&self.subject.runtime.as_str())
    }

    /// Whether it is the bare epoll loop, which is not a peer but the lower bound.
    pub(crate) fn is_baseline(&self) -> bool {
        self.subject.runtime == "epoll"
    }
}

impl Measured {
    /// `None` without rounds.
    pub(crate) fn of(rounds: &[Cost], system_calls: Option<f64>) -> Option<Measured> {
        let sorted = |of: fn(&Cost) -> f64| sorted(rounds.iter().map(of));
        // If a round has no value, none has.
        let optional = |of: fn(&Cost) -> Option<f64>| median(rounds.iter().filter_map(of));
        let wall = sorted(|cost| cost.wall_ns);
        Some(Measured {
            wall_ns: median(wall.iter().copied())?,
            wall_min: *wall.first()?,
            wall_max: *wall.last()?,
            cpu_ns: median(rounds.iter().map(Cost::cpu_ns))?,
            user_ns: median(rounds.iter().map(|cost| cost.user_ns))?,
            allocations: median(rounds.iter().map(|cost| cost.allocations))?,
            system_calls,
            p99_us: optional(|cost| cost.p99_us),
            bytes: optional(|cost| cost.bytes),
            resident: optional(|cost| cost.resident),
            ratio: None,
            time_ratio: None,
            p99_ratio: None,
        })
    }
}

/// Computes the ratios of our program to each of the figures, which are of one workload.
pub(crate) fn compute_ratios(figures: &mut [Figure]) {
    let Some(kind) = figures.first().map(|figure| figure.subject.kind) else { return };
    let own = figures.iter().find(|figure| figure.subject.runtime == kind.own_runtime());
    let Some(own) = own.map(|figure| figure.rounds.clone()) else { return };
    for figure in figures {
        let Figure { outcome: Outcome::Measured(measured), rounds, .. } = figure else { continue };
        measured.ratio = ratio(&own, rounds, |cost| kind.value(&Measured::of(&[*cost], None)?));
        measured.time_ratio = ratio(&own, rounds, |cost| Some(cost.wall_ns));
        measured.p99_ratio = ratio(&own, rounds, |cost| cost.p99_us);
    }
}

/// The median of the ratios of the rounds. `None` if nothing can be compared.
pub(crate) fn ratio(
    own: &[Cost],
    other: &[Cost],
    value: impl Fn(&Cost) -> Option<f64>,
) -> Option<f64> {
    let ratios = own.iter().zip(other).filter_map(|(own, other)| Some(value(own)? / value(other)?));
    median(ratios.filter(|ratio| ratio.is_finite()))
}

pub(crate) fn sorted(values: impl IntoIterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    values
}

/// `None` without values.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let values = sorted(values);
    values.get(values.len() / 2).copied()
}
