//! Two files of plain text of which each line of one translates the same line of the other: `train.de` and
//! `train.en`.

use super::select::Select;
use super::splits::Split;
use super::table::{Column, Kind, Table, Values};
use super::unpack::unpack;
use super::utf8::whole_file;
use crate::error::{Fault, Result};
use crate::hub::File;

/// The two endings of a pair's files, the names of the table's columns.
pub type Languages = [String; 2];

/// The pairs among files, by their names: a split for each stem that has both endings, packed or not. The files
/// that are in none come second.
pub fn pairs<'f>(files: &[&'f str], languages: &Languages) -> (Vec<Split>, Vec<&'f str>) {
    let stem = |path: &'f str, language: &str| {
        let name = path.strip_suffix(".gz").unwrap_or(path);
        name.strip_suffix(language)?.strip_suffix('.')
    };
    let [first, second] = languages;
    let mut splits: Vec<Split> = Vec::new();
    let mut paired = Vec::new();
    for one in files {
        let Some(prefix) = stem(one, first).filter(|prefix| !prefix.is_empty()) else { continue };
        let others = files.iter().filter(|other| stem(other, second) == Some(prefix));
        for other in others {
            let name = prefix.rsplit('/').next().unwrap_or(prefix).to_string();
            let twice = splits.iter().any(|split| split.name == name);
            let fault = twice.then(|| {
                Fault::new("two pairs of files have one name")
                    .found(format!("{one}, {other}"))
                    .expected(format!("one pair for the split `{name}`"))
            });
            let files = vec![one.to_string(), other.to_string()];
            splits.retain(|split| split.name != name);
            splits.push(Split { name, files, metadata: Vec::new(), fault });
            paired.extend([*one, *other]);
        }
    }
    let rest = files.iter().filter(|path| !paired.contains(path));
    (splits, rest.copied().collect())
}

/// Reads both files of a split. Errors if one is not UTF-8, or if they have not as many lines.
pub fn read(files: &[File], languages: &Languages, select: Select) -> Result<Table> {
    let [first, second] = files else {
        let names: Vec<&str> = files.iter().map(|file| file.name.as_str()).collect();
        return Err(Fault::new("files of aligned lines come in pairs")
            .found(names.join(", "))
            .expected("one file a language")
            .into());
    };
    let fields: Vec<(String, Kind)> =
        languages.iter().map(|language| (language.clone(), Kind::Text)).collect();
    select.check(&first.name, &fields)?;
    let (one, other) = (lines(first)?, lines(second)?);
    if one.len() != other.len() {
        return Err(Fault::new("the files have not as many lines")
            .source(&second.name)
            .found(format!("{} lines", other.len()))
            .expected(format!("{}, as in {}", one.len(), first.name))
            .into());
    }
    let rows = one.len();
    let columns = languages
        .iter()
        .zip([one, other])
        .filter(|(language, _)| select.wants(language, Some(&Kind::Text)));
    let columns = columns.map(|(language, lines)| Column::new(language, Values::Text(lines)));
    Ok(Table::new(&first.name, columns.collect(), rows))
}

/// A file's lines, without a byte order mark and line ends. Only `\n` and `\r\n` end a line.
fn lines(file: &File) -> Result<Vec<Option<String>>> {
    let bytes = unpack(file)?;
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
    let text = whole_file(file, bytes)?;
    Ok(text.lines().map(|line| Some(line.to_string())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn languages() -> Languages {
        ["de".to_string(), "en".to_string()]
    }

    fn file(name: &str, bytes: &[u8]) -> File {
        File::new(format!("a/{name}"), name.into(), bytes.to_vec().into())
    }

    #[test]
    fn files_of_one_stem_are_a_pair() {
        let files = ["a/train.de", "a/train.en", "test.de.gz", "test.en", "x.de", "de", "README"];
        let (splits, rest) = pairs(&files, &languages());
        let named: Vec<(&str, &[String])> =
            splits.iter().map(|split| (split.name.as_str(), &split.files[..])).collect();
        assert_eq!(named[0], ("train", &["a/train.de".to_string(), "a/train.en".to_string()][..]));
        assert_eq!(named[1].0, "test");
        assert_eq!((named.len(), rest), (2, vec!["x.de", "de", "README"]));
        let (splits, _) = pairs(&["a/t.de", "a/t.en", "b/t.de", "b/t.en"], &languages());
        let fault = splits[0].fault.as_ref().unwrap().to_string();
        assert!(fault.contains("b/t.de, b/t.en"), "{fault}");
    }

    #[test]
    fn lines_of_both_files_are_rows() {
        let both =
            [file("t.de", b"\xef\xbb\xbfein\r\n\nzwei"), file("t.en", b"one\n\xe2\x80\xa8\ntwo\n")];
        let table = read(&both, &languages(), Select::All).unwrap();
        assert_eq!(table.rows, 3);
        let texts = |language: &str| match &table.column(language).unwrap().values {
            Values::Text(texts) => texts.iter().flatten().cloned().collect::<Vec<_>>(),
            other => panic!("{other:?}"),
        };
        assert_eq!(texts("de"), ["ein", "", "zwei"]);
        assert_eq!(texts("en"), ["one", "\u{2028}", "two"]);
        for (one, other, parts) in [
            (&b"a\nb\n"[..], &b"a\n"[..], ["1 lines", "2, as in a/t.de"]),
            (b"a\nb\xff\n", b"a\nb\n", ["not UTF-8", "a/t.de"]),
        ] {
            let both = [file("t.de", one), file("t.en", other)];
            let error = read(&both, &languages(), Select::All).unwrap_err().to_string();
            assert!(parts.iter().all(|part| error.contains(part)), "{error}");
        }
    }
}
