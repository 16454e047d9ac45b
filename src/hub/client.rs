//! Requests to the Hub, through hf-hub: one answer or one clear error.
//!
//! hf-hub makes the requests (address, token, user agent, where a token may follow a redirect);
//! this file sends them with time limits, sends them again where that can help, and turns refusals
//! into errors. The only file that knows hf-hub's client and ureq.

use std::hash::{BuildHasher, RandomState};
use std::io::Read;
use std::thread::sleep;
use std::time::Duration;

use hf_hub::api::sync::{Api, ApiBuilder, ApiRepo};
use hf_hub::{Cache, Repo, RepoType};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::de::DeserializeOwned;
use ureq::http::Response;
use ureq::{Body, ResponseExt};

use super::refusal::{Refused, refused};
use super::settings::Settings;
use super::{Kind, Progress};
use crate::error::{Error, Fault, Result};
use crate::spec::HubName;

/// Requests for one thing, before it is given up.
pub const ATTEMPTS: u32 = 5;
/// A wait that a server asks for and gets.
const LONGEST_WAIT: Duration = Duration::from_secs(120);
/// An answer of the API is not larger.
const LONGEST_ANSWER: u64 = 64 << 20;

/// The status of a range outside its file; [`Client::file`] alone asks for ranges.
const NO_SUCH_PART: u16 = 416;

/// Everything that stands in a path's part as it is.
const PART: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

impl Kind {
    pub fn repo_type(self) -> RepoType {
        match self {
            Kind::Dataset => RepoType::Dataset,
            Kind::Model => RepoType::Model,
        }
    }

    /// As it stands in addresses and in the cache's folders.
    pub fn plural(self) -> &'static str {
        match self {
            Kind::Dataset => "datasets",
            Kind::Model => "models",
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Kind::Dataset => "dataset",
            Kind::Model => "model",
        }
    }
}

/// The Hub over the network.
pub struct Client {
    api: Api,
    pub settings: Settings,
}

/// A file's content as it comes.
pub struct Stream<R> {
    /// The byte it begins at, which need not be the one that was asked for.
    pub begins: u64,
    /// Of the whole file, where the server says so.
    pub length: Option<u64>,
    pub body: R,
}

/// Why a request failed, and whether to try again.
pub enum RequestError {
    /// Another attempt may succeed, not before the time that the server asks for.
    Retryable {
        what: String,
        wait: Option<Duration>,
    },
    Final(Error),
}

impl RequestError {
    fn retryable(what: String) -> RequestError {
        RequestError::Retryable { what, wait: None }
    }
}

impl Client {
    pub fn new(settings: &Settings) -> Result<Client> {
        let token = settings.token.as_ref().map(|token| token.secret.clone());
        let api = ApiBuilder::from_cache(Cache::new(settings.cache.clone()))
            .with_endpoint(settings.endpoint.clone())
            .with_token(token)
            .with_progress(false)
            .with_user_agent("vlora", env!("CARGO_PKG_VERSION"))
            .build()
            .map_err(|e| {
                Error::from(Fault::failed(format!("the Hub's client cannot be made: {e}")))
            })?;
        Ok(Client { api, settings: settings.clone() })
    }

    fn repo(&self, kind: Kind, repository: &str, revision: &str) -> ApiRepo {
        let id = repository.to_string();
        self.api.repo(Repo::with_revision(id, kind.repo_type(), revision.into()))
    }

    /// What the API says about a revision of a repository, its files' sizes and hashes included.
    pub fn info<T: DeserializeOwned>(
        &self,
        kind: Kind,
        name: &HubName,
        progress: &dyn Progress,
    ) -> Result<T> {
        let request = || {
            let repo = self.repo(kind, &name.repository, &encoded(name.revision()));
            let request = repo.info_request().query("blobs", "true");
            self.send(request, kind, name, None)
        };
        self.with_retries(&label(name), progress, || json(request()?, &label(name)))
    }

    /// The API's answer at `path` below `/api/`; None where there is none, since it serves only to
    /// help.
    pub fn api<T: DeserializeOwned>(&self, path: &str, query: &[(&str, &str)]) -> Option<T> {
        let address = format!("{}/api/{path}", self.settings.endpoint);
        let mut request = self.repo(Kind::Model, "any", "main").info_request().uri(address);
        for (key, value) in query {
            request = request.query(*key, *value);
        }
        let name = HubName { repository: path.into(), revision: None };
        let response = self.send(request, Kind::Model, &name, None).ok()?;
        json(response, path).ok()
    }

