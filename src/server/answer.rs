//! The body of a response: bytes that are there, or what a call sends piece by piece.

use std::convert::Infallible;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use http_body_util::Full;
use hyper::body::{Body, Bytes, Frame, SizeHint};
use tokio::sync::mpsc;

/// The body of a response.
#[derive(Debug)]
pub enum Answer {
    /// All of it is there.
    Whole(Full<Bytes>),
    /// Comes piece by piece.
    Pieces(mpsc::Receiver<Frame<Bytes>>, Held),
}

/// What lives as long as the body it is with.
#[derive(Default)]
pub struct Held(Option<Box<dyn Send + Sync>>);

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Held").field(&self.0.is_some()).finish()
    }
}

impl Answer {
    /// A body that comes piece by piece, and ends with the sender.
    pub fn pieces(pieces: mpsc::Receiver<Frame<Bytes>>) -> Self {
        Self::Pieces(pieces, Held::default())
    }

    /// Holds `what` until a body that comes piece by piece is over, or until nobody wants it.
    pub fn hold(self, what: impl Send + Sync + 'static) -> Self {
        match self {
            Self::Whole(_) => self,
            Self::Pieces(pieces, _) => Self::Pieces(pieces, Held(Some(Box::new(what)))),
        }
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.get_mut() {
            Self::Whole(whole) => Pin::new(whole).poll_frame(cx),
            Self::Pieces(pieces, _) => pieces.poll_recv(cx).map(|piece| piece.map(Ok)),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(whole) => whole.is_end_stream(),
            Self::Pieces(..) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(whole) => whole.size_hint(),
            Self::Pieces(..) => SizeHint::default(),
        }
    }
}
