//! An established connection, whichever library made it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::hello::Watched;
use super::legacy;

/// A TLS connection over `S`.
#[derive(Debug)]
pub struct TlsStream<S>(pub(super) Library<S>);

#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "the large one is the usual one")]
pub(super) enum Library<S> {
    Default(tokio_rustls::client::TlsStream<Watched<S>>),
    Old(tokio_openssl::SslStream<Watched<S>>),
}

impl<S> TlsStream<S> {
    /// The stream below TLS.
    pub fn get_ref(&self) -> &S {
        match &self.0 {
            Library::Default(stream) => stream.get_ref().0.get_ref(),
            Library::Old(stream) => stream.get_ref().get_ref(),
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for TlsStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.0 {
            Library::Default(stream) => Pin::new(stream).poll_read(context, buffer),
            Library::Old(stream) => Pin::new(stream).poll_read(context, buffer).map_err(legacy::translate),
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for TlsStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.0 {
            Library::Default(stream) => Pin::new(stream).poll_write(context, bytes),
            Library::Old(stream) => Pin::new(stream).poll_write(context, bytes).map_err(legacy::translate),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.0 {
            Library::Default(stream) => Pin::new(stream).poll_write_vectored(context, slices),
            Library::Old(stream) => {
                let first = slices.iter().find(|slice| !slice.is_empty()).map_or(&[][..], |slice| slice);
                Pin::new(stream).poll_write(context, first).map_err(legacy::translate)
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.0 {
            Library::Default(stream) => stream.is_write_vectored(),
            Library::Old(_) => false,
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.0 {
            Library::Default(stream) => Pin::new(stream).poll_flush(context),
            Library::Old(stream) => Pin::new(stream).poll_flush(context).map_err(legacy::translate),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.0 {
            Library::Default(stream) => Pin::new(stream).poll_shutdown(context),
            Library::Old(stream) => Pin::new(stream).poll_shutdown(context).map_err(legacy::translate),
        }
    }
}
