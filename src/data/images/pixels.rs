//! Pixels of decoded images: in memory of their own, or in a file mapped into it.

use std::fmt;
use std::fs::File;
use std::io;
use std::ops::{Deref, Range};

use memmap2::Mmap;

/// Bytes of images, one behind the other.
pub enum Pixels {
    Owned(Vec<u8>),
    Mapped(Mapped),
}

/// A part of a file that is mapped.
pub struct Mapped {
    map: Mmap,
    part: Range<usize>,
}

impl Mapped {
    /// Maps all of the file, which must have `length` bytes.
    pub fn open(file: &File, length: usize) -> io::Result<Mapped> {
        // A map beyond the file's end would end the program at the first read there.
        if file.metadata()?.len() != length as u64 {
            return Err(io::Error::other("the file has another length"));
        }
        // SAFETY: the bytes must not change while they are borrowed. Files of the cache are made
        // whole under another name and renamed, never written in place, and a file that is renamed
        // over or deleted lives on in its maps. Somebody who shortens one by hand while a run
        // reads it ends that run, as deleting its memory would.
        #[allow(unsafe_code)]
        let map = unsafe { Mmap::map(file)? };
        let part = 0..map.len();
        Ok(Mapped { map, part })
    }

    /// The same map, seen in a part of it only.
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
