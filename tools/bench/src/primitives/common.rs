//! Programs that differ between the runtimes only in how tasks are spawned, joined and delayed.

/// Defines `spawn_one`, `spawn_many`, `yields`, `timer`, `timers`, `sleepers` and `memory`. The
/// runtimes have no common trait: some require `Send`, some spawn on an executor that is passed as
/// the parameter in parentheses.
macro_rules! common_programs {
    (
        ($($executor:ident: $executor_type:ty)?),
        spawn: |$future:ident| $spawn:expr,
        join: |$task:ident| $join:expr,
        join_all: |$tasks:ident| $join_all:expr,
        yield_now: $yield_now:expr,
        sleep: $sleep:expr,
        sleep_until: |$due:ident| $sleep_until:expr,
        discard: |$idle:ident| $discard:expr,
    ) => {
        async fn spawn_one($($executor: $executor_type,)? n: u64) -> Cost {
            let meter = Meter::start();
            for number in 0..n {
                let $future = async move { number };
                let $task = $spawn;
                std::hint::black_box($join);
            }
            meter.stop(n)
        }

        async fn spawn_many($($executor: $executor_type,)? n: u64, at_a_time: u64) -> Cost {
            let meter = Meter::start();
            for _ in 0..n / at_a_time {
                let spawn = |number| {
                    let $future = async move { number };
                    $spawn
                };
                let tasks: Vec<_> = (0..at_a_time).map(spawn).collect();
                for $task in tasks {
                    std::hint::black_box($join);
                }
            }
            meter.stop(n / at_a_time * at_a_time)
        }

        async fn yields($($executor: $executor_type,)? n: u64, tasks: u64) -> Cost {
            let meter = Meter::start();
            let spawn = |_| {
                let $future = async move {
                    for _ in 0..n / tasks {
                        $yield_now.await;
                    }
                };
                $spawn
            };
            let $tasks: Vec<_> = (0..tasks).map(spawn).collect();
            $join_all;
            meter.stop(n / tasks * tasks)
        }

        async fn timer(n: u64) -> Cost {
            let meter = Meter::start();
            for _ in 0..n {
                let mut sleep = std::pin::pin!($sleep(super::FAR));
                assert!(futures::poll!(&mut sleep).is_pending());
            }
            meter.stop(n)
        }

        async fn timers(n: u64) -> Cost {
            super::set_and_drop(n, || $sleep(super::FAR))
        }

        async fn sleepers($($executor: $executor_type,)? n: u64) -> Cost {
            let late = super::Lateness::new(n);
            let mut $tasks = Vec::with_capacity(n as usize);
            let meter = Meter::start();
            for number in 0..n {
                if number.is_multiple_of(super::NEW_SLEEPERS) {
                    $yield_now.await;
                }
                let late = late.clone();
                let $future = async move {
                    let $due = std::time::Instant::now() + super::SLEEP;
                    $sleep_until.await;
                    late.record($due);
                };
                $tasks.push($spawn);
            }
            $join_all;
            let cost = meter.stop(n);
            Cost { p99_us: late.p99_us(), ..cost }
        }

        async fn memory($($executor: $executor_type,)? n: u64) -> Cost {
            let mut $idle = Vec::with_capacity(n as usize);
            let meter = crate::cost::MemoryMeter::start();
            $idle.extend((0..n).map(|_| {
                let $future = super::idle();
                $spawn
            }));
            for _ in 0..2 {
                $yield_now.await;
            }
            let cost = meter.stop(n);
            $discard;
            cost
        }
    };
}

/// Defines `lock` and `contend`, for runtimes with a mutex.
macro_rules! lock_programs {
    (
        ($($executor:ident: $executor_type:ty)?),
        spawn: |$future:ident| $spawn:expr,
        join_all: |$tasks:ident| $join_all:expr,
    ) => {
        async fn lock(n: u64) -> Cost {
            let mutex = Mutex::new(0_u64);
            let meter = Meter::start();
            for _ in 0..n {
                *mutex.lock().await += 1;
            }
            meter.stop(n)
        }

        async fn contend($($executor: $executor_type,)? n: u64, tasks: u64) -> Cost {
            let mutex = std::rc::Rc::new(Mutex::new(0_u64));
            let meter = Meter::start();
            let spawn = |_| {
                let mutex = std::rc::Rc::clone(&mutex);
                let $future = async move {
                    for _ in 0..n / tasks {
                        let mut guard = mutex.lock().await;
                        *guard += 1;
                        yield_now().await;
                    }
                };
                $spawn
            };
            let $tasks: Vec<_> = (0..tasks).map(spawn).collect();
            $join_all;
            meter.stop(n / tasks * tasks)
        }
    };
}

/// Defines `semaphore`, `read`, `write` and `once_cell`: uncontended operations.
macro_rules! sync_programs {
    (
        acquire: |$semaphore:ident| $acquire:expr,
        get_or_init: |$cell:ident| $get:expr,
    ) => {
        async fn semaphore(n: u64) -> Cost {
            let $semaphore = Semaphore::new(2);
            let meter = Meter::start();
            for _ in 0..n {
                drop(black_box($acquire));
            }
            meter.stop(n)
        }

        async fn read(n: u64) -> Cost {
            let lock = RwLock::new(1_u64);
            let meter = Meter::start();
            for _ in 0..n {
                black_box(*lock.read().await);
            }
            meter.stop(n)
        }

        async fn write(n: u64) -> Cost {
            let lock = RwLock::new(1_u64);
            let meter = Meter::start();
            for _ in 0..n {
                *lock.write().await += 1;
            }
            meter.stop(n)
        }

        async fn once_cell(n: u64) -> Cost {
            let $cell: OnceCell<u64> = OnceCell::new();
            let meter = Meter::start();
            for _ in 0..n {
                black_box($get);
            }
            meter.stop(n)
        }
    };
}

pub(super) use {common_programs, lock_programs, sync_programs};
