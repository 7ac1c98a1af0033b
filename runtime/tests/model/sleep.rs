//! The sleep of a domain: no message may lie in the inbox of a domain that waits for ever.
//!
//! The model runs the port that ships, bell and inbox; only the eventfd is a double. A domain takes
//! messages until it has them all, and waits when it may. If one is lost, it waits for ever, which
//! loom reports as a deadlock. The twins are the same protocol, written once more, with a flaw.

use std::sync::Arc;

use loom::sync::atomic::{AtomicBool, AtomicU8, Ordering, fence};
use loom::sync::{Condvar, Mutex};
use loom::thread;
use matou_runtime::Unpark;
use matou_runtime::model::RemoteHandle;

use super::support::{fails, holds};

/// Stands for the eventfd: edges are counted, not heard.
#[derive(Default)]
struct EventFd {
    rung: Mutex<bool>,
    changed: Condvar,
}

impl EventFd {
    fn wait(&self) {
        let mut rung = self.rung.lock().unwrap();
        while !*rung {
            rung = self.changed.wait(rung).unwrap();
        }
        *rung = false;
    }

    /// The wait of a domain that has work to do: it takes the edge, and does not wait.
    fn look(&self) {
        *self.rung.lock().unwrap() = false;
    }
}

impl Unpark for EventFd {
    fn unpark(&self) {
        *self.rung.lock().unwrap() = true;
        self.changed.notify_one();
    }
}

/// What a domain and its senders do with a port.
trait Inbox: Send + Sync + 'static {
    fn make(eventfd: Arc<EventFd>, flaw: Flaw) -> Self;
    fn send(&self);
    /// Takes all that is there, and tells how many.
    fn receive(&self) -> usize;
    fn lie_down(&self) -> bool;
    fn get_up(&self);
}

