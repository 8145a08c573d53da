//! The body of a request, handed to HTTP/1.1 in one piece and perhaps not before the server asks for it.

use std::convert::Infallible;
use std::future::{Future, pending};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::StatusCode;
use hyper::body::{Body, Frame, SizeHint};
use tokio::sync::Notify;

/// How long a body waits for `100 Continue` (the peer's value; RFC 9110 §10.1.1 asks for some limit).
pub const CONTINUE_PATIENCE: Duration = Duration::from_secs(1);

/// One body.
pub struct Upload {
    data: Option<Bytes>,
    /// A body of unknown length goes out in chunks.
    chunked: bool,
    permission: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl Upload {
    /// A body that is sent once `gate` lets it through, or at once without one.
    pub fn new(data: Option<Bytes>, chunked: bool, gate: Option<&Gate>) -> Self {
        // An empty body without chunks is no body to hyper.
        let data = data.filter(|data| chunked || !data.is_empty());
        Self { data, chunked, permission: gate.map(|gate| Box::pin(gate.clone().pass()) as _) }
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if let Some(permission) = &mut self.permission {
            ready!(permission.as_mut().poll(cx));
            self.permission = None;
        }
        Poll::Ready(self.data.take().filter(|data| !data.is_empty()).map(|data| Ok(Frame::data(data))))
    }

    fn is_end_stream(&self) -> bool {
        self.data.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        match &self.data {
            Some(_) if self.chunked => SizeHint::default(),
            data => SizeHint::with_exact(data.as_ref().map_or(0, Bytes::len) as u64),
        }
    }
}

/// Holds a body back until the server asks for it, or has been silent for [`CONTINUE_PATIENCE`].
#[derive(Clone, Default)]
pub struct Gate(Arc<Shared>);

#[derive(Default)]
struct Shared {
    asked: Notify,
    closed: AtomicBool,
}

impl Gate {
    /// Closed for now.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes note of an interim response.
    pub fn heard(&self, status: StatusCode) {
        if status == StatusCode::CONTINUE {
            self.0.asked.notify_one();
        }
    }

    /// The final response is there: what has not been sent is not wanted.
    pub fn close(&self) {
        self.0.closed.store(true, Ordering::Relaxed);
    }

    async fn pass(self) {
        // Silence means that the server may not know the mechanism.
        let _ = tokio::time::timeout(CONTINUE_PATIENCE, self.0.asked.notified()).await;
        if self.0.closed.load(Ordering::Relaxed) {
            pending::<()>().await;
        }
    }
}
