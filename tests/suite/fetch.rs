//! `vlora fetch` and what follows it, as a user has them: the real binary, a Hub on the loopback
//! interface, and programs that are killed.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::common::checkpoints::fixture;
use crate::common::data;
use crate::common::hash::sha256;
use crate::common::hub_server::{Fault, HubServer, Repo, RepoFile};
use crate::common::program::{Ran, command};
use crate::common::results::{evidence, json, run_folders, run_of};
use crate::common::spec::{Spec, TINY};

const COMMIT: &str = "89abcdef0123456789abcdef0123456789abcdef";

fn embedded(split: &str) -> Vec<u8> {
    fs::read(data::embedded(split)).unwrap()
}

/// The embedded images as a dataset of the Hub.
fn repo() -> Repo {
    let file = |split: &str| RepoFile {
        path: format!("data/{split}-00000-of-00001.parquet"),
        bytes: embedded(split),
        lfs: true,
    };
    let card = RepoFile {
        path: "README.md".into(),
        bytes: b"---\nlicense: mit\n---\n# Mini\n".to_vec(),
        lfs: false,
    };
    Repo {
        id: "datasets/house/mini".into(),
        commit: COMMIT.into(),
        branches: vec!["main".into()],
        licence: Some("mit".into()),
        files: vec![card, file("test"), file("train"), file("validation")],
    }
}

struct Place {
    server: HubServer,
    dir: TempDir,
}

impl Place {
    fn new() -> Place {
        let place =
            Place { server: HubServer::start(vec![repo()]), dir: tempfile::tempdir().unwrap() };
        let spec = Spec::tiny().without("data.embedded").set("data.hub=house/mini");
        fs::write(place.dir.path().join("tiny.yaml"), spec.text()).unwrap();
        fs::write(place.dir.path().join("embedded.yaml"), TINY).unwrap();
        place
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = command(self.dir.path());
        // Nothing of the user's.
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy().to_uppercase();
            if text.starts_with("HF_") || text.starts_with("HUGGING") || text.ends_with("_PROXY") {
                command.env_remove(name);
            }
        }
        command
            .env("HF_ENDPOINT", &self.server.endpoint)
            .env("HF_HOME", self.dir.path().join("hf"))
            .env("VLORA_CACHE", self.dir.path().join("cache"))
            .args(args)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    fn vlora(&self, args: &[&str]) -> (i32, String, String) {
        told(self.command(args).output().unwrap())
    }

    /// The repository in the cache.
    fn cached(&self) -> std::path::PathBuf {
        self.dir.path().join("hf/hub/datasets--house--mini")
    }

