//! The Hub's client against a Hub on the loopback interface: what is downloaded is whole and right,
//! what goes wrong is told, and nothing bad stays in the cache.

use std::cell::RefCell;
use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use vlora::error::{Error, Result};
use vlora::hub::{Hub, Kind, Lockfile, Progress, Repository, Settings, Source, Token};
use vlora::spec::HubName;

use crate::common::hash::{git_sha1, sha256};
use crate::common::hub_server::{Fault, HubServer, Repo, RepoFile};

const LARGE: &str = "data/train.parquet";
const SMALL: &str = "README.md";
const ODD: &str = "data/ü #1?%20&+ x.txt";
const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// Bytes without a pattern that a shifted copy would share.
fn noise(n: usize) -> Vec<u8> {
    let mut state = 1u64;
    let mut next = || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as u8
    };
    (0..n).map(|_| next()).collect()
}

fn repo() -> Repo {
    let file = |path: &str, bytes: Vec<u8>, lfs| RepoFile { path: path.into(), bytes, lfs };
    Repo {
        id: "datasets/house/numbers".into(),
        commit: COMMIT.into(),
        branches: vec!["main".into(), "v2".into()],
        licence: Some("mit".into()),
        files: vec![
            file(SMALL, b"# Numbers\n".to_vec(), false),
            file(LARGE, noise(300_000), true),
            file(ODD, b"odd".to_vec(), false),
        ],
    }
}

/// Notes what it is told.
#[derive(Default)]
struct Told(RefCell<Vec<String>>);

impl Progress for Told {
    fn note(&self, text: &str) {
        self.0.borrow_mut().push(text.into());
    }
}

struct House {
    server: HubServer,
    cache: TempDir,
    token: Option<&'static str>,
    told: Rc<Told>,
    /// Long, but where a server stalls: a busy machine is no stalled server.
    patience: Duration,
}

const SHORT: Duration = Duration::from_millis(300);

impl House {
    fn new() -> House {
        let (cache, told) = (tempfile::tempdir().unwrap(), Rc::new(Told::default()));
        let (server, patience) = (HubServer::start(vec![repo()]), Duration::from_secs(30));
        House { server, cache, token: None, told, patience }
    }

    fn settings(&self, offline: bool) -> Settings {
        let token = |secret: &str| Token { secret: secret.into(), source: "HF_TOKEN".into() };
        Settings {
            endpoint: self.server.endpoint.clone(),
            token: self.token.map(token),
            cache: self.cache.path().to_path_buf(),
            offline,
            stalled_after: self.patience,
            back_off: Duration::from_millis(5),
        }
    }

    fn hub(&self, offline: bool, lock: Option<Lockfile>) -> Hub {
        Hub::new(self.settings(offline), lock, Rc::clone(&self.told) as Rc<dyn Progress>)
    }

    fn open(&self, name: &str) -> Result<Repository> {
        let source = Source::Hub(HubName::parse(name).unwrap());
        self.hub(false, None).open(&source, Kind::Dataset)
    }

    fn read(&self, path: &str) -> Result<Vec<u8>> {
        Ok(self.open("house/numbers")?.read(path)?.bytes.into_owned())
    }

    /// Which parts of the large file were asked for since the last look, in order.
    fn ranges(&self) -> Vec<String> {
        let requests = self.server.requests();
        let large = requests.iter().filter(|r| r.starts_with("/cdn/"));
        large.map(|r| r.split(" range=").nth(1).unwrap_or("all").to_string()).collect()
    }

    /// Every file of the cache that is called as if it were whole has the content of its name.
    fn check_cache(&self) {
        let folder = self.cache.path().join("datasets--house--numbers");
        for entry in fs::read_dir(folder.join("blobs")).into_iter().flatten() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_string();
            let bytes = fs::read(&path).unwrap();
            if !name.ends_with(".incomplete") {
                assert!([sha256(&bytes), git_sha1(&bytes)].contains(&name), "{name}");
            }
        }
        let above = self.cache.path().parent().unwrap();
        assert!(!above.join("escaped").exists());
        #[cfg(unix)]
        self.check_modes(self.cache.path());
    }

    /// A shared cache serves whom the umask lets: no file is private to its owner.
    #[cfg(unix)]
    fn check_modes(&self, folder: &Path) {
        use std::os::unix::fs::PermissionsExt;
        let plain = tempfile::tempdir().unwrap();
        fs::write(plain.path().join("file"), "").unwrap();
        fs::create_dir(plain.path().join("folder")).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode();
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            // A link may lead to what is not there.
            if let Ok(meta) = fs::metadata(&path) {
                let like = if meta.is_dir() { "folder" } else { "file" };
                assert_eq!(mode(&path), mode(&plain.path().join(like)), "{}", path.display());
            }
            if fs::symlink_metadata(&path).unwrap().is_dir() {
                self.check_modes(&path);
            }
        }
    }
}

