//! The last bytes of what went through.

use std::collections::VecDeque;

/// Keeps the last `limit` bytes.
#[derive(Debug)]
pub struct Tail {
    bytes: VecDeque<u8>,
    limit: usize,
    is_cut: bool,
}

impl Tail {
    /// Memory grows with the output, up to `limit`.
    pub fn new(limit: usize) -> Self {
        Self { bytes: VecDeque::new(), limit, is_cut: false }
    }

    /// Adds bytes; the oldest make room.
    pub fn push(&mut self, bytes: &[u8]) {
        let kept = bytes.len().min(self.limit);
        let too_many = (self.bytes.len() + kept).saturating_sub(self.limit);
        self.is_cut |= too_many > 0 || kept < bytes.len();
        self.bytes.drain(..too_many);
        self.bytes.extend(bytes.iter().skip(bytes.len() - kept));
    }

    /// What is kept. It does not begin within a character.
    pub fn to_vec(&self) -> Vec<u8> {
        let is_rest = |byte: &&u8| **byte & 0b1100_0000 == 0b1000_0000;
        let broken = if self.is_cut { self.bytes.iter().take(3).take_while(is_rest).count() } else { 0 };
        self.bytes.iter().skip(broken).copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_bytes_are_kept() {
        let cases: [(&[&[u8]], &[u8]); 7] = [
            (&[], b""),
            (&[b"abc", b"de"], b"abcde"),
            (&[b"abc", b"def"], b"bcdef"),
            (&[b"abcdefgh"], b"defgh"),
            (&[b"abcde", b"", b"vwxyz"], b"vwxyz"),
            (&[b"\x80\x80"], b"\x80\x80"),
            (&[b"a", "\u{20ac}\u{20ac}".as_bytes()], "\u{20ac}".as_bytes()),
        ];
        for (pushed, want) in cases {
            let mut tail = Tail::new(5);
            pushed.iter().for_each(|bytes| tail.push(bytes));
            assert_eq!(tail.to_vec(), want, "{pushed:?}");
        }
    }
}
