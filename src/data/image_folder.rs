//! Images in a folder for each class, such as `train/cat/1.png`.

use std::collections::HashMap;

use super::layout::class_of;
use super::select::Select;
use super::table::{Blobs, Column, Kind, Table, Values};
use crate::error::{Error, Fault, Result};
use crate::hub::File;

/// Makes one row for each file, in order. Labels are indices into `classes`.
pub fn read(files: Vec<File>, classes: &[String], select: Select) -> Result<Table> {
    let fields = [("image".to_string(), Kind::Image), ("label".to_string(), Kind::ClassLabel)];
    let first = files.first().map_or("", |file| file.name.as_str());
    select.check(first, &fields)?;
    let labels: HashMap<&str, i64> = classes.iter().map(String::as_str).zip(0..).collect();
    let label = |file: &File| {
        let class = class_of(&file.path).and_then(|class| labels.get(class));
        class.map(|label| Some(*label)).ok_or_else(|| {
            Error::from(
                Fault::new("the image lies in no folder that names its class")
                    .source(&file.name)
                    .expected("a path like train/cat/1.png"),
            )
        })
    };
    let labels = files.iter().map(label).collect::<Result<Vec<_>>>()?;
    let (names, bytes): (Vec<_>, Vec<_>) =
        files.into_iter().map(|file| (file.name, Some(file.bytes))).unzip();
    let mut label = Column::new("label", Values::Integers(labels));
    label.class_names = classes.to_vec();
    label.named = true;
    let columns = [Column::new("image", Values::Images(Blobs::new(bytes))), label];
    let columns = columns.into_iter().filter(|c| select.wants(&c.name, Some(&c.kind()))).collect();
    Ok(Table::of_files(names, columns))
}
