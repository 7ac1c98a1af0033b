//! Three plain threads and a task meet in a queue, a mutex and a condition.

use std::sync::Arc;
use std::thread;

use futures::executor::block_on;
use matou_sync::{Condition, Mutex, Queue};

fn main() {
    let sum = Arc::new((Mutex::new(0), Condition::new()));
    let numbers = Arc::new(Queue::bounded(2));

    let adders: Vec<_> = (0..3)
        .map(|_| {
            let (sum, numbers) = (Arc::clone(&sum), Arc::clone(&numbers));
            thread::spawn(move || {
                block_on(async {
                    while let Ok(number) = numbers.pop().await {
                        *sum.0.lock().await += number;
                        sum.1.broadcast();
                    }
                })
            })
        })
        .collect();

    block_on(async {
        for number in 1..=1_000 {
            numbers.push(number).await.expect("the queue is open");
        }
        numbers.close();
        let total = sum.1.wait_while(sum.0.lock().await, |total| *total < 500_500).await;
        assert_eq!(*total, 500_500);
    });
    adders.into_iter().for_each(|adder| adder.join().expect("no adder panics"));
    println!("matou-sync works alone");
}
