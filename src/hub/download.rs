//! Downloads a file of the Hub into the cache. An interrupted download is resumed, and the content
//! is checked before the file gets its final name.

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

/// An interrupted stream that brought at least this many new bytes does not count as an attempt.
const MIN_PROGRESS: u64 = 1 << 16;

/// A file to download, of a repository at a commit.
pub struct Wanted<'a> {
    pub kind: Kind,
    /// The repository, with the commit as its revision.
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

/// Downloads the file's blob unless the cache already has it, and links the snapshot to it. If
/// another program is downloading the blob, this waits and uses its result.
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

/// Whether the cache has the blob with the right content.
fn is_whole(cached: &Cached, wanted: &Wanted) -> bool {
    let blob = cached.blob(wanted.etag);
    let right_size = fs::metadata(&blob).is_ok_and(|m| m.len() == wanted.size);
    right_size && wanted.etag.of_file(&blob).is_ok_and(|hash| hash == wanted.etag.text())
}

/// Downloads into the incomplete file until it is complete, then checks its hash and syncs it.
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
        let ended_early = match have == wanted.size {
            true => None,
            false => stream(client, wanted, &mut file, have, progress)?,
        };
        let now = file.metadata().map_err(failed)?.len();
        if ended_early.is_none() && now == wanted.size {
            file.sync_all().map_err(failed)?;
            let hash = wanted.etag.of_file(&part).map_err(failed)?;
            if hash == wanted.etag.text() {
                return Ok(());
            }
            // The resumed part may have been wrong: download everything once more.
            let _ = file.set_len(0);
            if fresh {
                let _ = fs::remove_file(&part);
                return Err(wrong_hash(wanted, &hash));
            }
            continue;
        }
        // A server that starts from byte 0 each time makes no progress and uses up the attempts.
        if now.saturating_sub(furthest) >= MIN_PROGRESS {
            attempt = 1;
        }
        let (what, wait) = ended_early.unwrap_or_else(|| {
            (format!("the connection was cut at byte {now} of {}", wanted.size), None)
        });
        client.wait(&wanted.label(), &what, wait, attempt, progress)?;
        attempt += 1;
    }
}

/// Why a stream ended early, and how long the server asks to wait before the next request.
type EndedEarly = (String, Option<Duration>);

/// Sends one request and appends its content to the file. Returns why the stream ended early, or
/// None if it did not. Errors if another request would fail in the same way.
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
        // The server ignored the range, and most likely sends the whole file.
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
            Err(e) => return Ok(Some((client.describe(e), None))),
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
        Fault::failed("the file's size differs from the Hub's list")
            .source(wanted.label())
            .found(found)
            .expected(format!("{} bytes", wanted.size))
            .help("try again; a proxy or mirror may hold another file"),
    )
}

fn wrong_hash(wanted: &Wanted, hash: &str) -> Error {
    let kind = wanted.etag.kind();
    Error::from(
        Fault::failed("the content differs from the Hub's list; it was discarded")
            .source(wanted.label())
            .found(format!("{kind} {hash}"))
            .expected(format!("{kind} {}", wanted.etag.text()))
            .help("try again; a proxy or mirror may have changed it"),
    )
}
