//! Generates the random program of a seed.

use std::sync::Arc;

use super::{Child, Ending, GiveUp, Job, Placement, RaceKind, Step, Then, UnixKind};
use crate::event::{Target, ViolationKind};
use crate::settings::Settings;

/// The greatest depth of a program's tree.
const DEPTH_MAX: u32 = 4;
/// The number of jobs from which on no further steps with children are generated.
const JOBS_MAX: usize = 60;
/// The least number of jobs.
const JOBS_MIN: usize = 3;
/// The number of locks, each with a condition, and of queues. All jobs use them.
pub(super) const LOCKS: u64 = 2;
pub(super) const QUEUES: u64 = 2;
/// The number of permits of the semaphore.
pub(crate) const PERMITS: usize = 3;
/// The number of locks that only the members of a circle use.
pub(super) const PRIVATE_LOCKS: usize = 6;

/// How a child may end, which depends on how its parent waits for it.
#[derive(Clone, Copy)]
struct ChildLimits {
    /// It may stay pending until it is cancelled.
    may_stay_pending: bool,
    /// It may transfer resources to its parent.
    may_transfer: bool,
}

/// For a child that completes by itself, and whose value the parent receives.
const AWAITED: ChildLimits = ChildLimits { may_stay_pending: false, may_transfer: true };
/// For a child that the parent cancels.
const CANCELLED: ChildLimits = ChildLimits { may_stay_pending: true, may_transfer: true };
/// For a child that completes by itself, and whose value the parent may not receive.
const COMPLETING: ChildLimits = ChildLimits { may_stay_pending: false, may_transfer: false };
/// For a child that need not complete, and whose value the parent may not receive.
const ANY: ChildLimits = ChildLimits { may_stay_pending: true, may_transfer: false };

/// Generates the program of a seed.
pub(crate) fn generate(seed: u64) -> Job {
    let settings = Settings::of(seed);
    let mut generator = Generator {
        state: seed ^ 0x9E37_79B9_7F4A_7C15,
        jobs: 0,
        resources: 0,
        violation: None,
        contains_violations: !settings.fails_run,
        may_be_strict: !settings.is_strict,
        is_strict: false,
        private_locks: 0,
        has_primitives: false,
    };
    generator.has_primitives = generator.chance(45);
    // A violation that ends the run is the only one, and only a minority of the programs commits
    // it.
    if settings.fails_run && generator.chance(30) {
        generator.violation = Some(match generator.below(3) {
            0 => ViolationKind::StillHasChildren,
            1 => ViolationKind::ResourceLeaked,
            _ => ViolationKind::NotOwner,
        });
    }
    generator.job(0, COMPLETING, None)
}

pub(super) struct Generator {
    state: u64,
    /// The number of jobs so far.
    jobs: usize,
    /// The number of resources and deferred futures so far.
    resources: usize,
    /// The violation that the program has yet to commit.
    violation: Option<ViolationKind>,
    /// Whether violations end their tasks only, so that a program may commit any number of them.
    contains_violations: bool,
    /// Whether jobs may be generated that are strict in a run that is not.
    may_be_strict: bool,
    /// Whether the job that is being generated, and all its descendants, must not leave resources
    /// behind.
    is_strict: bool,
    /// The number of locks of circles so far.
    private_locks: usize,
    /// Whether most waits are for reader-writer locks, triggers and the like. Both kinds in each
    /// program would meet too rarely.
    has_primitives: bool,
}

impl Generator {
    /// SplitMix64, by Sebastiano Vigna.
    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub(super) fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// Removes and returns a random element, if there is one.
    fn remove_any<T>(&mut self, list: &mut Vec<T>) -> Option<T> {
        if list.is_empty() {
            return None;
        }
        let index = self.below(list.len() as u64) as usize;
        Some(list.remove(index))
    }

    pub(super) fn new_resource(&mut self) -> usize {
        self.resources += 1;
        self.resources
    }

    /// Decides whether the program commits a violation of this kind here.
    fn commits(&mut self, kind: ViolationKind) -> bool {
        if self.contains_violations {
            return self.chance(10);
        }
        let here = self.violation == Some(kind) && self.chance(50);
        if here {
            self.violation = None;
        }
        here
    }
}

