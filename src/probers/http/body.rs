//! The response body as it streams in: decompressed, counted, limited, kept only when a check needs it.

use std::io::{self, Write};

use crate::runner::{Phase, ProbeError, Reason};

/// How the module says the body is compressed; `Content-Encoding` is not looked at, as in the peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Compression {
    /// Taken as it comes.
    #[default]
    Identity,
    /// RFC 1952.
    Gzip,
    /// RFC 7932.
    Brotli,
    /// RFC 1951 without the zlib wrapper, as the peer reads it.
    Deflate,
}

/// Takes the chunks of one body.
pub struct Body {
    decoder: Decoder,
}

enum Decoder {
    Identity(Sink),
    Gzip(Box<flate2::write::MultiGzDecoder<Sink>>),
    Deflate(Box<flate2::write::DeflateDecoder<Sink>>),
    Brotli(Box<brotli_decompressor::DecompressorWriter<Sink>>),
}

/// Counts what comes out of the decoder and keeps it if it is wanted.
#[derive(Debug)]
struct Sink {
    limit: Option<u64>,
    length: u64,
    kept: Option<Vec<u8>>,
    overflow: Option<Overflow>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Overflow {
    Limit,
    Memory,
}

/// Bytes of a body that checks may look at; a longer one fails the probe instead of filling memory.
pub const MAX_KEPT: usize = 256 << 20;
/// Room made in advance on the word of `Content-Length`.
const MAX_RESERVED: usize = 16 << 20;
/// Output buffer of the brotli decoder.
const BROTLI_BUFFER: usize = 4096;

impl Body {
    /// A body of which `limit` bytes after decompression are allowed; kept when `keep` is set, with room for `expected` bytes.
    pub fn new(compression: Compression, limit: Option<u64>, keep: bool, expected: Option<u64>) -> Self {
        let room = || {
            let wanted = limit.unwrap_or(u64::MAX).min(expected.unwrap_or(0));
            Vec::with_capacity(usize::try_from(wanted).unwrap_or(MAX_RESERVED).min(MAX_RESERVED))
        };
        let sink = Sink { limit, length: 0, kept: keep.then(room), overflow: None };
        let decoder = match compression {
            Compression::Identity => Decoder::Identity(sink),
            Compression::Gzip => Decoder::Gzip(Box::new(flate2::write::MultiGzDecoder::new(sink))),
            Compression::Deflate => Decoder::Deflate(Box::new(flate2::write::DeflateDecoder::new(sink))),
            Compression::Brotli => {
                Decoder::Brotli(Box::new(brotli_decompressor::DecompressorWriter::new(sink, BROTLI_BUFFER)))
            }
        };
        Self { decoder }
    }

    /// Takes the next chunk from the wire.
    ///
    /// # Errors
    /// The body is not compressed as it should be, or longer than allowed.
    pub fn push(&mut self, chunk: &[u8]) -> Result<(), ProbeError> {
        let result = match &mut self.decoder {
            Decoder::Identity(sink) => sink.write_all(chunk),
            Decoder::Gzip(decoder) => decoder.write_all(chunk),
            Decoder::Deflate(decoder) => write_deflate(decoder, chunk),
            Decoder::Brotli(decoder) => decoder.write_all(chunk),
        };
        result.map_err(|error| self.explain(error))
    }

    /// The wire has no more.
    ///
    /// # Errors
    /// The compressed data stops in the middle, or what was left of it is longer than allowed.
    pub fn finish(&mut self) -> Result<(), ProbeError> {
        let result = match &mut self.decoder {
            Decoder::Identity(_) => Ok(()),
            Decoder::Gzip(decoder) => decoder.try_finish(),
            Decoder::Deflate(decoder) => decoder.try_finish(),
            Decoder::Brotli(decoder) => decoder.close(),
        };
        result.map_err(|error| self.explain(error))
    }

    /// Bytes after decompression, at most the limit.
    pub fn length(&self) -> u64 {
        self.sink().length
    }

    /// What was kept; empty when nothing was to be kept.
    pub fn into_kept(mut self) -> Vec<u8> {
        self.sink_mut().kept.take().unwrap_or_default()
    }

    fn explain(&self, error: io::Error) -> ProbeError {
        let sink = self.sink();
        match sink.overflow {
            Some(Overflow::Limit) => ProbeError::new(
                Phase::Transfer,
                Reason::TooLarge,
                format!("the body is longer than body_size_limit, {} bytes", sink.limit.unwrap_or(0)),
            ),
            Some(Overflow::Memory) => ProbeError::new(
                Phase::Transfer,
                Reason::TooLarge,
                format!("the body is longer than the {MAX_KEPT} bytes that checks may look at"),
            ),
            None => ProbeError::new(
                Phase::Transfer,
                Reason::Decompression,
                "the body is not compressed as the module says",
            )
            .caused_by(error),
        }
    }

