//! One HTTP request.
//!
//! In: a URL and how many bytes are there already. Out: a [`Reply`] that says at which byte its body begins,
//! or why the mirror is of no use. Owns timeouts, redirects and what may be believed of an answer's head.
//! Leaves the body to `fetch`.

use std::io::Read;

use ureq::http::{HeaderMap, Response, header};
use ureq::{Agent, Body};

use crate::get::GetOptions;

/// What went wrong at a mirror.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Problem {
    pub text: String,
    /// Whether the same mirror may do better at once.
    pub retry: bool,
    /// Whether the bytes that are there already cannot be continued.
    pub start_over: bool,
}

impl Problem {
    pub fn lasting(text: impl Into<String>) -> Self {
        Problem {
            text: text.into(),
            retry: false,
            start_over: false,
        }
    }

    pub fn passing(text: impl Into<String>) -> Self {
        Problem {
            text: text.into(),
            retry: true,
            start_over: false,
        }
    }

    pub fn start_over(text: impl Into<String>) -> Self {
        Problem {
            text: text.into(),
            retry: true,
            start_over: true,
        }
    }
}

/// An answer that carries the file, or the rest of it.
pub(super) struct Reply {
    /// Offset in the file of the body's first byte.
    pub begins_at: u64,
    /// A strong validator of this version of the file.
    pub etag: Option<String>,
    pub body: Box<dyn Read>,
}

/// What is asked of a mirror.
pub(super) struct Request<'a> {
    pub url: &'a str,
    /// Bytes that are there already.
    pub have: u64,
    /// The size of the whole file.
    pub total: u64,
    /// What the same mirror called the version of the bytes that are there.
    pub etag: Option<&'a str>,
}

pub(super) fn agent(url: &str, options: &GetOptions) -> Agent {
    let config = Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(5)
        .user_agent(concat!("onebit/", env!("CARGO_PKG_VERSION")))
        .timeout_resolve(Some(options.connect_timeout))
        .timeout_connect(Some(options.connect_timeout))
        .timeout_per_read(Some(options.stall_timeout))
        .timeout_per_write(Some(options.stall_timeout))
        .timeout_global(Some(options.total_timeout));
    // A proxy of the environment cannot reach a mirror on this very machine.
    let local = ["http://127.0.0.1", "http://localhost", "http://[::1]"];
    let config = if local.iter().any(|start| url.starts_with(start)) {
        config.proxy(None)
    } else {
        config
    };
    config.build().new_agent()
}

/// Asks for the file, or for the rest of it.
pub(super) fn send(agent: &Agent, request: &Request) -> Result<Reply, Problem> {
    // A proxy that compresses on the way would make sizes and ranges meaningless.
    let mut get = agent
        .get(request.url)
        .header(header::ACCEPT_ENCODING, "identity");
    if request.have > 0 {
        get = get.header(header::RANGE, format!("bytes={}-", request.have));
        if let Some(etag) = request.etag {
            get = get.header(header::IF_RANGE, etag);
        }
    }
    // A mirror that gives no answer at all is left for the next one; only a body that breaks off is continued.
    let response = get.call().map_err(|e| match e {
        ureq::Error::HostNotFound => {
            Problem::lasting("the host name is not known; is there a network?")
        }
        _ => Problem::lasting(e.to_string()),
    })?;
    let begins_at = begin(&response, request)?;
    let etag = strong_etag(response.headers());
    Ok(Reply {
        begins_at,
        etag,
        body: Box::new(response.into_body().into_reader()),
    })
}

/// Offset in the file of the body's first byte.
fn begin(response: &Response<Body>, request: &Request) -> Result<u64, Problem> {
    let length = number(response.headers(), header::CONTENT_LENGTH);
    match response.status().as_u16() {
        200 => match length {
            Some(found) if found != request.total => {
                let total = request.total;
                Err(Problem::lasting(format!(
                    "the file there has {found} bytes, the published one {total}"
                )))
            }
            _ => Ok(0),
        },
        206 if request.have > 0 => {
            let range = response
                .headers()
                .get(header::CONTENT_RANGE)
                .and_then(|value| value.to_str().ok());
            let range = range.unwrap_or("none");
            if is_the_rest(range, request) {
                return Ok(request.have);
            }
            let text = format!(
                "the answer to a range is the range `{}`",
                range.escape_debug()
            );
            Err(Problem::start_over(text))
        }
        416 if request.have > 0 => Err(Problem::start_over(
            "the mirror refuses to continue the file (416)",
        )),
        status => Err(Problem::lasting(format!("the mirror answered {status}"))),
    }
}

/// Whether a Content-Range is `bytes HAVE-LAST/TOTAL`.
fn is_the_rest(range: &str, request: &Request) -> bool {
    let parsed = range.strip_prefix("bytes ").and_then(|range| {
        let (range, total) = range.split_once('/')?;
        let (first, last) = range.split_once('-')?;
        Some((first.parse::<u64>().ok()?, last.parse::<u64>().ok()?, total))
    });
    parsed.is_some_and(|(first, last, total)| {
        first == request.have
            && last.checked_add(1) == Some(request.total)
            && (total == "*" || total.parse() == Ok(request.total))
    })
}

fn number(headers: &HeaderMap, name: header::HeaderName) -> Option<u64> {
    headers.get(name)?.to_str().ok()?.parse().ok()
}

/// An ETag that promises equal bytes; a weak one promises equal meaning only.
fn strong_etag(headers: &HeaderMap) -> Option<String> {
    let etag = headers.get(header::ETAG)?.to_str().ok()?;
    (!etag.starts_with("W/")).then(|| etag.to_owned())
}
