use std::ops::AddAssign;

/// What a server has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Served {
    /// The connections that were accepted.
    pub connections: u64,
    /// The requests that handlers were started for.
    pub requests: u64,
    /// The requests whose handlers failed, panicked or violated a rule.
    pub failed: u64,
    /// The requests whose handlers exceeded their time limit.
    pub timed_out: u64,
    /// The requests whose handlers were cancelled because the client left or the drain timeout
    /// elapsed.
    pub cancelled: u64,
    /// The connections that were cancelled because the drain timeout elapsed.
    pub cut: u64,
}

impl AddAssign for Served {
    fn add_assign(&mut self, other: Served) {
        self.connections += other.connections;
        self.requests += other.requests;
        self.failed += other.failed;
        self.timed_out += other.timed_out;
        self.cancelled += other.cancelled;
        self.cut += other.cut;
    }
}
