//! Places for the nodes of a domain.

use super::id::TaskId;
use super::node::{About, NONE, Node, Parent, Slot};

const PAGE_BITS: u32 = 10;
/// How many nodes a page holds.
const PAGE: usize = 1 << PAGE_BITS;

/// Places for nodes. A place that was left is the next one to be used again, so a task costs no
/// allocation of its own here.
///
/// Pages, because one long vector would copy all nodes each time it grows, and hold up to twice the
/// memory that is used. A node is made once, and reset rather than made anew: most of what is in it
/// was never touched.
#[derive(Debug)]
pub(crate) struct Nodes {
    /// All of them are full but the last one.
    pages: Vec<Vec<Node>>,
    /// The first of the places that were left; they are chained by `Node::next`.
    vacant: Slot,
}

impl Default for Nodes {
    fn default() -> Self {
        Nodes { pages: Vec::new(), vacant: NONE }
    }
}

impl Nodes {
    /// Takes a place.
    #[inline]
    pub(super) fn take(&mut self, id: TaskId, about: About, parent: Parent) -> Slot {
        if self.vacant == NONE {
            self.vacant = self.add();
        }
        let slot = self.vacant;
        let node = &mut self[slot];
        let next = node.next;
        node.begin(id, about, parent);
        self.vacant = next;
        slot
    }

    /// Leaves a place, which was reset.
    #[inline]
    pub(super) fn leave(&mut self, slot: Slot) {
        let vacant = self.vacant;
        let node = &mut self[slot];
        debug_assert_eq!(node.id, TaskId::NOBODY, "a place is left empty");
        node.next = vacant;
        self.vacant = slot;
    }

    /// Adds a place.
    #[cold]
    fn add(&mut self) -> Slot {
        if self.pages.last().is_none_or(|page| page.len() == PAGE) {
            // The first page grows as it is needed: most domains never fill it.
            let capacity = if self.pages.is_empty() { 0 } else { PAGE };
            self.pages.push(Vec::with_capacity(capacity));
        }
        let full = (self.pages.len() - 1) << PAGE_BITS;
        let page = self.pages.last_mut().expect("it was just made");
        let slot = Slot::try_from(full + page.len()).unwrap_or(NONE);
        assert_ne!(slot, NONE, "a domain holds 2^32 tasks at most");
        page.push(Node::vacant());
        slot
    }

    #[inline]
    pub(super) fn get(&self, slot: Slot) -> Option<&Node> {
        self.pages.get((slot >> PAGE_BITS) as usize)?.get(slot as usize & (PAGE - 1))
    }

    /// Returns the places that are taken, in order.
    pub(super) fn taken(&self) -> impl Iterator<Item = Slot> + '_ {
        let nodes = self.pages.iter().flatten().zip(0..);
        nodes.filter(|(node, _)| node.id != TaskId::NOBODY).map(|(_, slot)| slot)
    }
}

impl std::ops::Index<Slot> for Nodes {
    type Output = Node;

    #[inline]
    fn index(&self, slot: Slot) -> &Node {
        &self.pages[(slot >> PAGE_BITS) as usize][slot as usize & (PAGE - 1)]
    }
}

impl std::ops::IndexMut<Slot> for Nodes {
    #[inline]
    fn index_mut(&mut self, slot: Slot) -> &mut Node {
        &mut self.pages[(slot >> PAGE_BITS) as usize][slot as usize & (PAGE - 1)]
    }
}
