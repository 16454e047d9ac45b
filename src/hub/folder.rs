//! A folder of the user's, laid out as a repository of the Hub.

use std::borrow::Cow;
use std::fs;
use std::path::{Path, PathBuf};

use super::{File, Place, Repository};
use crate::error::{Error, Result};

/// Folders are listed this deep.
const DEEPEST: usize = 32;

/// Lists the folder. Hidden files and folders are left out.
pub fn open(root: &Path) -> Result<Repository> {
    if !root.is_dir() {
        return Err(Error::Input(format!(
            "{}: this is not a folder\n  expected: a folder with files in the layout of a Hub \
             repository",
            root.display()
        )));
    }
    let files = list(root)?;
    let name = root.display().to_string();
    Ok(Repository { name, files, place: Place::Folder(root.to_path_buf()) })
}

/// Paths of the files below `root`, sorted.
pub fn list(root: &Path) -> Result<Vec<String>> {
    let mut files = Vec::new();
    walk(root, "", &mut Vec::new(), &mut files)?;
    files.sort();
    Ok(files)
}

/// Adds the files below `folder`, which stands behind `prefix` and lies in `above`.
fn walk(
    folder: &Path,
    prefix: &str,
    above: &mut Vec<PathBuf>,
    files: &mut Vec<String>,
) -> Result<()> {
    let failed = |e| Error::io("listing", folder, e);
    let real = fs::canonicalize(folder).map_err(failed)?;
    if above.contains(&real) || above.len() > DEEPEST {
        return Err(Error::Input(format!(
            "{}: the folder has no end\n  found:    {}\n  expected: at most {DEEPEST} folders in one \
             another, none of them in itself",
            folder.display(),
            if above.contains(&real) { "a link to a folder above it" } else { "more" }
        )));
    }
    above.push(real);
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let Ok(name) = entry.file_name().into_string() else {
            return Err(Error::Input(format!(
                "{}: a name is not UTF-8\n  help:     rename the file or folder, or move it elsewhere",
                entry.path().display()
            )));
        };
        if name.starts_with('.') {
            continue;
        }
        let path = format!("{prefix}{name}");
        // Links are followed: the Hub's cache is made of them.
        match fs::metadata(entry.path()) {
            Ok(meta) if meta.is_dir() => walk(&entry.path(), &format!("{path}/"), above, files)?,
            Ok(meta) if meta.is_file() => files.push(path),
            // A link to nothing is listed, so that it is an error to read it and it is not missed.
            Err(_) => files.push(path),
            _ => {}
        }
    }
    above.pop();
    Ok(())
}

pub fn read(root: &Path, path: &str) -> Result<File> {
    let at = root.join(path);
    let bytes = fs::read(&at)
        .map_err(|e| Error::Input(format!("{}: cannot be read: {e}", at.display())))?;
    Ok(File::new(at.display().to_string(), path.into(), Cow::Owned(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn what_cannot_be_listed_is_told_and_nothing_is_listed_twice() {
        use std::ffi::OsStr;
        use std::os::unix::ffi::OsStrExt;
        use std::os::unix::fs::symlink;
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::create_dir_all(at("a/b")).unwrap();
        fs::write(at("a/b/x.txt"), "x").unwrap();
        fs::write(at(".hidden"), "x").unwrap();
        symlink("nothing", at("a/gone")).unwrap();
        assert_eq!(list(dir.path()).unwrap(), ["a/b/x.txt", "a/gone"]);
        symlink("..", at("a/b/up")).unwrap();
        let told = list(dir.path()).unwrap_err().to_string();
        assert!(told.contains("a link to a folder above it"), "{told}");
        fs::remove_file(at("a/b/up")).unwrap();
        fs::write(dir.path().join(OsStr::from_bytes(b"a/\xff.png")), "x").unwrap();
        let told = list(dir.path()).unwrap_err().to_string();
        assert!(told.contains("a name is not UTF-8"), "{told}");
    }
}
