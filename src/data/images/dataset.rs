//! The three splits of a dataset of images with labels.

use std::path::Path;
use std::sync::Arc;

use super::assemble::{Store, assemble};
use super::cache::{self, Decoded, ImageFacts, Key, cache_folder};
use super::convert::Changes;
use super::decode::Size;
use super::pixels::Pixels;
use super::resize::Fit;
use super::split::ImageSplit;
use super::statistics::ImageStatistics;
use crate::data::UsedExamples;
use crate::data::duplicates::Shared;
use crate::data::labels::Classes;
use crate::data::load::{LoadedDataset, OpenSplit, Read, ReadSplit, Role, load, sha256};
use crate::error::Result;
use crate::hub::Hub;
use crate::spec::{ImageDataSpec, Normalize};

/// The three splits of an image classification dataset, ready for batches.
#[derive(Clone, Debug)]
pub struct ImageData {
    pub train: ImageSplit,
    /// Empty if a run trains without validation.
    pub validation: ImageSplit,
    pub test: ImageSplit,
    /// Empty if the classes have no names.
    pub class_names: Vec<String>,
    /// Whether the files hold names as labels. Numbers are then their indices in `class_names`.
    named_labels: bool,
    pub statistics: ImageStatistics,
    /// Split, name and SHA-256 of every file read, in reading order. Images in folders count as one
    /// file for each split.
    pub files: Vec<(String, String, String)>,
    pub treated: Treated,
    pub used: Arc<UsedExamples>,
}

/// Numbers of images that decoding changed, and of images in two splits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Treated {
    pub changes: Changes,
    pub shared: Shared,
}

impl Treated {
    /// One sentence for each count above 0.
    pub fn notes(&self) -> Vec<String> {
        [self.changes.notes(), self.shared.notes("Images")].concat()
    }
}

impl ImageData {
    /// Reads, checks and decodes the three splits, or loads decoded ones from the user's cache.
    /// Images become squares of `size`. Errors if a label is not below `classes`.
    pub fn load(data: &ImageDataSpec, size: Size, classes: usize, hub: &Hub) -> Result<ImageData> {
        ImageData::load_with_cache(data, size, classes, hub, cache_folder().as_deref())
    }

    /// [`ImageData::load`] with another cache folder, or without a cache.
    pub fn load_with_cache(
        data: &ImageDataSpec,
        size: Size,
        classes: usize,
        hub: &Hub,
        cache: Option<&Path>,
    ) -> Result<ImageData> {
        let fit = Fit::of(data, size);
        let mut reader = ReadImages { data, fit, classes, cache };
        let loaded = load(&data.files(), &data.label_column, hub, &mut reader)?;
        let mut changes = Changes::default();
        for split in loaded.splits() {
            changes.add(split.examples.facts.iter().map(|fact| fact.change));
        }
        let treated = Treated { changes, shared: loaded.shared };
        let used = Arc::new(UsedExamples::of(&loaded));
        let [train, validation, test] = splits(&loaded, &fit)?;
        let statistics = match &data.normalize {
            Some(normalize) => normalize.into(),
            None => ImageStatistics::measure(&train),
        };
        let Classes { names: class_names, named_labels } = loaded.classes;
        let files = loaded.files;
        Ok(ImageData {
            train,
            validation,
            test,
            class_names,
            named_labels,
            statistics,
            files,
            treated,
            used,
        })
    }

    /// The same images with another normalisation.
    pub fn normalised(&self, normalize: &Normalize) -> ImageData {
        ImageData { statistics: normalize.into(), ..self.clone() }
    }

    /// A dataset of splits that come from no files.
    pub(super) fn of_splits(
        [train, validation, test]: [ImageSplit; 3],
        statistics: ImageStatistics,
    ) -> ImageData {
        ImageData {
            train,
            validation,
            test,
            class_names: Vec::new(),
            named_labels: false,
            statistics,
            files: Vec::new(),
            treated: Treated::default(),
            used: Arc::default(),
        }
    }

    /// A hash of all files read, independent of their location.
    pub fn sha256(&self) -> String {
        let names = self.named_labels.then_some(&self.class_names[..]);
        // Earlier versions did not turn images upright, so turned images are different data.
        let upright = (self.treated.changes.turned > 0).then_some("upright");
        sha256(&self.files, names, upright.as_slice())
    }
}

impl From<&Normalize> for ImageStatistics {
    fn from(Normalize { mean, std }: &Normalize) -> ImageStatistics {
        ImageStatistics { mean: mean.clone(), std: std.clone() }
    }
}

