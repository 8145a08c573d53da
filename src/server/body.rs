//! Bodies of requests, read within limits of bytes and of time.

use std::time::Duration;

use http_body_util::BodyExt as _;
use hyper::body::{self, Bytes};
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// What the body of a request comes from.
pub trait RequestBody: body::Body<Data = Bytes> + Send + Unpin + 'static {}
impl<T: body::Body<Data = Bytes> + Send + Unpin + 'static> RequestBody for T {}

/// What a client sent, as far as it was wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Body {
    /// The first bytes.
    pub bytes: Bytes,
    /// Whether there were more.
    pub is_cut: bool,
    /// Whether the end was seen; if not, the connection is of no more use.
    pub is_over: bool,
}

/// Why there is no body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyError {
    /// It did not come within [`TIME`].
    Late,
    /// It ended too early or is not framed as HTTP wants it.
    Broken,
}

/// Time for a whole body. Clients of heartbeats give up after five or ten seconds.
pub const TIME: Duration = Duration::from_secs(10);
/// Bytes that are read and thrown away, so that the client hears the answer and can go on. This many are
/// what Django reads at most.
const MAX_UNWANTED: usize = 2_621_440;

/// Reads a body to its end and keeps its first `limit` bytes.
///
/// # Errors
/// The client is too slow, or what it sends is broken.
pub async fn read(body: impl RequestBody, limit: usize) -> Result<Body, BodyError> {
    if body.is_end_stream() {
        return Ok(Body { is_over: true, ..Body::default() });
    }
    let is_large = body.size_hint().upper().is_none_or(|upper| upper > SMALL) && limit as u64 > SMALL;
    let read = async {
        // Never closed.
        let _place = if is_large { LARGE.acquire().await.ok() } else { None };
        collect(body, limit).await
    };
    timeout(TIME, read).await.unwrap_or(Err(BodyError::Late))
}

/// Bytes of a body that any number of clients may send at once.
const SMALL: u64 = 32 << 10;
/// Places for those who send more: what is read must fit into memory.
static LARGE: Semaphore = Semaphore::const_new(64);

async fn collect(mut body: impl RequestBody, limit: usize) -> Result<Body, BodyError> {
    let (mut kept, mut unwanted) = (Vec::new(), 0);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| BodyError::Broken)?;
        let Ok(data) = frame.into_data() else { continue };
        let wanted = data.len().min(limit - kept.len());
        kept.extend_from_slice(&data[..wanted]);
        unwanted += data.len() - wanted;
        if unwanted > MAX_UNWANTED {
            return Ok(Body { bytes: kept.into(), is_cut: true, is_over: false });
        }
    }
    Ok(Body { bytes: kept.into(), is_cut: unwanted > 0, is_over: true })
}
