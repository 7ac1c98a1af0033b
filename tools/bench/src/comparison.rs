//! The figures of all runtimes for one work, and the ratios between them.

use crate::figure::{Figure, Kind, Measured};

/// The figures of all runtimes for one work.
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
    /// All works, in the order in which they were measured.
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

    /// The program of ours that is compared. For silent connections it is `echo`, which frees its
    /// buffers then; the plain server keeps one per connection, like those of the peers.
    pub(crate) fn own_runtime(&self) -> &'static str {
        if self.kind() == Kind::Silent { "echo" } else { "matou" }
    }

    pub(crate) fn own(&self) -> Option<&'a Measured> {
        self.of(self.own_runtime())
    }

    /// The ratio to the best peer, by the quantity that is compared.
    pub(crate) fn to_best(&self) -> Option<Ratio<'a>> {
        self.highest_ratio(|_| true, |measured| self.kind().value(measured))
    }

    /// The ratio to the better of tokio's runtimes, by the same quantity.
    pub(crate) fn to_tokio(&self) -> Option<Ratio<'a>> {
        let is_tokio = |runtime: &str| runtime.starts_with("tokio");
        self.highest_ratio(is_tokio, |measured| self.kind().value(measured))
    }

    /// The ratio to the best peer, by wall time.
    pub(crate) fn to_fastest(&self) -> Option<Ratio<'a>> {
        self.highest_ratio(|_| true, |measured| Some(measured.wall_ns))
    }

    /// The ratio to the best peer, by the 99th percentile of the latency.
    pub(crate) fn to_best_p99(&self) -> Option<Ratio<'a>> {
        self.highest_ratio(|_| true, |measured| measured.p99_us)
    }

    /// The ratio to the bare epoll loop.
    pub(crate) fn to_baseline(&self) -> Option<f64> {
        ratio(self.kind().value(self.own()?)?, self.kind().value(self.of("epoll")?)?)
    }

    fn highest_ratio(
        &self,
        is_included: impl Fn(&str) -> bool,
        value: impl Fn(&Measured) -> Option<f64>,
    ) -> Option<Ratio<'a>> {
        let own = value(self.own()?)?;
        let peers = self.figures.iter().filter(|it| !it.is_own() && !it.is_baseline());
        let peers = peers.filter(|it| is_included(&it.subject.runtime));
        let ratios = peers.filter_map(|it| {
            let value = ratio(own, value(it.measured()?)?)?;
            Some(Ratio { value, other: &it.subject.runtime })
        });
        ratios.max_by(|one, other| one.value.total_cmp(&other.value))
    }
}

/// `None` if the second value is zero.
pub(crate) fn ratio(one: f64, other: f64) -> Option<f64> {
    Some(one / other).filter(|ratio| ratio.is_finite())
}
