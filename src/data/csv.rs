//! CSV and TSV files: a line of column names, unless the spec names them, then rows, with RFC 4180's
//! quotes, in UTF-8.

use std::collections::BTreeSet;

use ::csv::{ByteRecord, ReaderBuilder};

use super::limits;
use super::select::Select;
use super::table::{Column, Kind, Table, Values};
use super::unpack::unpack;
use super::utf8;
use crate::error::{Error, Fault, Result};
use crate::hub::File;
use crate::spec::shorten;

/// Reads the selected columns. A column is numeric if each of its values is a number in its usual
/// spelling. An empty value is missing. `columns` names the columns of a file whose first row is an
/// example; if it is empty, the first row names them.
pub fn read(file: &File, delimiter: u8, columns: &[String], select: Select) -> Result<Table> {
    let bytes = unpack(file)?;
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
    let fail = |place: &str, error: Error| {
        error.map_fault(|fault| fault.prefixed(place).source(&file.name))
    };
    if let Some((line, found)) = broken_quote(bytes, delimiter) {
        let fault = Fault::new("a quote is broken").found(found).expected(
            "a quoted value to end with a quote in front of a delimiter or the line's end, and \
             quotes inside it to be doubled",
        );
        return Err(fail(&format!("line {line}: "), fault.into()));
    }
    let has_names = columns.is_empty();
    let mut reader = ReaderBuilder::new()
        .delimiter(delimiter)
        .has_headers(has_names)
        .flexible(true)
        .from_reader(bytes);
    let wrong =
        |e: ::csv::Error| fail("", Fault::new(format!("the rows cannot be read: {e}")).into());
    // The first row, if there is one. Where it is an example it is read again below.
    let head = reader.byte_headers().map_err(wrong)?.clone();
    let names = match has_names {
        true => {
            let mut names = Vec::with_capacity(head.len());
            for (i, name) in head.iter().enumerate() {
                let name = utf8::part("the value", name)
                    .map_err(|e| fail(&format!("line 1: name {}: ", i + 1), e))?;
                names.push(name.to_string());
            }
            names
        }
        false => columns.to_vec(),
    };
    let is_name = |cell: &[u8]| columns.iter().any(|name| name.as_bytes() == cell);
    if let Some(cell) = head.iter().find(|cell| is_name(cell)) {
        return Err(Fault::new("the first row holds a name that `data.columns` gives")
            .source(&file.name)
            .line(1)
            .found(format!("`{}`", shorten(&String::from_utf8_lossy(cell))))
            .expected("an example in the first row")
            .help("without `data.columns` the first row names the columns")
            .into());
    }
    let bounded = |rows: usize| {
        limits::check_cells(names.len(), rows, file.bytes.len()).map_err(|error| fail("", error))
    };
    bounded(0)?;
    let mut seen = BTreeSet::new();
    if let Some(twice) = names.iter().find(|name| !seen.insert(name.as_str())) {
        let place = if has_names { "line 1: " } else { "data.columns: " };
        let fault = Fault::new(format!("two columns have the name `{twice}`"));
        return Err(fail(place, fault.into()));
    }
    let fields: Vec<_> = names.iter().map(|name| (name.clone(), Kind::Text)).collect();
    let or_help = |fault: Fault| match select.no_names_help() {
        Some(help) if has_names => fault.or_help(help),
        _ => fault,
    };
    select.check(&file.name, &fields).map_err(|error| error.map_fault(or_help))?;
    let kept: Vec<usize> =
        (0..names.len()).filter(|i| select.wants(&names[*i], Some(&Kind::Text))).collect();

    let mut columns: Vec<Vec<Option<String>>> = vec![Vec::new(); kept.len()];
    let mut record = ByteRecord::new();
    let mut row = 0;
    while reader.read_byte_record(&mut record).map_err(wrong)? {
        let place = || {
            let line = record.position().map_or(0, |position| position.line());
            format!("row {row} (line {line}): ")
        };
        if record.len() != names.len() {
            let given = if has_names { "" } else { " in `data.columns`" };
            let fault = Fault::new("the row has another number of values")
                .found(record.len())
                .expected(format!("{}, as there are column names{given}", names.len()));
            return Err(fail(&place(), fault.into()));
        }
        bounded(row + 1)?;
        for (column, i) in columns.iter_mut().zip(&kept) {
            let value = utf8::part("the value", &record[*i])
                .map_err(|e| fail(&format!("{}column `{}`: ", place(), names[*i]), e))?;
            column.push((!value.is_empty()).then(|| value.to_string()));
        }
        row += 1;
    }
    let columns = columns.into_iter().zip(&kept);
    let columns = columns.map(|(texts, i)| Column::new(&names[*i], typed(texts))).collect();
    Ok(Table::new(&file.name, columns, row))
}

