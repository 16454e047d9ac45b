//! Atomic writing of files.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::error::{Error, Fault, Result};

/// Writes a file atomically: a crash at any moment leaves the old or the new content. Writes to a
/// temporary file in the same folder, syncs it and renames it. Creates missing folders.
///
/// A link is followed: its target is replaced, not the link. A path that is not a plain file (a
/// folder, a device, a pipe) is refused.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<()> {
    let path = &destination(path)?;
    let failed = |e| Error::io("writing", path, e);
    let folder = folder_of(path);
    let mut file = temporary_in(folder).map_err(failed)?;
    file.write_all(bytes).map_err(failed)?;
    file.as_file().sync_all().map_err(failed)?;
    file.persist(path).map_err(|e| failed(e.error))?;
    // The rename is durable only after the folder is synced.
    File::open(folder).and_then(|f| f.sync_all()).map_err(failed)
}

/// Checks that [`write_atomic`] can write this file, before long work whose result goes there.
/// Creates missing folders and leaves an existing file unchanged.
pub fn check_writable(path: &Path) -> Result<()> {
    let written = destination(path)?;
    match temporary_in(folder_of(&written)) {
        Ok(_) => Ok(()),
        Err(e) => Err(Fault::new("cannot be written")
            .source(path.display())
            .found(e)
            .expected("a file in a folder that may be written to")
            .into()),
    }
}

fn folder_of(path: &Path) -> &Path {
    // A bare file name has an empty parent, which cannot be opened.
    let parent = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    parent.unwrap_or(Path::new("."))
}

/// A new temporary file in a folder, which is created if missing. Its permissions follow the umask,
/// as for ordinary files; tempfile's default is private to the owner.
pub fn temporary_in(folder: &Path) -> io::Result<NamedTempFile> {
    fs::create_dir_all(folder)?;
    let mut builder = tempfile::Builder::new();
    builder.prefix(".tmp-");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(fs::Permissions::from_mode(0o666));
    }
    builder.tempfile_in(folder)
}

/// The plain file, existing or not, that `path` refers to.
fn destination(path: &Path) -> Result<PathBuf> {
    let Ok(meta) = fs::symlink_metadata(path) else { return Ok(path.to_path_buf()) };
    let refused = |found: &str| {
        Error::from(
            Fault::new("cannot be written")
                .source(path.display())
                .found(found)
                .expected("a file, or a name that is free"),
        )
    };
    if meta.is_symlink() {
        let target = fs::canonicalize(path).map_err(|_| refused("a link to nothing"))?;
        return destination(&target);
    }
    match meta.is_file() {
        true => Ok(path.to_path_buf()),
        false => Err(refused("a folder, a device or a pipe")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn links_are_followed_and_non_files_are_refused() {
        use std::os::unix::fs::symlink;
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::write(at("file"), b"one").unwrap();
        symlink("file", at("link")).unwrap();
        write_atomic(&at("link"), b"two").unwrap();
        assert_eq!(fs::read(at("file")).unwrap(), b"two");
        assert!(fs::symlink_metadata(at("link")).unwrap().is_symlink());
        symlink("nothing", at("dangling")).unwrap();
        symlink("/dev/null", at("device")).unwrap();
        for name in ["dangling", "device", "."] {
            let error = write_atomic(&at(name), b"x").unwrap_err().to_string();
            assert!(error.contains("cannot be written"), "{error}");
        }
        assert_eq!(fs::read(at("device")).unwrap(), b"");
    }

    #[cfg(unix)]
    #[test]
    fn permissions_follow_the_umask() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let mode = |name: &str| fs::metadata(dir.path().join(name)).unwrap().permissions().mode();
        fs::write(dir.path().join("plain"), b"x").unwrap();
        write_atomic(&dir.path().join("atomic"), b"x").unwrap();
        assert_eq!(mode("atomic"), mode("plain"));
    }

    #[test]
    fn a_file_is_replaced_and_no_temporary_file_remains() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b.txt");
        write_atomic(&path, b"one, a longer text").unwrap();
        write_atomic(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }
}