/// Decodes splits, or loads them from the cache.
struct ReadImages<'a> {
    data: &'a ImageDataSpec,
    fit: Fit,
    classes: usize,
    cache: Option<&'a Path>,
}

/// A split's images with their labels.
struct Images {
    pixels: Arc<Pixels>,
    labels: Vec<u32>,
    facts: Vec<ImageFacts>,
    /// Whether images have their own sizes, instead of being squares of one size.
    whole: bool,
}

impl ReadSplit for ReadImages<'_> {
    type Examples = Images;

    const EXAMPLE: [&'static str; 2] = ["image", "images"];

    fn read(&mut self, split: &mut OpenSplit) -> Result<Read<Images>> {
        // Random parts are cropped from whole images.
        let store = match (split.role, self.data.augment.random_resized_crop) {
            (Role::Train, Some(_)) => Store::Whole(self.fit.size.channels),
            _ => Store::Squares(self.fit),
        };
        let key = self.key(split, store);
        let cached = self.cache.and_then(|cache| cache::load(cache, &key));
        let decoded = match cached {
            Some(decoded) => decoded,
            None => {
                let known = split.known.clone();
                assemble(&mut split.files, self.data, store, self.classes, split.role, known)?
            }
        };
        if let (Some(cache), Pixels::Owned(_)) = (self.cache, &decoded.pixels) {
            cache::store(cache, &key, &decoded);
        }
        let Decoded { pixels, labels, facts, about } = decoded;
        Ok(Read {
            digests: facts.iter().map(|fact| fact.digest).collect(),
            classes: about.classes,
            tables: about.tables,
            examples: Images {
                pixels: Arc::new(pixels),
                labels,
                facts,
                whole: matches!(store, Store::Whole(_)),
            },
        })
    }
}

impl ReadImages<'_> {
    /// The cache key of a decoded split: its files, how images are stored, the columns, and the
    /// classes of earlier splits.
    fn key(&self, split: &OpenSplit, store: Store) -> Key {
        let columns = [&self.data.image_column[..], &self.data.label_column];
        let words = columns.map(str::to_string).into_iter().chain(split.meaning());
        let hashes = split.files.hashes.iter().map(|(_, sha256)| sha256.as_str());
        Key::of(hashes, &store.cache_key(), self.classes, words)
    }
}

/// The images for training, validation and test.
fn splits(loaded: &LoadedDataset<Images>, fit: &Fit) -> Result<[ImageSplit; 3]> {
    let of = |role: Role| -> Result<ImageSplit> {
        let (split, rows) = loaded.of(role);
        let Images { pixels, labels, facts, whole } = &split.examples;
        let all = ImageSplit::new(pixels.clone(), labels.clone(), fit.size);
        let all = if *whole { all.of_sizes(facts) } else { all };
        let part = match rows {
            Some(rows) => all.rows(rows.to_vec()),
            None => all,
        };
        match role {
            Role::Train => Ok(part),
            Role::Validation | Role::Test => part.squares(fit, &|row| split.origins.place(row)),
        }
    };
    Ok([of(Role::Train)?, of(Role::Validation)?, of(Role::Test)?])
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::spec::{self, RunSpec};

    fn quickstart() -> RunSpec {
        let text = b"task: image-classification\ndata: {embedded: fashion-mnist-mini}\n\
            model: {architecture: vit, image_size: 28, patch_size: 7, channels: 1, classes: 10, \
            dim: 8, depth: 1, heads: 1}\narms: {baseline: }\nseeds: [0]\n";
        spec::parse(text, "t.yaml", "t", &[], &|_| 0).unwrap().variants[0].spec.clone()
    }

    /// The embedded dataset, with the quickstart's settings.
    pub fn embedded() -> ImageData {
        let spec = quickstart();
        ImageData::load(
            spec.data.as_images().unwrap(),
            Size { side: 28, channels: 1 },
            10,
            &Hub::default(),
        )
        .unwrap()
    }

    #[test]
    fn the_embedded_dataset_is_balanced_and_disjoint() {
        let data = embedded();
        let mut seen = std::collections::HashSet::new();
        for (split, a_class) in [(&data.train, 600), (&data.validation, 100), (&data.test, 100)] {
            assert_eq!(split.len(), 10 * a_class);
            for class in 0..10 {
                assert_eq!(split.labels.iter().filter(|l| **l == class).count(), a_class);
            }
            for i in 0..split.len() {
                assert!(seen.insert(split.image(i).to_vec()), "an image stands in two places");
            }
        }
        assert_eq!(data.class_names[9], "Ankle boot");
        assert_eq!(data.files.len(), 3);
    }
}
