use std::sync::Arc;

use super::{Child, Ending, Job, Place, Step};

/// How deep a program's tree is at most.
const DEPTH_MAX: u32 = 4;
/// How many jobs it has at most, and at least.
const JOBS_MAX: usize = 60;
const JOBS_MIN: usize = 3;
/// How many locks and conditions there are.
pub(super) const LOCKS: u64 = 2;

/// What may become of a child.
#[derive(Clone, Copy)]
struct Leave {
    /// It may wait for ever.
    never: bool,
    /// It may hand resources to its parent.
    gifts: bool,
}

/// Makes the program of a seed.
pub(crate) fn generate(seed: u64) -> Job {
    let mut generator =
        Generator { state: seed ^ 0x9E37_79B9_7F4A_7C15, jobs: 0, things: 0, violation: None };
    // Most programs keep the rules: one that breaks them ends early.
    if generator.chance(30) {
        generator.violation = Some(generator.below(3));
    }
    generator.job(0, Leave { never: false, gifts: false }, None)
}

struct Generator {
    state: u64,
    jobs: usize,
    things: usize,
    /// The one violation that the program is still to commit.
    violation: Option<u64>,
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

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    fn thing(&mut self) -> usize {
        self.things += 1;
        self.things
    }

    /// Whether to commit a violation of this kind here.
    fn violates(&mut self, kind: u64) -> bool {
        let here = self.violation == Some(kind) && self.chance(50);
        if here {
            self.violation = None;
        }
        here
    }

    fn job(&mut self, depth: u32, leave: Leave, given: Option<usize>) -> Job {
        let id = self.jobs;
        self.jobs += 1;
        let ending = match self.below(100) {
            0..65 => Ending::Well,
            65..75 => Ending::Failed,
            75..80 => Ending::Panicked,
            _ if leave.never => Ending::Never,
            _ => Ending::Well,
        };
        let held = Vec::from_iter(given);
        let mut body = Body { steps: Vec::new(), open: Vec::new(), held, ending };
        for _ in 0..self.below(10) {
            self.step(depth, &mut body);
        }
        while depth == 0 && self.jobs < JOBS_MIN {
            self.spawn(depth, &mut body);
        }
        let left = ending != Ending::Well && self.chance(50);
        while !left && !body.open.is_empty() {
            self.settle(&mut body);
        }
        let mut gifts = Vec::new();
        if leave.gifts && ending == Ending::Well && self.chance(30) {
            let resource = self.thing();
            let is_async = self.chance(30);
            body.steps.push(Step::Own { resource, is_async });
            gifts.push(resource);
        }
        let leaks = ending == Ending::Well && !body.held.is_empty() && self.violates(1);
        let Body { steps, .. } = body;
        Job { id, steps, ending, gifts, misuses: None, leaks }
    }

    fn child(&mut self, depth: u32, leave: Leave, body: &mut Body) -> Child {
        let place = if self.chance(50) { Place::Here } else { Place::Away };
        let given = self.chance(30).then(|| self.take(&mut body.held)).flatten();
        let mut job = self.job(depth + 1, leave, given);
        if let Some(&resource) = body.held.first()
            && self.violates(2)
        {
            job.misuses = Some(resource);
        }
        Child { place, given, job: Arc::new(job) }
    }

    fn children(&mut self, depth: u32, leave: Leave, body: &mut Body) -> Vec<Child> {
        (0..1 + self.below(3)).map(|_| self.child(depth, leave, body)).collect()
    }

    fn take(&mut self, things: &mut Vec<usize>) -> Option<usize> {
        if things.is_empty() {
            return None;
        }
        let index = self.below(things.len() as u64) as usize;
        Some(things.remove(index))
    }

    fn step(&mut self, depth: u32, body: &mut Body) {
        let may_spawn = depth < DEPTH_MAX && self.jobs < JOBS_MAX;
        let step = match self.below(100) {
            0..8 => Step::Yield,
            8..16 => Step::Sleep(self.below(20)),
            16..27 => {
                let (resource, is_async) = (self.thing(), self.chance(30));
                body.held.push(resource);
                Step::Own { resource, is_async }
            }
            27..30 => match self.take(&mut body.held) {
                Some(resource) => Step::Release(resource),
                None => return,
            },
            30..34 => match body.held.last() {
                Some(&resource) => Step::Use(resource),
                None => return,
            },
            34..38 => Step::Defer(self.thing()),
            38..43 => Step::Lock(self.below(LOCKS) as usize, self.below(3) as u32),
            43..49 => Step::Wait(self.below(LOCKS) as usize, self.below(60)),
            49..54 => Step::Signal(self.below(LOCKS) as usize),
            54..57 => return self.settle(body),
            _ if !may_spawn => return,
            _ => return self.spawn(depth, body),
        };
        body.steps.push(step);
    }

    /// A step with children.
    fn spawn(&mut self, depth: u32, body: &mut Body) {
        let patient = Leave { never: false, gifts: true };
        let any = Leave { never: true, gifts: false };
        // To forget a child is no fault in a job that does not end well.
        let abnormal = body.ending != Ending::Well && self.chance(15);
        let step = match self.below(100) {
            _ if abnormal || self.violates(0) => {
                let mut child = self.child(depth, any, body);
                if self.chance(50) {
                    change(&mut child, |job| job.ending = Ending::Never);
                }
                Step::Forget(child)
            }
            0..30 => {
                let child = self.child(depth, patient, body);
                body.open.push((child.job.id, false));
                Step::Spawn(child)
            }
            30..50 => {
                let child = self.child(depth, Leave { never: true, gifts: true }, body);
                body.open.push((child.job.id, true));
                Step::Spawn(child)
            }
            50..60 => Step::All(self.children(depth, patient, body)),
            60..67 => {
                let mut children = self.children(depth, any, body);
                // One of them has to come first.
                let quick = Leave { never: false, gifts: false };
                children.push(self.child(depth, quick, body));
                Step::First(children)
            }
            67..74 => Step::One(self.children(depth, patient, body)),
            74..80 => Step::Orphans(self.children(depth, patient, body)),
            80..86 => Step::Timeout(self.below(20), self.child(depth, any, body)),
            86..91 => Step::Deadline(self.below(20), self.child(depth, any, body)),
            91..95 => {
                let leave = Leave { never: true, gifts: false };
                let (wrapper, limit) = (self.below(20), self.below(50));
                Step::Shield(wrapper, limit, Arc::new(self.job(depth + 1, leave, None)))
            }
            _ => {
                let child = self.child(depth, patient, body);
                body.open.push((child.job.id, false));
                Step::Spawn(child)
            }
        };
        body.steps.push(step);
    }

    /// Awaits or cancels one of the open children.
    fn settle(&mut self, body: &mut Body) {
        if body.open.is_empty() {
            return;
        }
        let index = self.below(body.open.len() as u64) as usize;
        let (child, may_be_endless) = body.open.remove(index);
        let cancel = may_be_endless || self.chance(20);
        body.steps.push(if cancel { Step::Cancel(child) } else { Step::Await(child) });
    }
}

/// Changes a child that was just made.
fn change(child: &mut Child, f: impl FnOnce(&mut Job)) {
    f(Arc::get_mut(&mut child.job).expect("nobody else has it yet"));
}

/// A job's body so far.
struct Body {
    steps: Vec<Step>,
    /// Children that are to be dealt with, and whether they may be endless.
    open: Vec<(usize, bool)>,
    /// Resources of its own.
    held: Vec<usize>,
    ending: Ending,
}