/// Converts a column to numbers if all its values are numbers.
fn typed(texts: Vec<Option<String>>) -> Values {
    let whole = |text: &String| text.parse::<i64>().ok().filter(|n| n.to_string() == *text);
    let number = |text: &String| {
        let starts = text.starts_with(|c: char| c.is_ascii_digit() || c == '-');
        text.parse::<f64>().ok().filter(|x| starts && x.is_finite())
    };
    let mut there = texts.iter().flatten();
    if texts.iter().all(Option::is_none) {
        return Values::Text(texts);
    }
    if there.all(|text| whole(text).is_some()) {
        return Values::Integers(texts.iter().map(|t| t.as_ref().and_then(whole)).collect());
    }
    // Digits with a leading zero are a code, not a number.
    let code = |text: &String| {
        let digits = text.trim_start_matches('-');
        digits.len() > 1 && digits.starts_with('0') && !digits.starts_with("0.")
    };
    if texts.iter().flatten().all(|text| number(text).is_some() && !code(text)) {
        return Values::Floats(texts.iter().map(|t| t.as_ref().and_then(number)).collect());
    }
    Values::Text(texts)
}

/// Values that pandas, and so `datasets`, reads as missing.
const MISSING: [&str; 18] = [
    "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>",
    "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null",
];

/// Errors for text labels that `datasets`, which uses pandas, reads differently: as missing values,
/// or as numbers if they are codes with leading zeros.
pub fn check_labels(table: &Table, column: &Column) -> Result<()> {
    let Values::Text(texts) = &column.values else { return Ok(()) };
    let fail = |row: usize, text: &str, other: &str, help: &str| {
        Error::from(
            Fault::new("a label can be read in two ways")
                .source(table.place(row))
                .found(format!("{text}, which is {other} to Hugging Face's `datasets`"))
                .expected("labels that are text alone or numbers alone")
                .help(help),
        )
    };
    let missing = |text: &String| MISSING.contains(&&text[..]);
    let rows = || texts.iter().enumerate().filter_map(|(row, text)| Some((row, text.as_ref()?)));
    if let Some((row, text)) = rows().find(|(_, text)| missing(text)) {
        return Err(fail(row, text, "a missing value", "rename the class"));
    }
    match rows().next() {
        Some((row, text)) if rows().all(|(_, text)| text.parse::<f64>().is_ok()) => {
            Err(fail(row, text, "a number", "write numbers without leading zeros, or names"))
        }
        _ => Ok(()),
    }
}

