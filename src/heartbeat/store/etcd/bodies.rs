//! Recent bodies in memory: they may be lost, and are too many bytes for etcd.

use std::collections::{HashMap, VecDeque};

use super::super::DEFAULT_BODIES;

/// Bytes of all bodies together.
const MAX_BYTES: usize = 16 * 1024 * 1024;

#[derive(Debug, Default)]
pub(super) struct Bodies {
    by_key: HashMap<Box<str>, VecDeque<Box<[u8]>>>,
    bytes: usize,
}

impl Bodies {
    /// Whether there was room.
    pub(super) fn add(&mut self, key: Box<str>, body: Box<[u8]>) -> bool {
        let kept = self.by_key.entry(key).or_default();
        // Beyond the limit a body only takes the place of older ones of its heartbeat.
        while kept.len() >= DEFAULT_BODIES || self.bytes + body.len() > MAX_BYTES {
            let Some(old) = kept.pop_front() else { return false };
            self.bytes -= old.len();
        }
        self.bytes += body.len();
        kept.push_back(body);
        true
    }

    pub(super) fn forget(&mut self, key: &str) {
        for body in self.by_key.remove(key).unwrap_or_default() {
            self.bytes -= body.len();
        }
    }

    /// Oldest first.
    pub(super) fn of(&self, key: &str) -> Vec<Box<[u8]>> {
        self.by_key.get(key).map(|kept| kept.iter().cloned().collect()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_bounded_for_each_heartbeat_and_together() {
        let mut bodies = Bodies::default();
        for n in 0..20_u8 {
            assert!(bodies.add("a/x".into(), [n].into()));
        }
        let kept: Vec<_> = bodies.of("a/x").iter().map(|body| body[0]).collect();
        assert_eq!((kept, bodies.bytes), ((10..20).collect(), 10));
        assert!(bodies.add("a/x".into(), vec![1; MAX_BYTES].into()));
        assert_eq!((bodies.of("a/x").len(), bodies.bytes), (1, MAX_BYTES));
        assert!(!bodies.add("a/y".into(), [1].into()));
        bodies.forget("a/x");
        assert_eq!((bodies.of("a/x").len(), bodies.bytes), (0, 0));
        assert!(bodies.add("a/y".into(), [1].into()));
    }
}
