//! Plain text in UTF-8: a file is one document, in the column `text`.

use super::select::Select;
use super::table::{Column, Kind, Table, Values};
use super::unpack::unpack;
use super::utf8::whole_file;
use crate::error::Result;
use crate::hub::File;

/// The name of the column.
const COLUMN: &str = "text";

/// Reads the file's text, without a byte order mark. Line ends stay as they are. Errors if it is not
/// UTF-8.
pub fn read(file: &File, select: Select) -> Result<Table> {
    let bytes = unpack(file)?;
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
    select.check(&file.name, &[(COLUMN.to_string(), Kind::Text)])?;
    let text = whole_file(file, bytes)?;
    let values = Values::Text(vec![Some(text.to_string())]);
    Ok(Table::of_files(vec![file.name.clone()], vec![Column::new(COLUMN, values)]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(bytes: &'static [u8]) -> File {
        File::new("a/train.txt".into(), "train.txt".into(), bytes.into())
    }

    #[test]
    fn a_file_is_one_document_without_its_mark() {
        let table = read(&file(b"\xef\xbb\xbfone\r\ntwo\n"), Select::All).unwrap();
        let Values::Text(texts) = &table.columns[0].values else { panic!("no text") };
        assert_eq!((table.rows, texts[0].as_deref()), (1, Some("one\r\ntwo\n")));
    }

    #[test]
    fn the_line_of_a_wrong_byte_is_named() {
        let error = read(&file(b"one\ntwo\nthr\xe9e\n"), Select::All).unwrap_err().to_string();
        assert!(error.starts_with("a/train.txt:3: the text is not UTF-8"), "{error}");
        assert!(error.contains("e9 65 0a"), "{error}");
    }
}