    fn check_cache(&self) {
        for split in ["test", "train", "validation"] {
            let path = format!("data/{split}-00000-of-00001.parquet");
            let at = self.cached().join("snapshots").join(COMMIT).join(path);
            assert_eq!(sha256(&fs::read(at).unwrap()), sha256(&embedded(split)));
        }
        let blobs = fs::read_dir(self.cached().join("blobs")).unwrap();
        let names = blobs.map(|b| b.unwrap().file_name().into_string().unwrap());
        let left: Vec<String> = names.filter(|n| n.ends_with(".incomplete")).collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

fn told(output: Output) -> (i32, String, String) {
    let Ran { code, out, err } = Ran::of(output);
    (code, out, err)
}

#[test]
fn runs_are_the_same_online_offline_and_on_embedded_images() {
    let place = Place::new();
    let (code, out, err) = place.vlora(&["fetch", "tiny.yaml", "embedded.yaml"]);
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("hub:house/mini@main") && out.contains("89abcdef0123"), "{out}");
    assert!(out.contains("mit") && out.contains("embedded:fashion-mnist-mini"), "{out}");
    assert!(err.contains("wrote tiny.lock") && !err.contains("embedded.lock"), "{err}");
    place.check_cache();

    let path = place.dir.path();
    for (args, out) in [
        (&["run", "tiny.yaml", "-q", "--out", "online"][..], "online"),
        (&["run", "embedded.yaml", "-q", "--out", "inside"], "inside"),
    ] {
        let (code, _, err) = place.vlora(args);
        assert_eq!((code, err.as_str()), (0, ""), "{out}");
    }
    // The network is refused: nothing listens where the Hub is said to be.
    place.server.requests();
    let offline = place
        .command(&["run", "tiny.yaml", "-q", "--offline", "--out", "offline"])
        .env("HF_ENDPOINT", "http://127.0.0.1:1")
        .output()
        .unwrap();
    let (code, _, err) = told(offline);
    assert_eq!((code, err.as_str()), (0, ""));
    assert!(place.server.requests().is_empty());
    let online = evidence(&path.join("online/tiny"));
    assert_eq!(online.len(), 8);
    assert!(online == evidence(&path.join("offline/tiny")), "offline, in the same bits");
    assert!(online == evidence(&path.join("inside/tiny")), "and wherever the files are from");

    let run = run_folders(&path.join("offline/tiny")).remove(0);
    let provenance = fs::read_to_string(run.join("provenance.json")).unwrap();
    for split in ["test", "train", "validation"] {
        assert!(provenance.contains(&sha256(&embedded(split))), "{provenance}");
    }
    assert!(provenance.contains("hub:house/mini@89abcdef0123/data/test-"), "{provenance}");
}

#[test]
fn a_lock_holds_until_it_is_updated() {
    let place = Place::new();
    let lock = place.dir.path().join("tiny.lock");
    assert_eq!(place.vlora(&["fetch", "tiny.yaml"]).0, 0);
    let first = fs::read_to_string(&lock).unwrap();
    place.server.change(|repos| {
        let mut next = repos[0].clone();
        next.commit = "f".repeat(40);
        next.files[0].bytes = b"---\nlicense: cc0-1.0\n---\n".to_vec();
        next.licence = Some("cc0-1.0".into());
        repos[0].branches.clear();
        repos.push(next);
    });
    assert_eq!(place.vlora(&["fetch", "tiny.yaml"]).0, 0);
    assert_eq!(fs::read_to_string(&lock).unwrap(), first, "fetched again, at the same commit");
    let (code, out, _) = place.vlora(&["fetch", "--update", "tiny.yaml"]);
    assert!(code == 0 && out.contains("ffffffffffff") && out.contains("cc0-1.0"), "{out}");
    let second = fs::read_to_string(&lock).unwrap();
    assert!(second != first && second.contains(&"f".repeat(40)));

    // A spec that names another repository than its lock.
    let spec = fs::read_to_string(place.dir.path().join("tiny.yaml")).unwrap();
    let other = spec.replace("house/mini", "house/other");
    fs::write(place.dir.path().join("tiny.yaml"), other).unwrap();
    let (code, _, err) = place.vlora(&["plan", "tiny.yaml"]);
    assert_eq!(code, 2);
    assert!(err.contains("does not pin this dataset") && err.contains("--unlocked"), "{err}");
}

/// A fetch that is slow enough to be killed in the middle.
fn slow(place: &Place) -> Child {
    place.command(&["fetch", "tiny.yaml"]).spawn().unwrap()
}

#[test]
fn a_killed_fetch_goes_on_from_where_it_was() {
    let place = Place::new();
    place.server.always("/cdn/", Some(Fault::Slow(65_536, 15)));
    let blobs = place.cached().join("blobs");
    let have = || {
        let sizes = fs::read_dir(&blobs).into_iter().flatten();
        sizes.map(|blob| blob.unwrap().metadata().map_or(0, |m| m.len())).sum::<u64>()
    };
    let whole: u64 = repo().files.iter().map(|f| f.bytes.len() as u64).sum();
    // At once, with the first bytes, between files and near the end.
    for share in [0.0, 0.001, 0.1, 0.3, 0.5, 0.8, 0.95] {
        let mut child = slow(&place);
        while (have() as f64) < share * whole as f64 {
            assert!(child.try_wait().unwrap().is_none(), "ended before {share} of it was there");
            std::thread::sleep(Duration::from_millis(2));
        }
        // SIGKILL on Unix.
        child.kill().unwrap();
        child.wait().unwrap();
    }
    place.server.always("/cdn/", None);
    let (code, _, err) = place.vlora(&["fetch", "tiny.yaml"]);
    assert_eq!(code, 0, "{err}");
    place.check_cache();
    let resumed = place.server.requests().iter().filter(|r| r.contains("range=")).count();
    assert!(resumed > 0, "something of {whole} bytes was kept");
    let (code, _, err) = place.vlora(&["plan", "tiny.yaml", "--offline"]);
    assert_eq!(code, 0, "{err}");
}

#[test]
fn two_programs_fetch_one_copy() {
    let place = Place::new();
    place.server.always("/cdn/", Some(Fault::Slow(262_144, 10)));
    let started = Instant::now();
    let both: Vec<Child> = (0..2).map(|_| slow(&place)).collect();
    for child in both {
        let (code, _, err) = told(child.wait_with_output().unwrap());
        assert_eq!(code, 0, "{err}");
    }
    assert!(started.elapsed() < Duration::from_secs(60));
    place.check_cache();
    let downloads = place.server.requests();
    let downloads = downloads.iter().filter(|r| r.starts_with("/cdn/")).count();
    assert_eq!(downloads, 3, "each file once");
}

/// A program that is killed while it holds a lock does not hold up the next.
#[test]
fn locks_of_the_dead_do_not_block() {
    let place = Place::new();
    place.server.always("/cdn/", Some(Fault::Stall(1000)));
    let mut child = slow(&place);
    let locks = place.dir.path().join("hf/hub/.locks/datasets--house--mini");
    let started = Instant::now();
    while fs::read_dir(&locks).map_or(0, |d| d.count()) < 1 {
        assert!(started.elapsed() < Duration::from_secs(20), "no lock was taken");
        std::thread::sleep(Duration::from_millis(10));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    place.server.always("/cdn/", None);
    let (code, _, err) = place.vlora(&["fetch", "tiny.yaml"]);
    assert_eq!(code, 0, "{err}");
    assert!(!err.contains("another program"), "{err}");
    place.check_cache();
}

#[test]
fn without_a_network_it_says_what_to_do() {
    let place = Place::new();
    let (code, _, err) = place.vlora(&["run", "tiny.yaml", "--offline"]);
    assert_eq!(code, 2);
    assert!(err.contains("not in the cache") && err.contains("vlora fetch"), "{err}");
    let refused = place.command(&["run", "tiny.yaml"]).env("HF_HUB_OFFLINE", "1").output().unwrap();
    let (code, _, err) = told(refused);
    assert!(code == 2 && err.contains("the network must not be used"), "{err}");
    assert!(place.server.requests().is_empty());
    let bad =
        place.command(&["fetch", "tiny.yaml"]).env("HF_ENDPOINT", "the hub").output().unwrap();
    let (code, _, err) = told(bad);
    assert!(code == 2 && err.contains("HF_ENDPOINT: not an address"), "{err}");
    // What needs no Hub is not bothered by it.
    let mut fine = place.command(&["plan", "embedded.yaml"]);
    assert_eq!(told(fine.env("HF_ENDPOINT", "the hub").output().unwrap()).0, 0);
}

/// A folder's files as a model of the Hub.
fn model(id: &str, folder: &Path) -> Repo {
    let mut files: Vec<RepoFile> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            let path = entry.file_name().into_string().unwrap();
            let lfs = path.ends_with(".safetensors");
            RepoFile { path, bytes: fs::read(entry.path()).unwrap(), lfs }
        })
        .collect();
    // What lies beside the weights on the Hub and is not needed.
    for path in ["pytorch_model.bin", "onnx/model.onnx"] {
        files.push(RepoFile { path: path.into(), bytes: vec![0; 1000], lfs: true });
    }
    let (commit, branches) = ("a".repeat(40), vec!["main".into()]);
    Repo { id: id.into(), commit, branches, licence: Some("apache-2.0".into()), files }
}

