//! Who needs how much for the same work, and how we stand among them.

use crate::figure::{Figure, Kind, Measured, Spread};

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
    pub(crate) fn counts<'m>(&self, measured: &'m Measured) -> Option<&'m Spread> {
        match self.kind() {
            Kind::Echo | Kind::Primitive => Some(&measured.cpu_ns),
            Kind::Across | Kind::Cores => Some(&measured.wall_ns),
            Kind::Silence => measured.resident.as_ref(),
            Kind::Hogged => measured.p99_us.as_ref(),
            Kind::Memory => measured.bytes.as_ref(),
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
        self.beside(|_| true, |_, measured| Some(&measured.wall_ns))
    }

    /// matou beside the best of its peers, by how late the latest hundredth is.
    pub(crate) fn beside_most_punctual(&self) -> Option<Standing<'a>> {
        self.beside(|_| true, |_, measured| measured.p99_us.as_ref())
    }

    /// matou beside what the system alone takes.
    pub(crate) fn beside_limit(&self) -> Option<f64> {
        self.counts(self.ours()?)?.of_other(self.counts(self.of("epoll")?)?)
    }

    fn beside(
        &self,
        is_rival: impl Fn(&str) -> bool,
        value: impl for<'m> Fn(&Contest<'a>, &'m Measured) -> Option<&'m Spread>,
    ) -> Option<Standing<'a>> {
        let ours = value(self, self.ours()?)?;
        let peers = self.figures.iter().filter(|it| !it.is_ours() && !it.is_limit());
        let peers = peers.filter(|it| is_rival(&it.subject.runtime));
        let standings = peers.filter_map(|it| {
            let ratio = ours.of_other(value(self, it.measured()?)?)?;
            Some(Standing { ratio, other: &it.subject.runtime })
        });
        standings.max_by(|one, other| one.ratio.total_cmp(&other.ratio))
    }
}
