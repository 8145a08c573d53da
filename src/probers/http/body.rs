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
    Deflate(Box<Inflate>),
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
/// Output buffer for raw deflate.
const INFLATE_BUFFER: usize = 4096;

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
            Compression::Deflate => Decoder::Deflate(Box::new(Inflate::new(sink))),
            Compression::Brotli => {
                Decoder::Brotli(Box::new(brotli_decompressor::DecompressorWriter::new(sink, BROTLI_BUFFER)))
            }
        };
        Self { decoder }
    }

    /// Whether more may come out than goes in.
    pub fn is_compressed(&self) -> bool {
        !matches!(self.decoder, Decoder::Identity(_))
    }

    /// Takes the next chunk from the wire.
    ///
    /// # Errors
    /// The body is not compressed as it should be, or longer than allowed.
    pub fn push(&mut self, chunk: &[u8]) -> Result<(), ProbeError> {
        let result = match &mut self.decoder {
            Decoder::Identity(sink) => sink.write_all(chunk),
            Decoder::Gzip(decoder) => decoder.write_all(chunk),
            Decoder::Deflate(decoder) => decoder.write(chunk),
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
            Decoder::Deflate(decoder) => decoder.finish(),
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
            Decoder::Deflate(decoder) => &decoder.sink,
            Decoder::Brotli(decoder) => decoder.get_ref(),
        }
    }

    fn sink_mut(&mut self) -> &mut Sink {
        match &mut self.decoder {
            Decoder::Identity(sink) => sink,
            Decoder::Gzip(decoder) => decoder.get_mut(),
            Decoder::Deflate(decoder) => &mut decoder.sink,
            Decoder::Brotli(decoder) => decoder.get_mut(),
        }
    }
}

/// Raw deflate. The library's own writer does not notice a stream that stops in the middle.
struct Inflate {
    state: flate2::Decompress,
    sink: Sink,
    output: [u8; INFLATE_BUFFER],
    has_ended: bool,
}

impl Inflate {
    fn new(sink: Sink) -> Self {
        let state = flate2::Decompress::new(false);
        Self { state, sink, output: [0; INFLATE_BUFFER], has_ended: false }
    }

    /// Bytes after the end of the stream are ignored, as Go's reader does.
    fn write(&mut self, mut chunk: &[u8]) -> io::Result<()> {
        while !self.has_ended {
            let (taken, made) = (self.state.total_in(), self.state.total_out());
            let status = self.state.decompress(chunk, &mut self.output, flate2::FlushDecompress::None)?;
            // Both are at most the length of their buffer.
            let taken = usize::try_from(self.state.total_in() - taken).unwrap_or(chunk.len());
            let made = usize::try_from(self.state.total_out() - made).unwrap_or(INFLATE_BUFFER);
            chunk = chunk.get(taken..).unwrap_or_default();
            self.sink.write_all(self.output.get(..made).unwrap_or_default())?;
            self.has_ended = status == flate2::Status::StreamEnd;
            if chunk.is_empty() && made < INFLATE_BUFFER {
                break;
            }
        }
        Ok(())
    }

    fn finish(&self) -> io::Result<()> {
        if self.has_ended { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }
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

    fn cut(mut data: Vec<u8>) -> Vec<u8> {
        data.pop();
        data
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
            ("deflate over the limit", Deflate, deflate(text), Some(5), 5, Some(Reason::TooLarge)),
            ("cut deflate", Deflate, deflate(text)[..10].into(), None, 0, Some(Reason::Decompression)),
            ("long deflate", Deflate, deflate(&[7; 100_000]), None, 100_000, None),
            (
                "long deflate without its end",
                Deflate,
                cut(deflate(&[7; 100_000])),
                None,
                0,
                Some(Reason::Decompression),
            ),
            ("bytes after deflate", Deflate, [&deflate(text)[..], b"junk"].concat(), None, 12, None),
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
    fn nothing_is_no_compressed_body() {
        use Compression::{Brotli, Deflate, Gzip, Identity};
        for (compression, passes) in [(Identity, true), (Gzip, false), (Deflate, false), (Brotli, false)] {
            assert_eq!(Body::new(compression, None, false, None).finish().is_ok(), passes, "{compression:?}");
        }
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig::with_cases(300))]

        #[test]
        fn any_bytes_are_a_body_or_an_error(
            wire in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..300),
            damage in (0..60_usize, proptest::prelude::any::<u8>()),
            limit in proptest::option::of(0..2000_u64),
            size in 1..64_usize,
        ) {
            use Compression::{Brotli, Deflate, Gzip, Identity};
            let text = wire.repeat(5);
            for (compression, packed) in [(Identity, text.clone()), (Gzip, gzip(&text)), (Deflate, deflate(&text)), (Brotli, BROTLI.to_vec())] {
                let mut damaged = packed.clone();
                if let Some(byte) = damaged.get_mut(damage.0) {
                    *byte ^= damage.1;
                }
                for data in [&wire, &damaged, &packed] {
                    let mut body = Body::new(compression, limit, true, None);
                    let pushed = data.chunks(size).try_for_each(|chunk| body.push(chunk));
                    let is_good = pushed.and_then(|()| body.finish()).is_ok();
                    proptest::prop_assert!(limit.is_none_or(|limit| body.length() <= limit));
                    if is_good && data == &packed && compression != Brotli {
                        proptest::prop_assert_eq!(body.into_kept(), text.clone());
                    }
                }
            }
        }
    }
}
