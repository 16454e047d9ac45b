//! `vlora compare`.

use std::path::PathBuf;

use clap::Args;

use super::{FormatName, clean, find_run, listed, print, print_as, several};
use crate::error::Result;
use crate::report::{Format, RunComparison, count};
use crate::tasks::evidence;

#[derive(Debug, Args)]
pub struct CompareArgs {
    /// The folder of a finished run, or its id under results/
    #[arg(value_name = "RUN")]
    first: PathBuf,
    /// A second run to compare it with
    #[arg(value_name = "OTHER")]
    second: PathBuf,
    /// How to print it: as text, or for programs a table of the test examples that exactly one of the runs
    /// has right
    ///
    /// Where examples are not right or wrong, that is the table of the results.
    #[arg(long, value_enum, default_value_t)]
    format: FormatName,
}

/// The most examples and classes that are listed in the text.
const MAX_LISTED: usize = 20;

pub fn compare(args: &CompareArgs) -> Result<()> {
    let (experiment, first) = find_run(&args.first)?;
    let (other, second) = find_run(&args.second)?;
    let runs = [&experiment.run(&first), &other.run(&second)];
    let comparison = RunComparison::read(&|run| evidence(&run.spec.spec), runs)?;
    let examples = comparison.examples();
    if args.format != FormatName::Table {
        // The examples on which they disagree, else their results.
        let table = match &examples {
            Some(examples) => examples.disagreements(),
            None => comparison.results(),
        };
        return print_as(args.format, &table.render(args.format.into()));
    }
    let mut text = format!("first: {}\nsecond: {}\n\n", clean(&first), clean(&second));
    let differences = comparison.spec_differences();
    match differences.is_empty() {
        true => text += "Their specs are the same.\n",
        false => text += "Their specs differ in\n\n",
    }
    for (field, first, second) in &differences {
        text += &format!("  {}: {}, {}\n", clean(field), clean(first), clean(second));
    }
    text += &format!("\n{}\n", comparison.results().render(Format::Table));
    text += &comparison.curves().render(Format::Table);
    text.push('\n');
    let equals = |p: String| if p.starts_with('<') { p } else { format!("= {p}") };
    let about =
        "it is about these weights on other test examples, not about training with other seeds";
    text += &match (&examples, comparison.bootstrap()) {
        (None, Some(p)) => {
            format!("Paired bootstrap over the test examples: p {}; {about}\n", equals(p))
        }
        (None, None) => {
            "Their test examples are not compared: they are not the same, or not right or wrong.\n"
                .into()
        }
        (Some(examples), _) => {
            let (first, second) = (&examples.first_only, &examples.second_only);
            let names = |all: &[usize]| {
                let all: Vec<String> = all.iter().map(usize::to_string).collect();
                match all.is_empty() {
                    true => String::new(),
                    false => format!(": {}", listed(&all, MAX_LISTED)),
                }
            };
            format!(
                "Of the test examples both have {} right, and neither {}.\n\
                 · the first alone has {} right{}\n\
                 · the second alone has {} right{}\n\
                 · McNemar's exact test: p {}; {about}\n",
                count(examples.both),
                count(examples.neither),
                several(first.len(), "example"),
                names(first),
                several(second.len(), "example"),
                names(second),
                equals(examples.p_text()),
            )
        }
    };
    if let Some((classes, more)) = comparison.classes(MAX_LISTED) {
        text += &format!(
            "\nThe share of each class's test examples that they have right, the largest difference \
             first:\n\n{}",
            classes.render(Format::Table)
        );
        text += &match more {
            0 => String::new(),
            1 => "and 1 more class with no larger difference\n".into(),
            more => format!("and {} more classes with no larger differences\n", count(more as u64)),
        };
    }
    print(&text)
}
