//! The command line: one file per subcommand.

mod bench;
mod claims;
mod compare;
mod completions;
mod compress;
mod data;
mod dataset_contents;
mod evaluate;
mod export;
mod fetch;
mod generate;
mod hub;
mod import;
mod launch;
mod numbers;
mod params;
mod plan;
mod probe;
mod progress;
mod report;
mod run;
mod runs;
mod signals;
mod spectrum;
mod status;
mod translate;
mod verify;
mod weights;
mod why;

use std::path::{Path, PathBuf};

use candle_core::Device;
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};

use crate::error::{Error, Fault, Result};
use crate::hub::Hub;
use crate::models;
use crate::report::{Format, count, match_notes, plain};
use crate::results::{ExperimentFolder, RunState};
use crate::runner::{
    Plan, device_kind, device_list, planned_kind, select_device, start_thread_pool, unused_gpu,
};
use crate::spec::{self, DeviceKind, Experiment};
pub use crate::terminal::{eprint_line, print_argument_message};
use crate::terminal::{print, print_data, visible_line};

/// Reproduce Vertical LoRA (arXiv 2406.09315): compare a dense Transformer with VLoRA.
///
/// An experiment is one YAML file: a task, data, a model, training, the arms to compare, an
/// optional sweep, and seeds. `run` trains and evaluates every arm × sweep point × seed, keeps
/// the evidence of each run, and makes a table and charts from it.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
#[command(after_help = "Start with:  vlora run experiments/quickstart.yaml\n\
                        Every field of a spec is explained in experiments/reference.yaml.\n\n\
                        Exit codes: 0 done; 1 a run failed; 2 bad input; 130 interrupted.")]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

impl Cli {
    /// Reads the arguments of this process.
    pub fn of_process() -> std::result::Result<Cli, clap::Error> {
        let mut command = with_negative_numbers(Cli::command());
        let matches = command.try_get_matches_from_mut(std::env::args_os())?;
        Cli::from_arg_matches(&matches).map_err(|e| e.format(&mut command))
    }
}

