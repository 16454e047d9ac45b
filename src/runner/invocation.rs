//! The invocation that runs come from: the command line and the state of the git repository around it. It is
//! recorded with each run but is not part of the run's identity.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::results::RepositoryState;

/// The command that trains runs. Empty where the library is used without a command line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Invocation {
    /// The command line, quoted for a shell.
    pub command: Option<String>,
    pub repository: Option<RepositoryState>,
    /// Its changes to the spec, each `key=value`.
    pub overrides: Vec<String>,
}

impl Invocation {
    /// The invocation of this process, with the given overrides. Changes below `results` do not count
    /// as changes of the repository, since the command itself writes there.
    pub fn of_process(results: &Path, overrides: &[String]) -> Invocation {
        let here = env::current_dir().ok();
        Invocation {
            command: Some(command(env::args_os())),
            repository: here.and_then(|here| repository_at(&here, results)),
            overrides: overrides.to_vec(),
        }
    }
}

/// The command line with the program's name only, since its folder means nothing elsewhere.
fn command(arguments: impl Iterator<Item = impl AsRef<OsStr>>) -> String {
    let texts = arguments.enumerate().map(|(i, argument)| {
        let argument = argument.as_ref();
        let argument = match i {
            0 => Path::new(argument).file_name().unwrap_or(argument),
            _ => argument,
        };
        shell_word(&argument.to_string_lossy())
    });
    texts.collect::<Vec<_>>().join(" ")
}

/// An argument as a word of a POSIX shell.
pub fn shell_word(argument: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@%+".contains(c);
    match !argument.is_empty() && argument.chars().all(plain) {
        true => argument.to_string(),
        false => format!("'{}'", argument.replace('\'', "'\\''")),
    }
}

/// The checked-out commit of the repository around `folder`. None outside a repository, and before
/// its first commit.
fn repository_at(folder: &Path, results: &Path) -> Option<RepositoryState> {
    let root = folder.ancestors().find(|folder| folder.join(".git").exists())?;
    let of_git = git(folder, &["rev-parse", "--verify", "HEAD"]);
    // The repository's files are read if git is missing or refuses a folder of another user.
    let commit = of_git.or_else(|| head(&root.join(".git")))?;
    let commit = commit.trim().to_string();
    is_commit(&commit).then(|| RepositoryState { commit, modified: is_modified(folder, results) })
}

/// Whether tracked files differ from the commit. None if git fails.
fn is_modified(folder: &Path, results: &Path) -> Option<bool> {
    let status = ["status", "--porcelain", "--untracked-files=no", "--ignore-submodules=dirty"];
    let but = format!(":(exclude,literal){}", results.display());
    // Git refuses a path outside the repository; then no exclusion is needed.
    let changed = git(folder, &[&status[..], &["--", ":/", &but]].concat());
    Some(!changed.or_else(|| git(folder, &status))?.trim().is_empty())
}

/// The output of git; None if it fails or is missing.
fn git(folder: &Path, arguments: &[&str]) -> Option<String> {
    let done = Command::new("git")
        .arg("-C")
        .arg(folder)
        .args(arguments)
        // Read-only: takes no lock that would block another git process.
        .env("GIT_OPTIONAL_LOCKS", "0")
        .stdin(Stdio::null())
        .output()
        .ok()?;
    done.status.success().then(|| String::from_utf8_lossy(&done.stdout).into_owned())
}

/// The commit of HEAD, from the files of a repository (gitrepository-layout(5)).
fn head(git: &Path) -> Option<String> {
    // In a worktree or a submodule, `.git` is a file that names the folder.
    let folder = match git.is_file() {
        true => {
            let text = fs::read_to_string(git).ok()?;
            git.parent()?.join(text.trim().strip_prefix("gitdir:")?.trim())
        }
        false => git.to_path_buf(),
    };
    let text = fs::read_to_string(folder.join("HEAD")).ok()?;
    let Some(name) = text.trim().strip_prefix("ref:").map(str::trim) else { return Some(text) };
    let common: PathBuf = match fs::read_to_string(folder.join("commondir")) {
        Ok(text) => folder.join(text.trim()),
        Err(_) => folder.clone(),
    };
    let loose = [&folder, &common].into_iter().find_map(|f| fs::read_to_string(f.join(name)).ok());
    loose.or_else(|| {
        let packed = fs::read_to_string(common.join("packed-refs")).ok()?;
        let mut lines = packed.lines().filter_map(|line| line.split_once(' '));
        Some(lines.find(|(_, packed)| *packed == name)?.0.to_string())
    })
}

/// Whether a text is a SHA-1 or SHA-256 hash in hexadecimal digits.
fn is_commit(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|b| b.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_quoted_for_a_shell() {
        let typed = ["/a/b/vlora", "run", "x.yaml", "--set", "seeds=[0, 1]", "it's", "", "--out=r"];
        let want = r"vlora run x.yaml --set 'seeds=[0, 1]' 'it'\''s' '' --out=r";
        assert_eq!(command(typed.into_iter()), want);
    }

    fn run(folder: &Path, arguments: &[&str]) {
        let options = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"];
        let done = Command::new("git").arg("-C").arg(folder).args(options).args(arguments).output();
        let done = done.unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }

    #[test]
    fn the_commit_and_changes_of_the_repository_are_found() {
        let dir = tempfile::tempdir().unwrap();
        let (root, sub) = (dir.path().join("repo"), dir.path().join("repo/sub/results"));
        fs::create_dir_all(&sub).unwrap();
        let results = Path::new("results");
        let state = || repository_at(&root.join("sub"), results);
        assert_eq!(state(), None);
        run(&root, &["init", "-q", "-b", "main"]);
        assert_eq!(state(), None, "a repository without a commit");
        fs::write(root.join("file"), "1").unwrap();
        fs::write(sub.join("table"), "1").unwrap();
        run(&root, &["add", "."]);
        run(&root, &["commit", "-q", "-m", "one"]);
        let clean = state().unwrap();
        assert_eq!(clean.modified, Some(false));
        // The files give the same commit as git: loose, packed, in a worktree, and with a detached
        // HEAD.
        assert_eq!(head(&root.join(".git")).unwrap().trim(), clean.commit);
        run(&root, &["pack-refs", "--all"]);
        assert_eq!(head(&root.join(".git")).unwrap().trim(), clean.commit);
        let other = dir.path().join("other");
        run(&root, &["worktree", "add", "-q", "-b", "side", other.to_str().unwrap()]);
        assert_eq!(head(&other.join(".git")).unwrap().trim(), clean.commit);
        run(&other, &["checkout", "-q", "--detach"]);
        assert_eq!(head(&other.join(".git")).unwrap().trim(), clean.commit);
        // Results and untracked files do not count as changes.
        fs::write(sub.join("table"), "2").unwrap();
        fs::write(root.join("new"), "2").unwrap();
        assert_eq!(state(), Some(clean.clone()));
        assert_eq!(repository_at(&root, dir.path()).unwrap().modified, Some(true));
        fs::write(root.join("file"), "2").unwrap();
        assert_eq!(state(), Some(RepositoryState { modified: Some(true), ..clean }));
    }
}
