//! The number of allocations of a socket.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use matou_net::TcpListener;

use crate::support::*;

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: every call is forwarded to the system's allocator unchanged; the counter has no
// destructor and does not allocate.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = ALLOCATIONS.try_with(|allocations| allocations.set(allocations.get() + 1));
        // SAFETY: the caller fulfils the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller fulfils the contract of `dealloc`.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn allocations() -> usize {
    ALLOCATIONS.with(Cell::get)
}

#[test]
fn an_accepted_stream_takes_two_allocations_and_an_exchange_none() {
    let result = run_on(1, async {
        let mut listener = TcpListener::bind(any_v4())?;
        let address = listener.local_addr()?;
        let mut clients = Vec::with_capacity(16);
        let mut streams = Vec::with_capacity(16);
        let mut extra = 0;
        for _ in 0..16 {
            clients.push(std::net::TcpStream::connect(address)?);
            let before = allocations();
            streams.push(listener.accept().await?.0);
            let each = allocations() - before;
            assert!(each >= 2, "{each} allocations");
            extra += each - 2;
        }
        // The vectors of the owner's ledger grow, and the listener is registered once.
        assert!(extra <= 6, "{extra} further allocations");
        let mut buf = [0; 64];
        for _ in 0..3 {
            use std::io::Write;
            clients[0].write_all(b"purr")?;
            let before = allocations();
            let count = streams[0].read(&mut buf).await?;
            streams[0].write_all(&buf[..count]).await?;
            assert_eq!(allocations() - before, 0);
        }
        Ok(())
    });
    result.unwrap();
}