/// Lets every option take a negative number, so that the error about one says what the option expects.
fn with_negative_numbers(command: clap::Command) -> clap::Command {
    let is_option = |arg: &clap::Arg| arg.get_long().is_some() && arg.get_action().takes_values();
    command
        .mut_args(|arg| if is_option(&arg) { arg.allow_negative_numbers(true) } else { arg })
        .mut_subcommands(with_negative_numbers)
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Train and evaluate every run of a spec, then write its table and charts
    ///
    /// Finished runs are not done again, and an interrupted run resumes at its step, so the same
    /// command can be repeated until everything is done.
    Run(run::RunArgs),
    /// Download everything that specs read from the Hugging Face Hub, and pin it
    ///
    /// Names become commits; files are downloaded into the Hub's cache, resumed where they were
    /// cut, and checked by size and hash. What was got is written beside each spec, into its lock
    /// (a.yaml: a.lock): repository, commit, files, hashes. With a lock, `run` and `plan` read
    /// exactly those files, online or offline.
    Fetch(fetch::FetchArgs),
    /// Show what is in a dataset: splits, columns and their types, classes, first rows
    ///
    /// Reads it as `run` would: any of the formats that `data` in experiments/reference.yaml lists.
    Data(data::DataArgs),
    /// Show what a spec would do: runs, parameters, steps, FLOPs, and its defaults
    Plan(plan::PlanArgs),
    /// List the runs under results/ with their state, metric, age and size
    ///
    /// Also names runs that several experiments share, and stale ones, which no experiment compares
    /// now.
    Runs(runs::RunsArgs),
    /// Show what makes up the id of a run, and what differs from the other arms of its experiment
    ///
    /// Two runs with the same id would end in the same bits, so a finished one is not done again.
    Why(why::WhyArgs),
    /// Put two finished runs side by side: specs, results, curves, and the examples they disagree on
    Compare(compare::CompareArgs),
    /// Show how far experiments are: runs under way, on which machine, and failures
    ///
    /// A run's progress is what its process wrote last, at most ten seconds ago.
    Status(status::StatusArgs),
    /// Submit the runs that are left to the scheduler of a cluster
    ///
    /// Each job starts `vlora run` for some of them. Jobs that reach their time limit or lose their node are
    /// requeued, and their runs resume from their checkpoints. The same command again submits what is left by
    /// then.
    Launch(launch::LaunchArgs),
    /// Repeat a finished run, or its first steps, and compare every bit
    ///
    /// The spec, its overrides and the data are those of the run; paths are taken from here. The verdict is
    /// stored with the run and stands under the table that `vlora report` makes.
    Verify(verify::VerifyArgs),
    /// Read finished runs' models layer by layer (the logit lens): what the head would predict after each
    ///
    /// The final norm and the head are applied after every layer. Leaves the log-likelihood of the truth and
    /// the metric with each run, and reports on the experiment with their table and chart.
    Probe(probe::ProbeArgs),
    /// Show where each arm's parameters are; needs no data and is instant
    Params(params::ParamsArgs),
    /// Evaluate a checkpoint on a spec's data, without training
    ///
    /// Reads every format that `import` reads, and a run's folder. Data, model size and precision are
    /// the spec's. A run's own checkpoint gives the outcomes of its test.jsonl, to the bit.
    Evaluate(evaluate::EvaluateArgs),
    /// Let the model of a finished run continue a text
    ///
    /// Uses the tested weights and the tokenizer that the run saved. The same prompt, options and seed
    /// give the same text.
    Generate(generate::GenerateArgs),
    /// Let the model of a finished run translate the lines of the standard input
    ///
    /// Uses the tested weights and the tokenizer that the run saved. Prints a line for each line; the
    /// others do not change it.
    Translate(translate::TranslateArgs),
    /// Time training steps and evaluation of each arm of a spec, compared with the time of
    /// its matrix products
    ///
    /// Steps of the real training loop, by what their time goes into. Leaves no results; weights
    /// that an arm would start from are not read, since they change no time.
    Bench(bench::BenchArgs),
    /// Make tables and charts again from the stored evidence of an experiment
    Report(report::ReportArgs),
    /// Give verdicts on published claims, computed from stored results
    ///
    /// Reads a file that says what is published and which results bear on it. Trains nothing.
    Claims(claims::ClaimsArgs),
    /// Show whether a trained model's layers differ by matrices of low rank, VLoRA's premise
    ///
    /// For each layer that would be an increment, D = W − W_ref is decomposed: how large it is,
    /// and how many ranks hold how much of it, beside the weights themselves and random matrices.
    Spectrum(spectrum::SpectrumArgs),
    /// Read a checkpoint of another program into one file of this one's
    ///
    /// Says what it recognised: the format, the model's shape, its increments, its size. Every
    /// tensor must fit the model; pickles (.bin, .pt, .pth) are never loaded.
    Import(import::ImportArgs),
    /// Write a checkpoint for another program: the authors' package, timm, Hugging Face
    ///
    /// Reads every format that `import` reads, and the folder or model.safetensors of a run.
    Export(export::ExportArgs),
    /// Turn a dense model into compounds with the increments of a rank that are nearest to it
    ///
    /// Each layer behind a compound's first becomes an increment: the truncated singular value
    /// decomposition of its difference from the reference weight. Shows, for each, the share of
    /// the difference's energy that it keeps and how far the weight is then off. `start` in a
    /// spec does the same before training.
    Compress(compress::CompressArgs),
    /// Print a shell completion script
    Completions(completions::CompletionsArgs),
}

/// A spec and what is changed in it.
#[derive(Debug, Args)]
struct SpecArgs {
    /// The experiment's YAML file
    spec: PathBuf,
    /// Override a field of the spec's common part, an arm or the sweep
    ///
    /// KEY is a dotted field, VALUE is YAML: --set training.epochs=3, --set 'seeds=[0, 1]',
    /// --set arms.vlora.vlora.rank=4. An arm's own value still goes before the common part's.
    /// May be given several times.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
}

impl SpecArgs {
    fn load(&self) -> Result<Experiment> {
        Ok(spec::load(&self.spec, &self.set, &models::parameters)?)
    }

    /// Loads the spec for a device, since `precision: auto` depends on it.
    fn load_for(&self, device: &Device) -> Result<Experiment> {
        self.load_for_kind(device_kind(device))
    }

    fn load_for_kind(&self, kind: DeviceKind) -> Result<Experiment> {
        Ok(spec::load_for(Some(kind), &self.spec, &self.set, &models::parameters)?)
    }
}

#[derive(Debug, Args)]
struct OutArgs {
    /// Where results are kept; the experiment's go into a folder of its name there
    #[arg(long, value_name = "FOLDER", default_value = "results")]
    out: PathBuf,
}

impl OutArgs {
    fn folder(&self, experiment: &Experiment) -> ExperimentFolder {
        folder_in(&self.out, experiment)
    }
}

fn folder_in(out: &Path, experiment: &Experiment) -> ExperimentFolder {
    ExperimentFolder::in_tree(out, &experiment.name)
}

