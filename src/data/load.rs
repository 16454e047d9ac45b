//! An image dataset's files to decoded splits, by way of the cache of such.

use std::path::Path;
use std::sync::Arc;

use super::assemble::{Classes, Store, assemble};
use super::convert::Changes;
use super::decoded::{self, About, Decoded, Key};
use super::duplicates::{self, Origins, Split};
use super::images::{ImageSplit, Treated};
use super::layout::Layout;
use super::names::{self, Format};
use super::parts::{self, Parts};
use super::pixels::Pixels;
use super::resize::Fit;
use super::source::SplitFiles;
use crate::error::{Error, Result};
use crate::hub::{Hub, Kind, Repository, Source};
use crate::spec::{Duplicates, ImageDataSpec, PartSpec, SplitSpec, VitSpec};

/// Loads the splits of one dataset.
pub struct Loader<'a> {
    data: &'a ImageDataSpec,
    repository: Repository,
    layout: Layout,
    fit: Fit,
    classes: usize,
    cache: Option<&'a Path>,
    /// Known once a split is loaded; the same in all.
    class_names: Vec<String>,
    named_labels: bool,
    /// Split, name and SHA-256 of every file so far.
    files: Vec<(String, String, String)>,
    /// The splits so far that have files of their own.
    splits: Vec<Split>,
}

/// Splits for training, validation and test.
pub struct Loaded {
    pub splits: [ImageSplit; 3],
    pub class_names: Vec<String>,
    pub named_labels: bool,
    pub files: Vec<(String, String, String)>,
    pub treated: Treated,
}

impl<'a> Loader<'a> {
    pub fn new(
        data: &'a ImageDataSpec,
        model: &VitSpec,
        hub: &Hub,
        cache: Option<&'a Path>,
    ) -> Result<Loader<'a>> {
        let repository = hub.open(&Source::of(&data.files())?, Kind::Dataset)?;
        let layout = Layout::of_spec(&repository, data)?;
        layout.note().iter().for_each(|note| hub.note(note));
        Ok(Loader {
            data,
            repository,
            layout,
            fit: Fit::of(data, model),
            classes: model.classes,
            cache,
            class_names: Vec::new(),
            named_labels: false,
            files: Vec::new(),
            splits: Vec::new(),
        })
    }

    pub fn load(mut self) -> Result<Loaded> {
        let (data, fit) = (self.data, self.fit);
        // Parts of images at random are taken from whole ones.
        let store = match data.augment.random_resized_crop {
            Some(_) => Store::Whole(fit.size.channels),
            None => Store::Squares(fit),
        };
        let Decoded { pixels, labels, facts, .. } = self.split("train", &data.train, store)?;
        let all = ImageSplit::new(Arc::new(pixels), labels, fit.size);
        let all = match store {
            Store::Whole(_) => all.of_sizes(&facts),
            Store::Squares(_) => all,
        };
        let parts = match (data.validation.as_ref().and_then(part), part(&data.test)) {
            (None, None) => None,
            (validation, test) => Some(parts::draw(all.len(), validation, test)?),
        };
        let rows = |of: fn(&Parts) -> &Vec<u32>| parts.as_ref().map(of).cloned();
        let of_train = |rows: Option<Vec<u32>>| match rows {
            Some(rows) => all.rows(rows),
            None => all.clone(),
        };
        let origins = self.splits.first().map(|split| split.origins.clone());
        let place = |row| origins.as_ref().map_or(String::new(), |origins| origins.place(row));
        let mut other = |role, split: &SplitSpec, rows: Option<Vec<u32>>| match split {
            SplitSpec::Part(_) => of_train(rows).squares(&fit, &place),
            SplitSpec::Named(name) => {
                let store = Store::Squares(fit);
                self.split(role, name, store).map(|Decoded { pixels, labels, .. }| {
                    ImageSplit::new(Arc::new(pixels), labels, fit.size)
                })
            }
        };
        let validation = match &data.validation {
            Some(split) => other("validation", split, rows(|parts| &parts.validation))?,
            // No example of any.
            None => of_train(Some(Vec::new())),
        };
        let test = other("test", &data.test, rows(|parts| &parts.test))?;
        let treated = self.treated(parts.as_ref())?;
        Ok(Loaded {
            splits: [of_train(rows(|parts| &parts.train)), validation, test],
            class_names: self.class_names,
            named_labels: self.named_labels,
            files: self.files,
            treated,
        })
    }

    /// What was made of the images, and which stand in two splits. Errors if one stands in the files
    /// of two, unless the spec keeps it.
    fn treated(&self, parts: Option<&Parts>) -> Result<Treated> {
        let mut changes = Changes::default();
        self.splits.iter().for_each(|split| changes.add(&split.facts));
        let keep = self.data.duplicates == Duplicates::Keep;
        let train = self.splits.first().map_or(&[][..], |split| &split.facts);
        Ok(Treated {
            changes,
            in_two_splits: duplicates::between(&self.splits, keep)?,
            in_two_parts: parts.map_or(0, |parts| duplicates::within(train, parts)),
        })
    }

    /// A split that has files of its own, decoded or out of the cache; `role` is what it is for.
    fn split(&mut self, role: &str, name: &str, store: Store) -> Result<Decoded> {
        self.layout.files_for(role, name)?;
        let mut files = SplitFiles::open(&self.repository, &self.layout, name)?;
        add_files(&mut self.files, name, &files)?;
        let key = self.key(&files, store);
        let cached = self.cache.and_then(|cache| decoded::load(cache, &key));
        let split = match cached {
            Some(decoded) => decoded,
            None => assemble(&mut files, self.data, store, self.classes, self.known())?,
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
        let About { class_names, named_labels, tables } = &split.about;
        self.class_names = class_names.clone();
        self.named_labels = *named_labels;
        let origins = origins(&files, tables);
        self.splits.push(Split { name: name.to_string(), facts: split.facts.clone(), origins });
        Ok(split)
    }

    fn known(&self) -> Classes {
        Classes { names: self.class_names.clone(), named_labels: self.named_labels }
    }

    /// What decides a decoded split: its files, what is stored of their images, the columns, and the
    /// names that were there before.
    fn key(&self, files: &SplitFiles, store: Store) -> Key {
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
        Key::of(hashes, &store.words(), self.classes, words.map(String::as_str))
    }
}

