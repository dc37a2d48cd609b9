//! A blocking HTTP client over a unix socket that keeps its connection: little enough to load a server from the
//! same machine.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

#[derive(Clone)]
pub(crate) struct Client(PathBuf);

pub(crate) struct Connection {
    reader: BufReader<UnixStream>,
}

impl Client {
    pub(crate) fn new(socket: &Path) -> Self {
        Self(socket.to_owned())
    }

    pub(crate) fn connect(&self) -> io::Result<Connection> {
        Ok(Connection { reader: BufReader::new(UnixStream::connect(&self.0)?) })
    }

    pub(crate) fn get(&self, path: &str) -> serde_json::Value {
        let (status, body) = self.connect().expect("a connection").get(path);
        assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
        serde_json::from_slice(&body).expect("JSON")
    }

    pub(crate) fn post(&self, path: &str, body: &serde_json::Value) -> serde_json::Value {
        let (status, body) = self.connect().expect("a connection").request("POST", path, &body.to_string());
        assert!((200..300).contains(&status), "{status} {}", String::from_utf8_lossy(&body));
        serde_json::from_slice(&body).expect("JSON")
    }
}

impl Connection {
    /// The bare stream, before the first request.
    pub(crate) fn into_stream(self) -> UnixStream {
        self.reader.into_inner()
    }

    pub(crate) fn get(&mut self, path: &str) -> (u16, Vec<u8>) {
        self.request("GET", path, "")
    }

    pub(crate) fn request(&mut self, method: &str, path: &str, body: &str) -> (u16, Vec<u8>) {
        let length = body.len();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
        );
        self.reader.get_mut().write_all(head.as_bytes()).expect("the server reads");
        let mut line = String::new();
        self.reader.read_line(&mut line).expect("a status line");
        let status = line.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        let mut length = 0;
        loop {
            line.clear();
            self.reader.read_line(&mut line).expect("a header");
            if line == "\r\n" {
                break;
            }
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().expect("a length");
            }
        }
        let mut body = vec![0; length];
        self.reader.read_exact(&mut body).expect("a body");
        (status, body)
    }
}
