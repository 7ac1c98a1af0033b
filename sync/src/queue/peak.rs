//! The peak fill of a queue.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::Queue;

impl<T> Queue<T> {
    /// Makes the queue record its peak fill, which [`peak_len`](Self::peak_len) returns.
    ///
    /// Each push then also counts the values in the queue. Without this setting a push pays one
    /// comparison.
    ///
    /// # Examples
    ///
    /// ```
    /// use matou_sync::Queue;
    ///
    /// let queue = Queue::bounded(8).record_peak();
    /// queue.try_push(1)?;
    /// queue.try_push(2)?;
    /// queue.try_pop().expect("there are two values");
    /// assert_eq!((queue.len(), queue.peak_len()), (1, Some(2)));
    /// # Ok::<(), matou_sync::TryPushError<i32>>(())
    /// ```
    #[must_use = "the queue is passed through"]
    pub fn record_peak(mut self) -> Self {
        self.peak.get_or_insert_with(|| AtomicUsize::new(self.values.len()));
        self
    }

    /// Returns the largest number of values that a push has left in the queue, or `None` if the
    /// queue does not [record](Self::record_peak) it. With pushes and pops at the same time it is
    /// an estimate: a pop may be faster than the count of a push.
    ///
    /// # Examples
    ///
    /// ```
    /// assert_eq!(matou_sync::Queue::<i32>::unbounded().peak_len(), None);
    /// ```
    #[doc(alias = "high_water_mark")]
    pub fn peak_len(&self) -> Option<usize> {
        self.peak.as_ref().map(|peak| peak.load(Ordering::Relaxed))
    }

    /// Counts the values after a push.
    #[inline]
    pub(super) fn note_peak(&self) {
        if let Some(peak) = &self.peak {
            // fault: peak-not-recorded
            peak.fetch_max(self.values.len(), Ordering::Relaxed);
        }
    }
}
