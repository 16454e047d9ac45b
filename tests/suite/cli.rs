//! The real binary, as a user drives it.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::common::data::embedded;
#[cfg(target_os = "linux")]
use crate::common::program::without_locks;
use crate::common::program::{Ran, binary, command, folder_with, vlora};
use crate::common::results::{evidence, json, run_folders};
use crate::common::spec::{Spec, TINY};

fn shipped(name: &str) -> String {
    format!("{}/experiments/{name}", env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn run_leaves_tables_charts_and_evidence() {
    let dir = folder_with(&Spec::tiny().set("sweep={vlora.rank: [1, 2]}").text());
    let ran = vlora(dir.path(), &["run", "tiny.yaml", "--format", "csv", "--set", "seeds=[0, 1]"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    // One line a start, an epoch and an end of each of six runs, and no bar.
    assert_eq!(ran.err.lines().count(), 18, "{}", ran.err);

    let columns = ran.out.lines().next().unwrap();
    for column in
        "arm,parameters,reduction,metric,mean,sd,seeds,difference,seconds,throughput,peak_bytes"
            .split(',')
    {
        assert!(columns.split(',').any(|c| c == column), "{column} is missing in {columns}");
    }
    let rows: Vec<&str> = ran.out.lines().skip(1).map(|r| r.split(',').next().unwrap()).collect();
    assert_eq!(rows, ["baseline", "vlora rank=1", "vlora rank=2"]);

    let results = dir.path().join("results/tiny");
    for file in ["table.md", "table.csv", "runs.parquet", "experiment.json"] {
        assert!(results.join(file).is_file(), "{file}");
    }
    for chart in ["learning-curves", "metric-vs-parameters", "metric-vs-rank"] {
        let svg = std::fs::read_to_string(results.join(format!("{chart}.svg"))).unwrap();
        assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"), "{chart}");
        let png = std::fs::read(results.join(format!("{chart}.png"))).unwrap();
        assert!(png.starts_with(b"\x89PNG"), "{chart}");
    }
    let run = run_folders(&results).remove(0);
    for file in [
        "spec.json",
        "provenance.json",
        "steps.jsonl",
        "epochs.jsonl",
        "test.jsonl",
        "model.safetensors",
        "result.json",
    ] {
        assert!(run.join(file).is_file(), "{file}");
    }
    let tests = std::fs::read_to_string(run.join("test.jsonl")).unwrap();
    assert_eq!(tests.lines().count(), 1000);

    // The report is a function of the evidence: made again, it is the same to the byte.
    let table = std::fs::read(results.join("table.md")).unwrap();
    let parquet = std::fs::read(results.join("runs.parquet")).unwrap();
    std::fs::remove_file(results.join("table.md")).unwrap();
    let report = vlora(dir.path(), &["report", "results/tiny", "--format", "csv"]);
    assert_eq!((report.code, &report.out), (0, &ran.out), "{}", report.err);
    assert_eq!(std::fs::read(results.join("table.md")).unwrap(), table);
    assert_eq!(std::fs::read(results.join("runs.parquet")).unwrap(), parquet);

    let again = vlora(dir.path(), &["run", "tiny.yaml", "--set", "seeds=[0, 1]"]);
    assert_eq!(again.err.matches("finished before").count(), 6, "{}", again.err);
}

fn git(dir: &Path, args: &[&str]) -> String {
    let own = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"];
    let done = Command::new("git").current_dir(dir).args(own).args(args).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap()
}

/// The sessions of all runs under results/tiny.
fn sessions(dir: &Path) -> Vec<serde_json::Value> {
    let read =
        |run: PathBuf| json(&run.join("provenance.json"))["sessions"].as_array().unwrap().clone();
    run_folders(&dir.join("results/tiny")).into_iter().flat_map(read).collect()
}

/// What asked for a run stands in its provenance, in a repository and outside one.
#[test]
fn provenance_has_the_command_the_spec_and_the_commit() {
    // With a byte order mark, which the copy keeps.
    let text = format!("\u{feff}# a comment\n{TINY}");
    let dir = folder_with(&text);
    let args = ["run", "tiny.yaml", "-q", "--set", "seeds=[3]"];
    assert_eq!(vlora(dir.path(), &args).code, 0);
    let copy = std::fs::read_to_string(dir.path().join("results/tiny/experiment.yaml")).unwrap();
    assert_eq!(copy, text);
    let outside = sessions(dir.path());
    assert_eq!(outside.len(), 2);
    for session in &outside {
        assert_eq!(session["command"], "vlora run tiny.yaml -q --set 'seeds=[3]'");
        assert_eq!(session["spec_sha256"].as_str().unwrap().len(), 64);
        assert_eq!(session.get("repository"), None);
    }

    std::fs::remove_dir_all(dir.path().join("results")).unwrap();
    git(dir.path(), &["init", "-q"]);
    git(dir.path(), &["add", "tiny.yaml"]);
    git(dir.path(), &["commit", "-q", "-m", "one"]);
    let commit = git(dir.path(), &["rev-parse", "HEAD"]);
    for modified in [false, true] {
        assert_eq!(vlora(dir.path(), &["run", "tiny.yaml", "-q"]).code, 0);
        for session in sessions(dir.path()) {
            assert_eq!(session["repository"]["commit"], commit.trim());
            assert_eq!(session["repository"]["modified"], modified);
            // Where the repository lies is nobody else's.
            assert!(!session.to_string().contains(dir.path().to_str().unwrap()));
        }
        std::fs::remove_dir_all(dir.path().join("results")).unwrap();
        std::fs::write(dir.path().join("tiny.yaml"), TINY).unwrap();
    }
}

/// Killed without warning at several moments, the same command ends in the same bits.
#[test]
fn kill_9_loses_nothing_but_the_current_epoch() {
    let text = Spec::tiny().set("training.epochs=4").text();
    let whole = folder_with(&text);
    assert_eq!(vlora(whole.path(), &["run", "tiny.yaml", "--quiet"]).code, 0);
    let dir = folder_with(&text);
    let mut killed = 0;
    for milliseconds in [150, 300, 450, 250, 350] {
        let mut child = command(dir.path())
            .args(["run", "tiny.yaml", "--quiet"])
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(std::time::Duration::from_millis(milliseconds));
        killed += usize::from(child.try_wait().unwrap().is_none());
        child.kill().unwrap();
        child.wait().unwrap();
    }
    assert!(killed > 0, "every run ended before it was killed");
    let ran = vlora(dir.path(), &["run", "tiny.yaml", "--quiet"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    let left = |dir: &TempDir| evidence(&dir.path().join("results/tiny"));
    assert!(left(&dir) == left(&whole), "the runs ended elsewhere");
}

/// A signal that was ignored when the program was started stays ignored, as under `nohup`; else it
/// stops the runs.
#[cfg(unix)]
#[test]
fn an_ignored_signal_stays_ignored() {
    // Who runs the tests may ignore HUP and INT, too.
    for (ignored, code) in [("HUP", 0), ("INT", 0), ("TERM", 0), ("", 130)] {
        let epochs = if ignored.is_empty() { 40 } else { 8 };
        let spec = Spec::tiny().set(&format!("training.epochs={epochs}"));
        let dir = folder_with(&spec.text());
        let program = binary().display().to_string();
        let trap = if ignored.is_empty() { String::new() } else { format!("trap '' {ignored}; ") };
        let mut child = Command::new("sh")
            .args(["-c", &format!("{trap}exec '{program}' run tiny.yaml -q")])
            .current_dir(dir.path())
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        // A claimed run shows that signals are handled by now.
        let claimed = || {
            let runs = std::fs::read_dir(dir.path().join("results/tiny/runs"));
            runs.is_ok_and(|mut runs| runs.any(|run| run.unwrap().path().join(".claim").exists()))
        };
        while !claimed() {
            assert!(child.try_wait().unwrap().is_none(), "the program ended before");
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        let signal = if ignored.is_empty() { "TERM" } else { ignored };
        let kill = format!("kill -{signal} {}", child.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
        assert_eq!(child.wait().unwrap().code(), Some(code), "{ignored}");
    }
}

/// Files are for whom the umask lets.
#[cfg(unix)]
#[test]
fn every_file_obeys_the_umask() {
    use std::os::unix::fs::PermissionsExt;

    fn modes(folder: &Path, found: &mut std::collections::BTreeSet<(bool, u32)>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let meta = std::fs::metadata(&path).unwrap();
            found.insert((meta.is_dir(), meta.permissions().mode() & 0o777));
            if meta.is_dir() {
                modes(&path, found);
            }
        }
    }
    for (umask, file, folder) in [("002", 0o664, 0o775), ("027", 0o640, 0o750)] {
        let dir = folder_with(TINY);
        let program = binary().display().to_string();
        let done = Command::new("sh")
            .args(["-c", &format!("umask {umask}; exec '{program}' run tiny.yaml -q")])
            .current_dir(dir.path())
            .output();
        assert!(done.unwrap().status.success());
        let mut found = std::collections::BTreeSet::new();
        modes(&dir.path().join("results"), &mut found);
        assert_eq!(found.into_iter().collect::<Vec<_>>(), [(false, file), (true, folder)]);
    }
}

/// What others wrote (a card, names of files, a spec, a server) reaches a terminal without the
/// characters that steer it: standard output and standard error, tables and errors alike.
#[test]
fn text_of_others_does_not_steer_the_terminal() {
    let dir = folder_with(TINY);
    let put = |path: &str, text: &str| {
        let path = dir.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    let rows = "label,text\n0,a\u{1b}[2Jb\n1,\u{202e}c\n";
    let card = "---\nlicense: \"mit\\e[31m\"\nconfigs:\n- config_name: default\n  data_files:\n  \
                - split: \"train\\e[31m\"\n    path: rows.csv\n---\n";
    put("carded/README.md", card);
    put("carded/rows.csv", rows);
    put("columns/train.csv", "label,te\u{1b}[31mxt\n0,a\n");
    put("names/tr\u{1b}[31min.parquet", "not Parquet");
    put("names/train-\u{1b}[31m.parquet", "not Parquet");
    put("key.yaml", &format!("\"na\\e[31mme\": 1\n{TINY}"));
    put("value.yaml", &Spec::tiny().set("model.architecture=\"vit\\e[31m\"").text());
    put("seeds.yaml", &Spec::tiny().set("seeds=[\"\\e[31m\"]").text());
    put("results/odd/experiment.json", r#"{"schema": "\u001b[31m"}"#);
    let commands: &[&[&str]] = &[
        &["data", "carded"],
        &["data", "columns"],
        &["data", "names"],
        &["plan", "key.yaml"],
        &["plan", "value.yaml"],
        &["plan", "seeds.yaml"],
        &["plan", "missing\u{1b}[31m.yaml"],
        &["plan", "tiny.yaml", "--set", "\u{1b}[31m=1"],
        &["plan", "tiny.yaml", "--device", "\u{1b}[31m"],
        &["plan", "tiny.yaml", "\u{1b}[31m"],
        &["report", "results/odd"],
        &["runs", "\u{1b}[31m"],
    ];
    for args in commands {
        let ran = vlora(dir.path(), args);
        let all = ran.out + &ran.err;
        let steers = |c: char| c.is_control() && c != '\n' && c != '\t' || c == '\u{202e}';
        assert!(!all.contains(steers), "{args:?}: {all:?}");
        assert!(!all.contains("panicked"), "{args:?}: {all}");
        // Shown, not dropped.
        assert!(all.contains("x1b[31m") || all.contains("u{1b}[31m"), "{args:?}: {all}");
    }
    // A program that reads CSV or JSON gets what there is.
    let json = vlora(dir.path(), &["data", "columns", "--format", "json"]);
    let table: serde_json::Value = serde_json::from_str(&json.out).unwrap();
    let columns: Vec<_> = table.as_array().unwrap().iter().map(|row| &row["column"]).collect();
    assert!(columns.iter().any(|c| c.as_str().unwrap().contains("31mxt")), "{columns:?}");
}

/// One file writes to standard output and standard error, so that nothing gets by its escapes.
#[test]
fn one_file_writes_to_the_terminal() {
    fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => sources(&path, found),
                false if path.extension().is_some_and(|e| e == "rs") => found.push(path),
                false => {}
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    sources(&root.join("src"), &mut files);
    assert!(files.len() > 100);
    let ways = [
        "println!",
        "print!(",
        "eprint!(",
        "eprintln!",
        "dbg!",
        "io::stdout",
        "io::stderr",
        "stdout()",
        "stderr()",
        ".set_message(",
        ".set_prefix(",
        ".println(",
    ];
    for file in files {
        let name = file.strip_prefix(root).unwrap().display().to_string();
        // Tests show what they find in the way that cargo hides.
        if name == "src/terminal.rs" || name.ends_with("/tests.rs") {
            continue;
        }
        let text = std::fs::read_to_string(&file).unwrap();
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
        for way in ways {
            let line = code
                .lines()
                .position(|line| line.contains(way) && !line.trim_start().starts_with("//"));
            assert_eq!(line, None, "{name} writes by `{way}`; crate::terminal does");
        }
    }
}

/// Runs are claimed without locks of the file system.
#[cfg(target_os = "linux")]
#[test]
fn runs_need_no_locks_of_the_file_system() {
    let dir = folder_with(TINY);
    let mut command = command(dir.path());
    command.args(["run", "tiny.yaml", "-q"]);
    without_locks(&mut command, dir.path());
    let ran = Ran::of(command.output().unwrap());
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
}

#[test]
fn a_report_leaves_out_evidence_that_disagrees() {
    let dir = folder_with(TINY);
    assert_eq!(vlora(dir.path(), &["run", "tiny.yaml", "--quiet"]).code, 0);
    let run = run_folders(&dir.path().join("results/tiny")).remove(0);
    let told = |file: &str, edit: &dyn Fn(String) -> String, part: &str| {
        let path = run.join(file);
        let sound = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, edit(sound.clone())).unwrap();
        let ran = vlora(dir.path(), &["report", "results/tiny"]);
        assert_eq!(ran.code, 1, "{file}: {}", ran.out);
        assert!(ran.err.contains(part) && ran.err.contains(file), "{}", ran.err);
        std::fs::write(&path, sound).unwrap();
    };
    let changed = "not as the finished run left it";
    let wrong = |t: String| t.replacen("\"prediction\":", "\"prediction\":1", 500);
    let shorter = |t: String| t.lines().skip(1).map(|l| format!("{l}\n")).collect();
    let of_seed_1 = |t: String| t.replace("\"seed\": 0", "\"seed\": 1");
    let epochs = |t: String| t.replace("\"step\":60", "\"step\":61");
    told("test.jsonl", &wrong, changed);
    told("test.jsonl", &shorter, changed);
    told("epochs.jsonl", &|_| String::new(), changed);
    told("epochs.jsonl", &epochs, changed);
    told("spec.json", &of_seed_1, changed);
    told("result.json", &|t| t[..t.len() / 2].to_string(), "the record is damaged");
    // A record of an earlier version, which has no sizes and hashes.
    let mut older = json(&run.join("result.json"));
    older.as_object_mut().unwrap().remove("files").unwrap();
    std::fs::write(run.join("result.json"), older.to_string()).unwrap();
    let disagrees = "does not agree";
    told("test.jsonl", &wrong, disagrees);
    told("test.jsonl", &shorter, disagrees);
    told("epochs.jsonl", &|_| String::new(), changed);
    told("epochs.jsonl", &epochs, disagrees);
    told("spec.json", &of_seed_1, disagrees);
    assert_eq!(vlora(dir.path(), &["report", "results/tiny"]).code, 0);
}

#[test]
fn a_failed_run_is_reported_and_exits_with_one() {
    let dir = folder_with(TINY);
    let set = "arms.vlora.training.learning_rate=1e30";
    let ran =
        vlora(dir.path(), &["run", "tiny.yaml", "--set", set, "--set", "training.warmup_ratio=0"]);
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains("error: 1 of 2 runs failed"), "{}", ran.err);
    assert!(
        ran.out.contains("vlora, seed 0, failed: the loss stopped being finite"),
        "{}",
        ran.out
    );
    assert!(ran.out.contains("baseline"));
}

#[test]
fn plan_says_what_the_seeds_can_show() {
    let dir = folder_with(&TINY.replace("seeds: [0]", "seeds: [0, 1, 2]"));
    let plan = |args: &[&str]| vlora(dir.path(), &[&["plan", "tiny.yaml"], args].concat());
    let unknown = plan(&[]);
    let parts =
        ["too few for the sign-flip test of the comparison", "which takes 6", "give it by --sd"];
    for part in parts {
        assert!(unknown.out.contains(part), "{part} is missing in\n{}", unknown.out);
    }
    let known = plan(&["--sd", "0.4", "--margin", "1"]);
    for part in [
        "0.40 points (as given), the 95 % interval of a true difference of 1.3 points excludes zero",
        "it takes 3 seeds to show that an equal arm loses less than 1.0 points, with probability 80 %",
    ] {
        assert!(known.out.contains(part), "{part} is missing in\n{}", known.out);
    }
    for bad in [["--sd", "0"], ["--margin", "-1"], ["--sd", "x"], ["--margin", "inf"]] {
        let refused = plan(&bad);
        assert_eq!((refused.code, refused.out.as_str()), (2, ""), "{bad:?}");
        assert!(refused.err.contains("expected a number above 0"), "{}", refused.err);
    }
    // The finished runs' own deviation.
    assert_eq!(vlora(dir.path(), &["run", "tiny.yaml", "-q", "--device", "cpu"]).code, 0);
    let pilot = plan(&[]);
    assert!(
        pilot.out.contains("(of the finished runs, at most 2 degrees of freedom)"),
        "{}",
        pilot.out
    );
}

#[test]
fn plan_shows_every_default_and_writes_nothing() {
    let dir = folder_with(TINY);
    let ran = vlora(dir.path(), &["plan", "tiny.yaml"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    for default in [
        "clip_norm: 1.0",
        "weight_decay: 0.05",
        "select: last",
        "normalize: null",
        "vlora.detach: true",
    ] {
        assert!(ran.out.contains(default), "{default} is missing in\n{}", ran.out);
    }
    assert!(ran.out.contains("planned"));
    assert!(!dir.path().join("results").exists());
    let json = vlora(dir.path(), &["plan", "tiny.yaml", "--format", "json"]);
    let rows: serde_json::Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!(rows.as_array().unwrap().len(), 2);
    // 60 steps of 100 images.
    assert_eq!(rows[0]["steps"], 60);
}

#[test]
fn params_needs_no_data() {
    let ran = vlora(Path::new("/"), &["params", &shipped("reference.yaml"), "--format", "json"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    let paper = vlora(Path::new("/"), &["params", &shipped("paper/cifar10-vit.yaml")]);
    assert_eq!(paper.code, 0, "{}", paper.err);
}

#[test]
fn params_counts_the_authors_default_model() {
    let spec = Spec::images()
        .set("data={path: nowhere}")
        .set(
            "model={architecture: vit, image_size: 224, patch_size: 16, classes: 1000, dim: 768, \
             depth: 12, heads: 12}",
        )
        .set("vlora={compound_size: 4, rank: 8}")
        .arm("vlora", "{method: vlora}")
        .set("sweep={vlora.rank: [1, 2, 4, 8, 16, 32, 64]}");
    let dir = folder_with(&spec.text());
    let ran = vlora(dir.path(), &["params", "tiny.yaml", "--format", "csv"]);
    let counts: Vec<&str> = ran.out.lines().skip(1).map(|r| r.split(',').nth(1).unwrap()).collect();
    let want = [
        "86567656", "22977256", "23087848", "23309032", "23751400", "24636136", "26405608",
        "29944552",
    ];
    assert_eq!(counts, want);
}

#[test]
fn bad_input_exits_with_two_and_says_what_to_do() {
    let dir = folder_with(TINY);
    let told = |args: &[&str], part: &str| {
        let ran = vlora(dir.path(), args);
        assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{args:?}: {}", ran.err);
        assert!(ran.err.contains(part), "{args:?}: {}", ran.err);
        assert!(!ran.err.contains("panicked"), "{}", ran.err);
    };
    told(&["run", "missing.yaml"], "missing.yaml: the spec cannot be read");
    told(&["run", "."], "the spec is not a file");
    told(&["run", "tiny.yaml", "--set", "model.heads=3"], "--set model.heads=3: invalid value");
    told(&["run", "tiny.yaml", "--device", "tpu"], "--device: unknown device");
    told(&["bench", "tiny.yaml", "--device", "cuda:first"], "`cuda:N`, N from 0");
    told(
        &["plan", "tiny.yaml", "--set", "data={embedded: null, path: nowhere}"],
        "nowhere: this is not a folder",
    );
    told(&["plan", "tiny.yaml", "--set", "data.path=nowhere"], "two sources of data");
    told(&["plan", "tiny.yaml", "--set", "arms.vlra.method=dense"], "did you mean `vlora`?");
    told(&["report", "results/none"], "there are no results here");
    told(&["run", "tiny.yaml", "--set", "model.image_size=56"], "the image has another size");
    told(&["run", "tiny.yaml", "--set", "model.classes=7"], "label out of range");
    std::fs::create_dir(dir.path().join("data")).unwrap();
    std::fs::write(dir.path().join("data/train.parquet"), b"PAR1 not really").unwrap();
    told(
        &["run", "tiny.yaml", "--set", "data={embedded: null, path: data}"],
        "the Parquet file cannot be read",
    );
}

#[cfg(not(feature = "cuda"))]
#[test]
fn a_build_for_the_cpu_says_how_to_get_one_for_gpus() {
    let dir = folder_with(TINY);
    for name in ["cuda", "cuda:1"] {
        let ran = vlora(dir.path(), &["run", "tiny.yaml", "--device", name]);
        assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{}", ran.err);
        assert_eq!(
            ran.err,
            format!(
                "error: --device: this build computes on the CPU alone\n  found:    `{name}`\n  \
                 expected: `auto` or `cpu`\n  help:     `cargo build --release --features cuda` makes \
                 a program for NVIDIA GPUs; it needs nvcc, which scripts/cuda_toolkit.sh gets\n"
            )
        );
    }
}

#[test]
fn every_shell_has_completions() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let ran = vlora(Path::new("/"), &["completions", shell]);
        assert!(ran.code == 0 && ran.out.contains("params"), "{shell}");
    }
}

/// A run is its data's content, not the data's place: the same files in a folder give the same
/// runs, and another order of the splits others.
#[test]
fn data_in_a_folder_is_the_same_data() {
    let dir = folder_with(TINY);
    let data = dir.path().join("images/data");
    std::fs::create_dir_all(&data).unwrap();
    let file = |split: &str| data.join(format!("{split}-00000-of-00001.parquet"));
    for split in ["train", "validation", "test"] {
        std::fs::copy(embedded(split), file(split)).unwrap();
    }
    let ids = |set: &[&str]| {
        let mut args = vec!["plan", "tiny.yaml", "--format", "csv"];
        set.iter().for_each(|s| args.extend(["--set", *s]));
        let ran = vlora(dir.path(), &args);
        assert_eq!(ran.code, 0, "{}", ran.err);
        let ids = ran.out.lines().skip(1).map(|l| l.split(',').nth(2).unwrap().to_string());
        ids.collect::<Vec<_>>()
    };
    let folder = "data={embedded: null, path: images}";
    assert_eq!(ids(&[]), ids(&[folder]));
    let swapped = "data={embedded: null, path: images, validation: test, test: validation}";
    assert_ne!(ids(&[]), ids(&[swapped]));

    let ran = vlora(dir.path(), &["run", "tiny.yaml", "-q", "--set", folder]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    std::fs::copy(file("test"), file("validation")).unwrap();
    let ran = vlora(dir.path(), &["run", "tiny.yaml", "-q", "--set", folder]);
    assert!(ran.code == 2 && ran.err.contains("the same file is used twice"), "{}", ran.err);
}

/// Whether a commented spec has a line for a field, given or commented out.
fn writes(text: &str, field: &str) -> bool {
    let name = field.rsplit('.').next().unwrap().split('[').next().unwrap();
    let start = format!("{name}:");
    text.lines().any(|l| l.trim_start().trim_start_matches("# ").starts_with(&start))
}

/// Every field that a spec can have stands in the commented reference, and the values there are
/// the defaults where there are any.
#[test]
fn the_reference_spec_is_whole_and_true() {
    let path = shipped("reference.yaml");
    let text = std::fs::read_to_string(&path).unwrap();
    let full = vlora::spec::load(path.as_ref(), &[], &vlora::models::parameters).unwrap();
    let fields = vlora::spec::flatten(&full.variants.last().unwrap().spec);
    for field in fields.keys() {
        assert!(writes(&text, field), "{field} is not in the reference");
    }
    for top in [
        "name",
        "description",
        "baseline",
        "primary_contrast",
        "arms",
        "sweep",
        "seeds",
        "slurm",
        "path",
        "checkpoint",
        "match",
    ] {
        assert!(text.contains(&format!("{top}:")), "{top} is not in the reference");
    }
    // A spec of required fields alone resolves to the same training and increments.
    let least = Spec::images().set("arms.baseline.method=vlora").experiment();
    let mut full = full.variants.last().unwrap().spec.clone();
    assert!(full.vlora.is_some() && full.lora.is_some() && full.start.is_some());
    let lora = full.lora.take().unwrap();
    let least_lora: vlora::spec::LoraSpec = serde_json::from_str(r#"{"rank": 4}"#).unwrap();
    // Which matrices there are is the model's to say.
    let targets = full.model.matrices();
    assert_eq!(lora, vlora::spec::LoraSpec { targets, ..least_lora });
    assert_eq!(full.training, least.variants[0].spec.training);
    assert_eq!(full.vlora, least.variants[0].spec.vlora);
    assert_eq!(full.data, least.variants[0].spec.data);
    assert_eq!(full.model, least.variants[0].spec.model);
}

/// The same of what texts have of their own.
#[test]
fn the_reference_spec_for_texts_is_whole_and_true() {
    let path = shipped("reference-text.yaml");
    let text = std::fs::read_to_string(&path).unwrap();
    let full = vlora::spec::load(path.as_ref(), &[], &vlora::models::parameters).unwrap();
    let fields = vlora::spec::flatten(&full.variants[1].spec);
    let own = |field: &str| field.starts_with("data.") || field.starts_with("model.");
    for field in fields.keys().filter(|field| own(field)) {
        assert!(writes(&text, field), "{field} is not in the reference");
    }
    let least = Spec::texts().set("data.path=datasets/reviews").set("arms.baseline.method=vlora");
    let least = least.experiment();
    let mut full = full.variants[1].spec.clone();
    let mut least = least.variants[0].spec.clone();
    // The values of a section are the defaults, whether they are written or not.
    let tokenizer = |spec: &vlora::spec::RunSpec| spec.data.as_text().unwrap().trained_tokenizer();
    assert_eq!(tokenizer(&full), tokenizer(&least));
    for spec in [&mut full, &mut least] {
        let vlora::spec::DataSpec::Text(data) = &mut spec.data else { panic!("texts") };
        data.tokenizer = None;
    }
    assert_eq!((full.vlora, full.data, full.model), (least.vlora, least.data, least.model));
}

/// The same of what language modelling has of its own.
#[test]
fn the_reference_spec_for_language_modelling_is_whole_and_true() {
    let path = shipped("reference-language.yaml");
    let text = std::fs::read_to_string(&path).unwrap();
    let full = vlora::spec::load(path.as_ref(), &[], &vlora::models::parameters).unwrap();
    let fields = vlora::spec::flatten(&full.variants[1].spec);
    let own = |field: &str| field.starts_with("data.") || field.starts_with("model.");
    for field in fields.keys().filter(|field| own(field)) {
        assert!(writes(&text, field), "{field} is not in the reference");
    }
    assert!(text.contains("evaluation: {random_batches:"));
    let least = Spec::language()
        .without("data.embedded")
        .without("model.positions")
        .set("data.path=datasets/plays")
        .set("arms.baseline.method=vlora");
    let least = &least.experiment().variants[0].spec;
    let full = &full.variants[1].spec;
    assert_eq!((&full.vlora, &full.data), (&least.vlora, &least.data));
    assert_eq!(full.model, least.model);
}

/// The same of what translation has of its own.
#[test]
fn the_reference_spec_for_translation_is_whole_and_true() {
    let path = shipped("reference-translation.yaml");
    let text = std::fs::read_to_string(&path).unwrap();
    let full = vlora::spec::load(path.as_ref(), &[], &vlora::models::parameters).unwrap();
    let fields = vlora::spec::flatten(&full.variants[1].spec);
    let own = |field: &str| field.starts_with("data.") || field.starts_with("model.");
    for field in fields.keys().filter(|field| own(field)) {
        assert!(writes(&text, field), "{field} is not in the reference");
    }
    for field in ["batch_tokens:", "decoder_depth:", "minimum_count:", "keep_hyphens:"] {
        assert!(text.contains(field), "{field}");
    }
    let least = Spec::translation().set("arms.baseline.method=vlora");
    let least = &least.experiment().variants[0].spec;
    let full = &full.variants[1].spec;
    assert_eq!((&full.vlora, &full.data), (&least.vlora, &least.data));
    assert_eq!(full.model, least.model);
}

/// The README and docs/ show the tables that lie under results/.
#[test]
fn the_pages_show_the_stored_tables() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (page, name, arms) in
        [("README.md", "quickstart", 3), ("docs/data.md", "cifar10-vit-small", 2)]
    {
        let text = std::fs::read_to_string(root.join(page)).unwrap();
        let table = root.join("results").join(name).join("table.md");
        let table = std::fs::read_to_string(table).unwrap();
        let of_arms = table.split("\n## ").next().unwrap();
        let rows: Vec<&str> = of_arms.lines().filter(|l| l.starts_with('|')).collect();
        assert_eq!(rows.len(), 2 + arms);
        assert!(text.contains(&rows.join("\n")), "the table in {page} is not results/{name}'s");
    }
}

#[test]
fn the_shipped_specs_are_sound() {
    let mut folders = vec![PathBuf::from(shipped("."))];
    let mut specs = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "yaml")
                && !path.ends_with("claims.yaml")
            {
                specs += 1;
                let found = vlora::spec::load(&path, &[], &vlora::models::parameters);
                if let Err(e) = found {
                    panic!("{e}");
                }
            }
        }
    }
    assert!(specs >= 15, "{specs} specs");
}
