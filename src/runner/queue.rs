//! The queue of runs for concurrent workers.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// An entry of the queue.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Entries with the same id are the same run, so they never run at the same time.
    pub id: String,
    /// The entry that must be over before this one starts.
    pub after: Option<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Waiting,
    Taken,
    Over,
}

/// Entries in order. Workers take the first one that can start.
pub struct Queue {
    entries: Vec<Entry>,
    states: Mutex<Vec<State>>,
    changed: Condvar,
    halted: AtomicBool,
}

impl Queue {
    pub fn new(entries: Vec<Entry>) -> Queue {
        let states = Mutex::new(vec![State::Waiting; entries.len()]);
        Queue { entries, states, changed: Condvar::new(), halted: AtomicBool::new(false) }
    }

    /// Waits for the first entry that can start. The entry is over when its turn is dropped. None
    /// if no entry is waiting any more, or the queue was halted.
    pub fn next(&self) -> Option<Turn<'_>> {
        let mut states = self.states();
        while !self.is_halted() && states.contains(&State::Waiting) {
            if let Some(index) = self.first_ready(&states) {
                states[index] = State::Taken;
                return Some(Turn { queue: self, index });
            }
            // Entries only wait for earlier ones, so a worker holds an entry now and will signal
            // `changed`.
            states = self.changed.wait(states).unwrap_or_else(PoisonError::into_inner);
        }
        None
    }

    fn first_ready(&self, states: &[State]) -> Option<usize> {
        let taken = (0..states.len()).filter(|i| states[*i] == State::Taken);
        let busy: BTreeSet<&str> = taken.map(|i| self.entries[i].id.as_str()).collect();
        (0..states.len()).find(|i| {
            let Entry { id, after } = &self.entries[*i];
            let free = after.is_none_or(|before| states[before] == State::Over);
            states[*i] == State::Waiting && free && !busy.contains(id.as_str())
        })
    }

    /// No more entries start, and running ones should end.
    pub fn halt(&self) {
        self.halted.store(true, Ordering::Relaxed);
        // Taking the lock ensures that no worker starts to wait without having seen the flag.
        drop(self.states());
        self.changed.notify_all();
    }

    pub fn is_halted(&self) -> bool {
        self.halted.load(Ordering::Relaxed)
    }

    fn states(&self) -> MutexGuard<'_, Vec<State>> {
        self.states.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An entry taken by a worker. It is over when this is dropped.
pub struct Turn<'a> {
    queue: &'a Queue,
    pub index: usize,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.queue.states()[self.index] = State::Over;
        match std::thread::panicking() {
            // Otherwise other workers could wait for ever.
            true => self.queue.halt(),
            false => self.queue.changed.notify_all(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::thread;
    use std::time::Duration;

    use super::*;

    fn queue(entries: &[(&str, Option<usize>)]) -> Queue {
        let entry =
            |(id, after): &(&str, Option<usize>)| Entry { id: id.to_string(), after: *after };
        Queue::new(entries.iter().map(entry).collect())
    }

    #[test]
    fn an_entry_that_cannot_start_is_skipped_until_it_can() {
        let queue = queue(&[("a", None), ("b", Some(0)), ("a", None), ("c", None)]);
        let first = queue.next().unwrap();
        let second = queue.next().unwrap();
        // `b` waits for the first, and the third entry is the same run as the first.
        assert_eq!((first.index, second.index), (0, 3));
        drop(first);
        let next = [queue.next().unwrap(), queue.next().unwrap()];
        assert_eq!(next.each_ref().map(|turn| turn.index), [1, 2]);
        assert!(queue.next().is_none());
    }

    /// Seven workers take sixty entries.
    #[test]
    fn every_entry_is_taken_once_and_after_the_one_it_waits_for() {
        let entries: Vec<_> = (0..60).map(|i| ("x", (i % 3 == 2).then(|| i - 1))).collect();
        let named: Vec<String> = (0..60).map(|i| (i / 2).to_string()).collect();
        let entries: Vec<_> =
            entries.iter().zip(&named).map(|((_, after), id)| (id.as_str(), *after)).collect();
        let queue = queue(&entries);
        let (clock, ends) = (AtomicUsize::new(1), Mutex::new(vec![(0, 0); 60]));
        thread::scope(|scope| {
            for _ in 0..7 {
                scope.spawn(|| {
                    while let Some(turn) = queue.next() {
                        let began = clock.fetch_add(1, Ordering::SeqCst);
                        thread::sleep(Duration::from_micros(200));
                        let ended = clock.fetch_add(1, Ordering::SeqCst);
                        let mut ends = ends.lock().unwrap();
                        assert_eq!(ends[turn.index], (0, 0));
                        ends[turn.index] = (began, ended);
                    }
                });
            }
        });
        let ends = ends.into_inner().unwrap();
        for (i, (id, after)) in entries.iter().enumerate() {
            let (began, ended) = ends[i];
            assert!(began > 0, "{i} was not taken");
            assert!(after.is_none_or(|before| ends[before].1 < began), "{i} did not wait");
            for j in (0..i).filter(|j| entries[*j].0 == *id) {
                assert!(ends[j].1 < began || ended < ends[j].0, "{i} and {j} were taken at once");
            }
        }
    }

    #[test]
    fn a_halt_and_a_panic_wake_waiting_workers() {
        for panics in [false, true] {
            let queue = queue(&[("a", None), ("b", Some(0))]);
            let waited = thread::scope(|scope| {
                let turn = queue.next();
                let waiting = scope.spawn(|| queue.next().is_none());
                let ending = scope.spawn(|| match panics {
                    true => {
                        let _turn = turn;
                        panic!("a fault of the work")
                    }
                    false => queue.halt(),
                });
                assert_eq!(ending.join().is_err(), panics);
                waiting.join().unwrap()
            });
            assert!(waited && queue.is_halted());
        }
    }
}
