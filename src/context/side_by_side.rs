//! Work on many things at once whose results are taken in order.

use std::num::NonZero;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// How many results wait to be taken at most.
const BATCH: usize = 4096;
/// Fewer are not worth a thread.
const WORTH: usize = 128;
/// How many are taken on at a time: the smallest files cost little more than to ask for the next.
const STRIDE: usize = 16;
/// The most threads.
const AT_ONCE: usize = 8;

/// Does the same with every item, several at once, and takes the results in the order of the items.
///
/// # Errors
/// The first one that the taking returns; what is later is not begun, or is dropped.
pub(super) fn in_order<T: Sync, R: Send, E>(
    items: &[T],
    work: impl Fn(&T) -> R + Sync,
    mut take: impl FnMut(&T, R) -> Result<(), E>,
) -> Result<(), E> {
    let threads = thread::available_parallelism()
        .map_or(1, NonZero::get)
        .min(AT_ONCE);
    if threads < 2 || items.len() < WORTH {
        return items.iter().try_for_each(|item| take(item, work(item)));
    }
    for batch in items.chunks(BATCH) {
        let next = AtomicUsize::new(0);
        let strides = || {
            let mut done = Vec::new();
            loop {
                let first = next.fetch_add(STRIDE, Ordering::Relaxed);
                let Some(rest) = batch.get(first..).filter(|rest| !rest.is_empty()) else {
                    return done;
                };
                let stride = &rest[..rest.len().min(STRIDE)];
                done.push((first, stride.iter().map(&work).collect::<Vec<_>>()));
            }
        };
        let mut done = thread::scope(|scope| {
            let others: Vec<_> = (1..threads).map(|_| scope.spawn(strides)).collect();
            let mut done = strides();
            for other in others {
                match other.join() {
                    Ok(more) => done.extend(more),
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            }
            done
        });
        done.sort_by_key(|(first, _)| *first);
        let results = done.into_iter().flat_map(|(_, results)| results);
        for (item, result) in batch.iter().zip(results) {
            take(item, result)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_taken_in_order_up_to_the_first_that_is_refused() {
        let items: Vec<usize> = (0..3 * BATCH + 7).collect();
        let mut taken = Vec::new();
        let all = in_order(
            &items,
            |item| item * 2,
            |item, result| {
                taken.push(result);
                if *item == 2 * BATCH { Err(*item) } else { Ok(()) }
            },
        );
        assert_eq!(all, Err(2 * BATCH));
        assert_eq!(taken, (0..=2 * BATCH).map(|item| item * 2).collect::<Vec<_>>());
    }
}
