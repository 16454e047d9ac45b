//! TensorBoard's event files: records that hold events.
//!
//! Numbers of a record are little-endian, and an event is a message of protocol buffers:
//!
//! ```text
//! record   u64 length · u32 checksum of the length · data · u32 checksum of the data
//! Event    1: double wall_time    2: int64 step    3: string file_version    5: Summary summary
//! Summary  1: repeated Value value
//! Value    1: string tag    2: float simple_value
//! ```
//!
//! The checksum is CRC-32C, masked. Sources: TensorFlow's core/lib/io/record_writer.cc and
//! core/lib/hash/crc32c.h; event.proto and summary.proto of TensorBoard.
//!
//! The crates that write these files, tensorboard-rs and tboard, put the time of writing into the first
//! event, so that no file could be made again to the byte. They also need protobuf and an old version of
//! image, or the program protoc.

use crc::{CRC_32_ISCSI, Crc};

/// CRC-32C, which catalogues list under iSCSI.
static CRC_32C: Crc<u32> = Crc::<u32>::new(&CRC_32_ISCSI);

/// What the first event says of the file. A reader goes by it.
const FILE_VERSION: &str = "brain.Event:2";

/// How a field's value is stored: the lower three bits of what stands before it.
const VARINT: u64 = 0;
const EIGHT_BYTES: u64 = 1;
const WITH_LENGTH: u64 = 2;
const FOUR_BYTES: u64 = 5;

/// An event file, as it grows.
#[derive(Debug)]
pub struct EventFile {
    bytes: Vec<u8>,
}

impl EventFile {
    /// A file that begins at `wall_time`, in seconds since 1970.
    pub fn new(wall_time: f64) -> EventFile {
        let mut event = Vec::new();
        put_double(&mut event, 1, wall_time);
        put_bytes(&mut event, 3, FILE_VERSION.as_bytes());
        let mut file = EventFile { bytes: Vec::new() };
        file.add_record(&event);
        file
    }

    /// Adds an event: values of a step, each under its tag. A file has them in float32.
    pub fn add(&mut self, wall_time: f64, step: u64, values: &[(String, f64)]) {
        let mut summary = Vec::new();
        for (tag, number) in values {
            let mut value = Vec::new();
            put_bytes(&mut value, 1, tag.as_bytes());
            put_float(&mut value, 2, *number as f32);
            put_bytes(&mut summary, 1, &value);
        }
        let mut event = Vec::new();
        put_double(&mut event, 1, wall_time);
        put_integer(&mut event, 2, step);
        put_bytes(&mut event, 5, &summary);
        self.add_record(&event);
    }

    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    fn add_record(&mut self, data: &[u8]) {
        let length = (data.len() as u64).to_le_bytes();
        self.bytes.extend(length);
        self.bytes.extend(checksum(&length).to_le_bytes());
        self.bytes.extend(data);
        self.bytes.extend(checksum(data).to_le_bytes());
    }
}

/// The masked CRC-32C. The mask is there since a checksum over bytes that have checksums of their own among
/// them would be a weak one.
fn checksum(bytes: &[u8]) -> u32 {
    CRC_32C.checksum(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

fn put_double(message: &mut Vec<u8>, field: u64, value: f64) {
    put_varint(message, (field << 3) | EIGHT_BYTES);
    message.extend(value.to_le_bytes());
}

fn put_float(message: &mut Vec<u8>, field: u64, value: f32) {
    put_varint(message, (field << 3) | FOUR_BYTES);
    message.extend(value.to_le_bytes());
}

fn put_integer(message: &mut Vec<u8>, field: u64, value: u64) {
    put_varint(message, (field << 3) | VARINT);
    put_varint(message, value);
}

/// A text, or a message within a message.
fn put_bytes(message: &mut Vec<u8>, field: u64, value: &[u8]) {
    put_varint(message, (field << 3) | WITH_LENGTH);
    put_varint(message, value.len() as u64);
    message.extend(value);
}

/// A number in groups of seven bits, the lowest first. The eighth bit says that another group follows.
fn put_varint(message: &mut Vec<u8>, mut value: u64) {
    while value > 0x7f {
        message.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    message.push(value as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_castagnolis() {
        // The check value of CRC-32/ISCSI in the catalogue of parametrised CRC algorithms.
        assert_eq!(CRC_32C.checksum(b"123456789"), 0xe306_9283);
        // ((crc >> 15) | (crc << 17)) + 0xa282ead8, by Python.
        assert_eq!(checksum(b"123456789"), 0xc78a_b0e5);
    }

    /// TensorBoard's reader takes these bytes for what the comments say.
    #[test]
    fn a_file_is_known_byte_by_byte() {
        let mut file = EventFile::new(1_767_225_600.0);
        file.add(1_767_225_600.5, 300, &[("train/loss".into(), 0.5), ("zero".into(), 0.0)]);
        let parts: [&[u8]; 20] = [
            // The first record: 24 bytes, and the checksum of that.
            &[24, 0, 0, 0, 0, 0, 0, 0],
            &[0xa3, 0x7f, 0x4b, 0x22],
            // Field 1, eight bytes: the wall time.
            &[0x09, 0x00, 0x00, 0x00, 0x40, 0x6e, 0x55, 0xda, 0x41],
            // Field 3, 13 bytes: the version.
            &[0x1a, 13],
            b"brain.Event:2",
            &[0xc3, 0x48, 0x6d, 0xfc],
            // The second record: 46 bytes.
            &[46, 0, 0, 0, 0, 0, 0, 0],
            &[0xc5, 0xcb, 0x57, 0xfa],
            &[0x09, 0x00, 0x00, 0x20, 0x40, 0x6e, 0x55, 0xda, 0x41],
            // Field 2, a number: 300 = 2 · 128 + 44.
            &[0x10, 0x80 + 44, 2],
            // Field 5, 32 bytes: the summary, and in it a value of 17 bytes.
            &[0x2a, 32],
            &[0x0a, 17],
            // Field 1: the tag. Field 2, four bytes: 0.5.
            &[0x0a, 10],
            b"train/loss",
            &[0x15, 0x00, 0x00, 0x00, 0x3f],
            // A value of 11 bytes. A zero is written, too, or it would count as none.
            &[0x0a, 11],
            &[0x0a, 4],
            b"zero",
            &[0x15, 0x00, 0x00, 0x00, 0x00],
            &[0x7b, 0xe2, 0x91, 0x14],
        ];
        assert_eq!(file.into_bytes(), parts.concat());
    }

    #[test]
    fn numbers_take_as_few_bytes_as_they_need() {
        let bytes = |value| {
            let mut bytes = Vec::new();
            put_varint(&mut bytes, value);
            bytes
        };
        assert_eq!(bytes(0), [0]);
        assert_eq!(bytes(127), [127]);
        assert_eq!(bytes(128), [0x80, 1]);
        assert_eq!(bytes(16_383), [0xff, 0x7f]);
        assert_eq!(bytes(16_384), [0x80, 0x80, 1]);
        assert_eq!(bytes(u64::MAX).len(), 10);
    }
}
