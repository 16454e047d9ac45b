//! A local folder with the layout of a Hub repository.

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::{env, fs};

use super::expand::with_home;
use super::file::File;
use super::settings::home_of;
use crate::error::{Error, Fault, Result};

/// Folders nested deeper than this are an error.
const MAX_DEPTH: usize = 32;

/// Folders in which other programs keep their own files: version control, caches, editors. They are
/// not part of a repository.
const TOOL_FOLDERS: [&str; 22] = [
    ".git",
    ".hg",
    ".svn",
    ".bzr",
    ".dvc",
    ".cache",
    ".huggingface",
    ".locks",
    ".github",
    ".vscode",
    ".idea",
    ".ipynb_checkpoints",
    ".venv",
    ".tox",
    ".mypy_cache",
    ".pytest_cache",
    ".ruff_cache",
    ".AppleDouble",
    ".Spotlight-V100",
    ".fseventsd",
    ".Trashes",
    ".TemporaryItems",
];

/// Whether a folder of this name holds another program's files.
pub fn is_tool_folder(folder: &str) -> bool {
    TOOL_FOLDERS.contains(&folder) || folder.starts_with(".Trash-")
}

/// The folder's path and its files. A leading `~` in the path is the user's home. Hidden files are
/// listed, as on the Hub.
pub fn open(root: &Path) -> Result<(PathBuf, Vec<String>)> {
    let root = expand_home(root);
    if !root.is_dir() {
        return Err(Fault::new("this is not a folder")
            .source(root.display())
            .expected("a folder with files in the layout of a Hub repository")
            .into());
    }
    let files = list(&root)?;
    Ok((root, files))
}

/// Replaces a leading `~` by the user's home. A folder that is really called `~` is used as it is.
fn expand_home(root: &Path) -> PathBuf {
    match root.to_str() {
        Some(text) if text.starts_with('~') && !root.exists() => {
            with_home(text, &|name| env::var(name).ok(), &home_of).into()
        }
        _ => root.to_path_buf(),
    }
}

/// Paths of everything below `root` that is not a folder, sorted. Special files such as named pipes
/// are listed too, so that reading one gives an error.
pub fn list(root: &Path) -> Result<Vec<String>> {
    let mut files = Vec::new();
    walk(root, "", &mut Vec::new(), &mut files)?;
    files.sort();
    Ok(files)
}

/// Adds the files below `folder`. `prefix` is its path relative to the root, and `above` holds the
/// folders that contain it.
fn walk(
    folder: &Path,
    prefix: &str,
    above: &mut Vec<PathBuf>,
    files: &mut Vec<String>,
) -> Result<()> {
    let failed = |e| Error::io("listing", folder, e);
    let real = fs::canonicalize(folder).map_err(failed)?;
    if above.contains(&real) || above.len() > MAX_DEPTH {
        return Err(Fault::new("folders are nested too deeply or contain themselves")
            .source(folder.display())
            .found(match above.contains(&real) {
                true => "a link to a folder above it".into(),
                false => format!("more than {MAX_DEPTH} nested folders"),
            })
            .expected(format!("at most {MAX_DEPTH} nested folders, none of them in itself"))
            .into());
    }
    above.push(real);
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let Ok(name) = entry.file_name().into_string() else {
            return Err(Fault::new("a name is not UTF-8")
                .source(entry.path().display())
                .help("rename the file or folder, or move it elsewhere")
                .into());
        };
        let path = format!("{prefix}{name}");
        // Links are followed: the Hub's cache is made of them.
        match fs::metadata(entry.path()) {
            Ok(meta) if meta.is_dir() && is_tool_folder(&name) => {}
            Ok(meta) if meta.is_dir() => walk(&entry.path(), &format!("{path}/"), above, files)?,
            // A dangling link is listed too, so that reading it gives an error.
            Ok(_) | Err(_) => files.push(path),
        }
    }
    above.pop();
    Ok(())
}

pub fn read(root: &Path, path: &str) -> Result<File> {
    let at = root.join(path);
    let failed = |e| Error::from(Fault::new(format!("cannot be read: {e}")).source(at.display()));
    let kind = fs::metadata(&at).map_err(failed)?.file_type();
    // Reading a named pipe without a writer would block forever.
    if !kind.is_file() {
        return Err(Fault::new("this is not a regular file")
            .source(at.display())
            .found(describe(kind))
            .expected("a file, which can be read more than once")
            .into());
    }
    let bytes = fs::read(&at).map_err(failed)?;
    Ok(File::new(at.display().to_string(), path.into(), Cow::Owned(bytes)))
}

/// The name of a file type that is not a regular file.
fn describe(kind: fs::FileType) -> &'static str {
    #[cfg(unix)]
    {
        use std::os::unix::fs::FileTypeExt;
        if kind.is_fifo() {
            return "a named pipe (FIFO)";
        }
        if kind.is_socket() {
            return "a socket";
        }
        if kind.is_block_device() || kind.is_char_device() {
            return "a device";
        }
    }
    match kind.is_dir() {
        true => "a folder",
        false => "something else",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn every_entry_is_listed_once_or_is_an_error() {
        use std::ffi::OsStr;
        use std::os::unix::ffi::OsStrExt;
        use std::os::unix::fs::symlink;
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::create_dir_all(at("a/b")).unwrap();
        fs::write(at("a/b/x.txt"), "x").unwrap();
        fs::create_dir_all(at(".git/objects")).unwrap();
        fs::write(at(".git/objects/x.png"), "x").unwrap();
        fs::create_dir_all(at(".more")).unwrap();
        fs::write(at(".more/.hidden"), "x").unwrap();
        symlink("nothing", at("a/gone")).unwrap();
        let socket = std::os::unix::net::UnixListener::bind(at("a/socket")).unwrap();
        assert_eq!(list(dir.path()).unwrap(), [".more/.hidden", "a/b/x.txt", "a/gone", "a/socket"]);
        let error = read(dir.path(), "a/socket").unwrap_err().to_string();
        assert!(error.contains("not a regular file") && error.contains("a socket"), "{error}");
        drop(socket);
        symlink("..", at("a/b/up")).unwrap();
        let error = list(dir.path()).unwrap_err().to_string();
        assert!(error.contains("a link to a folder above it"), "{error}");
        fs::remove_file(at("a/b/up")).unwrap();
        fs::write(dir.path().join(OsStr::from_bytes(b"a/\xff.png")), "x").unwrap();
        let error = list(dir.path()).unwrap_err().to_string();
        assert!(error.contains("a name is not UTF-8"), "{error}");
    }
}
