//! Functions that the program has a domain call in each tick.

use std::cell::{Cell, RefCell};

use slab::Slab;

use super::Domain;
use crate::panics;

type Hook = Box<dyn FnMut()>;

/// The hooks of a domain, each by its key.
#[derive(Default)]
pub(super) struct TickHooks {
    /// The number of hooks. Read in each tick.
    count: Cell<usize>,
    /// A hook is taken out while it is called, so that it can add and remove hooks.
    hooks: RefCell<Slab<Option<Hook>>>,
}

impl TickHooks {
    /// Drops the hooks that are left at the end of the run.
    pub(super) fn clear(&self) {
        self.count.set(0);
        let hooks = self.hooks.take();
        panics::drop_each(hooks.into_iter().map(|(_, hook)| hook));
    }
}

impl Domain {
    /// Adds a hook and returns its key.
    pub(crate) fn add_tick_hook(&self, hook: Hook) -> usize {
        self.tick_hooks.count.set(self.tick_hooks.count.get() + 1);
        self.tick_hooks.hooks.borrow_mut().insert(Some(hook))
    }

    pub(crate) fn remove_tick_hook(&self, key: usize) {
        let hook = self.tick_hooks.hooks.borrow_mut().try_remove(key);
        if let Some(hook) = hook {
            self.tick_hooks.count.set(self.tick_hooks.count.get() - 1);
            panics::ignore(|| drop(hook));
        }
    }

    #[inline]
    pub(super) fn call_tick_hooks(&self) {
        if self.tick_hooks.count.get() > 0 {
            self.call_tick_hooks_slow();
        }
    }

    #[cold]
    fn call_tick_hooks_slow(&self) {
        let keys: Vec<usize> = self.tick_hooks.hooks.borrow().iter().map(|(key, _)| key).collect();
        for key in keys {
            let hook = self.tick_hooks.hooks.borrow_mut().get_mut(key).and_then(Option::take);
            let Some(mut hook) = hook else { continue };
            panics::ignore(&mut hook);
            // It may have removed itself.
            let mut hooks = self.tick_hooks.hooks.borrow_mut();
            let rest = match hooks.get_mut(key) {
                Some(slot) if slot.is_none() => slot.replace(hook),
                _ => Some(hook),
            };
            drop(hooks);
            panics::ignore(|| drop(rest));
        }
    }
}