/// The one that is wanted, of LARGE.
fn large() -> Vec<u8> {
    noise(300_000)
}

#[test]
fn files_come_whole_and_once() {
    let house = House::new();
    let repository = house.open("house/numbers@v2").unwrap();
    assert_eq!(repository.name(), "hub:house/numbers@0123456789ab");
    assert_eq!(repository.files(), [SMALL, LARGE, ODD]);
    for (path, bytes) in
        [(SMALL, b"# Numbers\n".to_vec()), (LARGE, large()), (ODD, b"odd".to_vec())]
    {
        let file = repository.read(path).unwrap();
        assert_eq!((&*file.bytes, file.sha256), (&bytes[..], sha256(&bytes)));
        assert_eq!(file.name, format!("hub:house/numbers@0123456789ab/{path}"));
    }
    assert_eq!(house.server.requests().len(), 5, "the list, three files, one of them elsewhere");
    // The next program finds all of it, under the other branch too.
    for path in [SMALL, LARGE, ODD] {
        house.read(path).unwrap();
    }
    assert!(house.server.requests().iter().all(|r| r.starts_with("/api/")));
    house.check_cache();
    // In the layout that Hugging Face's tools read.
    let folder = house.cache.path().join("datasets--house--numbers");
    assert_eq!(fs::read_to_string(folder.join("refs/v2")).unwrap(), COMMIT);
    let link = folder.join("snapshots").join(COMMIT).join(LARGE);
    let target = format!("../../../blobs/{}", sha256(&large()));
    assert_eq!(fs::read_link(link).unwrap(), Path::new(&target));
}

#[test]
fn the_token_goes_to_the_hub_and_to_no_other_host() {
    let house = House { token: Some("hf_secret"), ..House::new() };
    house.read(LARGE).unwrap();
    let requests = house.server.requests();
    let (elsewhere, hub): (Vec<_>, Vec<_>) = requests.iter().partition(|r| r.starts_with("/cdn/"));
    assert!(hub.iter().all(|r| r.ends_with("authorization=Bearer hf_secret")), "{hub:?}");
    assert!(!elsewhere.is_empty());
    assert!(elsewhere.iter().all(|r| !r.contains("secret")), "{elsewhere:?}");
}

#[test]
fn a_cut_connection_is_taken_up_where_it_ended() {
    let house = House { patience: Duration::from_secs(2), ..House::new() };
    house.server.fail("/cdn/", &[Fault::Cut(100_000), Fault::Cut(50_000), Fault::Stall(10_000)]);
    assert_eq!(house.read(LARGE).unwrap(), large());
    assert_eq!(house.ranges(), ["all", "bytes=100000-", "bytes=150000-", "bytes=160000-"]);
    house.check_cache();
}

/// What an earlier program left is gone on with, whatever it is.
#[test]
fn a_part_that_is_left_is_used_if_it_fits_and_only_then() {
    let blob = sha256(&large());
    let cases: [(&str, Vec<u8>, &[&str]); 5] = [
        ("the beginning", large()[..1234].to_vec(), &["bytes=1234-"]),
        ("all of it", large(), &[]),
        ("another beginning", vec![9; 1234], &["bytes=1234-", "all"]),
        ("more than all", vec![9; 400_000], &["all"]),
        ("another file as long", vec![9; 300_000], &["all"]),
    ];
    for (name, left, expected) in cases {
        let house = House::new();
        let blobs = house.cache.path().join("datasets--house--numbers/blobs");
        fs::create_dir_all(&blobs).unwrap();
        fs::write(blobs.join(format!("{blob}.incomplete")), left).unwrap();
        assert_eq!(house.read(LARGE).unwrap(), large(), "{name}");
        assert_eq!(house.ranges(), expected, "{name}");
        house.check_cache();
    }
    let house = House::new();
    let blobs = house.cache.path().join("datasets--house--numbers/blobs");
    fs::create_dir_all(&blobs).unwrap();
    fs::write(blobs.join(format!("{blob}.incomplete")), &large()[..99]).unwrap();
    house.server.fail("/cdn/", &[Fault::IgnoreRange]);
    assert_eq!(house.read(LARGE).unwrap(), large(), "a server that sends the whole again");
    house.check_cache();
}

