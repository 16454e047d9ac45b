//! Files of datasets and models by (repository, revision, path), with their hashes: from the
//! Hugging Face Hub through its cache, from a folder, or out of the program.
//!
//! Nothing above this module knows which. A [`Repository`] lists its files and reads them; those of
//! the Hub are downloaded when they are first asked for.

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
pub use folder::is_of_a_program;
pub use kind::Kind;
pub use lockfile::{LockedFile, LockedRepository, Lockfile};
pub use opening::Hub;
pub use progress::{Progress, Silent};
pub use repository::Repository;
pub use settings::{Settings, Token};
pub use source::Source;
