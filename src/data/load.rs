//! An image dataset's files to decoded splits, by way of the cache of such.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use super::assemble::{Classes, assemble};
use super::decode::Size;
use super::decoded::{self, Decoded, Key};
use super::images::ImageSplit;
use super::layout::Layout;
use super::names::{self, Format};
use super::parts::{self, Parts};
use super::pixels::Pixels;
use super::source::SplitFiles;
use crate::error::{Error, Result};
use crate::hub::{Hub, Kind, Repository, Source};
use crate::spec::{DataSpec, ModelSpec, PartSpec, SplitSpec};

/// Loads the splits of one dataset.
pub struct Loader<'a> {
    data: &'a DataSpec,
    repository: Repository,
    layout: Layout,
    size: Size,
    classes: usize,
    cache: Option<&'a Path>,
    /// Known once a split is loaded; the same in all.
    class_names: Vec<String>,
    named_labels: bool,
    seen: Seen,
}

/// What the splits so far consist of.
#[derive(Default)]
struct Seen {
    /// Split, name and SHA-256.
    files: Vec<(String, String, String)>,
    /// Of images in folders: SHA-256 to split and name.
    images: HashMap<String, (String, String)>,
}

/// Splits for training, validation and test.
pub struct Loaded {
    pub splits: [ImageSplit; 3],
    pub class_names: Vec<String>,
    pub named_labels: bool,
    pub files: Vec<(String, String, String)>,
}

impl<'a> Loader<'a> {
    pub fn new(
        data: &'a DataSpec,
        model: &ModelSpec,
        hub: &Hub,
        cache: Option<&'a Path>,
    ) -> Result<Loader<'a>> {
        let repository = hub.open(&Source::of(data)?, Kind::Dataset)?;
        let layout = Layout::of(&repository, data.config.as_deref())?;
        Ok(Loader {
            data,
            repository,
            layout,
            size: Size { side: model.image_size, channels: model.channels },
            classes: model.classes,
            cache,
            class_names: Vec::new(),
            named_labels: false,
            seen: Seen::default(),
        })
    }

    pub fn load(mut self) -> Result<Loaded> {
        let (data, size) = (self.data, self.size);
        let Decoded { pixels, labels, .. } = self.split("train", &data.train)?;
        let pixels = Arc::new(pixels);
        let parts = match (data.validation.as_ref().and_then(part), part(&data.test)) {
            (None, None) => None,
            (validation, test) => Some(parts::draw(labels.len(), validation, test)?),
        };
        let rows = |of: fn(&Parts) -> &Vec<u32>| parts.as_ref().map(of).cloned();
        let of_train = |rows| ImageSplit::new(pixels.clone(), &labels, rows, size);
        let mut other = |role, split: &SplitSpec, rows: Option<Vec<u32>>| match split {
            SplitSpec::Part(_) => Ok(of_train(rows)),
            SplitSpec::Named(name) => {
                self.split(role, name).map(|Decoded { pixels, labels, .. }| {
                    ImageSplit::new(Arc::new(pixels), &labels, None, size)
                })
            }
        };
        let validation = match &data.validation {
            Some(split) => other("validation", split, rows(|parts| &parts.validation))?,
            // No example of any.
            None => of_train(Some(Vec::new())),
        };
        let test = other("test", &data.test, rows(|parts| &parts.test))?;
        Ok(Loaded {
            splits: [of_train(rows(|parts| &parts.train)), validation, test],
            class_names: self.class_names,
            named_labels: self.named_labels,
            files: self.seen.files,
        })
    }

    /// A split that has files of its own, decoded or out of the cache; `role` is what it is for.
    fn split(&mut self, role: &str, name: &str) -> Result<Decoded> {
        self.layout.files_for(role, name)?;
        let mut files = SplitFiles::open(&self.repository, &self.layout, name)?;
        self.seen.add(name, &files)?;
        let key = self.key(&files);
        let cached = self.cache.and_then(|cache| decoded::load(cache, &key, self.size));
        let mut split = match cached {
            Some(decoded) => decoded,
            None => assemble(&mut files, self.data, self.size, self.classes, self.known())?,
        };
        if split.labels.is_empty() {
            return Err(Error::Input(format!(
                "{}: the split `{name}` has no examples",
                self.repository.name()
            )));
        }
        if let (Some(cache), Pixels::Owned(_)) = (self.cache, &split.pixels) {
            decoded::store(cache, &key, &split);
        }
        self.class_names = std::mem::take(&mut split.class_names);
        self.named_labels = split.named_labels;
        Ok(split)
    }

    fn known(&self) -> Classes {
        Classes { names: self.class_names.clone(), named_labels: self.named_labels }
    }

    /// What decides a decoded split: its files, the columns, and the names that were there before.
    fn key(&self, files: &SplitFiles) -> Key {
        let card =
            self.layout.card.class_names(self.layout.config.as_deref(), &self.data.label_column);
        let folders = match files.in_class_folders() {
            true => self.layout.folder_classes(),
            false => Vec::new(),
        };
        // Each list is led by its length, so that no name can move from one to another.
        let lists = [&self.class_names, &card, &folders];
        let lengths: Vec<String> = lists.iter().map(|list| list.len().to_string()).collect();
        let named = self.named_labels.to_string();
        let columns = [&self.data.image_column, &self.data.label_column, &named];
        let words = columns.into_iter().chain(&lengths).chain(lists.into_iter().flatten());
        let hashes = files.hashes.iter().map(|(_, sha256)| sha256.as_str());
        Key::of(hashes, self.size, self.classes, words.map(String::as_str))
    }
}

impl Seen {
    /// Refuses a split that shares a file with one before.
    fn add(&mut self, split: &str, files: &SplitFiles) -> Result<()> {
        for (file, sha256) in &files.hashes {
            // Labels alone, as IDX files hold them, may well be those of other images.
            let labels = Format::of(file) == Some(Format::Idx)
                && names::idx(file).is_some_and(|(_, labels)| labels);
            let same = |(_, path, hash): &&(String, String, String)| {
                path == file || (hash == sha256 && !labels)
            };
            if let Some((other, path, _)) = self.files.iter().find(same) {
                return Err(Error::Input(format!(
                    "{file}: the same file serves two splits or twice\n  found:    its content \
                     stands in {path}, of the split `{other}`\n  expected: no example twice"
                )));
            }
            self.files.push((split.to_string(), file.clone(), sha256.clone()));
        }
        for (image, sha256) in &files.images {
            match self.images.get(sha256) {
                Some((other, path)) if other != split => {
                    return Err(Error::Input(format!(
                        "{image}: the same image stands in two splits\n  found:    its content \
                         stands in {path}, of the split `{other}`\n  expected: no image in two \
                         splits"
                    )));
                }
                Some(_) => {}
                None => {
                    self.images.insert(sha256.clone(), (split.to_string(), image.clone()));
                }
            }
        }
        Ok(())
    }
}

fn part(split: &SplitSpec) -> Option<&PartSpec> {
    match split {
        SplitSpec::Part(part) => Some(part),
        SplitSpec::Named(_) => None,
    }
}
