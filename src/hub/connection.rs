//! The connection to the Hub through hf-hub: requests with time limits, and streamed answers.
//!
//! hf-hub builds the requests (address, token, user agent, and which redirects get the token). This
//! file sends them. [`super::refusal`] interprets the answers that are errors.

use std::io::Read;

use hf_hub::api::sync::{Api, ApiBuilder, ApiRepo};
use hf_hub::{Cache, Repo};
use serde::de::DeserializeOwned;
use ureq::http::Response;
use ureq::typestate::WithoutBody;
use ureq::{Body, RequestBuilder};

use super::kind::Kind;
use super::names::label;
use super::request_error::RequestError;
use super::settings::Settings;
use crate::error::{Error, Fault, Result};
use crate::spec::HubName;

/// Bytes of an API answer that are read at most.
const LARGEST_ANSWER: u64 = 64 << 20;

/// The Hub's address, and the headers that every request has.
pub struct Connection {
    api: Api,
    pub settings: Settings,
}

impl Connection {
    pub fn new(settings: &Settings) -> Result<Connection> {
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
        Ok(Connection { api, settings: settings.clone() })
    }

    pub fn repo(&self, kind: Kind, repository: &str, revision: &str) -> ApiRepo {
        let id = repository.to_string();
        self.api.repo(Repo::with_revision(id, kind.repo_type(), revision.into()))
    }

    /// The API's answer at `path` below `/api/`. None if the request fails: the answer only
    /// improves an error message.
    pub fn api<T: DeserializeOwned>(&self, path: &str, query: &[(&str, &str)]) -> Option<T> {
        let address = format!("{}/api/{path}", self.settings.endpoint);
        let mut request = self.repo(Kind::Model, "any", "main").info_request().uri(address);
        for (key, value) in query {
            request = request.query(*key, *value);
        }
        let name = HubName { repository: path.into(), revision: None };
        let response = self.send(request, &name, None).ok()?;
        if !response.status().is_success() {
            return None;
        }
        json(response, path).ok()
    }

    /// Sends a request and follows its redirects. The answer may have an error status.
    pub fn send(
        &self,
        request: RequestBuilder<WithoutBody>,
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
        request.call().map_err(|e| self.no_answer(e, name, path))
    }

    /// The error of a request that got no answer.
    fn no_answer(&self, error: ureq::Error, name: &HubName, path: Option<&str>) -> RequestError {
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
                Fault::failed("the server redirects to an invalid address")
                    .source(subject)
                    .found(format!("{found:?}")),
            )),
            other => RequestError::retryable(self.describe(&other)),
        }
    }

    /// A network error as text.
    pub fn describe(&self, error: &ureq::Error) -> String {
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
}

pub fn header(response: &Response<Body>, name: &str) -> Option<String> {
    Some(response.headers().get(name)?.to_str().ok()?.to_string())
}

pub fn json<T: DeserializeOwned>(
    mut response: Response<Body>,
    subject: &str,
) -> std::result::Result<T, RequestError> {
    let mut bytes = Vec::new();
    let reader = response.body_mut().with_config().limit(u64::MAX).reader();
    reader
        .take(LARGEST_ANSWER + 1)
        .read_to_end(&mut bytes)
        .map_err(|e| RequestError::retryable(format!("the answer was cut: {e}")))?;
    if bytes.len() as u64 > LARGEST_ANSWER {
        return Err(RequestError::Final(Error::from(
            Fault::failed("the server's answer is too long")
                .source(subject)
                .found(format!("more than {LARGEST_ANSWER} bytes"))
                .help("check HF_ENDPOINT and any proxy"),
        )));
    }
    serde_json::from_slice(&bytes).map_err(|e| {
        RequestError::Final(Error::from(
            Fault::failed("the server's answer is not what the Hub's API gives")
                .source(subject)
                .found(e)
                .help("check HF_ENDPOINT and any proxy"),
        ))
    })
}
