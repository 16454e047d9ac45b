//! Files of datasets and models by (repository, revision, path), with their hashes. They come from
//! the Hugging Face Hub through its cache, from a folder, or from the program itself.
//!
//! Code above this module does not know which. A [`Repository`] lists its files and reads them.
//! Files of the Hub are downloaded when they are first read.

mod cache;
mod client;
mod connection;
mod download;
mod embedded;
mod expand;
mod file;
mod folder;
mod kind;
mod lockfile;
mod names;
mod opening;
mod progress;
mod refusal;
mod repository;
mod request_error;
mod settings;
mod snapshot;
mod source;

pub use file::File;
pub use folder::is_tool_folder;
pub use kind::Kind;
pub use lockfile::{LockedFile, LockedRepository, Lockfile};
pub use opening::Hub;
pub use progress::{Progress, Silent};
pub use repository::Repository;
pub use settings::{Settings, Token};
pub use source::Source;
