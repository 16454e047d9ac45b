//! Reads files as typed columns and splits, and makes examples of them.
//!
//! [`Layout`] finds the files of each split in a repository. A reader for each format (Parquet,
//! CSV, JSON lines, plain text, IDX, folders of images) makes a [`Table`] of them. [`load`] reads the splits
//! that a spec names. Each kind of examples has a folder with an implementation of [`ReadSplit`],
//! which makes examples of rows.

mod aligned_lines;
mod card;
mod class_names;
mod configurations;
pub mod contents;
mod csv;
mod duplicates;
mod faults;
mod formats;
mod glob;
mod idx;
mod image_folder;
pub mod images;
mod json_lines;
mod json_value;
mod labels;
pub mod language;
mod layout;
mod limits;
mod load;
mod metadata;
mod names;
mod options;
mod parquet;
mod parts;
mod plain_text;
mod quiet;
mod select;
mod source;
mod splits;
mod table;
pub mod text;
pub mod translation;
mod unpack;
mod used_examples;
mod utf8;
mod values;

pub use card::Card;
pub use class_names::difference as class_difference;
pub use duplicates::Shared;
pub use faults::listed;
pub use images::{
    Augmenter, Colours, Header, ImageData, ImageSplit, ImageStatistics, Mixer, header,
};
pub use labels::{Classes, Labels, wrong_type};
pub use layout::Layout;
pub use load::{
    LoadedDataset, LoadedSplit, OpenSplit, Read, ReadSplit, Role, load, needed, sha256,
};
pub use names::role;
pub use select::{Select, Wanted};
pub use source::{SplitFiles, read_split};
pub use table::{Blobs, Column, Kind, Table, Values};
pub use used_examples::UsedExamples;
