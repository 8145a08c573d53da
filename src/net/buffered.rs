//! One buffered reader that owns a stream for its whole life.
//!
//! Lines and exact lengths are taken from the same buffer, so nothing received is lost between
//! them. What the bytes mean does not belong here.

use std::io;
use std::ops::Range;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// A stream with the bytes that were received and not yet taken.
#[derive(Debug)]
pub struct Buffered<S> {
    stream: S,
    received: Vec<u8>,
    /// Bytes at the start of `received` that were taken already.
    taken: usize,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Buffered<S> {
    /// Wraps a stream from which nothing was read yet.
    pub fn new(stream: S) -> Self {
        Self { stream, received: Vec::new(), taken: 0 }
    }

    /// Bytes received and not yet taken.
    pub fn unread(&self) -> &[u8] {
        self.received.get(self.taken..).unwrap_or_default()
    }

    /// Gives the stream back, without the bytes of [`Buffered::unread`].
    pub fn into_inner(self) -> S {
        self.stream
    }

    /// Waits for more bytes and returns how many came; 0 at the end of the stream.
    ///
    /// A TLS peer that closes without saying so ends the stream too, as in Go.
    ///
    /// # Errors
    /// Those of the stream.
    pub async fn receive(&mut self) -> io::Result<usize> {
        if self.taken == self.received.len() {
            self.received.clear();
            self.taken = 0;
        } else if self.received.capacity() - self.received.len() < CHUNK {
            self.received.drain(..self.taken);
            self.taken = 0;
        }
        self.received.reserve(CHUNK);
        match self.stream.read_buf(&mut self.received).await {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(0),
            other => other,
        }
    }

    /// Takes the next `length` bytes.
    ///
    /// # Errors
    /// [`Short`] when the stream ends or breaks before them.
    pub async fn exactly(&mut self, length: usize) -> Result<&[u8], Short> {
        while self.unread().len() < length {
            let got = self.unread().len();
            match self.receive().await {
                Ok(0) => return Err(Short::End { got }),
                Ok(_) => {}
                Err(error) => return Err(Short::Io(error)),
            }
        }
        let range = self.take(length);
        Ok(self.bytes(range))
    }

    /// Takes the first `length` of the unread bytes and says where they are.
    pub fn take(&mut self, length: usize) -> Range<usize> {
        let start = self.taken;
        self.taken = self.received.len().min(start + length);
        start..self.taken
    }

    /// Bytes that [`Buffered::take`] took; gone after the next [`Buffered::receive`].
    pub fn bytes(&self, range: Range<usize>) -> &[u8] {
        self.received.get(range).unwrap_or_default()
    }

    /// Sends all of `bytes` now.
    ///
    /// # Errors
    /// Those of the stream.
    pub async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await?;
        self.stream.flush().await
    }
}

/// Why fewer bytes came than were asked for.
#[derive(Debug)]
pub enum Short {
    /// The peer closed the stream.
    End {
        /// Bytes that came before.
        got: usize,
    },
    /// The stream broke.
    Io(io::Error),
}

/// Bytes of room that each read has at least.
const CHUNK: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lengths_are_exact_however_the_bytes_arrive() {
        for room in [1, 2, 3, 64] {
            let (near, mut far) = tokio::io::duplex(room);
            let peer = async move { far.write_all(b"abcdefgh").await };
            let mut stream = Buffered::new(near);
            let probe = async {
                assert_eq!(stream.exactly(0).await.unwrap(), b"");
                assert_eq!(stream.exactly(3).await.unwrap(), b"abc");
                assert_eq!(stream.exactly(4).await.unwrap(), b"defg");
                assert!(matches!(stream.exactly(2).await, Err(Short::End { got: 1 })));
            };
            let (sent, ()) = tokio::join!(peer, probe);
            sent.unwrap();
        }
    }
}
