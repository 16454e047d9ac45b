//! A small Hub on the loopback interface: its API and its files, over real sockets, with faults on
//! request.

use std::collections::{BTreeMap, VecDeque};
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use serde_json::json;

use super::hash::{git_sha1, sha256};

/// A repository as the server has it.
#[derive(Clone, Debug)]
pub struct Repo {
    /// `datasets/owner/name` or `owner/name`.
    pub id: String,
    pub commit: String,
    pub branches: Vec<String>,
    pub licence: Option<String>,
    pub files: Vec<RepoFile>,
}

#[derive(Clone, Debug)]
pub struct RepoFile {
    pub path: String,
    pub bytes: Vec<u8>,
    /// Stored as LFS: named by its SHA-256 and sent from another address.
    pub lfs: bool,
}

impl Repo {
    fn is_at(&self, revision: &str) -> bool {
        self.commit == revision || self.branches.iter().any(|b| b == revision)
    }
}

/// What goes wrong with one request.
#[derive(Clone, Debug, PartialEq)]
pub enum Fault {
    /// A status, with headers.
    Status(u16, &'static [(&'static str, &'static str)]),
    /// The body ends after so many bytes, the connection with it.
    Cut(usize),
    /// The content with its last byte changed.
    Corrupt,
    /// Other content of another length, announced as such.
    Longer(usize),
    /// More bytes than the list has, of a length that is not announced.
    Endless,
    /// Nothing is sent any more after so many bytes.
    Stall(usize),
    /// To the same address.
    Circle,
    /// The whole file, whatever part was asked for.
    IgnoreRange,
    /// So many bytes, then a pause of milliseconds, again and again.
    Slow(usize, u64),
    /// An answer that is no JSON.
    Nonsense,
}

#[derive(Default)]
struct State {
    repos: Vec<Repo>,
    /// By what the request's address contains: the faults of the next requests.
    faults: BTreeMap<String, VecDeque<Fault>>,
    /// By what it contains: the fault of every request.
    always: BTreeMap<String, Fault>,
    /// First lines and interesting headers of the requests, in order.
    requests: Vec<String>,
}

pub struct HubServer {
    pub endpoint: String,
    port: u16,
    state: Arc<Mutex<State>>,
}

impl HubServer {
    pub fn start(repos: Vec<Repo>) -> HubServer {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(Mutex::new(State { repos, ..State::default() }));
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&shared);
                // A client that goes away ends its thread only.
                thread::spawn(move || drop(serve(stream, port, &shared)));
            }
        });
        HubServer { endpoint: format!("http://127.0.0.1:{port}"), port, state }
    }

    /// The next requests whose address contains `part` get these faults, one each.
    pub fn fail(&self, part: &str, faults: &[Fault]) {
        let mut state = self.state.lock().unwrap();
        state.faults.entry(part.into()).or_default().extend(faults.iter().cloned());
    }

    /// Every request whose address contains `part` gets this fault; None ends that.
    pub fn always(&self, part: &str, fault: Option<Fault>) {
        let mut state = self.state.lock().unwrap();
        match fault {
            Some(fault) => state.always.insert(part.into(), fault),
            None => state.always.remove(part),
        };
    }

    pub fn change(&self, change: impl FnOnce(&mut Vec<Repo>)) {
        change(&mut self.state.lock().unwrap().repos);
    }

    /// The requests so far, which are forgotten.
    pub fn requests(&self) -> Vec<String> {
        std::mem::take(&mut self.state.lock().unwrap().requests)
    }

    /// A text without the port, which differs from test to test.
    pub fn plain(&self, text: &str) -> String {
        text.replace(&self.port.to_string(), "PORT")
    }
}

struct Request {
    /// Path and query.
    target: String,
    headers: BTreeMap<String, String>,
}

fn read(stream: &TcpStream) -> Option<Request> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let target = line.split(' ').nth(1)?.to_string();
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let line = line.trim_end();
        if line.is_empty() {
            return Some(Request { target, headers });
        }
        let (name, value) = line.split_once(": ")?;
        headers.insert(name.to_lowercase(), value.to_string());
    }
}

