//! What a consumer has taken from one queue and not finished: the messages between the offset that may be committed and the
//! next one to pull. Pure; each queue has one, under its own lock.
//!
//! A message leaves the window with its one fate: done (consumed, filtered, or handed back to the broker). The committable
//! offset is the lowest one still inside, so nothing unfinished is ever passed.

use std::collections::BTreeMap;

/// The unfinished messages of one queue.
#[derive(Debug)]
pub(super) struct Window {
    /// Counts the resets: who started before the last one no longer changes anything.
    generation: u64,
    /// The offset to pull from.
    next: u64,
    /// Size of each unfinished message by its offset.
    unfinished: BTreeMap<u64, usize>,
    bytes: usize,
}

impl Window {
    /// A window that starts pulling at `next`.
    pub fn new(next: u64) -> Window {
        Window {
            generation: 0,
            next,
            unfinished: BTreeMap::new(),
            bytes: 0,
        }
    }

    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// The offset to pull from.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// Takes what a pull brought: the wanted messages (offset, size) and where to pull next. `false` if the window was reset
    /// while the pull was under way: the messages are not taken.
    #[must_use]
    pub fn take(&mut self, generation: u64, messages: impl Iterator<Item = (u64, usize)>, next: u64) -> bool {
        if generation != self.generation {
            return false;
        }
        for (offset, size) in messages {
            if self.unfinished.insert(offset, size).is_none() {
                self.bytes += size;
            }
        }
        self.next = self.next.max(next);
        true
    }

    /// Marks messages as finished.
    pub fn finish(&mut self, generation: u64, offsets: impl Iterator<Item = u64>) {
        if generation != self.generation {
            return;
        }
        for offset in offsets {
            self.bytes -= self.unfinished.remove(&offset).unwrap_or(0);
        }
    }

    /// Everything below was finished.
    pub fn committable(&self) -> u64 {
        self.lowest().unwrap_or(self.next)
    }

    /// The lowest unfinished offset.
    pub fn lowest(&self) -> Option<u64> {
        self.unfinished.first_key_value().map(|(offset, _)| *offset)
    }

    /// Forgets what is unfinished and goes on at `next`, forwards or backwards.
    pub fn reset(&mut self, next: u64) {
        *self = Window {
            generation: self.generation + 1,
            ..Window::new(next)
        };
    }

    /// Unfinished messages.
    pub fn len(&self) -> usize {
        self.unfinished.len()
    }

    /// Their bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Distance from the lowest unfinished to the highest: how much a restart could repeat.
    pub fn span(&self) -> u64 {
        match (
            self.unfinished.first_key_value(),
            self.unfinished.last_key_value(),
        ) {
            (Some((low, _)), Some((high, _))) => high - low,
            _ => 0,
        }
    }

    /// Lowest and highest unfinished offset; zeros when empty, as running info shows it.
    pub fn bounds(&self) -> (u64, u64) {
        (
            self.lowest().unwrap_or(0),
            self.unfinished.last_key_value().map_or(0, |(offset, _)| *offset),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled() -> Window {
        let mut window = Window::new(10);
        assert!(window.take(0, [(10, 5), (11, 5), (12, 5)].into_iter(), 13));
        window
    }

    #[test]
    fn nothing_unfinished_is_passed() {
        let mut window = filled();
        window.finish(0, [11, 12].into_iter());
        assert_eq!((window.committable(), window.bytes(), window.len()), (10, 5, 1));
        window.finish(0, [10].into_iter());
        assert_eq!((window.committable(), window.bytes()), (13, 0));
    }

    #[test]
    fn pulls_without_a_match_move_the_committable_offset() {
        let mut window = Window::new(0);
        assert!(window.take(0, std::iter::empty(), 1000));
        assert_eq!(window.committable(), 1000);
    }

    #[test]
    fn what_began_before_a_reset_changes_nothing_after_it() {
        let mut window = filled();
        window.reset(3);
        assert!(!window.take(0, [(13, 5)].into_iter(), 14));
        window.finish(0, [10].into_iter());
        assert_eq!(
            (window.next(), window.committable(), window.len(), window.bytes()),
            (3, 3, 0, 0)
        );
        assert_eq!(window.generation(), 1);
    }

    #[test]
    fn finishing_twice_counts_once() {
        let mut window = filled();
        window.finish(0, [10, 10].into_iter());
        assert_eq!((window.len(), window.bytes(), window.span()), (2, 10, 1));
    }
}
