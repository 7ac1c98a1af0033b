//! The memory for the nodes of a domain.

use std::cell::{Cell, UnsafeCell};
use std::fmt;
use std::ops::Index;
use std::panic::Location;
use std::ptr::NonNull;

use super::id::TaskId;
use super::node::{NIL, Node, Parent, Slot};

const PAGE_BITS: u32 = 4;
/// The number of nodes in a page. Small, because most domains have few tasks.
const PAGE: usize = 1 << PAGE_BITS;

/// Aligned to cache lines.
#[repr(align(64))]
struct Page<R>([Node<R>; PAGE]);

/// A slab of nodes. A freed node is the next one to be reused, so a task needs no allocation here.
///
/// The nodes are in pages, because a single vector would move all nodes whenever it grows. A node
/// never moves, so it can be borrowed while others are added. Freed nodes are reset rather than
/// created again, because a task usually leaves most fields untouched.
pub(crate) struct NodeArena<R> {
    /// Each page comes from a box and is freed with `self`. Borrowed only in this file, and never
    /// across a call of other code.
    pages: UnsafeCell<Vec<NonNull<Page<R>>>>,
    /// The first free node. Free nodes are linked by `Node::next`.
    free_head: Cell<Slot>,
}

impl<R> Default for NodeArena<R> {
    fn default() -> Self {
        NodeArena { pages: UnsafeCell::default(), free_head: Cell::new(NIL) }
    }
}

impl<R> NodeArena<R> {
    /// Allocates and initializes a node.
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

    /// Frees a node, which must have been reset.
    #[inline]
    pub(super) fn free(&self, slot: Slot, node: &Node<R>) {
        debug_assert!(std::ptr::eq(node, &raw const self[slot]), "the node is the one at its slot");
        debug_assert_eq!(node.id.get(), TaskId::NONE, "a freed node was reset");
        node.next.set(self.free_head.replace(slot));
    }

    /// Adds a page of free nodes, in order.
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
        // SAFETY: no other borrow of the vector exists. `NodeArena` is not `Sync`, so this is the
        // only thread, and every other borrow ends before other code is called. (The allocator,
        // which `push` may call, has no access to the arena.)
        unsafe { &mut *self.pages.get() }.push(page);
        self.free_head.set(first);
    }

    #[inline]
    fn pages(&self) -> &[NonNull<Page<R>>] {
        // SAFETY: only `add_page` borrows the vector mutably, and it calls nothing that would get
        // here during that borrow. No caller keeps this reference across such a call.
        unsafe { &*self.pages.get() }
    }

    #[inline]
    pub(super) fn get(&self, slot: Slot) -> Option<&Node<R>> {
        let page = *self.pages().get((slot >> PAGE_BITS) as usize)?;
        // SAFETY: a page stays in its place until `self` is dropped, which the returned reference
        // prevents, and pages are never borrowed mutably.
        Some(&unsafe { page.as_ref() }.0[slot as usize & (PAGE - 1)])
    }

    /// Returns the number of nodes, used or not.
    pub(super) fn capacity(&self) -> usize {
        self.pages().len() << PAGE_BITS
    }

    /// Returns the nodes in use, in order.
    pub(super) fn occupied(&self) -> impl Iterator<Item = Slot> + '_ {
        let all = (0..).map_while(|slot| Some((slot, self.get(slot)?)));
        all.filter(|(_, node)| node.id.get() != TaskId::NONE).map(|(slot, _)| slot)
    }
}

impl<R> Index<Slot> for NodeArena<R> {
    type Output = Node<R>;

    #[inline]
    fn index(&self, slot: Slot) -> &Node<R> {
        self.get(slot).expect("a slot is in use")
    }
}

impl<R> Drop for NodeArena<R> {
    fn drop(&mut self) {
        for page in self.pages.get_mut().drain(..) {
            // SAFETY: the page was leaked by `add_page`, and no borrow of it is left.
            drop(unsafe { Box::from_raw(page.as_ptr()) });
        }
    }
}

impl<R> fmt::Debug for NodeArena<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeArena").field("pages", &self.pages().len()).finish_non_exhaustive()
    }
}
