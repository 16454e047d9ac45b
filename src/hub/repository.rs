//! A repository's files, in any place.

use std::fmt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::file::File;
use super::lockfile::LockedRepository;
use super::snapshot::Snapshot;
use super::source::Source;
use super::{embedded, folder};
use crate::error::Result;

/// A dataset's or a model's files, in one fixed state.
#[derive(Debug)]
pub struct Repository {
    name: String,
    files: Vec<String>,
    place: Place,
}

enum Place {
    Hub(Rc<Snapshot>),
    Folder(PathBuf),
    Embedded(&'static embedded::Dataset),
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Place::Hub(snapshot) => f.write_str(&snapshot.name()),
            Place::Folder(root) => root.fmt(f),
            Place::Embedded(dataset) => dataset.fmt(f),
        }
    }
}

impl Repository {
    /// A repository of the Hub at a commit.
    pub fn of_hub(snapshot: Rc<Snapshot>) -> Repository {
        let (name, files) = (snapshot.name(), snapshot.files());
        Repository { name, files, place: Place::Hub(snapshot) }
    }

    /// A local folder. A leading `~` in the path is the user's home.
    pub fn of_folder(root: &Path) -> Result<Repository> {
        let (root, files) = folder::open(root)?;
        Ok(Repository { name: root.display().to_string(), files, place: Place::Folder(root) })
    }

    /// The embedded dataset called `name`.
    pub fn embedded(name: &str) -> Result<Repository> {
        let dataset = embedded::find(name)?;
        let name = format!("embedded:{name}");
        Ok(Repository { name, files: dataset.files(), place: Place::Embedded(dataset) })
    }

    /// The name for errors.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The licence, if it is known without reading the files.
    pub fn licence(&self) -> Option<&'static str> {
        match &self.place {
            Place::Embedded(dataset) => Some(dataset.licence),
            Place::Hub(_) | Place::Folder(_) => None,
        }
    }

    /// Paths of all files, sorted, with `/` between folders.
    pub fn files(&self) -> &[String] {
        &self.files
    }

    /// A file's content and hash. Errors if the file does not exist or has the wrong content.
    pub fn read(&self, path: &str) -> Result<File> {
        match &self.place {
            Place::Hub(snapshot) => snapshot.read(path),
            Place::Folder(root) => folder::read(root, path),
            Place::Embedded(dataset) => dataset.read(path),
        }
    }

    /// A folder on disk that has these files, after checking them. None for an embedded dataset,
    /// which has no folder.
    pub fn folder_with(&self, paths: &[String]) -> Result<Option<PathBuf>> {
        match &self.place {
            Place::Hub(snapshot) => {
                for path in paths {
                    snapshot.read(path)?;
                }
                Ok(Some(snapshot.folder()))
            }
            Place::Folder(root) => Ok(Some(root.clone())),
            Place::Embedded(_) => Ok(None),
        }
    }

    /// Gets and checks these files, and returns the lock's entry for them. `source` is what the
    /// spec names. None for sources that are not locked.
    pub fn pin(&self, source: &Source, paths: &[String]) -> Result<Option<LockedRepository>> {
        let (Place::Hub(snapshot), Source::Hub(requested)) = (&self.place, source) else {
            return Ok(None);
        };
        let pin = |path: &String| snapshot.read(path).map(|file| snapshot.pin(&file));
        let files = paths.iter().map(pin).collect::<Result<_>>()?;
        let revision = requested.revision().to_string();
        Ok(Some(LockedRepository { revision, ..snapshot.locked_with(files) }))
    }
}
