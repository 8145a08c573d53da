//! HTTP/2 frames made by hand, for servers that do what no library lets them do (RFC 9113 §4 and §6).

/// Frame types.
pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PUSH_PROMISE: u8 = 5;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

/// Flags.
pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;

/// The only stream of these servers' connections.
const STREAM: u32 = 1;

/// Any frame.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap();
    let mut bytes = length.to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// Settings that change nothing; what a server says first.
pub fn settings() -> Vec<u8> {
    frame(SETTINGS, 0, 0, b"")
}

/// A whole header.
pub fn header(fields: &[(&str, &str)]) -> Vec<u8> {
    frame(HEADERS, END_HEADERS, STREAM, &block(fields))
}

/// A whole header that ends the stream.
pub fn last_header(fields: &[(&str, &str)]) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | END_STREAM, STREAM, &block(fields))
}

/// A header in as many frames as it needs.
pub fn long_header(fields: &[(&str, &str)]) -> Vec<u8> {
    in_pieces(0, fields)
}

/// The same, at the end of the stream.
pub fn long_last_header(fields: &[(&str, &str)]) -> Vec<u8> {
    in_pieces(END_STREAM, fields)
}

fn in_pieces(flags: u8, fields: &[(&str, &str)]) -> Vec<u8> {
    let block = block(fields);
    let pieces: Vec<&[u8]> = block.chunks(MAX_FRAME).collect();
    let last = pieces.len() - 1;
    let frames = pieces.iter().enumerate().map(|(at, piece)| {
        let (kind, flags) = if at == 0 { (HEADERS, flags) } else { (CONTINUATION, 0) };
        frame(kind, flags | if at == last { END_HEADERS } else { 0 }, STREAM, piece)
    });
    frames.collect::<Vec<_>>().concat()
}

/// The begin of a header that goes on in [`continuation`].
pub fn open_header(fields: &[(&str, &str)]) -> Vec<u8> {
    frame(HEADERS, 0, STREAM, &block(fields))
}

/// More of a header, and not the end.
pub fn continuation(fields: &[(&str, &str)]) -> Vec<u8> {
    frame(CONTINUATION, 0, STREAM, &block(fields))
}

/// A piece of the body.
pub fn data(payload: &[u8]) -> Vec<u8> {
    frame(DATA, 0, STREAM, payload)
}

/// The last piece of the body.
pub fn last_data(payload: &[u8]) -> Vec<u8> {
    frame(DATA, END_STREAM, STREAM, payload)
}

/// Ends the stream with an error code.
pub fn reset(code: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, STREAM, &code.to_be_bytes())
}

/// Ends the connection; streams above `last` were not looked at.
pub fn go_away(last: u32, code: u32) -> Vec<u8> {
    frame(GOAWAY, 0, 0, &[last.to_be_bytes(), code.to_be_bytes()].concat())
}

/// Wants an answer.
pub fn ping() -> Vec<u8> {
    frame(PING, 0, 0, &[0; 8])
}

/// Largest frame a client accepts unless it says otherwise.
pub const MAX_FRAME: usize = 16384;

/// What a client sends before its first frame.
pub const PREFACE: usize = 24;

/// Whether a frame's header says that it ends the request; and how long its payload is.
pub fn ends_request(head: [u8; 9]) -> (bool, usize) {
    let [high, middle, low, kind, flags, stream @ ..] = head;
    let is_end = u32::from_be_bytes(stream) == STREAM && kind <= HEADERS && flags & END_STREAM != 0;
    (is_end, usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low))
}

/// Fields as literals that are not indexed (RFC 7541 §6.2.2), without Huffman coding.
pub fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            integer(&mut block, text.len());
            block.extend(text.as_bytes());
        }
    }
    block
}

/// RFC 7541 §5.1, with seven bits in the first byte.
fn integer(block: &mut Vec<u8>, value: usize) {
    if value < 127 {
        return block.push(value as u8);
    }
    block.push(127);
    let mut rest = value - 127;
    while rest >= 128 {
        block.push(rest as u8 | 128);
        rest >>= 7;
    }
    block.push(rest as u8);
}
