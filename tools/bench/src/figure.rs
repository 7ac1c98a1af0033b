//! What came of the measurements.

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::means::Lacking;
use crate::meter::Cost;

/// What a measurement is about.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Subject {
    pub(crate) kind: Kind,
    pub(crate) work: String,
    pub(crate) about: String,
    pub(crate) runtime: String,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Kind {
    /// A server under load: what counts is its CPU time.
    Echo,
    /// A server whose clients are silent: its memory.
    Silence,
    /// A server with something else to do: how long its clients wait.
    Hogged,
    /// A server on one core and on several: how much it does.
    Cores,
    /// A small operation on one thread: its CPU time.
    Primitive,
    /// A small operation between two threads: how long it takes.
    Across,
    /// A task that waits: its memory.
    Memory,
}

impl Kind {
    pub(crate) fn is_server(self) -> bool {
        matches!(self, Kind::Echo | Kind::Silence | Kind::Hogged | Kind::Cores)
    }
}

impl Subject {
    pub(crate) fn new(kind: Kind, work: &str, about: &str, runtime: &str) -> Subject {
        Subject { kind, work: work.into(), about: about.into(), runtime: runtime.into() }
    }
}

/// What one runtime needs for one kind of work, over all rounds.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Figure {
    #[serde(flatten)]
    pub(crate) subject: Subject,
    pub(crate) outcome: Outcome,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Outcome {
    Measured(Box<Measured>),
    /// This machine does not allow it, for this reason.
    Lacking(String),
    /// It went wrong, as it must not.
    Failed(String),
}

#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Measured {
    pub(crate) wall_ns: Spread,
    pub(crate) cpu_ns: Spread,
    /// The parts of the CPU time.
    pub(crate) user_ns: f64,
    pub(crate) system_ns: f64,
    pub(crate) allocations: f64,
    /// None where it was not measured, as with all that follow.
    pub(crate) bytes: Option<Spread>,
    pub(crate) resident: Option<Spread>,
    pub(crate) p99_us: Option<Spread>,
    pub(crate) system_calls: Option<f64>,
}

/// The rounds, their median, and the least and the greatest.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
    /// In the order in which they were measured.
    rounds: Vec<f64>,
}

impl Spread {
    /// None if there are no values.
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Option<Spread> {
        let rounds: Vec<f64> = values.into_iter().collect();
        let mut sorted = rounds.clone();
        sorted.sort_by(f64::total_cmp);
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        Some(Spread { median: sorted[sorted.len() / 2], min, max, rounds })
    }

    /// How many times as much this is: the median of the rounds, in each of which both were
    /// measured. What slows the machine down for a while slows both. None if the other is nothing,
    /// which has no multiples.
    pub(crate) fn of_other(&self, other: &Spread) -> Option<f64> {
        let ratios = self.rounds.iter().zip(&other.rounds).map(|(this, other)| this / other);
        Some(Spread::of(ratios.filter(|ratio| ratio.is_finite()))?.median)
    }
}

impl Figure {
    pub(crate) fn of(
        subject: Subject,
        costs: Result<Vec<Cost>>,
        system_calls: Option<f64>,
    ) -> Figure {
        let outcome = match costs {
            Ok(costs) => Measured::of(&costs, system_calls)
                .map_or(Outcome::Lacking("no rounds".into()), |it| Outcome::Measured(Box::new(it))),
            Err(error) => match error.downcast_ref::<Lacking>() {
                Some(lacking) => Outcome::Lacking(lacking.to_string()),
                None => Outcome::Failed(format!("{error:#}")),
            },
        };
        Figure { subject, outcome }
    }

    pub(crate) fn measured(&self) -> Option<&Measured> {
        match &self.outcome {
            Outcome::Measured(measured) => Some(measured),
            Outcome::Lacking(_) | Outcome::Failed(_) => None,
        }
    }

    /// Whether something of ours went wrong. What goes wrong with others is theirs.
    pub(crate) fn is_our_failure(&self) -> bool {
        self.is_ours() && matches!(self.outcome, Outcome::Failed(_))
    }

    pub(crate) fn is_ours(&self) -> bool {
        ["matou", "echo"].contains(&self.subject.runtime.as_str())
    }

    /// Whether it is no peer but the limit.
    pub(crate) fn is_limit(&self) -> bool {
        self.subject.runtime == "epoll"
    }
}

impl Measured {
    fn of(costs: &[Cost], system_calls: Option<f64>) -> Option<Measured> {
        let spread = |of: fn(&Cost) -> f64| Spread::of(costs.iter().map(of));
        // Where a round lacks something, the others do.
        let some = |of: fn(&Cost) -> Option<f64>| Spread::of(costs.iter().filter_map(of));
        Some(Measured {
            wall_ns: spread(|cost| cost.wall_ns)?,
            cpu_ns: spread(Cost::cpu_ns)?,
            user_ns: spread(|cost| cost.user_ns)?.median,
            system_ns: spread(|cost| cost.system_ns)?.median,
            allocations: spread(|cost| cost.allocations)?.median,
            bytes: some(|cost| cost.bytes),
            resident: some(|cost| cost.resident),
            p99_us: some(|cost| cost.p99_us),
            system_calls,
        })
    }
}