#[derive(Debug, Args)]
struct DeviceArgs {
    /// What to compute on: auto, cpu, cuda (the first NVIDIA GPU) or cuda:N
    ///
    /// auto is the first GPU where this program is built for GPUs and there is one, else the CPU.
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    device: String,
}

/// The devices of a command that trains several runs.
#[derive(Debug, Args)]
struct DevicesArgs {
    /// What to compute on: auto, cpu, cuda (the first NVIDIA GPU), cuda:N, or GPUs as in cuda:0,cuda:1
    ///
    /// auto is the first GPU where this program is built for GPUs and there is one, else the CPU. Each of
    /// several GPUs trains other runs.
    #[arg(long = "device", value_name = "DEVICE", default_value = "auto")]
    devices: String,
}

impl DevicesArgs {
    /// Opens each of them, of which there is at least one.
    fn open(&self) -> Result<Vec<Device>> {
        let list = device_list(&self.devices)?;
        let devices = list.into_iter().map(select_device).collect::<Result<Vec<Device>>>()?;
        if devices.iter().all(Device::is_cpu) {
            tell_unused_gpu(&self.devices);
        }
        Ok(devices)
    }

    /// As they were given.
    fn name(&self) -> &str {
        &self.devices
    }

    /// Opens the device of a worker again; on a GPU it has its own stream.
    fn another(&self, worker: usize) -> Result<Device> {
        let list = device_list(&self.devices)?;
        select_device(list[worker % list.len()])
    }
}

impl DeviceArgs {
    fn select(&self) -> Result<Device> {
        let device = select_device(&self.device)?;
        if device.is_cpu() {
            tell_unused_gpu(&self.device);
        }
        Ok(device)
    }

    /// The device kind for a command that computes nothing; a GPU need not be present.
    fn planned(&self) -> Result<DeviceKind> {
        planned_kind(&self.device)
    }
}

