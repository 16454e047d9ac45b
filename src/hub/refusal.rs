//! Turns the Hub's refusals into errors that say what to do.
//!
//! The header `X-Error-Code` says why the Hub refuses; without it the status decides. The Hub gives
//! the same answer for a private repository as for one that does not exist.

use std::fmt::Display;
use std::time::Duration;

use serde::Deserialize;

use super::cache::Cached;
use super::connection::Connection;
use super::kind::Kind;
use super::names::label;
use super::request_error::RequestError;
use super::settings::Settings;
use crate::error::Fault;
use crate::spec::{HubName, nearest};

/// An answer with an error status.
pub struct ErrorResponse {
    pub status: u16,
    pub code: Option<String>,
    pub message: Option<String>,
    /// Seconds to wait, if the server asks for that.
    pub wait: Option<u64>,
    /// The address after all redirects.
    pub address: String,
}

/// The error for an answer, with advice for the user.
pub fn request_error(
    answer: &ErrorResponse,
    kind: Kind,
    name: &HubName,
    path: Option<&str>,
    connection: &Connection,
) -> RequestError {
    let settings = &connection.settings;
    let says = answer.message.as_deref().map(|m| format!(": {m}")).unwrap_or_default();
    let status = answer.status;
    match (status, answer.code.as_deref()) {
        (408 | 429 | 500..=599, _) => RequestError::Retryable {
            what: format!("HTTP {status}{says}"),
            wait: answer.wait.map(Duration::from_secs),
        },
        (_, Some("GatedRepo")) => gated(kind, name, settings),
        (_, Some("RevisionNotFound")) => no_revision(kind, name, connection),
        (_, Some("EntryNotFound")) => no_file(name, path),
        (_, Some("RepoNotFound")) => no_repository(kind, name, connection),
        (401, _) => unknown_user(name, settings, &says),
        (404, _) if path.is_some() => no_file(name, path),
        (404, _) => no_repository(kind, name, connection),
        _ => refusal(name, "the server refuses", |fault| {
            fault
                .found(format!("HTTP {status}{says}"))
                // The query may hold a signature that gives anyone access to the file.
                .context(answer.address.split('?').next().unwrap_or_default())
                .help(format!("check HF_ENDPOINT and any proxy; {}", token_help(settings)))
        }),
    }
}

/// A refusal that no retry can change, with the repository's name.
fn refusal(
    name: &HubName,
    summary: impl Display,
    more: impl FnOnce(Fault) -> Fault,
) -> RequestError {
    RequestError::Final(more(Fault::new(summary).source(label(name))).into())
}

/// Advice on the token.
fn token_help(settings: &Settings) -> String {
    match &settings.token {
        Some(token) => {
            format!("the token of {} was sent; another account may have access", token.source)
        }
        None => "set HF_TOKEN to a token of yours that may read it".into(),
    }
}

fn gated(kind: Kind, name: &HubName, settings: &Settings) -> RequestError {
    let page = match kind {
        Kind::Dataset => format!("{}/datasets/{}", settings.endpoint, name.repository),
        Kind::Model => format!("{}/{}", settings.endpoint, name.repository),
    };
    let token = match &settings.token {
        Some(token) => {
            format!("use a token of that account; the one of {} has no access", token.source)
        }
        None => "set HF_TOKEN to a token of that account".into(),
    };
    refusal(name, "its owners ask readers to accept terms first (gated)", |fault| {
        fault.help(format!("accept them at {page}, then {token}"))
    })
}

fn unknown_user(name: &HubName, settings: &Settings, says: &str) -> RequestError {
    let found = match &settings.token {
        Some(token) => format!("the token of {} is refused", token.source),
        None => "no token was sent".into(),
    };
    refusal(name, format!("the Hub requires a valid token (HTTP 401{says})"), |fault| {
        let help = "set HF_TOKEN to a valid token, or check the repository's name";
        fault.found(found).help(help)
    })
}

/// One entry of a search, or of a list of branches.
#[derive(Deserialize)]
struct Named {
    #[serde(alias = "id")]
    name: String,
}

fn no_repository(kind: Kind, name: &HubName, connection: &Connection) -> RequestError {
    let settings = &connection.settings;
    let wanted = &name.repository;
    let mut known = Cached::all(&settings.cache, kind);
    let (owner, last) = wanted.split_once('/').unwrap_or(("", wanted));
    for query in [("author", owner), ("search", last)] {
        let query = [query, ("limit", "100")];
        let found = connection.api::<Vec<Named>>(kind.plural(), &query).unwrap_or_default();
        known.extend(found.into_iter().map(|entry| entry.name));
    }
    let summary = format!("there is no such {} on the Hub, or it is private", kind.name());
    refusal(name, summary, |fault| {
        let fault = suggest(fault.found(format!("`{wanted}`")), wanted, &known);
        fault.help(token_help(settings))
    })
}

fn no_revision(kind: Kind, name: &HubName, connection: &Connection) -> RequestError {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Refs {
        branches: Vec<Named>,
        tags: Vec<Named>,
    }
    let path = format!("{}/{}/refs", kind.plural(), name.repository);
    let refs: Refs = connection.api(&path, &[]).unwrap_or_default();
    let known: Vec<String> =
        refs.branches.into_iter().chain(refs.tags).map(|entry| entry.name).collect();
    let expected = match known.len() {
        0 => "a branch, a tag or a full commit".into(),
        1..=12 => format!("one of {}, or a full commit", known.join(", ")),
        _ => format!("one of its {} branches and tags, or a full commit", known.len()),
    };
    refusal(name, "the repository has no such revision", |fault| {
        let fault = fault.found(format!("`{}`", name.revision())).expected(expected);
        suggest(fault, name.revision(), &known)
    })
}

fn no_file(name: &HubName, path: Option<&str>) -> RequestError {
    refusal(name, "there is no such file", |fault| {
        let fault = fault.found(format!("`{}`", path.unwrap_or_default()));
        fault.help("`vlora fetch` updates the list of files")
    })
}

/// Suggests the name in `known` that is most like `found`, if one is similar enough.
fn suggest(fault: Fault, found: &str, known: &[String]) -> Fault {
    let others = known.iter().map(String::as_str).filter(|n| *n != found);
    fault.did_you_mean(nearest(found, others))
}