#[test]
fn what_is_damaged_in_the_cache_is_got_again_or_refused() {
    let house = House::new();
    house.read(LARGE).unwrap();
    house.read(SMALL).unwrap();
    let blobs = house.cache.path().join("datasets--house--numbers/blobs");
    for path in [LARGE, SMALL] {
        let bytes = repo().files.iter().find(|f| f.path == path).unwrap().bytes.clone();
        let name = if path == LARGE { sha256(&bytes) } else { git_sha1(&bytes) };
        for damaged in [bytes[..bytes.len() - 1].to_vec(), vec![b'x'; bytes.len()], Vec::new()] {
            fs::write(blobs.join(&name), &damaged).unwrap();
            let offline = house.hub(true, None);
            let source = Source::Hub(HubName::parse("house/numbers").unwrap());
            let offline = offline.open(&source, Kind::Dataset).unwrap();
            let told = offline.read(path).unwrap_err().to_string();
            let expected = match damaged.len() == bytes.len() {
                true => "damaged in the cache",
                false => "missing or incomplete in the cache",
            };
            assert!(told.contains(expected), "{told}");
            assert_eq!(house.read(path).unwrap(), bytes);
            assert_eq!(&*offline.read(path).unwrap().bytes, &bytes[..]);
            house.check_cache();
        }
    }
}