    /// A file's content from byte `from` on.
    pub fn file(
        &self,
        kind: Kind,
        name: &HubName,
        path: &str,
        from: u64,
    ) -> std::result::Result<Stream<impl Read + use<>>, RequestError> {
        let parts: Vec<String> = path.split('/').map(encoded).collect();
        let repo = self.repo(kind, &name.repository, &encoded(name.revision()));
        let address = repo.url(&parts.join("/"));
        let mut request = repo.info_request().uri(address).header("Accept-Encoding", "identity");
        if from > 0 {
            request = request.header("Range", format!("bytes={from}-"));
        }
        let response = self.send(request, kind, name, Some(path))?;
        if response.status() == NO_SUCH_PART {
            // The file is not as long as what is there of it: all of it, then.
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

    /// Sends a request, follows its redirects, and refuses what is no success.
    fn send(
        &self,
        request: ureq::RequestBuilder<ureq::typestate::WithoutBody>,
        kind: Kind,
        name: &HubName,
        path: Option<&str>,
    ) -> std::result::Result<Response<Body>, RequestError> {
        let limit = Some(self.settings.stalled_after);
        let request = request
            .config()
            .http_status_as_error(false)
            .timeout_resolve(limit)
            .timeout_connect(limit)
            .timeout_recv_response(limit)
            .timeout_per_read(limit)
            .save_redirect_history(true)
            .build();
        let response = request.call().map_err(|e| self.broken(e, name, path))?;
        if response.status().is_success() || response.status() == NO_SUCH_PART {
            return Ok(response);
        }
        let what = Refused {
            status: response.status().as_u16(),
            code: header(&response, "x-error-code"),
            message: header(&response, "x-error-message"),
            wait: header(&response, "retry-after").and_then(|w| w.trim().parse().ok()),
            address: response.get_uri().to_string(),
        };
        Err(refused(&what, kind, name, path, &self.settings, self))
    }

    /// A request that ended without an answer.
    fn broken(&self, error: ureq::Error, name: &HubName, path: Option<&str>) -> RequestError {
        let subject = match path {
            Some(path) => format!("{}/{path}", label(name)),
            None => label(name),
        };
        let endpoint = &self.settings.endpoint;
        match error {
            ureq::Error::TooManyRedirects => RequestError::Final(Error::from(
                Fault::failed("the server redirects in a circle")
                    .source(subject)
                    .found(format!("more than ten redirects from {endpoint}"))
                    .help("check HF_ENDPOINT and any proxy"),
            )),
            ureq::Error::BadUri(found) => RequestError::Final(Error::from(
                Fault::failed("the server redirects to what is no address")
                    .source(subject)
                    .found(format!("{found:?}")),
            )),
            other => RequestError::retryable(self.why(&other)),
        }
    }

    /// What went wrong on the way, in words.
    fn why(&self, error: &ureq::Error) -> String {
        let endpoint = &self.settings.endpoint;
        match error {
            ureq::Error::Timeout(_) => {
                let limit = self.settings.stalled_after.as_secs_f64();
                format!("no answer from {endpoint} for {limit} s (HF_HUB_DOWNLOAD_TIMEOUT)")
            }
            ureq::Error::HostNotFound => format!("the host of {endpoint} is not found"),
            other => format!("{endpoint}: {other}"),
        }
    }

    /// What broke a stream that had begun.
    pub fn cut(&self, error: std::io::Error) -> String {
        self.why(&error.into())
    }

    /// Does `work` again while its error is retryable, up to the last attempt.
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

    /// Waits before attempt `attempt + 1`, or gives up.
    pub fn wait(
        &self,
        subject: &str,
        what: &str,
        wait: Option<Duration>,
        attempt: u32,
        progress: &dyn Progress,
    ) -> Result<()> {
        let own = self.settings.back_off * 2u32.saturating_pow(attempt - 1);
        // Programs that were cut off together do not come back together.
        let random = RandomState::new().hash_one(attempt) as f64 / u64::MAX as f64;
        let own = own.mul_f64(0.75 + random / 2.0);
        let wait = wait.map_or(own, |asked| asked.max(own));
        if attempt >= ATTEMPTS || wait > LONGEST_WAIT {
            let why = match wait > LONGEST_WAIT {
                true => format!("given up, since the server asks to wait {} s", wait.as_secs()),
                false => format!("given up after {attempt} attempts"),
            };
            return Err(Fault::failed(why)
                .source(subject)
                .found(what)
                .help(
                    "the same command goes on where it was cut; --offline uses what \
                 the cache has",
                )
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

/// `hub:owner/name@revision`, as errors name it.
pub fn label(name: &HubName) -> String {
    let revision = name.revision();
    // A commit's first digits tell it apart.
    let short = if super::cache::is_commit(revision) { &revision[..12] } else { revision };
    format!("hub:{}@{short}", name.repository)
}

/// A part of a path, percent-encoded, `/` included.
fn encoded(part: &str) -> String {
    utf8_percent_encode(part, PART).to_string()
}

fn header(response: &Response<Body>, name: &str) -> Option<String> {
    Some(response.headers().get(name)?.to_str().ok()?.to_string())
}

/// First byte and whole length of `Content-Range: bytes 5-9/10`.
fn range(response: &Response<Body>) -> Option<(u64, Option<u64>)> {
    let range = header(response, "content-range")?;
    let (part, whole) = range.strip_prefix("bytes ")?.split_once('/')?;
    Some((part.split('-').next()?.parse().ok()?, whole.parse().ok()))
}

fn json<T: DeserializeOwned>(
    mut response: Response<Body>,
    subject: &str,
) -> std::result::Result<T, RequestError> {
    let mut bytes = Vec::new();
    let reader = response.body_mut().with_config().limit(LONGEST_ANSWER).reader();
    reader
        .take(LONGEST_ANSWER)
        .read_to_end(&mut bytes)
        .map_err(|e| RequestError::retryable(format!("the answer was cut: {e}")))?;
    serde_json::from_slice(&bytes).map_err(|e| {
        RequestError::Final(Error::from(
            Fault::failed("the server's answer is not what the Hub's API gives")
                .source(subject)
                .found(e)
                .help("check HF_ENDPOINT and any proxy"),
        ))
    })
}