/// The first broken quote: its line and a description. A quoted value may never close, or may
/// continue after its closing quote. The csv crate accepts both and reads later rows into the
/// value.
fn broken_quote(bytes: &[u8], delimiter: u8) -> Option<(usize, String)> {
    let ends = |b: Option<&u8>| b.is_none_or(|b| *b == delimiter || *b == b'\n' || *b == b'\r');
    let (mut line, mut i, mut fresh) = (1, 0, true);
    while i < bytes.len() {
        match bytes[i] {
            b'"' if fresh => {
                let opened = line;
                i += 1;
                loop {
                    match bytes.get(i) {
                        None => {
                            let found = "a quote that opens a value and none that closes it";
                            return Some((opened, found.into()));
                        }
                        Some(b'"') if bytes.get(i + 1) == Some(&b'"') => i += 2,
                        Some(b'"') => break,
                        Some(b) => {
                            line += usize::from(*b == b'\n');
                            i += 1;
                        }
                    }
                }
                i += 1;
                if !ends(bytes.get(i)) {
                    let rest = &bytes[i..bytes.len().min(i + 20)];
                    let found = format!(
                        "`{}` behind a closing quote, in a value that opens in line {opened}",
                        shorten(&String::from_utf8_lossy(rest))
                    );
                    return Some((line, found));
                }
                fresh = false;
            }
            b => {
                line += usize::from(b == b'\n');
                fresh = b == delimiter || b == b'\n' || b == b'\r';
                i += 1;
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Table> {
        let bytes = text.as_bytes().to_vec();
        read(&File::new("f.csv".into(), "f.csv".into(), bytes.into()), b',', &[], Select::All)
    }

    fn parse_named(text: &str, columns: &[&str]) -> Result<Table> {
        let file = File::new("f.csv".into(), "f.csv".into(), text.as_bytes().to_vec().into());
        let columns: Vec<String> = columns.iter().map(|name| name.to_string()).collect();
        read(&file, b',', &columns, Select::All)
    }

    #[test]
    fn columns_that_the_spec_names_make_the_first_row_an_example() {
        let table = parse_named("\u{feff}1,\"a, b\"\n0,c\n", &["label", "text"]).unwrap();
        assert_eq!((table.rows, table.columns[0].name.as_str()), (2, "label"));
        let shown = |column: usize| format!("{:?}", table.columns[column].values);
        assert_eq!(shown(0), "Integers([Some(1), Some(0)])");
        assert_eq!(shown(1), "Text([Some(\"a, b\"), Some(\"c\")])");
        assert_eq!(parse_named("", &["a"]).unwrap().rows, 0);
        let error = |text: &str| parse_named(text, &["label", "text"]).unwrap_err().to_string();
        let repeated = error("class,text\n1,a\n");
        assert!(repeated.starts_with("f.csv:1: the first row holds a name"), "{repeated}");
        let wide = error("1,a,b\n");
        assert!(wide.contains("row 0 (line 1)") && wide.contains("expected: 2"), "{wide}");
        assert!(wide.contains("in `data.columns`"), "{wide}");
    }

    #[test]
    fn columns_of_numbers_become_numeric_and_others_stay_text() {
        let table = parse("\u{feff}a,b,c,d\n1,x,1.5,007\n,\"y, \"\"z\"\"\nw\",-2,1\n").unwrap();
        assert_eq!(table.rows, 2);
        let values: Vec<String> = table.columns.iter().map(|c| format!("{:?}", c.values)).collect();
        assert_eq!(
            values,
            [
                "Integers([Some(1), None])",
                "Text([Some(\"x\"), Some(\"y, \\\"z\\\"\\nw\")])",
                "Floats([Some(1.5), Some(-2.0)])",
                "Text([Some(\"007\"), Some(\"1\")])",
            ]
        );
        assert_eq!(parse("a\n").unwrap().rows, 0);
        assert_eq!(parse("").unwrap().columns.len(), 0);
    }

    /// A name with line breaks does not look like another part of the message.
    #[test]
    fn a_message_has_no_lines_of_the_file() {
        let error = parse("\"a\n  help:     x\",\"a\n  help:     x\"\n").unwrap_err().to_string();
        assert_eq!(error, "f.csv: line 1: two columns have the name `a   help:     x`");
    }

    #[test]
    fn a_quote_counts_only_where_a_value_begins() {
        let broken = |text: &str| broken_quote(text.as_bytes(), b',').map(|(line, _)| line);
        for sound in ["a,\"b\"\r\n\"\"\"c\"\"\",d", "5\" disk,x", "\"\"", "\"a\nb\",c\n", ""] {
            assert_eq!(broken(sound), None, "{sound}");
        }
        assert_eq!(broken("a,b\n1,\"x\n2,y\n"), Some(2));
        assert_eq!(broken("a,b\n\"x\ny\"z,1\n"), Some(3));
        assert_eq!(broken("\""), Some(1));
        assert_eq!(broken("\"\"\""), Some(1));
    }
}