fn serve(stream: TcpStream, port: u16, state: &Mutex<State>) -> std::io::Result<()> {
    let Some(request) = read(&stream) else { return Ok(()) };
    let (repos, fault) = {
        let mut state = state.lock().unwrap();
        let noted = ["range", "authorization"].map(|name| {
            request.headers.get(name).map(|v| format!(" {name}={v}")).unwrap_or_default()
        });
        state.requests.push(format!("{}{}", request.target, noted.concat()));
        let queued = state.faults.iter_mut().find(|(part, _)| request.target.contains(*part));
        let queued = queued.and_then(|(_, faults)| faults.pop_front());
        let always = state.always.iter().find(|(part, _)| request.target.contains(*part));
        let fault = queued.or_else(|| always.map(|(_, fault)| fault.clone()));
        (state.repos.clone(), fault)
    };
    answer(stream, port, &request, &repos, fault)
}

fn answer(
    mut stream: TcpStream,
    port: u16,
    request: &Request,
    repos: &[Repo],
    fault: Option<Fault>,
) -> std::io::Result<()> {
    match &fault {
        Some(Fault::Status(status, headers)) => {
            let headers: String = headers.iter().map(|(k, v)| format!("{k}: {v}\r\n")).collect();
            return write!(
                stream,
                "HTTP/1.1 {status} X\r\nConnection: close\r\n{headers}Content-Length: 2\r\n\r\n{{}}"
            );
        }
        Some(Fault::Circle) => {
            return redirect(&mut stream, &format!("http://127.0.0.1:{port}{}", request.target));
        }
        Some(Fault::Nonsense) => return send(&mut stream, "200 OK", "", b"<html>login</html>"),
        _ => {}
    }
    let path = decoded(request.target.split('?').next().unwrap_or_default());
    if let Some(rest) = path.strip_prefix("/api/") {
        return api(&mut stream, rest, &request.target, repos);
    }
    if let Some(etag) = path.strip_prefix("/cdn/") {
        let all = repos.iter().flat_map(|r| &r.files);
        let file = all.into_iter().find(|f| sha256(&f.bytes) == etag);
        return match file {
            Some(file) => content(stream, request, file, fault),
            None => refuse(&mut stream, 404, "EntryNotFound"),
        };
    }
    for repo in repos {
        let prefix = format!("/{}/resolve/", repo.id);
        let asked = path.strip_prefix(&prefix).and_then(|rest| rest.split_once('/'));
        let Some((_, path)) = asked.filter(|(revision, _)| repo.is_at(revision)) else { continue };
        return match repo.files.iter().find(|f| f.path == path) {
            // As the Hub: large files come from another host, which must not see the token.
            Some(file) if file.lfs => {
                let etag = sha256(&file.bytes);
                redirect(&mut stream, &format!("http://localhost:{port}/cdn/{etag}"))
            }
            Some(file) => content(stream, request, file, fault),
            None => refuse(&mut stream, 404, "EntryNotFound"),
        };
    }
    refuse(&mut stream, 404, "RepoNotFound")
}

fn api(stream: &mut TcpStream, rest: &str, target: &str, repos: &[Repo]) -> std::io::Result<()> {
    // The model's identifier stands without its kind everywhere but here.
    let rest = rest.strip_prefix("models/").unwrap_or(rest);
    if let Some((_, query)) = target.split_once('?').filter(|_| !rest.contains('/')) {
        let query = query.split('&').next().unwrap_or_default();
        let names = repos.iter().map(|r| r.id.trim_start_matches("datasets/"));
        let found = names.filter(|name| match query.split_once('=') {
            Some(("author", owner)) => name.starts_with(&format!("{owner}/")),
            Some(("search", part)) => name.contains(part),
            _ => false,
        });
        let found: Vec<_> = found.map(|id| json!({"id": id})).collect();
        return send(stream, "200 OK", "", json!(found).to_string().as_bytes());
    }
    let mut known = false;
    for repo in repos {
        let Some(rest) = rest.strip_prefix(&format!("{}/", repo.id)) else { continue };
        known = true;
        if rest == "refs" {
            let branches: Vec<_> = repo.branches.iter().map(|b| json!({"name": b})).collect();
            let refs = json!({"branches": branches, "tags": []}).to_string();
            return send(stream, "200 OK", "", refs.as_bytes());
        }
        let Some(revision) = rest.strip_prefix("revision/") else { continue };
        if !repo.is_at(revision) {
            continue;
        }
        let siblings: Vec<_> = repo
            .files
            .iter()
            .map(|f| {
                let lfs =
                    json!({"sha256": sha256(&f.bytes), "size": f.bytes.len(), "pointerSize": 1});
                json!({
                    "rfilename": f.path,
                    "size": f.bytes.len(),
                    "blobId": git_sha1(&f.bytes),
                    "lfs": if f.lfs { lfs } else { serde_json::Value::Null },
                })
            })
            .collect();
        let mut info = json!({"id": repo.id, "sha": repo.commit, "siblings": siblings});
        if let Some(licence) = &repo.licence {
            info["cardData"] = json!({"license": licence});
        }
        return send(stream, "200 OK", "", info.to_string().as_bytes());
    }
    refuse(stream, 404, if known { "RevisionNotFound" } else { "RepoNotFound" })
}

