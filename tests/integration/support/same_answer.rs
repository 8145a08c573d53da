//! An HTTP server that has one answer for everybody, and keeps what it was sent.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};

/// Listens as long as the process runs. Requests have to come in one piece; `answer` is a whole head.
pub fn start(answer: impl Into<String>) -> (SocketAddr, Arc<Mutex<String>>) {
    let answer = answer.into();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let heard = Arc::<Mutex<String>>::default();
    let log = Arc::clone(&heard);
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let mut bytes = [0; 4096];
            let length = stream.read(&mut bytes).unwrap_or(0);
            log.lock().unwrap().push_str(&String::from_utf8_lossy(&bytes[..length]));
            // A client that is gone is none of ours.
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    (address, heard)
}
