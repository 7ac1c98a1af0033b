//! How much memory does a socket take?

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use matou_net::TcpListener;

use crate::doubles::*;

struct Counting;

thread_local! {
    static MADE: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: every call goes to the system's allocator unchanged; the counter has no destructor and
// allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = MADE.try_with(|made| made.set(made.get() + 1));
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn made() -> usize {
    MADE.with(Cell::get)
}

#[test]
fn an_accepted_stream_is_two_allocations_and_an_exchange_none() {
    let result = run_on(1, async {
        let mut listener = TcpListener::bind(any_v4())?;
        let address = listener.local_addr()?;
        let mut clients = Vec::with_capacity(16);
        let mut streams = Vec::with_capacity(16);
        let mut extra = 0;
        for _ in 0..16 {
            clients.push(std::net::TcpStream::connect(address)?);
            let before = made();
            streams.push(listener.accept().await?.0);
            let each = made() - before;
            assert!(each >= 2, "{each} allocations");
            extra += each - 2;
        }
        // The books of the owner grow as its vectors do, and the listener registers once.
        assert!(extra <= 6, "{extra} further allocations");
        let mut buf = [0; 64];
        for _ in 0..3 {
            use std::io::Write;
            clients[0].write_all(b"purr")?;
            let before = made();
            let count = streams[0].read(&mut buf).await?;
            streams[0].write_all(&buf[..count]).await?;
            assert_eq!(made() - before, 0);
        }
        Ok(())
    });
    result.unwrap();
}