/// A job whose steps are being generated.
struct Draft {
    steps: Vec<Step>,
    /// Children that must be awaited or cancelled, and whether they may stay pending.
    open: Vec<(usize, bool)>,
    /// The resources of the job.
    owned: Vec<usize>,
    ending: Ending,
}

impl Generator {
    fn job(&mut self, depth: u32, limits: ChildLimits, given: Option<usize>) -> Job {
        let id = self.jobs;
        self.jobs += 1;
        let ending = match self.below(100) {
            0..62 => Ending::Value,
            62..75 => Ending::Error,
            75..80 => Ending::Panic,
            _ if limits.may_stay_pending => Ending::Pending,
            _ => Ending::Value,
        };
        let owned = Vec::from_iter(given);
        let mut draft = Draft { steps: Vec::new(), open: Vec::new(), owned, ending };
        for _ in 0..self.below(20) {
            self.step(depth, &mut draft);
        }
        while depth == 0 && self.jobs < JOBS_MIN {
            self.step_with_children(depth, &mut draft);
        }
        // R4: a job that does not return a value may leave its children to the runtime.
        let leaves_children = ending != Ending::Value && self.chance(50);
        while !leaves_children && !draft.open.is_empty() {
            self.await_or_cancel(&mut draft);
        }
        let leaks = ending == Ending::Value
            && !draft.owned.is_empty()
            && self.commits(ViolationKind::ResourceLeaked);
        // The parent of a job that violates a rule does not receive its value, and so does not know
        // which resources it now owns.
        let violates = leaks || draft.steps.iter().any(Step::leaves_child);
        let mut transfers = Vec::new();
        if limits.may_transfer && ending == Ending::Value && !violates && self.chance(30) {
            let resource = self.new_resource();
            let is_async = self.chance(30);
            draft.steps.push(Step::Own { resource, is_async });
            transfers.push(resource);
        }
        Job {
            id,
            steps: draft.steps,
            ending,
            transfers,
            foreign_use: None,
            leaks,
            strict_resources: self.is_strict,
        }
    }

    fn child(&mut self, depth: u32, limits: ChildLimits, parent: &mut Draft) -> Child {
        let placement = if self.chance(50) { Placement::Local } else { Placement::Remote };
        let given = self.chance(30).then(|| self.remove_any(&mut parent.owned)).flatten();
        // A strict job inherits no resource: its descendants are strict as well.
        let is_outermost = !self.is_strict && self.may_be_strict && self.chance(8);
        self.is_strict |= is_outermost;
        let mut job = self.job(depth + 1, limits, given);
        self.is_strict &= !is_outermost;
        if let Some(&resource) = parent.owned.first()
            && self.commits(ViolationKind::NotOwner)
        {
            job.foreign_use = Some(resource);
        }
        Child { placement, given, job: Arc::new(job) }
    }

    fn children(&mut self, depth: u32, limits: ChildLimits, parent: &mut Draft) -> Vec<Child> {
        (0..1 + self.below(3)).map(|_| self.child(depth, limits, parent)).collect()
    }

