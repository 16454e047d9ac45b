//! IDX files, the format of MNIST and Fashion-MNIST. They hold, in big-endian order, a magic number
//! `00 00 08 d`, d sizes of 32 bits, and then bytes. Images have three dimensions (image, row,
//! column), labels have one.

use super::names;
use super::select::Select;
use super::table::{Column, Kind, Table, Values};
use super::unpack::unpack;
use crate::error::{Error, Fault, Result};
use crate::hub::File;

/// The columns of the pair of files. The names are those of MNIST on the Hub.
const COLUMNS: [&str; 2] = ["image", "label"];

/// Reads a split's two files, one of images and one of labels.
pub fn read(files: &[File], select: Select) -> Result<Table> {
    let of = |labels: bool| {
        let mut found =
            files.iter().filter(|f| names::idx(&f.path).is_some_and(|(_, is)| is == labels));
        found.next().filter(|_| found.next().is_none())
    };
    let (Some(images), Some(labels)) = (of(false), of(true)) else {
        let found: Vec<&str> = files.iter().map(|f| f.name.as_str()).collect();
        return Err(Fault::new("IDX files come in pairs")
            .found(found.join(", "))
            .expected(
                "one file of images and one of labels, as in \
                 train-images-idx3-ubyte and train-labels-idx1-ubyte",
            )
            .into());
    };
    let fields = [(COLUMNS[0].to_string(), Kind::Image), (COLUMNS[1].to_string(), Kind::Integer)];
    select.check(&images.name, &fields)?;
    let (sizes, pixels) = array(images, 3)?;
    let (label_sizes, numbers) = array(labels, 1)?;
    if sizes[0] != label_sizes[0] {
        return Err(Fault::new("there are not as many labels as images")
            .source(&labels.name)
            .found(format!("{} labels", label_sizes[0]))
            .expected(format!("{}, as in {}", sizes[0], images.name))
            .into());
    }
    let name = &images.name;
    let images = Values::Pixels { height: sizes[1], width: sizes[2], bytes: pixels };
    let labels = Values::Integers(numbers.iter().map(|b| Some(i64::from(*b))).collect());
    let columns = [Column::new(COLUMNS[0], images), Column::new(COLUMNS[1], labels)];
    let columns = columns.into_iter().filter(|c| select.wants(&c.name, Some(&c.kind()))).collect();
    Ok(Table::new(name, columns, sizes[0]))
}

/// The sizes and bytes of a file of `dims` dimensions.
fn array(file: &File, dims: usize) -> Result<(Vec<usize>, Vec<u8>)> {
    let bytes = unpack(file)?;
    let fail = |problem: &str, found: String, expected: String| {
        Error::from(Fault::new(problem).source(&file.name).found(found).expected(expected))
    };
    let head = 4 + 4 * dims;
    let magic = [0, 0, 8, dims as u8];
    if bytes.len() < head || bytes[..4] != magic {
        let found: Vec<String> = bytes.iter().take(4).map(|b| format!("{b:02x}")).collect();
        return Err(fail(
            "this is not the IDX file that its name says",
            format!("{} bytes that start with {}", bytes.len(), found.join(" ")),
            format!("00 00 08 {dims:02x} and {dims} sizes: bytes in {dims} dimensions"),
        ));
    }
    let size = |chunk: &[u8]| chunk.iter().fold(0usize, |n, b| n << 8 | usize::from(*b));
    let sizes: Vec<usize> = bytes[4..head].chunks(4).map(size).collect();
    let content = sizes.iter().try_fold(1usize, |n, size| n.checked_mul(*size));
    if sizes[1..].contains(&0) {
        let found = format!("{} × {}", sizes[1], sizes[dims - 1]);
        return Err(fail("the IDX file has images without pixels", found, "sizes above 0".into()));
    }
    if content != Some(bytes.len() - head) {
        let sizes: Vec<String> = sizes.iter().map(usize::to_string).collect();
        return Err(fail(
            "the IDX file is not as long as its sizes say",
            format!("{} bytes behind the sizes", bytes.len() - head),
            format!(
                "{}, the product of {}",
                content.map_or("too many".into(), |n| n.to_string()),
                sizes.join(" × ")
            ),
        ));
    }
    Ok((sizes, bytes[head..].to_vec()))
}
