//! Who needs how much for the same work, and how we stand among them.

use crate::figure::{Figure, Kind, Measured};

/// The figures of all runtimes for one work.
pub(crate) struct Contest<'a> {
    pub(crate) figures: Vec<&'a Figure>,
}

/// How we stand beside somebody else.
pub(crate) struct Standing<'a> {
    /// Below 1 matou needs less.
    pub(crate) ratio: f64,
    pub(crate) other: &'a str,
}

impl<'a> Contest<'a> {
    /// All works, in the order in which they were measured.
    pub(crate) fn all(figures: &'a [Figure]) -> Vec<Contest<'a>> {
        let mut contests: Vec<Contest<'a>> = Vec::new();
        for figure in figures {
            let known = contests.last_mut().filter(|it| it.work() == figure.subject.work);
            match known {
                Some(contest) => contest.figures.push(figure),
                None => contests.push(Contest { figures: vec![figure] }),
            }
        }
        contests
    }

    pub(crate) fn work(&self) -> &'a str {
        &self.figures[0].subject.work
    }

    pub(crate) fn about(&self) -> &'a str {
        &self.figures[0].subject.about
    }

    pub(crate) fn kind(&self) -> Kind {
        self.figures[0].subject.kind
    }

    pub(crate) fn of(&self, runtime: &str) -> Option<&'a Measured> {
        self.figures.iter().find(|figure| figure.subject.runtime == runtime)?.measured()
    }

    /// The one of ours that stands beside the others. What is silent is `echo`'s matter, which is
    /// made not to hold a buffer then; the plain server holds one, like those of the peers.
    pub(crate) fn champion(&self) -> &'static str {
        if self.kind() == Kind::Silence { "echo" } else { "matou" }
    }

    pub(crate) fn ours(&self) -> Option<&'a Measured> {
        self.of(self.champion())
    }

    /// What counts: what it costs, how long it takes, or how much is kept.
    pub(crate) fn counts(&self, measured: &Measured) -> Option<f64> {
        match self.kind() {
            Kind::Echo | Kind::Primitive => Some(measured.cpu_ns.median),
            Kind::Across | Kind::Cores => Some(measured.wall_ns.median),
            Kind::Silence => measured.resident,
            Kind::Hogged => measured.p99_us.map(|spread| spread.median),
            Kind::Memory => measured.bytes,
        }
    }

    /// What it is that counts.
    pub(crate) fn unit(&self) -> &'static str {
        match self.kind() {
            Kind::Echo | Kind::Primitive => "CPU ns",
            Kind::Across | Kind::Cores => "wall ns",
            Kind::Silence => "resident bytes",
            Kind::Hogged => "p99 us",
            Kind::Memory => "bytes",
        }
    }

    /// matou beside the best of its peers, by what counts.
    pub(crate) fn beside_best(&self) -> Option<Standing<'a>> {
        self.beside(|_| true, |contest, measured| contest.counts(measured))
    }

    /// matou beside the better of tokio's runtimes, by what counts.
    pub(crate) fn beside_tokio(&self) -> Option<Standing<'a>> {
        let is_tokio = |runtime: &str| runtime.starts_with("tokio");
        self.beside(is_tokio, |contest, measured| contest.counts(measured))
    }

    /// matou beside the best of its peers, by the time that passes.
    pub(crate) fn beside_fastest(&self) -> Option<Standing<'a>> {
        self.beside(|_| true, |_, measured| Some(measured.wall_ns.median))
    }

    /// matou beside the best of its peers, by how late the latest hundredth is.
    pub(crate) fn beside_most_punctual(&self) -> Option<Standing<'a>> {
        self.beside(|_| true, |_, measured| Some(measured.p99_us?.median))
    }

    /// matou beside what the system alone takes.
    pub(crate) fn beside_limit(&self) -> Option<f64> {
        let value = |measured| self.counts(measured);
        Some(value(self.ours()?)? / value(self.of("epoll")?)?)
    }

    fn beside(
        &self,
        is_rival: impl Fn(&str) -> bool,
        value: impl Fn(&Contest<'a>, &Measured) -> Option<f64>,
    ) -> Option<Standing<'a>> {
        let ours = value(self, self.ours()?)?;
        let peers = self.figures.iter().filter(|it| !it.is_ours() && !it.is_limit());
        let peers = peers.filter(|it| is_rival(&it.subject.runtime));
        let values = peers.filter_map(|it| Some((value(self, it.measured()?)?, *it)));
        let (best, peer) = values.min_by(|a, b| a.0.total_cmp(&b.0))?;
        // What costs nothing has no multiples.
        (best > 0.0).then(|| Standing { ratio: ours / best, other: &peer.subject.runtime })
    }
}
