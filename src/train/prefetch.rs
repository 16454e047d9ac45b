//! Prefetching: a thread makes the next batches while the model works on earlier ones.

use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;

use candle_core::{Error, Result, bail};

/// The most batches that wait ready. One more is being made.
const READY: usize = 2;

/// The batches that [`prefetch`] makes, in the order of their plans.
pub struct Prefetched<B> {
    made: Receiver<Result<B>>,
}

impl<B> Prefetched<B> {
    /// Waits for the next batch. An error if making it failed, or if there are no more batches.
    pub fn take(&mut self) -> Result<B> {
        match self.made.recv() {
            Ok(batch) => batch,
            Err(_) => bail!("there is no further batch"),
        }
    }
}

/// Calls `work` with the batches that `make` makes from `plans` in order. The thread that makes them
/// ends when `work` ends, also by an error or a panic, and after the first batch that fails.
pub fn prefetch<P, B, R, E>(
    plans: impl Iterator<Item = P> + Send,
    make: impl Fn(P) -> Result<B> + Send,
    work: impl FnOnce(&mut Prefetched<B>) -> std::result::Result<R, E>,
) -> std::result::Result<R, E>
where
    B: Send,
    E: From<Error>,
{
    thread::scope(|scope| {
        let (send, made) = sync_channel(READY);
        let maker = move || {
            for plan in plans {
                let batch = make(plan);
                let failed = batch.is_err();
                // Nobody receives any more once `work` has ended.
                if send.send(batch).is_err() || failed {
                    return;
                }
            }
        };
        thread::Builder::new()
            .name("batches".into())
            .spawn_scoped(scope, maker)
            .map_err(Error::wrap)?;
        // Dropped with this closure, before the scope waits for the thread.
        let mut batches = Prefetched { made };
        work(&mut batches)
    })
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use super::*;

    #[test]
    fn batches_come_in_order_and_then_an_error() {
        let got: Result<Vec<usize>> = prefetch(
            0..100,
            |i| Ok(i * i),
            |batches| {
                let got = (0..100).map(|_| batches.take()).collect();
                assert!(batches.take().is_err());
                got
            },
        );
        assert_eq!(got.unwrap(), (0..100).map(|i| i * i).collect::<Vec<_>>());
    }

    #[test]
    fn a_failed_batch_is_an_error_in_its_place_and_the_last() {
        let made = AtomicUsize::new(0);
        let make = |i: usize| {
            made.fetch_add(1, Ordering::Relaxed);
            if i == 3 { bail!("batch {i} is broken") } else { Ok(i) }
        };
        let got: Result<()> = prefetch(0.., make, |batches| {
            for i in 0..3 {
                assert_eq!(batches.take()?, i);
            }
            batches.take().map(drop)
        });
        assert!(got.unwrap_err().to_string().contains("batch 3 is broken"));
        assert_eq!(made.into_inner(), 4);
    }

    /// The thread could make batches forever, but an error or a panic of the work ends it.
    #[test]
    fn the_thread_ends_with_the_work() {
        let made = AtomicUsize::new(0);
        let make = |i: usize| {
            made.fetch_add(1, Ordering::Relaxed);
            Ok(i)
        };
        let stopped: Result<()> = prefetch(0.., make, |batches| {
            batches.take()?;
            bail!("interrupted")
        });
        assert!(stopped.unwrap_err().to_string().contains("interrupted"));
        assert!(made.load(Ordering::Relaxed) <= 1 + READY + 1);
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            let _: Result<()> = prefetch(0.., make, |_| panic!("a fault of the work"));
        }));
        assert!(panicked.is_err());
    }

    /// Before the first batch is taken, as many are made as may wait, and one more.
    #[test]
    fn batches_are_made_before_they_are_taken() {
        let made = AtomicUsize::new(0);
        let make = |i: usize| {
            made.fetch_add(1, Ordering::Relaxed);
            Ok(i)
        };
        let waited: Result<usize> = prefetch(0.., make, |_| {
            while made.load(Ordering::Relaxed) < READY + 1 {
                thread::sleep(Duration::from_millis(1));
            }
            thread::sleep(Duration::from_millis(50));
            Ok(made.load(Ordering::Relaxed))
        });
        assert_eq!(waited.unwrap(), READY + 1);
    }
}
