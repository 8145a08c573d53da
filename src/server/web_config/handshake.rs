//! The TLS side of accepting a connection.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tracing::debug;

use super::WebConfig;

/// A connection that is ready for requests.
#[derive(Debug)]
pub struct Secured<S> {
    /// The stream.
    pub stream: TlsStream<Begun<S>>,
    /// Whether HTTP/2 was agreed on.
    pub is_http2: bool,
}

/// How many handshakes run at once.
#[derive(Debug)]
pub struct Handshakes {
    places: Semaphore,
}

impl Default for Handshakes {
    fn default() -> Self {
        Self { places: Semaphore::new(MAX_HANDSHAKES) }
    }
}

impl Handshakes {
    /// Makes a handshake; `None` if there was none in time, or the client was refused. Waiting for a
    /// place counts.
    pub async fn run<S>(&self, web: &WebConfig, stream: S) -> Option<Secured<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let handshake = async {
            let _place = self.places.acquire().await.map_err(io::Error::other)?;
            secure(web, stream).await
        };
        match timeout(HANDSHAKE_TIMEOUT, handshake).await {
            Ok(Ok(secured)) => return Some(secured),
            Ok(Err(error)) => debug!(err = %error, "No TLS with a client"),
            Err(_) => debug!("No TLS with a client in time"),
        }
        None
    }
}

async fn secure<S>(web: &WebConfig, mut stream: S) -> io::Result<Secured<S>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut begin = [0; BEGIN_BYTES];
    stream.read_exact(&mut begin).await?;
    if HTTP_BEGINS.contains(&&begin) {
        stream.write_all(PLAIN_REPLY).await?;
        stream.shutdown().await?;
        drain(stream).await;
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it speaks HTTP without TLS"));
    }
    let Ok(config) = web.tls() else {
        stream.write_all(&INTERNAL_ERROR).await?;
        stream.shutdown().await?;
        drain(stream).await;
        return Err(io::Error::other("the web configuration cannot be used"));
    };
    let acceptor = TlsAcceptor::from(config);
    let stream = acceptor.accept(Begun { begin, taken: 0, stream }).await?;
    let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    Ok(Secured { stream, is_http2 })
}

/// Reads what a client still sends, within bounds. Closing with unread bytes would be a reset, which can
/// overtake what was written.
async fn drain(mut stream: impl AsyncRead + Unpin) {
    let mut buffer = [0; 1024];
    for _ in 0..MAX_DRAINED_READS {
        match stream.read(&mut buffer).await {
            Ok(length) if length > 0 => {}
            _ => return,
        }
    }
}

/// A stream whose first bytes were read already.
#[derive(Debug)]
pub struct Begun<S> {
    begin: [u8; BEGIN_BYTES],
    taken: usize,
    stream: S,
}

impl<S: AsyncRead + Unpin> AsyncRead for Begun<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Some(rest) = self.begin.get(self.taken..).filter(|rest| !rest.is_empty()) {
            let length = rest.len().min(buf.remaining());
            buf.put_slice(rest.get(..length).unwrap_or_default());
            self.taken += length;
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Begun<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Handshakes that run at once; each holds a few kilobytes and needs a millisecond of a processor.
const MAX_HANDSHAKES: usize = 1024;
/// Time for a handshake, from the accepted connection on.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes by which HTTP is told from TLS: the header of a TLS record has as many.
const BEGIN_BYTES: usize = 5;
/// How requests without TLS begin.
const HTTP_BEGINS: [&[u8; BEGIN_BYTES]; 5] = [b"GET /", b"HEAD ", b"POST ", b"PUT /", b"OPTIO"];
/// What Go answers to them.
const PLAIN_REPLY: &[u8] =
    b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n";
/// A fatal alert `internal_error` (RFC 8446 §6) before there is any agreement.
const INTERNAL_ERROR: [u8; 7] = [21, 3, 1, 0, 2, 2, 80];
/// Reads of 1 KiB from a client that is not served.
const MAX_DRAINED_READS: usize = 64;

#[cfg(test)]
mod tests {
    use tokio::io::duplex;
    use tokio::time::Instant;

    use super::*;

    fn web_config(name: &str) -> WebConfig {
        let path = std::env::temp_dir().join(format!("heartbeat-{name}-{}.yml", std::process::id()));
        std::fs::write(&path, "").unwrap();
        let web = WebConfig::load(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        web
    }

    #[tokio::test(start_paused = true)]
    async fn silence_is_borne_for_a_while_only() {
        let web = web_config("handshake");
        let handshakes = Handshakes::default();
        // Nothing, too little, and a request that is answered but whose client never closes.
        for begin in [&b""[..], b"\x16\x03\x01", b"GET / HTTP/1.1\r\n\r\n"] {
            let (near, mut far) = duplex(1024);
            far.write_all(begin).await.unwrap();
            let start = Instant::now();
            assert!(handshakes.run(&web, near).await.is_none());
            assert_eq!(start.elapsed().as_secs(), 10, "{begin:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn handshakes_at_once_are_limited() {
        let web = web_config("handshakes");
        let handshakes = Handshakes::default();
        let all = handshakes.places.acquire_many(MAX_HANDSHAKES as u32).await.unwrap();
        let (near, far) = duplex(1024);
        drop(far);
        let start = Instant::now();
        let (secured, ()) = tokio::join!(handshakes.run(&web, near), async {
            tokio::time::sleep(Duration::from_secs(3)).await;
            drop(all);
        });
        assert!(secured.is_none());
        assert_eq!(start.elapsed().as_secs(), 3);
    }
}
