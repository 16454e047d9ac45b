//! Requests to the Hub: one answer or one clear error.
//!
//! A request is retried if that can help. A refusal becomes an error that says what to do.

use std::hash::{BuildHasher, RandomState};
use std::io::Read;
use std::thread::sleep;
use std::time::Duration;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::de::DeserializeOwned;
use ureq::http::Response;
use ureq::typestate::WithoutBody;
use ureq::{Body, RequestBuilder, ResponseExt};

use super::connection::{Connection, header, json};
use super::kind::Kind;
use super::names::label;
use super::progress::Progress;
use super::refusal::{ErrorResponse, request_error};
use super::request_error::RequestError;
use super::settings::Settings;
use crate::error::{Fault, Result};
use crate::spec::HubName;

/// Attempts for one request before it fails.
pub const ATTEMPTS: u32 = 5;
/// The program gives up if a server asks for a longer wait.
const LONGEST_WAIT: Duration = Duration::from_secs(120);

/// The status of a range outside its file. Only [`Client::file`] requests ranges.
const RANGE_NOT_SATISFIABLE: u16 = 416;

/// Characters of a path segment that are percent-encoded.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The Hub over the network.
pub struct Client {
    connection: Connection,
}

/// A file's content, read while it arrives.
pub struct Stream<R> {
    /// The byte at which the content begins. A server may ignore the requested range.
    pub begins: u64,
    /// Bytes of the whole file, if the server reports them.
    pub length: Option<u64>,
    pub body: R,
}

impl Client {
    pub fn new(settings: &Settings) -> Result<Client> {
        Ok(Client { connection: Connection::new(settings)? })
    }

    pub fn settings(&self) -> &Settings {
        &self.connection.settings
    }

    /// The API's answer about a revision of a repository, with the sizes and hashes of its files.
    pub fn info<T: DeserializeOwned>(
        &self,
        kind: Kind,
        name: &HubName,
        progress: &dyn Progress,
    ) -> Result<T> {
        let request = || {
            let repo = self.connection.repo(kind, &name.repository, &encoded(name.revision()));
            let request = repo.info_request().query("blobs", "true");
            self.send(request, kind, name, None)
        };
        self.with_retries(&label(name), progress, || json(request()?, &label(name)))
    }

    /// A file's content from byte `from` to the end.
    pub fn file(
        &self,
        kind: Kind,
        name: &HubName,
        path: &str,
        from: u64,
    ) -> std::result::Result<Stream<impl Read + use<>>, RequestError> {
        let parts: Vec<String> = path.split('/').map(encoded).collect();
        let repo = self.connection.repo(kind, &name.repository, &encoded(name.revision()));
        let address = repo.url(&parts.join("/"));
        let mut request = repo.info_request().uri(address).header("Accept-Encoding", "identity");
        if from > 0 {
            request = request.header("Range", format!("bytes={from}-"));
        }
        let response = self.send(request, kind, name, Some(path))?;
        if response.status() == RANGE_NOT_SATISFIABLE {
            // The file is shorter than the part on disk, so it is requested from the start.
            return match from {
                0 => Err(RequestError::retryable("HTTP 416".into())),
                _ => self.file(kind, name, path, 0),
            };
        }
        let (begins, length) = match response.status().as_u16() {
            206 => range(&response).ok_or_else(|| {
                RequestError::retryable("a part of the file was sent without saying which".into())
            })?,
            _ => (0, header(&response, "content-length").and_then(|n| n.parse().ok())),
        };
        Ok(Stream { begins, length, body: response.into_body().into_reader() })
    }

    /// Sends a request and follows its redirects. Errors unless the status is a success or 416.
    fn send(
        &self,
        request: RequestBuilder<WithoutBody>,
        kind: Kind,
        name: &HubName,
        path: Option<&str>,
    ) -> std::result::Result<Response<Body>, RequestError> {
        let response = self.connection.send(request, name, path)?;
        if response.status().is_success() || response.status() == RANGE_NOT_SATISFIABLE {
            return Ok(response);
        }
        let answer = ErrorResponse {
            status: response.status().as_u16(),
            code: header(&response, "x-error-code"),
            message: header(&response, "x-error-message"),
            wait: header(&response, "retry-after").and_then(|w| w.trim().parse().ok()),
            address: response.get_uri().to_string(),
        };
        Err(request_error(&answer, kind, name, path, &self.connection))
    }

    /// The reason why a stream broke off, as text.
    pub fn describe(&self, error: std::io::Error) -> String {
        self.connection.describe(&error.into())
    }

    /// Repeats `work` while its error is retryable, up to [`ATTEMPTS`] times.
    pub fn with_retries<T>(
        &self,
        subject: &str,
        progress: &dyn Progress,
        mut work: impl FnMut() -> std::result::Result<T, RequestError>,
    ) -> Result<T> {
        let mut attempt = 1;
        loop {
            match work() {
                Ok(value) => return Ok(value),
                Err(RequestError::Final(error)) => return Err(error),
                Err(RequestError::Retryable { what, wait }) => {
                    self.wait(subject, &what, wait, attempt, progress)?;
                    attempt += 1;
                }
            }
        }
    }

    /// Waits before attempt `attempt + 1`. Errors if there is none.
    pub fn wait(
        &self,
        subject: &str,
        what: &str,
        wait: Option<Duration>,
        attempt: u32,
        progress: &dyn Progress,
    ) -> Result<()> {
        let back_off = self.settings().back_off * 2u32.saturating_pow(attempt - 1);
        // Random, so that programs that lost the server together do not retry together.
        let random = RandomState::new().hash_one(attempt) as f64 / u64::MAX as f64;
        let back_off = back_off.mul_f64(0.75 + random / 2.0);
        let wait = wait.map_or(back_off, |asked| asked.max(back_off));
        if attempt >= ATTEMPTS || wait > LONGEST_WAIT {
            let why = match wait > LONGEST_WAIT {
                true => format!("given up, since the server asks to wait {} s", wait.as_secs()),
                false => format!("given up after {attempt} attempts"),
            };
            return Err(Fault::failed(why)
                .source(subject)
                .found(what)
                .help("run the same command again to resume; --offline uses only the cache")
                .into());
        }
        let seconds = wait.as_secs_f64();
        progress.note(&format!(
            "{subject}: {what}; trying again in {seconds:.1} s ({attempt} of {ATTEMPTS})"
        ));
        sleep(wait);
        Ok(())
    }
}

/// A path segment, percent-encoded; `/` is encoded too.
fn encoded(segment: &str) -> String {
    utf8_percent_encode(segment, SEGMENT).to_string()
}

/// First byte and total length from a header such as `Content-Range: bytes 5-9/10`.
fn range(response: &Response<Body>) -> Option<(u64, Option<u64>)> {
    let range = header(response, "content-range")?;
    let (part, whole) = range.strip_prefix("bytes ")?.split_once('/')?;
    Some((part.split('-').next()?.parse().ok()?, whole.parse().ok()))
}