    /// Adds a step, unless the chosen one is impossible here.
    fn step(&mut self, depth: u32, draft: &mut Draft) {
        let may_spawn = depth < DEPTH_MAX && self.jobs < JOBS_MAX;
        let step = match self.below(151) {
            38..54 | 57..82 | 88..94 | 102..107 if self.uses_primitive() => {
                Step::Primitive(self.primitive_step())
            }
            0..8 => Step::Yield,
            8..16 => Step::Sleep(self.below(20)),
            16..27 => {
                let (resource, is_async) = (self.new_resource(), self.chance(30));
                draft.owned.push(resource);
                Step::Own { resource, is_async }
            }
            27..30 => match self.remove_any(&mut draft.owned) {
                Some(resource) => Step::Release(resource),
                None => return,
            },
            30..34 => match draft.owned.last() {
                Some(&resource) => Step::Use(resource),
                None => return,
            },
            34..38 => Step::Defer(self.new_resource()),
            38..43 => Step::Lock { lock: self.lock(), millis: self.below(30) },
            43..49 => Step::Wait { lock: self.lock(), timeout: self.below(120) },
            49..54 => Step::Signal(self.lock()),
            54..57 => return self.await_or_cancel(draft),
            57..69 | 102..107 => Step::SetAside {
                target: match self.below(9) {
                    0..4 => Target::Lock(self.lock()),
                    4..6 => Target::Slot(self.below(QUEUES) as usize),
                    6 => Target::Value(self.below(QUEUES) as usize),
                    _ => Target::Permits(self.amount()),
                },
                value: self.new_resource(),
                polls: 1 + self.below(2) as u32,
                millis: self.below(400),
                then: match self.below(3) {
                    0 => Then::Drop,
                    1 => Then::Resume,
                    _ => Then::Again,
                },
            },
            69..76 => {
                let queue = self.below(QUEUES) as usize;
                Step::Push { queue, value: self.new_resource(), timeout: self.below(60) }
            }
            76..82 => Step::Pop { queue: self.below(QUEUES) as usize, timeout: self.below(60) },
            // In a strict job the resource would be a leak.
            82..85 if self.is_strict => return,
            82..85 => Step::Post { resource: self.new_resource(), is_async: self.chance(50) },
            85..88 => Step::Take { becomes_owner: self.chance(50), millis: self.below(40) },
            88..94 => {
                // A long time shows whether requests wait for nothing in the meantime.
                let millis = if self.chance(30) { 250 } else { self.below(12) };
                Step::Acquire { amount: self.amount(), millis, timeout: self.below(400) }
            }
            94..97 => Step::Blocking {
                looks: self.chance(80).then(|| self.below(4) as usize),
                timeout: self.below(20),
            },
            97..99 => Step::Datagrams(1 + self.below(3) as u8),
            99..102 => Step::Unix {
                kind: match self.below(3) {
                    0 => UnixKind::StreamPair,
                    1 => UnixKind::Connected(self.new_resource()),
                    _ => UnixKind::DatagramPair,
                },
                amount: self.below(200) as usize,
            },
            _ if !may_spawn => return,
            _ => return self.step_with_children(depth, draft),
        };
        draft.steps.push(step);
    }

    fn uses_primitive(&mut self) -> bool {
        self.has_primitives && self.chance(80)
    }

    fn amount(&mut self) -> usize {
        1 + self.below(PERMITS as u64) as usize
    }

    fn lock(&mut self) -> usize {
        self.below(LOCKS) as usize
    }

    /// Adds a step that spawns one or more children.
    fn step_with_children(&mut self, depth: u32, draft: &mut Draft) {
        // In a job that does not return a value, a forgotten child is no violation (R4).
        let may_forget = draft.ending != Ending::Value && self.chance(15);
        let choice = self.below(100);
        let step = match choice {
            _ if may_forget || self.commits(ViolationKind::StillHasChildren) => {
                self.forget(depth, draft)
            }
            0..11 => {
                let child = self.child(depth, ANY, draft);
                let how = match self.below(4) {
                    0 => GiveUp::AtOnce,
                    1 => GiveUp::Polled,
                    2 => GiveUp::Later,
                    _ => GiveUp::Elsewhere,
                };
                Step::GiveUp { child, how }
            }
            11..15 => {
                let jobs = (0..1 + self.below(2)).map(|_| self.leaf()).collect();
                Step::Submit { jobs, by_destructor: self.chance(50) }
            }
            15..19 if self.private_locks + 3 <= PRIVATE_LOCKS => self.circle(),
            19..24 => self.race(depth, draft),
            30..50 => self.spawn(depth, CANCELLED, draft),
            50..60 => Step::AwaitAll(self.children(depth, AWAITED, draft)),
            60..67 => {
                let mut children = self.children(depth, ANY, draft);
                // At least one child must complete.
                children.push(self.child(depth, COMPLETING, draft));
                Step::AwaitFirst(children)
            }
            67..74 => Step::AwaitOne(self.children(depth, AWAITED, draft)),
            74..80 => Step::Orphans(self.children(depth, AWAITED, draft)),
            80..86 => Step::Timeout(self.below(20), self.child(depth, ANY, draft)),
            86..91 => Step::Deadline(self.below(20), self.child(depth, ANY, draft)),
            91..96 if !self.is_strict => {
                let (timeout, limit) = (self.below(20), self.below(200));
                let job = Arc::new(self.job(depth + 1, ANY, None));
                Step::Shield { timeout, limit, job }
            }
            _ => self.spawn(depth, AWAITED, draft),
        };
        draft.steps.push(step);
    }

