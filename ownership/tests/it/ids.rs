//! Are ids unique, and repeatable with an installed source?

use std::collections::HashSet;
use std::thread;

use matou_ownership::{Ticket, replace_id_source};

fn next_id() -> u64 {
    Ticket::new("x").id()
}

#[test]
fn threads_never_draw_the_same_id() {
    let threads: Vec<_> = (0..4)
        .map(|_| thread::spawn(|| (0..100_000).map(|_| next_id()).collect::<Vec<_>>()))
        .collect();
    let mut seen = HashSet::new();
    for thread in threads {
        for id in thread.join().unwrap() {
            assert_ne!(id, 0);
            assert!(seen.insert(id), "{id} was drawn twice");
        }
    }
    assert_eq!(seen.len(), 400_000);
}

#[test]
fn an_installed_source_continues_across_block_boundaries() {
    let outer = replace_id_source((1 << 16) - 1);
    assert_eq!([next_id(), next_id(), next_id()], [65_535, 65_536, 65_537]);
    assert_eq!(replace_id_source(outer), 65_538);
}

#[test]
fn a_restored_source_continues_after_its_last_id() {
    let before = next_id();
    let outer = replace_id_source(5);
    assert_eq!(next_id(), 5);
    replace_id_source(outer);
    assert_eq!(next_id(), before + 1);
}