#[test]
fn base_models_come_from_the_hub_whole_and_nothing_else_does() {
    let place = Place::new();
    for name in ["hf-vit", "hf-vit-sharded", "hf-bert"] {
        let id = format!("house/{name}");
        place.server.change(|repos| repos.push(model(&id, &fixture(name))));
    }
    for name in ["hf-vit", "hf-vit-sharded"] {
        let (hub, folder) = (format!("hub:house/{name}"), fixture(name));
        let (code, _, err) = place.vlora(&["import", &hub, "--out", "hub.safetensors"]);
        assert_eq!(code, 0, "{err}");
        let folder = folder.to_str().unwrap();
        assert_eq!(place.vlora(&["import", folder, "--out", "disk.safetensors"]).0, 0);
        let bytes = |file: &str| fs::read(place.dir.path().join(file)).unwrap();
        assert_eq!(bytes("hub.safetensors"), bytes("disk.safetensors"), "{name}");
        for file in ["hub.safetensors", "disk.safetensors"] {
            fs::remove_file(place.dir.path().join(file)).unwrap();
        }
        // Again without a network.
        let args = ["import", &hub, "--offline", "--out", "off.safetensors", "--force"];
        assert_eq!(place.vlora(&args).0, 0);
    }
    let (code, out, _) = place.vlora(&["spectrum", "hub:house/hf-bert"]);
    assert!(code == 0 && out.contains("house-hf-bert"), "{out}");
    let (code, _, err) = place.vlora(&["import", "hub:house/hf-bert", "--out", "x.safetensors"]);
    assert_eq!(code, 2);
    assert!(err.contains("hub:house/hf-bert") && err.to_lowercase().contains("bert"), "{err}");
    let requests = place.server.requests().join("\n");
    assert!(!requests.contains("pytorch_model") && !requests.contains("onnx"), "{requests}");

    place.server.change(|repos| {
        repos.last_mut().unwrap().files.retain(|f| !f.path.ends_with(".safetensors"));
    });
    fs::remove_dir_all(place.dir.path().join("hf")).unwrap();
    let (code, _, err) = place.vlora(&["import", "hub:house/hf-bert", "--out", "x.safetensors"]);
    assert!(code == 2 && err.contains("pickle"), "{err}");
}

