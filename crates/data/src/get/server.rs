//! A mirror on the loopback interface that misbehaves on request.
//!
//! In: one [`Step`] for each connection it will get. Out: its URL and the requests that came. Test-only.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// How one connection is answered.
#[derive(Clone, Debug)]
pub enum Step {
    /// The file, or the range of it that was asked for.
    Serve,
    /// The file with an ETag, or the range of it; ends after so many bytes of body.
    CutAfter { n_bytes: usize, etag: &'static str },
    /// Like `CutAfter`, but the connection stays open and silent.
    StallAfter(usize),
    /// The whole file whatever was asked for.
    IgnoreRange,
    /// The file or range with its first byte changed.
    Corrupt,
    /// This status and no body.
    Status(u16),
    /// A redirection to this path of the same server.
    Redirect(&'static str),
    /// Status 206 with this Content-Range.
    Range(&'static str),
    /// The whole file and then no end of zeros, without a length.
    Endless,
    /// Status 200 with this Content-Length.
    Length(u64),
    /// Bytes that are not HTTP.
    Garbage,
}

pub struct Server {
    /// `http://127.0.0.1:PORT`.
    pub url: String,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Server {
    /// Serves `file` at every path; connections after the last step get status 500.
    pub fn start(file: Vec<u8>, steps: Vec<Step>) -> Server {
        Server::start_with(steps, move |_| Some(file.clone()))
    }

    /// Serves what `files` gives for a path.
    pub fn start_with(
        steps: Vec<Step>,
        files: impl Fn(&str) -> Option<Vec<u8>> + Send + 'static,
    ) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&requests);
        thread::spawn(move || {
            let mut steps = steps.into_iter();
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { break };
                let request = read_head(&stream);
                let path = request
                    .split_whitespace()
                    .nth(1)
                    .unwrap_or_default()
                    .to_owned();
                log.lock().unwrap().push(request.clone());
                match (steps.next(), files(&path)) {
                    (Some(step), Some(file)) => answer(&mut stream, &step, &file, &request),
                    (Some(_), None) => head(&mut stream, 404, "content-length: 0"),
                    (None, _) => head(&mut stream, 500, "content-length: 0"),
                }
            }
        });
        Server { url, requests }
    }

    /// An address that refuses connections: nothing listens on port 1.
    pub fn nobody() -> Server {
        Server {
            url: "http://127.0.0.1:1".into(),
            requests: Arc::default(),
        }
    }

    /// The heads of all requests until now, in lower case.
    pub fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

fn read_head(stream: &TcpStream) -> String {
    let mut text = String::new();
    for line in BufReader::new(stream).lines() {
        match line {
            Ok(line) if !line.is_empty() => text.push_str(&format!("{}\n", line.to_lowercase())),
            _ => break,
        }
    }
    text
}

/// The client may hang up at any time, so failures to write are no concern of the server.
fn head(stream: &mut TcpStream, status: u16, headers: &str) {
    let _ = write!(
        stream,
        "HTTP/1.1 {status} Status\r\nconnection: close\r\n{headers}\r\n\r\n"
    );
}

fn answer(stream: &mut TcpStream, step: &Step, file: &[u8], request: &str) {
    match step {
        Step::Serve => serve(stream, file, request, "", usize::MAX),
        Step::CutAfter { n_bytes, etag } => {
            serve(
                stream,
                file,
                request,
                &format!("\r\netag: {etag}"),
                *n_bytes,
            );
        }
        Step::StallAfter(n) => {
            serve(stream, file, request, "", *n);
            // Ends when the client hangs up.
            let _ = stream.read(&mut [0]);
        }
        Step::IgnoreRange => serve(stream, file, "", "", usize::MAX),
        Step::Corrupt => {
            let mut file = file.to_vec();
            file.iter_mut()
                .for_each(|byte| *byte = byte.wrapping_add(1));
            serve(stream, &file, request, "", usize::MAX);
        }
        Step::Status(status) => head(stream, *status, "content-length: 0"),
        Step::Redirect(path) => head(
            stream,
            302,
            &format!("location: {path}\r\ncontent-length: 0"),
        ),
        Step::Range(range) => {
            head(
                stream,
                206,
                &format!("content-range: {range}\r\ncontent-length: {}", file.len()),
            );
            let _ = stream.write_all(file);
        }
        Step::Endless => {
            head(stream, 200, "x-no-length: 1");
            let mut sent = stream.write_all(file);
            while sent.is_ok() {
                sent = stream.write_all(&[0; 4096]);
            }
        }
        Step::Length(length) => head(stream, 200, &format!("content-length: {length}")),
        Step::Garbage => {
            let _ = stream.write_all(b"\x00\xff this is not HTTP\r\n\r\n");
        }
    }
}

/// The file, or the range of it that the request asks for; the body ends after `limit` bytes.
fn serve(stream: &mut TcpStream, file: &[u8], request: &str, headers: &str, limit: usize) {
    let range = request
        .lines()
        .find_map(|line| line.strip_prefix("range: bytes="));
    let first = range.and_then(|range| range.strip_suffix('-')?.parse::<usize>().ok());
    let (status, body, range) = match first {
        Some(first) if first < file.len() => {
            let range = format!(
                "\r\ncontent-range: bytes {first}-{}/{}",
                file.len() - 1,
                file.len()
            );
            (206, &file[first..], range)
        }
        _ => (200, file, String::new()),
    };
    head(
        stream,
        status,
        &format!("content-length: {}{range}{headers}", body.len()),
    );
    let _ = stream.write_all(&body[..limit.min(body.len())]);
    let _ = stream.flush();
}
