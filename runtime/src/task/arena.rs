//! Places for the nodes of a domain.

use std::cell::{Cell, UnsafeCell};
use std::fmt;
use std::ops::Index;
use std::panic::Location;
use std::ptr::NonNull;

use super::id::TaskId;
use super::node::{NIL, Node, Parent, Slot};

const PAGE_BITS: u32 = 4;
/// How many nodes a page holds. Few, since most domains have few tasks.
const PAGE: usize = 1 << PAGE_BITS;

/// Aligned as the lines of the cache are.
#[repr(align(64))]
struct Page<R>([Node<R>; PAGE]);

/// Places for nodes. A place that was left is the next one to be used again, so a task costs no
/// allocation of its own here.
///
/// Pages, because one long vector would move all nodes each time it grows: a node stays where it is
/// made as long as the domain lives, and is borrowed while others are added. It is made once, and
/// reset rather than made anew: most of what is in it was never touched.
pub(crate) struct NodeArena<R> {
    /// Each of them comes from a box, and is freed with `self`. Borrowed in this file alone, and
    /// never while anything is called.
    pages: UnsafeCell<Vec<NonNull<Page<R>>>>,
    /// The first of the places that are free; they are chained by `Node::next`.
    free_head: Cell<Slot>,
}

impl<R> Default for NodeArena<R> {
    fn default() -> Self {
        NodeArena { pages: UnsafeCell::default(), free_head: Cell::new(NIL) }
    }
}

impl<R> NodeArena<R> {
    /// Takes a place.
    #[inline]
    pub(super) fn alloc(
        &self,
        id: TaskId,
        spawned_at: &'static Location<'static>,
        parent: Parent,
    ) -> (Slot, &Node<R>) {
        if self.free_head.get() == NIL {
            self.add_page();
        }
        let slot = self.free_head.get();
        let node = &self[slot];
        self.free_head.set(node.next.get());
        node.init(id, spawned_at, parent);
        (slot, node)
    }

    /// Leaves a place, which was reset.
    #[inline]
    pub(super) fn free(&self, slot: Slot, node: &Node<R>) {
        debug_assert!(std::ptr::eq(node, &raw const self[slot]), "the node is the one at its slot");
        debug_assert_eq!(node.id.get(), TaskId::NONE, "a place is left empty");
        node.next.set(self.free_head.replace(slot));
    }

    /// Adds places, of which the first is the next to be taken.
    #[cold]
    fn add_page(&self) {
        let full = self.pages().len() << PAGE_BITS;
        let first = Slot::try_from(full + PAGE).unwrap_or(NIL) - PAGE as Slot;
        assert_eq!(first as usize, full, "a domain holds 2^32 tasks at most");
        let page = Box::new(Page(std::array::from_fn(|index| {
            let node = Node::unused();
            let last = index == PAGE - 1;
            node.next.set(if last { self.free_head.get() } else { first + index as Slot + 1 });
            node
        })));
        let page = NonNull::from(Box::leak(page));
        // SAFETY: the vector is borrowed nowhere else: we are on the one thread that may, as it is
        // not `Sync`, and all other borrows end before anything is called. (Pushing calls the
        // allocator, which knows nothing of us.)
        unsafe { &mut *self.pages.get() }.push(page);
        self.free_head.set(first);
    }

    #[inline]
    fn pages(&self) -> &[NonNull<Page<R>>] {
        // SAFETY: the only one who borrows the vector to change it is `add_page`, which calls none
        // of ours meanwhile; and nobody keeps what is borrowed here beyond a look.
        unsafe { &*self.pages.get() }
    }

    #[inline]
    pub(super) fn get(&self, slot: Slot) -> Option<&Node<R>> {
        let page = *self.pages().get((slot >> PAGE_BITS) as usize)?;
        // SAFETY: a page lives, and stays in its place, until `self` is dropped, which borrows us;
        // and it is only ever borrowed to be shared.
        Some(&unsafe { page.as_ref() }.0[slot as usize & (PAGE - 1)])
    }

    /// Returns the places that are taken, in order.
    pub(super) fn occupied(&self) -> impl Iterator<Item = Slot> + '_ {
        let all = (0..).map_while(|slot| Some((slot, self.get(slot)?)));
        all.filter(|(_, node)| node.id.get() != TaskId::NONE).map(|(slot, _)| slot)
    }
}

impl<R> Index<Slot> for NodeArena<R> {
    type Output = Node<R>;

    #[inline]
    fn index(&self, slot: Slot) -> &Node<R> {
        self.get(slot).expect("a slot is one that was occupied")
    }
}

impl<R> Drop for NodeArena<R> {
    fn drop(&mut self) {
        for page in self.pages.get_mut().drain(..) {
            // SAFETY: it was leaked by `add_page`, and nobody borrows it any more.
            drop(unsafe { Box::from_raw(page.as_ptr()) });
        }
    }
}

impl<R> fmt::Debug for NodeArena<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeArena").field("pages", &self.pages().len()).finish_non_exhaustive()
    }
}
