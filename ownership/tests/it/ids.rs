//! Are ids unique, and repeatable where that is asked for?

use std::collections::HashSet;
use std::thread;

use matou_ownership::{Ticket, replace_id_source};

#[test]
fn threads_never_draw_the_same_id() {
    let threads: Vec<_> = (0..4)
        .map(|_| thread::spawn(|| (0..100_000).map(|_| Ticket::new("x").id()).collect::<Vec<_>>()))
        .collect();
    let mut seen = HashSet::new();
    for thread in threads {
        for id in thread.join().unwrap() {
            assert_ne!(id, 0);
            assert!(seen.insert(id), "{id} came twice");
        }
    }
    assert_eq!(seen.len(), 400_000);
}

#[test]
fn an_installed_source_counts_on_across_block_boundaries() {
    let outer = replace_id_source((1 << 16) - 1);
    let ids: Vec<_> = (0..3).map(|_| Ticket::new("x").id()).collect();
    assert_eq!(ids, [65_535, 65_536, 65_537]);
    assert_eq!(replace_id_source(outer), 65_538);
}

#[test]
fn the_source_that_was_in_place_goes_on_where_it_stopped() {
    let before = Ticket::new("x").id();
    let outer = replace_id_source(5);
    assert_eq!(Ticket::new("x").id(), 5);
    replace_id_source(outer);
    assert_eq!(Ticket::new("x").id(), before + 1);
}