/// Appends a split's files to those before. Refuses a split that shares one with them.
fn add_files(
    all: &mut Vec<(String, String, String)>,
    split: &str,
    files: &SplitFiles,
) -> Result<()> {
    for (file, sha256) in &files.hashes {
        // Labels alone, as IDX and metadata files hold them, may well be those of other images.
        let labels = match files.images.is_empty() {
            true => {
                Format::of(file) == Some(Format::Idx)
                    && names::idx(file).is_some_and(|(_, labels)| labels)
            }
            false => names::is_metadata(file),
        };
        let same = |(_, path, hash): &&(String, String, String)| {
            path == file || (hash == sha256 && !labels)
        };
        if let Some((other, path, _)) = all.iter().find(same) {
            return Err(Error::Input(format!(
                "{file}: the same file serves two splits or twice\n  found:    its content \
                 stands in {path}, of the split `{other}`\n  expected: no example twice"
            )));
        }
        all.push((split.to_string(), file.clone(), sha256.clone()));
    }
    Ok(())
}

/// The names of a split's images, for errors. A pair of IDX files makes one table.
fn origins(files: &SplitFiles, tables: &[usize]) -> Origins {
    let names = |list: &[(String, String)]| list.iter().map(|(name, _)| name.clone()).collect();
    match files.images.is_empty() {
        false => Origins::Single(names(&files.images)),
        true => {
            let names: Vec<String> = names(&files.hashes);
            Origins::Tables(names.into_iter().zip(tables.iter().copied()).collect())
        }
    }
}

fn part(split: &SplitSpec) -> Option<&PartSpec> {
    match split {
        SplitSpec::Part(part) => Some(part),
        SplitSpec::Named(_) => None,
    }
}
