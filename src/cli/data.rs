//! `vlora data`.

use std::path::PathBuf;

use clap::Args;

use super::dataset_contents::{classes, images};
use super::hub::HubArgs;
use super::numbers::whole;
use super::{FormatArgs, FormatName, clean, print_as};
use crate::data::contents::Contents;
use crate::data::{Column, Kind, Layout, Table as Rows, Values, listed, read_split};
use crate::error::{Fault, Result};
use crate::hub::{self, Repository, Source};
use crate::report::{Align, Cell, Table, count};
use crate::spec::{HubName, Task};
use crate::tasks::{SpecDataset, definition};

#[derive(Debug, Args)]
pub struct DataArgs {
    /// A folder, hub:owner/name, hub:owner/name@revision or embedded:name
    #[arg(value_name = "DATASET")]
    dataset: String,
    /// The configuration (subset), where the dataset has several and no default
    #[arg(long, value_name = "NAME")]
    config: Option<String>,
    /// Leave out the files that match this pattern, as data.ignore; may be given several times
    #[arg(long, value_name = "PATTERN")]
    ignore: Vec<String>,
    /// Names of all columns of CSV and TSV files whose first row is an example, as data.columns
    #[arg(long, value_name = "NAME,…", value_delimiter = ',',
        value_parser = clap::builder::NonEmptyStringValueParser::new())]
    columns: Vec<String>,
    /// Show this split alone
    #[arg(long, value_name = "NAME")]
    split: Option<String>,
    /// How many of each split's first rows to show
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = whole::<usize>)]
    rows: usize,
    #[command(flatten)]
    hub: HubArgs,
    #[command(flatten)]
    format: FormatArgs,
}

/// Longer texts are cut at this many characters.
const SHOWN: usize = 60;

pub fn data(args: &DataArgs) -> Result<()> {
    let repository = args.hub.unlocked().open(&source(&args.dataset)?, hub::Kind::Dataset)?;
    let layout = Layout::without(&repository, args.config.as_deref(), &args.ignore)?
        .with_columns(&args.columns);
    if args.split.is_none() && layout.splits().next().is_none() {
        // A dataset with a fault may also have no splits; then the fault is reported.
        layout.fault()?;
        return Err(Fault::new("the dataset has no files in a supported format")
            .source(repository.name())
            .expected(
                "Parquet, CSV, TSV, JSON lines, plain text, IDX, or folders of PNG, JPEG or \
                 WebP images; archives are not opened",
            )
            .into());
    }
    let splits: Vec<String> = match &args.split {
        Some(split) => vec![split.clone()],
        None => layout.splits().map(str::to_string).collect(),
    };
    let mut table = Table::new()
        .column("split", "split", Align::Left)
        .column("files", "files", Align::Right)
        .column("rows", "rows", Align::Right)
        .column("column", "column", Align::Left)
        .column("type", "type", Align::Left)
        .column("classes", "classes", Align::Right);
    let mut details = String::new();
    let mut contents = Contents::default();
    for split in &splits {
        let files = layout.files(split)?.len();
        let rows = read_split(&repository, &layout, split, None)?;
        for (i, column) in rows.columns.iter().enumerate() {
            let classes = column.class_names.len();
            // Cells that describe the split are shown only in its first row.
            let once = |text: String| if i == 0 { text } else { String::new() };
            table.row(vec![
                Cell::number(split.clone(), once(split.clone())),
                Cell::number(files, once(count(files as u64))),
                Cell::number(rows.rows, once(count(rows.rows as u64))),
                Cell::text(clean(&column.name)),
                Cell::text(clean(&column.kind().to_string())),
                if classes > 0 {
                    Cell::number(classes, count(classes as u64))
                } else {
                    Cell::none()
                },
            ]);
        }
        details += &first_rows(split, &rows, args.rows);
        if split == &splits[0] {
            details = class_names(&rows) + &details;
        }
        contents.add(split, &rows);
    }
    let mut text = table.render(args.format.format.into());
    if let FormatName::Table = args.format.format {
        let config = layout.config.as_deref().map(|c| format!(", configuration {c}"));
        let head = format!("{}{}", repository.name(), config.unwrap_or_default());
        let licence = licence(&repository, &layout);
        text = format!(
            "{}\nlicence: {}\nsplits found by {}\n{}\n{text}{}{}{details}{}",
            clean(&head),
            clean(&licence),
            layout.by(),
            left_out(&layout),
            images(&contents),
            classes(&contents),
            spec_lines(&contents, args, &layout),
        );
    }
    print_as(args.format.format, &text)
}