fn redirect(stream: &mut TcpStream, to: &str) -> std::io::Result<()> {
    let headers = format!("Location: {to}\r\n");
    send(stream, "302 Found", &headers, b"")
}

fn refuse(stream: &mut TcpStream, status: u16, code: &str) -> std::io::Result<()> {
    let headers = format!("X-Error-Code: {code}\r\n");
    send(stream, &format!("{status} X"), &headers, b"{}")
}

fn send(stream: &mut TcpStream, status: &str, headers: &str, body: &[u8]) -> std::io::Result<()> {
    let length = body.len();
    write!(
        stream,
        "HTTP/1.1 {status}\r\nConnection: close\r\n{headers}Content-Length: {length}\r\n\r\n"
    )?;
    stream.write_all(body)
}

/// A file, or the part of it that is asked for, with what goes wrong.
fn content(
    mut stream: TcpStream,
    request: &Request,
    file: &RepoFile,
    fault: Option<Fault>,
) -> std::io::Result<()> {
    let mut bytes = file.bytes.clone();
    match &fault {
        Some(Fault::Corrupt) => *bytes.last_mut().unwrap() ^= 1,
        Some(Fault::Longer(more)) => bytes.resize(bytes.len() + more, 7),
        _ => {}
    }
    let range = request.headers.get("range").filter(|_| fault != Some(Fault::IgnoreRange));
    let from = range.and_then(|r| r.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok());
    let whole = bytes.len();
    let rest = &bytes[from.unwrap_or(0).min(whole)..];
    let (status, mut headers) = match from {
        Some(from) => {
            let range = format!("Content-Range: bytes {from}-{}/{whole}\r\n", whole - 1);
            ("206 Partial Content", range)
        }
        None => ("200 OK", String::new()),
    };
    if fault != Some(Fault::Endless) {
        headers += &format!("Content-Length: {}\r\n", rest.len());
    }
    write!(stream, "HTTP/1.1 {status}\r\nConnection: close\r\n{headers}\r\n")?;
    match fault {
        Some(Fault::Cut(n)) => stream.write_all(&rest[..n.min(rest.len())]),
        Some(Fault::Stall(n)) => {
            stream.write_all(&rest[..n.min(rest.len())])?;
            stream.flush()?;
            thread::sleep(Duration::from_secs(60));
            Ok(())
        }
        Some(Fault::Slow(n, pause)) => {
            for chunk in rest.chunks(n) {
                stream.write_all(chunk)?;
                stream.flush()?;
                thread::sleep(Duration::from_millis(pause));
            }
            Ok(())
        }
        Some(Fault::Endless) => {
            stream.write_all(rest)?;
            stream.write_all(b"and more")
        }
        _ => stream.write_all(rest),
    }
}

/// Percent-encoding undone.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(b) = rest.next() {
        if b == b'%' {
            let digits: Vec<u8> = rest.by_ref().take(2).collect();
            let digits = String::from_utf8(digits).unwrap();
            bytes.push(u8::from_str_radix(&digits, 16).unwrap());
        } else {
            bytes.push(b);
        }
    }
    String::from_utf8(bytes).unwrap()
}