    fn race(&mut self, depth: u32, draft: &mut Draft) -> Step {
        let kind = match self.below(4) {
            0 => RaceKind::Either,
            1 => RaceKind::All,
            2 => RaceKind::Select,
            _ => RaceKind::SelectBiased,
        };
        let limits = if kind.has_timer() { ANY } else { COMPLETING };
        let children = [self.child(depth, ANY, draft), self.child(depth, limits, draft)];
        // Without time no promise may have been polled.
        let millis = if self.chance(25) { 0 } else { self.below(40) };
        Step::Race { children, kind, millis }
    }

    /// Jobs that wait for each other in a circle: a job that holds a lock for which its child
    /// waits, or one to three jobs that take locks in different orders.
    fn circle(&mut self) -> Step {
        let (first, millis) = (LOCKS as usize + self.private_locks, self.below(200));
        // Only circles on one domain are certain to be found.
        let is_local = self.chance(70);
        let children = if self.chance(30) {
            self.private_locks += 1;
            let mut holder = self.job_with(Vec::new());
            let waiter = self.job_with(vec![Step::Lock { lock: first, millis: 0 }]);
            let child = self.child_with(waiter, is_local);
            holder.steps.push(Step::LockAndAwait { lock: first, child });
            vec![self.child_with(holder, is_local)]
        } else {
            let count = 1 + self.below(3) as usize;
            self.private_locks += count;
            let mut member = |index| {
                let second = first + (index + 1) % count;
                let step = Step::LockBoth { first: first + index, second, millis: 20 };
                let job = self.job_with(vec![step]);
                self.child_with(job, is_local)
            };
            (0..count).map(&mut member).collect()
        };
        Step::Circle { children, millis }
    }

    /// A job of few steps that returns a value and causes no report. The events do not say which
    /// task a submitted job is.
    fn leaf(&mut self) -> Arc<Job> {
        let steps = vec![
            Step::Acquire { amount: self.amount(), millis: self.below(5), timeout: 100 },
            Step::Sleep(self.below(10)),
            Step::Lock { lock: self.lock(), millis: self.below(5) },
        ];
        Arc::new(self.job_with(steps))
    }

    fn job_with(&mut self, steps: Vec<Step>) -> Job {
        let id = self.jobs;
        self.jobs += 1;
        let ending = Ending::Value;
        let (transfers, strict_resources) = (Vec::new(), self.is_strict);
        Job { id, steps, ending, transfers, foreign_use: None, leaks: false, strict_resources }
    }

    fn child_with(&mut self, job: Job, is_local: bool) -> Child {
        let placement =
            if is_local || self.chance(50) { Placement::Local } else { Placement::Remote };
        Child { placement, given: None, job: Arc::new(job) }
    }

    fn spawn(&mut self, depth: u32, limits: ChildLimits, draft: &mut Draft) -> Step {
        let child = self.child(depth, limits, draft);
        draft.open.push((child.job.id, limits.may_stay_pending));
        Step::Spawn(child)
    }

    fn forget(&mut self, depth: u32, draft: &mut Draft) -> Step {
        let mut child = self.child(depth, ANY, draft);
        if self.chance(30) {
            return Step::Leak(child);
        }
        if self.chance(50) {
            let job = Arc::get_mut(&mut child.job).expect("the job is not shared yet");
            job.ending = Ending::Pending;
        }
        Step::Forget(child)
    }

    /// Adds a step that awaits or cancels one of the open children, if there is one.
    fn await_or_cancel(&mut self, draft: &mut Draft) {
        let Some((child, may_stay_pending)) = self.remove_any(&mut draft.open) else { return };
        let cancel = may_stay_pending || self.chance(20);
        draft.steps.push(if cancel { Step::Cancel(child) } else { Step::Await(child) });
    }
}