/// A case: its name, what goes wrong, how the file is asked for.
type Case = (&'static str, fn(&HubServer), &'static str, &'static str);

const GATED: &[(&str, &str)] =
    &[("X-Error-Code", "GatedRepo"), ("X-Error-Message", "Access is restricted")];

const CASES: &[Case] = &[
    ("401", |s| s.always("/api/", Some(Fault::Status(401, &[]))), "house/numbers", LARGE),
    ("403, gated", |s| s.always("/cdn/", Some(Fault::Status(403, GATED))), "house/numbers", LARGE),
    ("404, repository", |_| {}, "house/nmubers", LARGE),
    ("404, no such owner and name", |_| {}, "zzz/qqqqqq", LARGE),
    ("404, revision", |_| {}, "house/numbers@v3", LARGE),
    ("404, file", |_| {}, "house/numbers", "data/trian.parquet"),
    (
        "404, a listed file is not there",
        |s| s.always("/resolve/", Some(Fault::Status(404, &[]))),
        "house/numbers",
        LARGE,
    ),
    (
        "403, of another kind",
        |s| s.always("/cdn/", Some(Fault::Status(403, &[]))),
        "house/numbers",
        LARGE,
    ),
    ("400", |s| s.always("/api/", Some(Fault::Status(400, &[]))), "house/numbers", LARGE),
    ("429 for ever", |s| s.always("/api/", Some(Fault::Status(429, &[]))), "house/numbers", LARGE),
    (
        "429, to wait an hour",
        |s| s.always("/api/", Some(Fault::Status(429, &[("Retry-After", "3600")]))),
        "house/numbers",
        LARGE,
    ),
    ("500 for ever", |s| s.always("/cdn/", Some(Fault::Status(500, &[]))), "house/numbers", LARGE),
    (
        "shorter, again and again",
        |s| s.always("/cdn/", Some(Fault::Cut(10))),
        "house/numbers",
        LARGE,
    ),
    ("another length", |s| s.always("/cdn/", Some(Fault::Longer(3))), "house/numbers", LARGE),
    ("without an end", |s| s.always("/cdn/", Some(Fault::Endless)), "house/numbers", LARGE),
    ("another hash", |s| s.always("/cdn/", Some(Fault::Corrupt)), "house/numbers", LARGE),
    (
        "another hash of a small file",
        |s| s.always("README", Some(Fault::Corrupt)),
        "house/numbers",
        SMALL,
    ),
    ("redirects in a circle", |s| s.always("/cdn/", Some(Fault::Circle)), "house/numbers", LARGE),
    (
        "a server that stalls",
        |s| s.always("/cdn/", Some(Fault::Stall(100))),
        "house/numbers",
        LARGE,
    ),
    ("no JSON", |s| s.always("/api/", Some(Fault::Nonsense)), "house/numbers", LARGE),
    ("a file outside", |s| rename(s, "../../../escaped"), "house/numbers", "../../../escaped"),
    ("a file at an absolute path", |s| rename(s, "/tmp/escaped"), "house/numbers", "/tmp/escaped"),
    ("a file with a backslash", |s| rename(s, "..\\escaped"), "house/numbers", "..\\escaped"),
    ("a file with a line break", |s| rename(s, "a\nb"), "house/numbers", "a\nb"),
    (
        "a commit that is none",
        |s| s.change(|repos| repos[0].commit = "../../escaped".into()),
        "house/numbers",
        LARGE,
    ),
];

fn rename(server: &HubServer, path: &'static str) {
    server.change(|repos| repos[0].files[1].path = path.into());
}

#[test]
fn every_refusal_is_reported_and_leaves_nothing_bad() {
    let mut text = String::new();
    for (name, break_it, repository, path) in CASES {
        let mut house = House::new();
        break_it(&house.server);
        if name.contains("stalls") {
            house.patience = SHORT;
        }
        let started = Instant::now();
        let told = house.open(repository).and_then(|r| r.read(path)).unwrap_err();
        assert!(started.elapsed() < Duration::from_secs(25), "{name}");
        house.patience = Duration::from_secs(30);
        let code = told.exit_code();
        let told = house.server.plain(&told.to_string());
        write!(text, "# {name} (exit code {code})\n{told}\n\n").unwrap();
        house.check_cache();
        // Mended, the next attempt finds its way.
        for part in ["/api/", "/cdn/", "/resolve/", "README"] {
            house.server.always(part, None);
        }
        house.server.change(|repos| repos[0] = repo());
        assert_eq!(house.read(LARGE).unwrap(), large(), "{name}");
        house.check_cache();
    }
    let mut refused = House::new();
    refused.token = Some("hf_old");
    refused.server.always("/api/", Some(Fault::Status(401, &[])));
    let told = refused.read(LARGE).unwrap_err().to_string();
    write!(text, "# 401 with a token\n{}\n\n", refused.server.plain(&told)).unwrap();
    refused.server.always("/api/", Some(Fault::Status(403, GATED)));
    let told = refused.read(LARGE).unwrap_err().to_string();
    write!(text, "# 403 with a token\n{}\n\n", refused.server.plain(&told)).unwrap();
    insta::assert_snapshot!(text);
}

#[test]
fn what_may_pass_is_tried_again() {
    let refusals: [&[Fault]; 4] = [
        &[Fault::Status(429, &[("Retry-After", "0")]), Fault::Status(429, &[])],
        &[Fault::Status(500, &[]), Fault::Status(503, &[])],
        &[Fault::Status(502, &[]), Fault::Status(504, &[]), Fault::Status(408, &[])],
        &[Fault::Stall(0), Fault::Cut(0)],
    ];
    for faults in refusals {
        for part in ["/api/", "/cdn/", "/resolve/"] {
            // The API's answers are not cut here, a redirect has no body to cut.
            if part != "/cdn/" && matches!(faults[0], Fault::Stall(_)) {
                continue;
            }
            let mut house = House::new();
            if matches!(faults[0], Fault::Stall(_)) {
                house.patience = Duration::from_secs(2);
            }
            house.server.fail(part, faults);
            assert_eq!(house.read(LARGE).unwrap(), large(), "{part} {faults:?}");
            assert_eq!(house.told.0.borrow().len(), faults.len(), "{part} {faults:?}");
        }
    }
    let house = House::new();
    house.server.fail("/api/", &[Fault::Status(429, &[("Retry-After", "1")])]);
    let started = Instant::now();
    house.read(SMALL).unwrap();
    assert!(started.elapsed() >= Duration::from_secs(1), "the server's wait is kept");
}

#[test]
fn a_hub_that_does_not_answer_is_reported() {
    let mut house = House::new();
    house.server.endpoint = "http://127.0.0.1:1".into();
    let told = house.read(LARGE).unwrap_err();
    assert_eq!(told.exit_code(), 1);
    let told = told.to_string();
    assert!(told.contains("given up after 5 attempts") && told.contains("--offline"), "{told}");
}

/// A server that answers nothing but 404 is asked a few times, not without end.
#[test]
fn a_server_that_knows_nothing_is_refused() {
    let house = House::new();
    house.server.always("/", Some(Fault::Status(404, &[])));
    let told = house.read(LARGE).unwrap_err();
    assert_eq!(told.exit_code(), 2, "{told}");
    assert!(told.to_string().contains("house/numbers"), "{told}");
    assert!(house.server.requests().len() < 20, "{:?}", house.server.requests());
}

fn pinned(house: &House, paths: &[&str]) -> Lockfile {
    let paths: Vec<String> = paths.iter().map(|p| p.to_string()).collect();
    let source = Source::Hub(HubName::parse("house/numbers").unwrap());
    let locked = house.open("house/numbers").unwrap().pin(&source, &paths).unwrap().unwrap();
    Lockfile::new(vec![locked])
}

#[test]
fn a_lock_pins_the_commit_and_the_content() {
    let house = House::new();
    let lock = pinned(&house, &[SMALL, LARGE]);
    let locked = &lock.repositories[0];
    assert_eq!((locked.commit.as_str(), locked.revision.as_str()), (COMMIT, "main"));
    assert_eq!(locked.licence.as_deref(), Some("mit"));
    assert_eq!(locked.files[1].sha256, sha256(&large()));
    assert_eq!(locked.files[0].git, Some(git_sha1(b"# Numbers\n")));
    let source = Source::Hub(HubName::parse("house/numbers").unwrap());
    let read = |offline, lock: &Lockfile, path: &str| {
        let repository = house.hub(offline, Some(lock.clone())).open(&source, Kind::Dataset)?;
        Ok::<_, Error>(repository.read(path)?.bytes.into_owned())
    };

    // The branch moves on; the lock stays, and asks the network nothing.
    let moved = |repos: &mut Vec<Repo>| {
        repos[0].commit = "f".repeat(40);
        repos[0].files[1].bytes = noise(10);
    };
    house.server.change(moved);
    house.server.requests();
    for offline in [false, true] {
        assert_eq!(read(offline, &lock, LARGE).unwrap(), large());
    }
    assert!(house.server.requests().is_empty());
    assert_eq!(house.read(LARGE).unwrap(), noise(10), "without the lock it is the new one");

    // What the lock does not have is not read.
    assert_eq!(lock.repositories[0].others, [ODD]);
    let told = read(false, &lock, ODD).unwrap_err().to_string();
    assert!(told.contains("the spec's lock does not pin this file"), "{told}");
    let told = read(false, &lock, "nothing").unwrap_err().to_string();
    assert!(told.contains("there is no file"), "{told}");
    let other = Source::Hub(HubName::parse("house/others@v1").unwrap());
    let told = house.hub(false, Some(lock.clone())).open(&other, Kind::Dataset).unwrap_err();
    assert!(told.to_string().contains("does not pin this dataset"), "{told}");

    // A lock that names other content.
    let mut wrong = lock.clone();
    wrong.repositories[0].files[0].sha256 = "a".repeat(64);
    let told = read(true, &wrong, SMALL).unwrap_err().to_string();
    assert!(told.contains("not the file that the lock pins"), "{told}");

    let mut wrong = lock.clone();
    wrong.repositories[0].files[1].sha256 = "a".repeat(64);
    for offline in [false, true] {
        let told = read(offline, &wrong, LARGE).unwrap_err().to_string();
        assert!(told.contains("not the file that the lock pins"), "{told}");
    }

    // Another machine has the lock alone. The server still has the commit's files.
    house.server.change(|repos| repos[0] = repo());
    fs::remove_dir_all(house.cache.path().join("datasets--house--numbers")).unwrap();
    let told = read(true, &lock, LARGE).unwrap_err().to_string();
    assert!(told.contains("the network must not be used"), "{told}");
    house.server.requests();
    assert_eq!(read(false, &lock, LARGE).unwrap(), large());
    assert!(house.server.requests().iter().all(|r| !r.starts_with("/api/")));
}

#[test]
fn faulty_locks_are_reported() {
    let house = House::new();
    let dir = tempfile::tempdir().unwrap();
    let spec = dir.path().join("a.yaml");
    let lock = pinned(&house, &[SMALL, LARGE]).to_text().unwrap();
    fs::write(dir.path().join("a.lock"), &lock).unwrap();
    assert_eq!(Lockfile::read(&spec).unwrap().unwrap().to_text().unwrap(), lock);
    assert!(Lockfile::read(&dir.path().join("b.yaml")).unwrap().is_none());
    for (from, to) in [
        ("README.md", "../README.md"),
        ("data/ü", "../data/ü"),
        ("house/numbers", "../numbers"),
        (COMMIT, "../../x"),
        ("\"version\": 1", "\"version\": 2"),
        ("\"files\"", "\"fiels\""),
        (&sha256(&large()), "../../escaped"),
        (&git_sha1(b"# Numbers\n"), "1234"),
        ("{", ""),
    ] {
        fs::write(dir.path().join("a.lock"), lock.replacen(from, to, 1)).unwrap();
        let told = Lockfile::read(&spec).unwrap_err().to_string();
        assert!(told.contains("a.lock: the lock cannot be read"), "{from}: {told}");
        assert!(told.contains("vlora fetch"), "{told}");
    }
}

#[test]
fn offline_has_what_was_fetched_and_says_what_was_not() {
    let house = House::new();
    house.read(LARGE).unwrap();
    house.server.requests();
    let hub = house.hub(true, None);
    let open = |name: &str| hub.open(&Source::Hub(HubName::parse(name).unwrap()), Kind::Dataset);
    let repository = open("house/numbers").unwrap();
    assert_eq!(repository.files(), [SMALL, LARGE, ODD], "also what was not asked for");
    let told = repository.read(ODD).unwrap_err().to_string();
    assert!(
        told.contains("missing or incomplete in the cache") && told.contains("vlora fetch"),
        "{told}"
    );
    assert_eq!(&*repository.read(LARGE).unwrap().bytes, &large()[..]);
    assert!(open(&format!("house/numbers@{COMMIT}")).is_ok());
    for (name, found) in [
        ("house/numbers@v2", "without this revision"),
        ("house/others", "nothing of the repository"),
    ] {
        let told = open(name).unwrap_err().to_string();
        assert!(told.contains(found) && told.contains("vlora fetch"), "{told}");
    }
    assert!(house.server.requests().is_empty());
}

/// A cache that another tool filled has no listing: what links to nothing is missing, not absent.
#[cfg(unix)]
#[test]
fn a_pruned_cache_is_not_taken_for_a_whole_one() {
    let house = House::new();
    house.read(LARGE).unwrap();
    house.read(SMALL).unwrap();
    let folder = house.cache.path().join("datasets--house--numbers");
    fs::remove_dir_all(folder.join("listings")).unwrap();
    fs::remove_file(folder.join("blobs").join(sha256(&large()))).unwrap();
    let source = Source::Hub(HubName::parse("house/numbers").unwrap());
    let repository = house.hub(true, None).open(&source, Kind::Dataset).unwrap();
    assert_eq!(repository.files(), [SMALL, LARGE]);
    assert!(repository.read(SMALL).is_ok());
    let told = repository.read(LARGE).unwrap_err().to_string();
    assert!(told.contains("missing or incomplete in the cache"), "{told}");
}

/// A file that shrank on the server, in a cache that holds more of it.
#[test]
fn a_range_outside_the_file_is_asked_for_no_more() {
    let house = House::new();
    house.server.fail("/cdn/", &[Fault::Cut(100_000), Fault::Status(416, &[])]);
    assert_eq!(house.read(LARGE).unwrap(), large());
    house.check_cache();
}

/// Two readers of one cache: one copy is downloaded, both have it.
#[test]
fn two_readers_download_a_file_once() {
    let house = House::new();
    house.server.always("/cdn/", Some(Fault::Slow(30_000, 20)));
    let settings = house.settings(false);
    let readers: Vec<_> = (0..2)
        .map(|_| {
            let settings = settings.clone();
            std::thread::spawn(move || {
                let hub = Hub::new(settings, None, Rc::new(vlora::hub::Silent));
                let source = Source::Hub(HubName::parse("house/numbers").unwrap());
                hub.open(&source, Kind::Dataset).unwrap().read(LARGE).unwrap().sha256
            })
        })
        .collect();
    for reader in readers {
        assert_eq!(reader.join().unwrap(), sha256(&large()));
    }
    let requests = house.server.requests();
    assert_eq!(requests.iter().filter(|r| r.starts_with("/cdn/")).count(), 1, "{requests:?}");
    house.check_cache();
}