#[derive(Debug, Args)]
struct FormatArgs {
    /// How to print the table
    #[arg(long, value_enum, default_value_t)]
    format: FormatName,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum FormatName {
    /// Aligned text
    #[default]
    Table,
    /// Comma-separated values, numbers in full precision
    Csv,
    /// An array with an object a row
    Json,
    /// A table of GitHub-flavoured Markdown
    Markdown,
    /// A LaTeX tabular; it needs the booktabs package
    Latex,
}

impl From<FormatName> for Format {
    fn from(name: FormatName) -> Format {
        match name {
            FormatName::Table => Format::Table,
            FormatName::Csv => Format::Csv,
            FormatName::Json => Format::Json,
            FormatName::Markdown => Format::Markdown,
            FormatName::Latex => Format::Latex,
        }
    }
}

/// Runs the chosen command.
pub fn main(cli: Cli) -> Result<()> {
    match &cli.command {
        // Must come before the first use of rayon's pool. The other commands do not compute with a model.
        Command::Run(_)
        | Command::Verify(_)
        | Command::Probe(_)
        | Command::Evaluate(_)
        | Command::Generate(_)
        | Command::Translate(_)
        | Command::Bench(_) => {
            start_thread_pool()?;
        }
        _ => {}
    }
    match cli.command {
        Command::Run(args) => run::run(&args),
        Command::Runs(args) => runs::runs(&args),
        Command::Status(args) => status::status(&args),
        Command::Why(args) => why::why(&args),
        Command::Compare(args) => compare::compare(&args),
        Command::Launch(args) => launch::launch(&args),
        Command::Verify(args) => verify::verify(&args),
        Command::Probe(args) => probe::probe(&args),
        Command::Data(args) => data::data(&args),
        Command::Fetch(args) => fetch::fetch(&args),
        Command::Plan(args) => plan::plan(&args),
        Command::Params(args) => params::params(&args),
        Command::Evaluate(args) => evaluate::evaluate(&args),
        Command::Generate(args) => generate::generate(&args),
        Command::Translate(args) => translate::translate(&args),
        Command::Bench(args) => bench::bench(&args),
        Command::Claims(args) => claims::claims(&args),
        Command::Report(args) => report::report(&args),
        Command::Spectrum(args) => spectrum::spectrum(&args),
        Command::Import(args) => import::import(&args),
        Command::Export(args) => export::export(&args),
        Command::Compress(args) => compress::compress(&args),
        Command::Completions(args) => completions::completions(&args),
    }
}

/// An empty line, then one line per matched arm: how close it is to the size that it is matched to.
/// Empty if there are none.
fn matched(experiment: &Experiment) -> String {
    let notes = experiment.variants.iter().flat_map(|v| match_notes(&v.label, &v.matched));
    let lines: String = notes.map(|note| format!("· {}\n", plain(&note))).collect();
    if lines.is_empty() { lines } else { format!("\n{lines}") }
}

/// `1 run`, `1,234 runs`.
fn several(n: usize, what: &str) -> String {
    format!("{} {what}{}", count(n as u64), if n == 1 { "" } else { "s" })
}

/// The first `most` names in one line.
fn listed<S: AsRef<str>>(names: &[S], most: usize) -> String {
    let first: Vec<String> = names.iter().take(most).map(|name| clean(name.as_ref())).collect();
    let first = first.join(", ");
    match names.len() > most {
        true => format!("{first}, … ({} in all)", count(names.len() as u64)),
        false => first,
    }
}

/// How many runs are in each state: `3 finished, 1 planned`.
fn states(runs: impl Iterator<Item = RunState> + Clone) -> String {
    let all = [
        RunState::Finished,
        RunState::Running,
        RunState::Interrupted,
        RunState::Failed,
        RunState::Damaged,
        RunState::Planned,
    ];
    let some = all.into_iter().filter_map(|state| {
        let n = runs.clone().filter(|run| *run == state).count();
        (n > 0).then(|| format!("{} {}", count(n as u64), state.name()))
    });
    some.collect::<Vec<_>>().join(", ")
}

/// A text as one line, with control characters escaped.
fn clean(text: &str) -> String {
    visible_line(text).into_owned()
}

/// The experiment and the id of a run's folder, or of an id under `results`.
fn find_run(run: &Path) -> Result<(ExperimentFolder, String)> {
    let bare = run.to_str().filter(|id| !run.exists() && !id.contains('/'));
    let under = |id: &str| {
        let all = ExperimentFolder::all(Path::new("results")).into_iter();
        all.map(|experiment| experiment.run(id).path().to_path_buf()).find(|path| path.is_dir())
    };
    let found = bare.and_then(under);
    let run = found.as_deref().unwrap_or(run);
    let wrong = || {
        Error::from(Fault::new("this is not the folder of a run").source(run.display()).expected(
            "results/<experiment>/runs/<id>, or the id of a run under results/ that has begun",
        ))
    };
    let folder = run.canonicalize().map_err(|_| wrong())?;
    let id = folder.file_name().and_then(|name| name.to_str()).ok_or_else(wrong)?.to_string();
    let runs = folder.parent().filter(|runs| runs.file_name().is_some_and(|name| name == "runs"));
    let experiment = runs.and_then(Path::parent).ok_or_else(wrong)?;
    Ok((ExperimentFolder::new(experiment), id))
}

/// The experiment of a folder by the spec that its runs were trained with, and that spec's path.
fn recorded_spec(folder: &ExperimentFolder, device: &Device) -> Result<(Experiment, PathBuf)> {
    let record = folder.read_record()?;
    let path = folder.file("experiment.yaml");
    let source = std::fs::read(&path).map_err(|e| Error::io("reading", &path, e))?;
    let experiment = spec::parse_for(
        Some(device_kind(device)),
        &source,
        &path.display().to_string(),
        &record.name,
        &record.overrides,
        &models::parameters,
    )?;
    Ok((experiment, path))
}

/// The plan of an experiment. Errors that name no file of the data name the spec.
fn planned(
    experiment: Experiment,
    folder: &ExperimentFolder,
    hub: &Hub,
    spec: &Path,
) -> Result<Plan> {
    Plan::new(experiment, folder, hub).map_err(|error| error.map_fault(|fault| fault.file(spec)))
}

/// Prints a table in the chosen format.
fn print_as(format: FormatName, text: &str) -> Result<()> {
    match format {
        FormatName::Table => print(text),
        FormatName::Csv | FormatName::Json | FormatName::Markdown | FormatName::Latex => {
            print_data(text)
        }
    }
}

/// Prints a note for each value of a spec that changes no run.
fn tell_notes(experiment: &Experiment) {
    experiment.notes.iter().for_each(|value| eprint_line(&format!("note: {value}")));
}

/// Prints a note if `--device auto` cannot use a GPU that may be present.
fn tell_unused_gpu(device: &str) {
    if let Some(why) = unused_gpu(device) {
        eprint_line(&format!("note: computing on the CPU: {why}"));
    }
}

/// The error for a report that was printed but could not be written.
pub fn not_written(folder: &Path, error: &Error) -> Error {
    Error::from(
        Fault::failed("the table is printed, but its files could not all be written")
            .source(clean(&folder.display().to_string()))
            .found(error)
            .help(
                "copy the folder to a place that may be written to, and report on \
                 the copy",
            ),
    )
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_sound() {
        super::Cli::command().debug_assert();
    }
}