/// The lines of a spec with a heading, or a sentence that says why there are none. Empty for a dataset
/// whose examples no task takes.
fn spec_lines(contents: &Contents, args: &DataArgs, layout: &Layout) -> String {
    let dataset = SpecDataset {
        name: &args.dataset,
        config: layout.config.as_deref(),
        ignore: &args.ignore,
        columns: &args.columns,
        named_by_first_row: args.columns.is_empty() && layout.is_csv(),
        splits: layout.splits().collect(),
        contents,
    };
    let of_task = |task: Task| Some((task, definition(task).spec_lines(&dataset)?));
    let mut of_tasks: Vec<_> = Task::ALL.into_iter().filter_map(of_task).collect();
    // A task that can read it comes before one that says what it lacks.
    of_tasks.sort_by_key(|(_, lines)| lines.is_err());
    match of_tasks.into_iter().next() {
        Some((task, Ok(lines))) => {
            format!("\nto paste into a spec:\n\ntask: {}\n{lines}", task.name())
        }
        Some((_, Err(reason))) => format!("\nno lines for a spec: {reason}\n"),
        None => String::new(),
    }
}

/// The licence from the dataset card, else from the repository or a licence file.
fn licence(repository: &Repository, layout: &Layout) -> String {
    let is_licence = |path: &&String| {
        let name = path.to_ascii_lowercase();
        !name.contains('/') && (name.starts_with("license") || name.starts_with("licence"))
    };
    match (&layout.card.license, repository.licence()) {
        (Some(licence), _) => licence.clone(),
        (None, Some(licence)) => licence.to_string(),
        (None, None) => match repository.files().iter().find(is_licence) {
            Some(file) => format!("not stated in a card; there is a file {file}"),
            None => "not stated".to_string(),
        },
    }
}

/// The files that are not read, one line per reason.
fn left_out(layout: &Layout) -> String {
    let line = |(why, files): (&str, &[String])| match files {
        [] => String::new(),
        files => format!("not read, {why}: {}\n", clean(&listed(files))),
    };
    layout.left_out().into_iter().map(line).collect()
}

fn source(dataset: &str) -> Result<Source> {
    if let Some(source) = Source::of_hub(dataset, hub::Kind::Dataset)? {
        return Ok(source);
    }
    if let Some(name) = dataset.strip_prefix("embedded:") {
        return Ok(Source::Embedded(name.into()));
    }
    let folder = PathBuf::from(dataset);
    if !folder.exists() && HubName::parse(dataset).is_some() {
        return Err(Fault::new("there is no such folder")
            .source(dataset)
            .help(format!("did you mean `hub:{dataset}`?"))
            .into());
    }
    Ok(Source::Folder(folder))
}

/// The class names, one line per column of labels.
fn class_names(rows: &Rows) -> String {
    let named = rows.columns.iter().filter(|column| column.kind() == Kind::ClassLabel);
    let line = |column: &Column| {
        let names =
            column.class_names.iter().enumerate().map(|(i, name)| format!("{i} {}", clean(name)));
        let most = 20;
        let more = match column.class_names.len() {
            n if n > most => format!(", … {} more", n - most),
            _ => String::new(),
        };
        let names: Vec<String> = names.take(most).collect();
        format!("\n{}: {}{more}\n", clean(&column.name), names.join(", "))
    };
    named.map(line).collect()
}

fn first_rows(split: &str, rows: &Rows, most: usize) -> String {
    let mut text = String::new();
    for row in 0..rows.rows.min(most) {
        text += &format!("\n{split}, row {row}\n");
        for column in &rows.columns {
            text += &format!("  {}: {}\n", clean(&column.name), clean(&value(column, row)));
        }
    }
    text
}

/// A value as one line.
fn value(column: &Column, row: usize) -> String {
    let text = |text: Option<&Option<String>>| match text {
        Some(Some(text)) => shortened(text),
        _ => "—".into(),
    };
    match &column.values {
        Values::Images(images) => match images.get(row) {
            Some(bytes) => format!("{} of {} bytes", kind(bytes), count(bytes.len() as u64)),
            None => "—".into(),
        },
        Values::Pixels { height, width, .. } => format!("{width} × {height} pixels, grey"),
        Values::Integers(values) => match values.get(row) {
            Some(Some(n)) => {
                let name = usize::try_from(*n).ok().and_then(|n| column.class_names.get(n));
                name.map_or(n.to_string(), |name| format!("{n} ({name})"))
            }
            _ => "—".into(),
        },
        Values::Floats(values) => match values.get(row) {
            Some(Some(x)) => x.to_string(),
            _ => "—".into(),
        },
        Values::Text(texts) => text(texts.get(row)),
        Values::Languages { languages, texts } => {
            let pairs = languages.iter().zip(texts);
            let pairs =
                pairs.map(|(language, texts)| format!("{language} {}", text(texts.get(row))));
            pairs.collect::<Vec<_>>().join(" | ")
        }
        Values::Other(kind) => format!("({kind}, which is not read)"),
    }
}

fn kind(image: &[u8]) -> &'static str {
    match image {
        [0x89, b'P', b'N', b'G', ..] => "PNG",
        [0xff, 0xd8, ..] => "JPEG",
        [b'R', b'I', b'F', b'F', ..] => "WebP",
        _ => "an image",
    }
}

/// The text as one line, cut if it is long.
fn shortened(text: &str) -> String {
    let line: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let cut: String = line.chars().take(SHOWN).collect();
    let more = if line.chars().nth(SHOWN).is_some() { "…" } else { "" };
    format!("\"{cut}{more}\"")
}
