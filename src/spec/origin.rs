//! The origin of a value in a spec: the file or a `--set` argument.

/// One step from a value to a value inside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    Key(String),
    Index(usize),
}

impl Step {
    fn key(&self) -> Option<&str> {
        match self {
            Step::Key(key) => Some(key),
            Step::Index(_) => None,
        }
    }
}

/// Steps as a dotted path: `arms.vlora-r8.vlora.targets[2]`.
pub fn dotted(steps: &[Step]) -> String {
    let mut out = String::new();
    for step in steps {
        match step {
            Step::Key(key) => {
                if !out.is_empty() {
                    out.push('.');
                }
                out.push_str(key);
            }
            Step::Index(index) => out.push_str(&format!("[{index}]")),
        }
    }
    out
}

/// Where a value was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// At this path in the spec file.
    File(Vec<Step>),
    /// In this `--set` argument, as typed.
    Set(String),
}

/// YAML's merge key, as in `<<: *anchor`.
pub const MERGE: &str = "<<";

impl Origin {
    /// The keys from the run down to the value (`vlora`, `rank`). They are the same for the common
    /// part, an arm, the sweep and a merged mapping.
    pub fn run_path(&self) -> Vec<&str> {
        let keys: Vec<&str> = match self {
            Origin::File(steps) => {
                steps.iter().filter_map(Step::key).filter(|key| *key != MERGE).collect()
            }
            Origin::Set(argument) => {
                let mut rest = argument.split('=').next().unwrap_or_default().trim();
                let mut keys = Vec::new();
                // A swept field is one key.
                while let Some((key, after)) = rest.split_once('.')
                    && !matches!(keys[..], ["sweep"] | ["arms", _, "sweep"])
                {
                    keys.push(key);
                    rest = after;
                }
                keys.push(rest);
                keys
            }
        };
        let of_run = match keys[..] {
            ["arms", _, ..] => &keys[2..],
            _ => &keys,
        };
        match of_run {
            ["sweep", field, ..] => field.split('.').collect(),
            _ => of_run.to_vec(),
        }
    }

    /// The section of a run (`model`, `vlora`, …) that the value belongs to.
    pub fn section(&self) -> Option<&str> {
        self.run_path().first().copied()
    }

    /// The arm that the value was written in.
    pub fn arm(&self) -> Option<&str> {
        match self {
            Origin::File(steps) => match &steps[..] {
                [Step::Key(first), Step::Key(arm), ..] if first == "arms" => Some(arm),
                _ => None,
            },
            Origin::Set(argument) => {
                let key = argument.split('=').next()?.trim();
                Some(key.strip_prefix("arms.")?.split_once('.')?.0)
            }
        }
    }

    /// Whether the value was written in the sweep.
    pub fn is_swept(&self) -> bool {
        match self {
            Origin::File(steps) => {
                let is_sweep = |step: &Step| step.key() == Some("sweep");
                match &steps[..] {
                    [Step::Key(first), _, step, _, ..] if first == "arms" => is_sweep(step),
                    [first, _, ..] => is_sweep(first),
                    _ => false,
                }
            }
            Origin::Set(argument) => {
                let key = argument.split('=').next().unwrap_or_default().trim();
                let of_arm = key.strip_prefix("arms.").and_then(|rest| rest.split_once('.'));
                of_arm.map_or(key, |(_, rest)| rest).starts_with("sweep.")
            }
        }
    }

    /// The origin cut to its first `steps` steps.
    pub fn above(&self, steps: usize) -> Origin {
        match self {
            Origin::File(all) => Origin::File(all.iter().take(steps).cloned().collect()),
            Origin::Set(text) => Origin::Set(text.clone()),
        }
    }

    pub fn child(&self, step: Step) -> Origin {
        match self {
            Origin::File(steps) => Origin::File(steps.iter().cloned().chain([step]).collect()),
            Origin::Set(text) => Origin::Set(text.clone()),
        }
    }
}
