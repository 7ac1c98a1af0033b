//! The figures of all runtimes for one workload, and the ratios between them.

use crate::figure::{Figure, Kind, Measured};

/// The figures of all runtimes for one workload.
pub(crate) struct Comparison<'a> {
    pub(crate) figures: Vec<&'a Figure>,
}

/// matou in relation to another runtime.
pub(crate) struct Ratio<'a> {
    /// Below 1, matou needs less.
    pub(crate) value: f64,
    pub(crate) other: &'a str,
}

impl<'a> Comparison<'a> {
    /// All workloads, in the order in which they were measured.
    pub(crate) fn all(figures: &'a [Figure]) -> Vec<Comparison<'a>> {
        let works = figures.chunk_by(|a, b| a.subject.work == b.subject.work);
        works.map(|figures| Comparison { figures: figures.iter().collect() }).collect()
    }

    pub(crate) fn work(&self) -> &'a str {
        &self.figures[0].subject.work
    }

    pub(crate) fn about(&self) -> &'static str {
        self.figures[0].subject.about
    }

    pub(crate) fn kind(&self) -> Kind {
        self.figures[0].subject.kind
    }

    pub(crate) fn of(&self, runtime: &str) -> Option<&'a Measured> {
        self.figures.iter().find(|figure| figure.subject.runtime == runtime)?.measured()
    }

    pub(crate) fn own(&self) -> Option<&'a Measured> {
        self.of(self.kind().own_runtime())
    }

    /// The ratio to the best peer, by the quantity that is compared.
    pub(crate) fn to_best(&self) -> Option<Ratio<'a>> {
        self.highest(|_| true, |measured| measured.ratio)
    }

    /// The ratio to the better of tokio's runtimes, by the same quantity.
    pub(crate) fn to_tokio(&self) -> Option<Ratio<'a>> {
        self.highest(|runtime| runtime.starts_with("tokio"), |measured| measured.ratio)
    }

    /// The ratio to the best peer, by wall time.
    pub(crate) fn to_fastest(&self) -> Option<Ratio<'a>> {
        self.highest(|_| true, |measured| measured.time_ratio)
    }

    /// The ratio to the best peer, by the 99th percentile of the latency.
    pub(crate) fn to_best_p99(&self) -> Option<Ratio<'a>> {
        self.highest(|_| true, |measured| measured.p99_ratio)
    }

    /// The ratio to the bare epoll loop.
    pub(crate) fn to_baseline(&self) -> Option<f64> {
        self.of("epoll")?.ratio
    }

    fn highest(
        &self,
        is_included: fn(&str) -> bool,
        ratio: fn(&Measured) -> Option<f64>,
    ) -> Option<Ratio<'a>> {
        let peers = self.figures.iter().filter(|it| !it.is_own() && !it.is_baseline());
        let peers = peers.filter(|it| is_included(&it.subject.runtime));
        let ratios = peers.filter_map(|it| {
            Some(Ratio { value: ratio(it.measured()?)?, other: &it.subject.runtime })
        });
        ratios.max_by(|one, other| one.value.total_cmp(&other.value))
    }
}
