//! Pixels of decoded images, in owned memory or in a memory-mapped file.

use std::fmt;
use std::fs::File;
use std::io;
use std::ops::{Deref, Range};

use memmap2::Mmap;

/// Bytes of all images, one after the other.
pub enum Pixels {
    Owned(Vec<u8>),
    Mapped(Mapped),
}

/// A part of a memory-mapped file.
pub struct Mapped {
    map: Mmap,
    part: Range<usize>,
}

impl Mapped {
    /// Maps the whole file. Errors unless it has `length` bytes.
    pub fn open(file: &File, length: usize) -> io::Result<Mapped> {
        // Reading a map beyond the file's end would kill the program.
        if file.metadata()?.len() != length as u64 {
            return Err(io::Error::other("the file has another length"));
        }
        // SAFETY: the bytes must not change while they are borrowed. Cache files are written under
        // another name and renamed, never changed in place. A file that is replaced or deleted
        // stays readable through its map. Only someone who truncates a file by hand while a run
        // reads it can crash that run.
        #[allow(unsafe_code)]
        let map = unsafe { Mmap::map(file)? };
        let part = 0..map.len();
        Ok(Mapped { map, part })
    }

    /// The same map, limited to a part of it.
    pub fn narrowed(self, part: Range<usize>) -> Option<Mapped> {
        self.map.get(part.clone())?;
        Some(Mapped { part, ..self })
    }
}

impl Deref for Mapped {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.map[self.part.clone()]
    }
}

impl Deref for Pixels {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Pixels::Owned(bytes) => bytes,
            Pixels::Mapped(mapped) => mapped,
        }
    }
}

impl fmt::Debug for Pixels {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let place = match self {
            Pixels::Owned(_) => "owned",
            Pixels::Mapped(_) => "mapped",
        };
        write!(f, "{} {place} bytes", self.len())
    }
}
