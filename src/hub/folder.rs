//! A folder of the user's, laid out as a repository of the Hub.

use std::borrow::Cow;
use std::fs;
use std::path::Path;

use super::{File, Place, Repository};
use crate::error::{Error, Result};

/// Folders are listed this deep; deeper ones are no part of a dataset.
const DEEPEST: usize = 8;

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
    walk(root, "", DEEPEST, &mut files)?;
    files.sort();
    Ok(files)
}

fn walk(folder: &Path, prefix: &str, deeper: usize, files: &mut Vec<String>) -> Result<()> {
    let failed = |e| Error::io("listing", folder, e);
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        // A name that is not UTF-8 can be named by nothing that asks for files.
        let Ok(name) = entry.file_name().into_string() else { continue };
        if name.starts_with('.') {
            continue;
        }
        let path = format!("{prefix}{name}");
        // Links are followed: the Hub's cache is made of them.
        match fs::metadata(entry.path()) {
            Ok(meta) if meta.is_dir() && deeper > 0 => {
                walk(&entry.path(), &format!("{path}/"), deeper - 1, files)?;
            }
            Ok(meta) if meta.is_file() => files.push(path),
            // A link to nothing: whoever reads it is told, nobody goes without it unawares.
            Err(_) => files.push(path),
            _ => {}
        }
    }
    Ok(())
}

pub fn read(root: &Path, path: &str) -> Result<File> {
    let at = root.join(path);
    let bytes = fs::read(&at)
        .map_err(|e| Error::Input(format!("{}: cannot be read: {e}", at.display())))?;
    Ok(File::new(at.display().to_string(), path.into(), Cow::Owned(bytes)))
}