#[test]
fn a_run_starts_from_a_model_of_the_hub_as_from_its_folder() {
    let place = Place::new();
    let path = place.dir.path();
    assert_eq!(place.vlora(&["run", "embedded.yaml", "-q", "--out", "first"]).0, 0);
    let run = run_of(&path.join("first/tiny"), "baseline");
    let (code, _, err) =
        place.vlora(&["export", run.to_str().unwrap(), "--to", "hf-vit", "--out", "tuned"]);
    assert_eq!(code, 0, "{err}");
    place.server.change(|repos| repos.push(model("house/tuned", &path.join("tuned"))));

    for (name, start) in [("hub", "hub: house/tuned"), ("disk", "checkpoint: tuned")] {
        let spec = Spec::tiny().arms(&format!("baseline: {{start: {{{start}}}}}"));
        fs::write(path.join(format!("{name}.yaml")), spec.text()).unwrap();
    }
    let (code, out, err) = place.vlora(&["fetch", "hub.yaml"]);
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("hub:house/tuned@main") && out.contains("apache-2.0"), "{out}");
    let (code, _, err) = place.vlora(&["run", "hub.yaml", "-q", "--offline", "--out", "hub"]);
    assert_eq!((code, err.as_str()), (0, ""));
    assert_eq!(place.vlora(&["run", "disk.yaml", "-q", "--out", "disk"]).0, 0);
    assert!(evidence(&path.join("hub/tiny")) == evidence(&path.join("disk/tiny")));
}

/// Of the model whose tokenizer a spec names, that file alone is fetched, and pinned.
#[test]
fn a_tokenizer_comes_from_the_hub_without_its_model() {
    let place = Place::new();
    let path = place.dir.path();
    let file = |path: &str, bytes: &[u8]| RepoFile {
        path: path.into(),
        bytes: bytes.to_vec(),
        lfs: path.ends_with(".safetensors"),
    };
    let tokenizer = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tokenizer/cut.json");
    let tokens = Repo {
        id: "house/tokens".into(),
        commit: "b".repeat(40),
        branches: vec!["main".into()],
        licence: Some("apache-2.0".into()),
        files: vec![
            file("model.safetensors", b"weights"),
            file("tokenizer.json", &fs::read(tokenizer).unwrap()),
        ],
    };
    place.server.change(|repos| repos.push(tokens));
    fs::create_dir(path.join("reviews")).unwrap();
    for split in ["train", "validation", "test"] {
        let rows = format!("text,label\na fine film of {split},1\na poor one of {split},0\n");
        fs::write(path.join(format!("reviews/{split}.csv")), rows).unwrap();
    }
    let spec = Spec::tiny_texts()
        .set("data.tokenizer={hub: house/tokens}")
        .set("model.vocabulary=6000")
        .set("training={epochs: 1, batch_size: 2}")
        .arms("baseline: {}");
    fs::write(path.join("text.yaml"), spec.text()).unwrap();
    let (code, out, err) = place.vlora(&["fetch", "text.yaml"]);
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("hub:house/tokens@main") && out.contains("apache-2.0"), "{out}");
    let lock = json(&path.join("text.lock"));
    let model = &lock["repositories"][0];
    assert_eq!((&model["kind"], &model["repository"]), (&"model".into(), &"house/tokens".into()));
    assert_eq!(model["files"].as_array().unwrap().len(), 1);
    assert_eq!(model["files"][0]["path"], "tokenizer.json");
    assert!(!place.server.requests().join("\n").contains("model.safetensors"));
    // The branch moves on; the lock holds, and no network is needed.
    place.server.change(|repos| {
        let repo = repos.last_mut().unwrap();
        repo.commit = "c".repeat(40);
        repo.files[1].bytes = b"{}".to_vec();
    });
    let (code, _, err) = place.vlora(&["run", "text.yaml", "-q", "--offline"]);
    assert_eq!((code, err.as_str()), (0, ""));
}