impl Inbox for RemoteHandle {
    fn make(eventfd: Arc<EventFd>, flaw: Flaw) -> RemoteHandle {
        assert_eq!(flaw, Flaw::None);
        RemoteHandle::new(eventfd)
    }
    fn send(&self) {
        RemoteHandle::send(self);
    }
    fn receive(&self) -> usize {
        RemoteHandle::receive(self)
    }
    fn lie_down(&self) -> bool {
        RemoteHandle::prepare_park(self)
    }
    fn get_up(&self) {
        RemoteHandle::end_park(self);
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flaw {
    None,
    /// The domain looks into its inbox before it says that it is going to sleep.
    LooksFirst,
    /// Neither side has a fence between its write and its look.
    NoFence,
    /// A sender stores `RUNG` whatever the state has become meanwhile.
    StoresBlindly,
    /// A sender that finds the domain asleep rings only before its message is in the inbox.
    RingsFirst,
    /// The domain says that it knows of nothing after it has let the list go, not before.
    ForgetsLate,
    /// A sender asks whether its message is the first before it has the list.
    AsksTooEarly,
}

const AWAKE: u8 = 0;
const ASLEEP: u8 = 1;
const RUNG: u8 = 2;

/// The port's protocol once more, with a flaw.
struct Twin {
    messages: Mutex<usize>,
    known: AtomicBool,
    state: AtomicU8,
    eventfd: Arc<EventFd>,
    flaw: Flaw,
}

impl Twin {
    /// Puts a message in; returns whether the domain is to be told.
    fn push(&self) -> bool {
        let asked = self.is_empty();
        let mut messages = self.messages.lock().unwrap();
        let is_first = if self.flaw == Flaw::AsksTooEarly { asked } else { *messages == 0 };
        *messages += 1;
        if is_first {
            self.known.store(true, Ordering::Relaxed);
        }
        is_first
    }

    fn is_empty(&self) -> bool {
        !self.known.load(Ordering::Relaxed)
    }

    fn fence(&self) {
        if self.flaw != Flaw::NoFence {
            fence(Ordering::SeqCst);
        }
    }

    fn ring(&self) -> bool {
        self.fence();
        let state = self.state.load(Ordering::SeqCst);
        if self.flaw == Flaw::StoresBlindly {
            self.state.store(RUNG, Ordering::SeqCst);
            return state == ASLEEP;
        }
        let swap = |from, to| {
            let order = Ordering::SeqCst;
            self.state.compare_exchange(from, to, order, order)
        };
        state == ASLEEP && swap(ASLEEP, RUNG).is_ok()
    }
}

impl Inbox for Twin {
    fn make(eventfd: Arc<EventFd>, flaw: Flaw) -> Twin {
        let (messages, known) = (Mutex::new(0), AtomicBool::new(false));
        Twin { messages, known, state: AtomicU8::new(AWAKE), eventfd, flaw }
    }

    fn send(&self) {
        if self.flaw == Flaw::RingsFirst {
            if self.ring() {
                self.eventfd.unpark();
            }
            self.push();
            return;
        }
        if self.push() && self.ring() {
            self.eventfd.unpark();
        }
    }

    fn receive(&self) -> usize {
        if self.is_empty() {
            return 0;
        }
        let mut messages = self.messages.lock().unwrap();
        let taken = std::mem::take(&mut *messages);
        if self.flaw == Flaw::ForgetsLate {
            drop(messages);
        }
        self.known.store(false, Ordering::Relaxed);
        taken
    }

    fn lie_down(&self) -> bool {
        if self.flaw == Flaw::LooksFirst {
            let empty = self.is_empty();
            self.state.store(if empty { ASLEEP } else { AWAKE }, Ordering::SeqCst);
            return empty;
        }
        self.state.store(ASLEEP, Ordering::SeqCst);
        self.fence();
        if self.is_empty() {
            return true;
        }
        self.get_up();
        false
    }

    fn get_up(&self) {
        self.state.store(AWAKE, Ordering::SeqCst);
    }
}

/// What happens around a domain until it has all its messages.
#[derive(Clone, Copy)]
struct Scene {
    senders: usize,
    messages_each: usize,
    /// The first sleep ends by itself, as by a timer.
    timer: bool,
}

impl Scene {
    fn with_a_timer(self) -> Scene {
        Scene { timer: true, ..self }
    }
}

const ONE_MESSAGE: Scene = Scene { senders: 1, messages_each: 1, timer: false };
const TWO_MESSAGES: Scene = Scene { messages_each: 2, ..ONE_MESSAGE };
const TWO_SENDERS: Scene = Scene { senders: 2, ..ONE_MESSAGE };

fn play<I: Inbox>(scene: Scene, flaw: Flaw) -> impl Fn() + Send + Sync + 'static {
    move || {
        let eventfd = Arc::new(EventFd::default());
        let inbox = Arc::new(I::make(eventfd.clone(), flaw));
        let senders: Vec<_> = (0..scene.senders)
            .map(|_| {
                let inbox = inbox.clone();
                thread::spawn(move || (0..scene.messages_each).for_each(|_| inbox.send()))
            })
            .collect();
        be_a_domain(&*inbox, &eventfd, scene);
        for sender in senders {
            sender.join().unwrap();
        }
    }
}

/// Turns as `Domain::turn` does.
fn be_a_domain(inbox: &impl Inbox, eventfd: &EventFd, scene: Scene) {
    let mut missing = scene.senders * scene.messages_each;
    let mut timer = scene.timer;
    loop {
        missing -= inbox.receive();
        if missing == 0 {
            return;
        }
        if !inbox.lie_down() {
            eventfd.look();
            continue;
        }
        if std::mem::take(&mut timer) {
            eventfd.look();
        } else {
            eventfd.wait();
        }
        inbox.get_up();
    }
}

#[test]
fn a_message_wakes_a_domain_that_is_about_to_sleep() {
    holds(play::<RemoteHandle>(ONE_MESSAGE, Flaw::None));
}

#[test]
fn a_second_message_wakes_a_domain_that_sleeps_again() {
    holds(play::<RemoteHandle>(TWO_MESSAGES, Flaw::None));
}

#[test]
fn two_senders_rely_on_each_other_and_one_of_them_interrupts() {
    holds(play::<RemoteHandle>(TWO_SENDERS, Flaw::None));
}

#[test]
fn a_domain_that_a_timer_woke_is_woken_by_a_message_as_well() {
    for scene in [ONE_MESSAGE, TWO_MESSAGES] {
        holds(play::<RemoteHandle>(scene.with_a_timer(), Flaw::None));
    }
}

#[test]
fn the_twin_without_a_flaw_holds() {
    holds(play::<Twin>(TWO_MESSAGES, Flaw::None));
    holds(play::<Twin>(TWO_SENDERS, Flaw::None));
}

#[test]
fn a_domain_that_looks_before_it_lies_down_loses_a_message() {
    fails("deadlock", play::<Twin>(ONE_MESSAGE, Flaw::LooksFirst));
}

#[test]
fn without_fences_a_message_is_lost() {
    fails("deadlock", play::<Twin>(ONE_MESSAGE, Flaw::NoFence));
}

#[test]
fn a_sender_that_stores_blindly_silences_the_next_one() {
    fails("deadlock", play::<Twin>(TWO_SENDERS, Flaw::StoresBlindly));
}

#[test]
fn a_domain_that_forgets_late_forgets_what_has_just_come() {
    fails("deadlock", play::<Twin>(TWO_MESSAGES, Flaw::ForgetsLate));
}

#[test]
fn a_sender_that_asks_too_early_whether_it_is_first_tells_nobody() {
    fails("deadlock", play::<Twin>(TWO_MESSAGES, Flaw::AsksTooEarly));
}

#[test]
fn a_sender_that_rings_before_it_pushes_wakes_nobody() {
    fails("deadlock", play::<Twin>(ONE_MESSAGE, Flaw::RingsFirst));
}
