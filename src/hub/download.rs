//! A file of the Hub into the cache: resumed where it was cut, checked before it counts.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::time::Duration;

use super::cache::{Cached, Etag};
use super::client::{Client, Stream};
use super::kind::Kind;
use super::names::label;
use super::progress::Progress;
use super::request_error::RequestError;
use crate::error::{Error, Fault, Result};
use crate::spec::HubName;

/// A stream that brought this much before it was cut does not count as an attempt, however often.
const WORTH_GOING_ON: u64 = 1 << 16;

/// What is wanted: a file of a repository at a commit.
pub struct Wanted<'a> {
    pub kind: Kind,
    /// Its revision is the commit.
    pub name: &'a HubName,
    pub path: &'a str,
    pub size: u64,
    pub etag: &'a Etag,
}

impl Wanted<'_> {
    fn label(&self) -> String {
        format!("{}/{}", label(self.name), self.path)
    }
}

/// Makes the file's blob, unless it is there whole, and the snapshot's link to it. Another program
/// that is at it is waited for, and its work used.
pub fn download(
    client: &Client,
    cached: &Cached,
    wanted: &Wanted,
    progress: &dyn Progress,
) -> Result<()> {
    let blob = cached.blob(wanted.etag);
    let _lock = cached.lock(wanted.etag, || {
        progress.note(&format!("{}: another program downloads it; waiting", wanted.label()));
    })?;
    if !is_whole(cached, wanted) {
        progress.start(wanted.path, wanted.size);
        let part = cached.incomplete(wanted.etag);
        fill(client, cached, wanted, progress)?;
        fs::rename(&part, &blob).map_err(|e| Error::io("renaming", &part, e))?;
        if let Some(folder) = blob.parent() {
            let synced = File::open(folder).and_then(|f| f.sync_all());
            synced.map_err(|e| Error::io("syncing", folder, e))?;
        }
        progress.done(wanted.path);
    }
    cached.link(wanted.name.revision(), wanted.path, wanted.etag)
}

/// Whether the blob is there with the right content.
fn is_whole(cached: &Cached, wanted: &Wanted) -> bool {
    let blob = cached.blob(wanted.etag);
    let right_size = fs::metadata(&blob).is_ok_and(|m| m.len() == wanted.size);
    right_size && wanted.etag.of_file(&blob).is_ok_and(|hash| hash == wanted.etag.text())
}

/// Brings the incomplete file to its whole, checked content, synced.
fn fill(client: &Client, cached: &Cached, wanted: &Wanted, progress: &dyn Progress) -> Result<()> {
    let part = cached.incomplete(wanted.etag);
    let failed = |e| Error::io("writing", &part, e);
    let file = OpenOptions::new().read(true).append(true).create(true).open(&part);
    let mut file = file.map_err(|e| Error::io("opening", &part, e))?;
    let (mut attempt, mut fresh, mut furthest) = (1, false, 0);
    loop {
        let mut have = file.metadata().map_err(failed)?.len();
        if have > wanted.size {
            file.set_len(0).map_err(failed)?;
            have = 0;
        }
        fresh |= have == 0;
        furthest = furthest.max(have);
        let trouble = match have == wanted.size {
            true => None,
            false => stream(client, wanted, &mut file, have, progress)?,
        };
        let now = file.metadata().map_err(failed)?.len();
        if trouble.is_none() && now == wanted.size {
            file.sync_all().map_err(failed)?;
            let hash = wanted.etag.of_file(&part).map_err(failed)?;
            if hash == wanted.etag.text() {
                return Ok(());
            }
            // What was resumed may have been of another download: once more, from nothing.
            let _ = file.set_len(0);
            if fresh {
                let _ = fs::remove_file(&part);
                return Err(wrong_hash(wanted, &hash));
            }
            continue;
        }
        // A server that begins anew each time gets no further and no more attempts.
        if now.saturating_sub(furthest) >= WORTH_GOING_ON {
            attempt = 1;
        }
        let (what, wait) = trouble.unwrap_or_else(|| {
            (format!("the connection was cut at byte {now} of {}", wanted.size), None)
        });
        client.wait(&wanted.label(), &what, wait, attempt, progress)?;
        attempt += 1;
    }
}

/// Why a stream ended early, and how long the server asks to wait before the next.
type EndedEarly = (String, Option<Duration>);

/// Appends what one request brings. Some: what ended it too early. Errors where another request
/// would end the same.
fn stream(
    client: &Client,
    wanted: &Wanted,
    file: &mut File,
    have: u64,
    progress: &dyn Progress,
) -> Result<Option<EndedEarly>> {
    let failed =
        |e| Error::from(Fault::failed(format!("cannot be written: {e}")).source(wanted.label()));
    let answer = client.file(wanted.kind, wanted.name, wanted.path, have);
    let Stream { begins, length, mut body } = match answer {
        Ok(answer) => answer,
        Err(RequestError::Final(error)) => return Err(error),
        Err(RequestError::Retryable { what, wait }) => return Ok(Some((what, wait))),
    };
    if let Some(length) = length.filter(|length| *length != wanted.size) {
        file.set_len(0).map_err(failed)?;
        return Err(wrong_length(wanted, &format!("{length} bytes")));
    }
    let mut have = have;
    if begins != have {
        // The server begins elsewhere, most likely at the start.
        file.set_len(0).map_err(failed)?;
        have = 0;
        if begins != 0 {
            return Ok(Some((format!("the server began at byte {begins}"), None)));
        }
    }
    progress.at(wanted.path, have);
    let mut buffer = vec![0; 1 << 16];
    loop {
        let n = match body.read(&mut buffer) {
            Ok(0) => return Ok(None),
            Ok(n) => n,
            Err(e) if e.kind() == ErrorKind::Interrupted => continue,
            Err(e) => return Ok(Some((client.cut(e), None))),
        };
        have += n as u64;
        if have > wanted.size {
            file.set_len(0).map_err(failed)?;
            return Err(wrong_length(wanted, &format!("more than {} bytes", wanted.size)));
        }
        file.write_all(&buffer[..n]).map_err(failed)?;
        progress.at(wanted.path, have);
    }
}

fn wrong_length(wanted: &Wanted, found: &str) -> Error {
    Error::from(
        Fault::failed("the server sends another length than the Hub's list has")
            .source(wanted.label())
            .found(found)
            .expected(format!("{} bytes", wanted.size))
            .help("try again; a proxy or mirror may hold another file"),
    )
}

fn wrong_hash(wanted: &Wanted, hash: &str) -> Error {
    let kind = wanted.etag.kind();
    Error::from(
        Fault::failed("the content is not what the Hub's list has; it was thrown away")
            .source(wanted.label())
            .found(format!("{kind} {hash}"))
            .expected(format!("{kind} {}", wanted.etag.text()))
            .help("try again; a proxy or mirror may have changed it"),
    )
}