    fn sink(&self) -> &Sink {
        match &self.decoder {
            Decoder::Identity(sink) => sink,
            Decoder::Gzip(decoder) => decoder.get_ref(),
            Decoder::Deflate(decoder) => decoder.get_ref(),
            Decoder::Brotli(decoder) => decoder.get_ref(),
        }
    }

    fn sink_mut(&mut self) -> &mut Sink {
        match &mut self.decoder {
            Decoder::Identity(sink) => sink,
            Decoder::Gzip(decoder) => decoder.get_mut(),
            Decoder::Deflate(decoder) => decoder.get_mut(),
            Decoder::Brotli(decoder) => decoder.get_mut(),
        }
    }
}

/// Bytes after the end of the deflate stream are ignored, as Go's reader does.
fn write_deflate(decoder: &mut flate2::write::DeflateDecoder<Sink>, mut chunk: &[u8]) -> io::Result<()> {
    while !chunk.is_empty() {
        match decoder.write(chunk)? {
            0 => return Ok(()),
            taken => chunk = &chunk[taken..],
        }
    }
    Ok(())
}

impl Write for Sink {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let room = self.limit.map_or(u64::MAX, |limit| limit - self.length);
        let taken = usize::try_from(room).unwrap_or(usize::MAX).min(data.len());
        if let Some(kept) = &mut self.kept {
            if kept.len() + taken > MAX_KEPT {
                self.overflow = Some(Overflow::Memory);
                return Err(io::Error::other("too long to be checked"));
            }
            kept.extend_from_slice(&data[..taken]);
        }
        self.length += taken as u64;
        if taken < data.len() {
            self.overflow = Some(Overflow::Limit);
            return Err(io::Error::other("longer than the limit"));
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gzip(data: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap()
    }

    fn deflate(data: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap()
    }

    fn zlib(data: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap()
    }

    /// "hello world!" as one uncompressed meta-block (RFC 7932 §9.2).
    const BROTLI: &[u8] = b"\x8b\x05\x80hello world!\x03";

    #[test]
    fn length_text_and_reason_of_each_kind_of_body() {
        use Compression::{Brotli, Deflate, Gzip, Identity};
        let text: &[u8] = b"hello world!";
        let cases = [
            ("plain", Identity, text.into(), None, 12, None),
            ("exactly the limit", Identity, text.into(), Some(12), 12, None),
            ("one over the limit", Identity, text.into(), Some(11), 11, Some(Reason::TooLarge)),
            ("gzip", Gzip, gzip(text), None, 12, None),
            ("two gzip members", Gzip, [gzip(text), gzip(text)].concat(), None, 24, None),
            ("gzip over the limit", Gzip, gzip(text), Some(5), 5, Some(Reason::TooLarge)),
            ("not gzip", Gzip, text.into(), None, 0, Some(Reason::Decompression)),
            ("cut gzip", Gzip, gzip(text)[..20].into(), None, 12, Some(Reason::Decompression)),
            ("raw deflate", Deflate, deflate(text), None, 12, None),
            ("zlib is not raw deflate", Deflate, zlib(text), None, 0, Some(Reason::Decompression)),
            ("brotli", Brotli, BROTLI.into(), None, 12, None),
            ("not brotli", Brotli, vec![0xff; 32], None, 0, Some(Reason::Decompression)),
        ];
        for (name, compression, wire, limit, length, reason) in cases {
            let wire: Vec<u8> = wire;
            for size in [1, 7, 1000] {
                let mut body = Body::new(compression, limit, true, Some(wire.len() as u64));
                let pushed = wire.chunks(size).try_for_each(|chunk| body.push(chunk));
                let result = pushed.and_then(|()| body.finish());
                assert_eq!(result.as_ref().err().map(|e| e.reason), reason, "{name} by {size}: {result:?}");
                if reason != Some(Reason::Decompression) {
                    assert_eq!(body.length(), length, "{name} by {size}");
                    assert_eq!(body.into_kept().len() as u64, length, "{name} by {size}");
                }
            }
        }
    }

    #[test]
    fn an_empty_compressed_body_is_an_error_only_for_formats_with_a_header() {
        assert!(Body::new(Compression::Identity, None, false, None).finish().is_ok());
        assert!(Body::new(Compression::Brotli, None, false, None).finish().is_err());
    }
}
