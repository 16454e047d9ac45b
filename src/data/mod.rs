//! Datasets to batches: finding a split's files, reading their rows, decoding, normalising,
//! augmenting.
//!
//! [`Layout`] tells which files of a repository are which split's; a reader a format (Parquet, CSV,
//! JSON lines, IDX, folders of images) makes a [`Table`] of them; [`ImageData`] is tables of images
//! decoded, by way of a cache.

mod assemble;
mod augment;
mod card;
mod class_names;
mod convert;
mod csv;
mod decode;
mod decoded;
mod duplicates;
mod glob;
mod header;
mod idx;
mod image_folder;
mod images;
mod jpeg;
mod json_lines;
mod layout;
mod limits;
mod load;
mod metadata;
mod names;
mod noise;
#[cfg(test)]
mod oracle;
mod orientation;
mod parquet;
mod parts;
mod pixels;
mod quiet;
mod resize;
mod select;
mod source;
mod splits;
mod table;
mod unpack;

pub use augment::Augmenter;
pub use card::Card;
pub use class_names::difference as class_difference;
pub use convert::Changes;
pub use decoded::cache_folder;
pub use header::{Colours, Header, header};
pub use images::{ImageData, ImageSplit, ImageStatistics, Treated};
pub use layout::{Layout, needed};
pub use names::role;
pub use source::read_split;
pub use splits::listed;
pub use table::{Blobs, Column, Kind, Table, Values};