#[test]
fn a_lock_with_no_place_of_its_own_is_refused_and_unlocked_goes_without() {
    let place = Place::new();
    let path = place.dir.path();
    let spec = fs::read_to_string(path.join("tiny.yaml")).unwrap();
    for name in ["tiny.yml", "spec.lock"] {
        fs::write(path.join(name), &spec).unwrap();
    }
    for specs in [&["tiny.yaml", "tiny.yml"][..], &["spec.lock"]] {
        let (code, _, err) = place.vlora(&[&["fetch"], specs].concat());
        assert!(code == 2 && err.contains("its lock would be"), "{err}");
    }
    assert_eq!(fs::read_to_string(path.join("spec.lock")).unwrap(), spec);

    // One that fails does not keep the other from its lock.
    fs::write(path.join("gone.yaml"), spec.replace("house/mini", "house/gone")).unwrap();
    let (code, out, err) = place.vlora(&["fetch", "gone.yaml", "tiny.yaml"]);
    assert_eq!(code, 2);
    assert!(err.contains("there is no such dataset") && err.contains("wrote tiny.lock"), "{err}");
    assert!(out.contains("hub:house/mini@main"), "{out}");

    let elsewhere = ["--set", "data.hub=house/mini@0", "--set", "data.validation=validation"];
    place.server.change(|repos| repos[0].branches.push("0".into()));
    let plan = [&["plan", "tiny.yaml"][..], &elsewhere].concat();
    let (code, _, err) = place.vlora(&plan);
    assert!(code == 2 && err.contains("--unlocked"), "{err}");
    assert_eq!(place.vlora(&[&plan[..], &["--unlocked"]].concat()).0, 0);
}

/// A cache that may only be read, as a cluster shares one, is enough where it has everything.
#[cfg(unix)]
#[test]
fn a_cache_without_a_listing_that_cannot_be_written_will_do() {
    let place = Place::new();
    assert_eq!(place.vlora(&["plan", "tiny.yaml"]).0, 0);
    let listings = place.cached().join("listings");
    fs::remove_dir_all(&listings).unwrap();
    // No folder can be made where a file stands, not even by root.
    fs::write(&listings, "").unwrap();
    let (code, _, err) = place.vlora(&["plan", "tiny.yaml"]);
    assert_eq!(code, 0, "{err}");
}

/// What a server says reaches the terminal without the characters that steer it.
#[test]
fn a_server_does_not_steer_the_terminal() {
    let place = Place::new();
    place.server.change(|repos| repos[0].licence = Some("mit\u{1b}[31m".into()));
    let (code, out, err) = place.vlora(&["fetch", "tiny.yaml"]);
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("mit\\x1b[31m") && !out.contains('\u{1b}'), "{out:?}");
    // The lock has it as it is, in JSON's own escapes.
    let lock = fs::read_to_string(place.dir.path().join("tiny.lock")).unwrap();
    assert!(lock.contains("mit\\u001b[31m"), "{lock}");
    place.server.change(|repos| {
        let path = "data/odd\u{1b}[31m.txt".into();
        repos[0].files.push(RepoFile { path, bytes: Vec::new(), lfs: false });
    });
    let (code, out, err) = place.vlora(&["fetch", "tiny.yaml", "--update"]);
    assert!(code != 0 && err.contains("not safe to write"), "{err}");
    assert!(err.contains("[31m") && !(out + &err).contains('\u{1b}'), "{err:?}");
}

/// Paths of variables are put in as Hugging Face's tools do, which no shell did.
#[test]
fn the_cache_lies_where_hf_home_says() {
    let place = Place::new();
    for (home, folder) in [("$HOME/one", "one"), ("${HOME}/two", "two"), ("~/three", "three")] {
        let mut command = place.command(&["fetch", "tiny.yaml"]);
        let (code, _, err) =
            told(command.env("HOME", place.dir.path()).env("HF_HOME", home).output().unwrap());
        assert_eq!(code, 0, "{err}");
        let cached = place.dir.path().join(folder).join("hub/datasets--house--mini/blobs");
        assert!(cached.is_dir(), "{home}");
    }
}
