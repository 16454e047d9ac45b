//! The sentences under a table, as Markdown: the paper's open questions and how they were settled,
//! start weights, data, training and machine.

use super::table::{count, percent};
use super::text::{code, markdown};
use crate::results::{
    Conversion, Evidence, Kept, Provenance, RunResult, Session, Setting, Started, VariantRecord,
};
use crate::spec::{
    BaseInit, IncrementInit, IncrementOn, LoraSpec, MatchBy, Matched, ModelSpec, ParameterGroup,
    Precision, Rank, Reference, RunSpec, ScheduleKind, Select, StartHead, StartIncrements,
    StartSpec, Target, TrainingSpec, VectorGroup, VloraSpec, shares_nothing,
};

/// How the compounds of an arm are made, as [statements](super::arm_notes::ArmStatements); None for a
/// dense arm.
pub fn method_statements(spec: &RunSpec) -> Option<Vec<String>> {
    let v = spec.vlora.as_ref()?;
    let has_factors = has_factors(v, &spec.model);
    let is_plain = v.has_plain_compounds(spec.model.depth());
    let of_factors = |text: String| if has_factors { text } else { String::new() };
    let reference = match v.reference {
        // Where a weight is used twice, both references are the same layer.
        Reference::Base if is_plain && v.compound_size == Some(2) => "the compound's first layer",
        Reference::Base if is_plain => {
            "the compound's first layer (`reference: base`, the authors' code)"
        }
        Reference::Previous if is_plain => {
            "the layer before (`reference: previous`, the paper's text)"
        }
        Reference::Base => "the weight of the layer that uses it first (`reference: base`)",
        Reference::Previous => "the weight of the layer that used it last (`reference: previous`)",
    };
    let trains = spec.training.trains();
    let gradient = match v.detach {
        _ if !trains => "",
        _ if !spec.lora.as_ref().is_none_or(LoraSpec::trains_vectors) => "",
        true => "the gradient stops there (`detach: true`, the authors' code)",
        false => "the gradient flows through it (`detach: false`)",
    };
    let start = match v.init {
        _ if spec.start.is_some() => "",
        IncrementInit::Authors => "A and B start Kaiming-uniform (`init: authors`)",
        IncrementInit::Lora => "B starts at zero (`init: lora`)",
        IncrementInit::XavierUniform => "A and B start Xavier-uniform (`init: xavier-uniform`)",
    };
    let decay = match spec.lora {
        _ if !trains => String::new(),
        Some(_) => String::new(),
        None => increment_training(&spec.training),
    };
    if shares_nothing(spec) {
        // As many as other arms have, which answer the same questions.
        let mut statements = vec![String::new(); METHOD_STATEMENTS];
        statements[0] = "no layer shares a weight, so the model is the dense one".into();
        return Some(statements);
    }
    let statements: [String; METHOD_STATEMENTS] = [
        sharing(v, spec.model.depth()),
        format!("targets {}", targets(v)),
        of_factors(format!("alpha {}", v.alpha)),
        format!("increments add to {reference}"),
        gradient.to_string(),
        of_factors(start.to_string()),
        of_factors(decay),
        ends(v, spec.start.is_some()).to_string(),
        also_shared(v),
    ];
    Some(statements.into())
}

/// The number of statements on an arm's compounds.
const METHOD_STATEMENTS: usize = 9;

/// How A and B are trained where that differs from other matrices, or was a choice.
fn increment_training(t: &TrainingSpec) -> String {
    let rate =
        t.increment_learning_rate.map(|rate| format!("A and B have the peak learning rate {rate}"));
    let decay = match t.increment_weight_decay {
        Some(decay) => format!("A and B have weight decay {decay}"),
        None => "A and B decay as other matrices do (ours: the authors publish no training)".into(),
    };
    rate.into_iter().chain([decay]).collect::<Vec<_>>().join("; ")
}

/// Which layers use one weight.
fn sharing(v: &VloraSpec, depth: usize) -> String {
    if let Some(size) = v.compound_size.filter(|_| v.has_plain_compounds(depth)) {
        return format!("compounds of {size} layers");
    }
    let weights: Vec<String> = v.weights(depth).iter().map(usize::to_string).collect();
    let way = match (&v.layers, v.compound_size) {
        (None, Some(size)) => {
            let field = code(&format!("sharing: {}", v.sharing.name()));
            format!("{field}, {size} layers a weight")
        }
        _ => "as listed (`layers`)".into(),
    };
    let kept = [(v.keep_first, "first"), (v.keep_last, "last")];
    let kept = kept.iter().filter(|(n, _)| *n > 0).map(|(n, end)| format!("the {end} {n}"));
    let kept: Vec<String> = kept.collect();
    let apart = match kept.is_empty() {
        true => String::new(),
        false => format!(", {} apart", kept.join(" and ")),
    };
    let on = match v.increment_on {
        IncrementOn::Others => "",
        IncrementOn::All => "; the first use of a shared weight has an increment, too",
    };
    format!("layers use the weights {} ({way}{apart}){on}", weights.join(" "))
}

/// Vectors that are shared beside the targets.
fn also_shared(v: &VloraSpec) -> String {
    let names = v.also_share.iter().map(|group| match group {
        VectorGroup::Norms => "norms",
        VectorGroup::Biases => "biases",
    });
    let names: Vec<&str> = names.collect();
    if names.is_empty() {
        String::new()
    } else {
        format!("{} are shared, too", names.join(" and "))
    }
}

/// Whether any increment is a low-rank product.
fn has_factors(v: &VloraSpec, model: &ModelSpec) -> bool {
    v.targets.iter().any(|target_spec| {
        let rank = v.rank_of(target_spec);
        !model.is_vector(&target_spec.target) && !matches!(rank, Rank::Of(0) | Rank::Full)
    })
}

fn targets(v: &VloraSpec) -> String {
    let names = v.targets.iter().map(|target_spec| {
        let rank = target_spec.rank.map(|rank| format!("rank {rank}"));
        let alpha = target_spec.alpha.map(|alpha| format!("alpha {alpha}"));
        let values: Vec<String> = rank.into_iter().chain(alpha).collect();
        match values.is_empty() {
            true => target_spec.target.name().to_string(),
            false => format!("{} ({})", target_spec.target.name(), values.join(", ")),
        }
    });
    names.collect::<Vec<_>>().join(", ")
}

/// Explains the two extreme ranks, 0 and full. `started`: the run starts from other weights, which decide
/// what increments start as.
fn ends(v: &VloraSpec, started: bool) -> &'static str {
    match v.rank {
        Rank::Of(0) => "rank 0 is no increment: the layers of a compound share their weights",
        Rank::Full if started => {
            "rank `full` is an increment that is a matrix of its own, unfactored"
        }
        Rank::Full => {
            "rank `full` is an increment that is a matrix of its own, unfactored and zero at the start"
        }
        Rank::Of(_) => "",
    }
}

/// Which weights an arm starts from and what is trained on top of them; None for an arm without
/// start weights. `done`: how the weights were changed. `evidence`: that of the arm's task.
pub fn start_note(
    evidence: &dyn Evidence,
    variant: &VariantRecord,
    done: Option<&Started>,
) -> Option<String> {
    let statements = start_statements(evidence, variant, done)?;
    let told: Vec<&str> = statements.iter().map(String::as_str).filter(|s| !s.is_empty()).collect();
    Some(format!("{} starts {}.", code(&variant.label), told.join("; ")))
}

/// The same as [statements](super::arm_notes::ArmStatements).
pub fn start_statements(
    evidence: &dyn Evidence,
    variant: &VariantRecord,
    done: Option<&Started>,
) -> Option<Vec<String>> {
    let start = variant.spec.start.as_ref()?;
    let from = match (&variant.start, start.checkpoint_name()) {
        (Some(label), _) => format!("the tested weights of {} with the same seed", code(label)),
        (None, name) => code(&name.unwrap_or_default()),
    };
    let head = match start.head {
        StartHead::Keep => "",
        StartHead::New => " with a new head",
    };
    let trained = match &variant.spec.lora {
        None if !variant.spec.training.trains() => String::new(),
        None => "all weights are trained on".to_string(),
        Some(lora) => {
            let targets: Vec<&str> = lora.targets.iter().map(|t: &Target| t.name()).collect();
            let also: Vec<&str> = lora.also_train.iter().map(|g| group_name(*g)).collect();
            let also = match also.is_empty() {
                true => String::new(),
                false => format!(" except {}", also.join(", ")),
            };
            format!(
                "these weights are frozen{also}; LoRA is trained on top: rank {}, alpha {}, dropout \
                 {}, on {}; A starts Kaiming-uniform, B at zero, both decay as matrices do, and a \
                 pair adapts its own layer, not those whose increments add to it (ours)",
                lora.rank,
                lora.alpha,
                lora.dropout,
                targets.join(", ")
            )
        }
    };
    let done = done.cloned().unwrap_or_default();
    let Started { alpha, conversion, task } = done;
    let fitted = evidence.start_notes(&task, variant.start.is_some());
    let fitted: String = fitted.iter().map(|note| format!(", {note}")).collect();
    let converted = match conversion {
        Conversion::None => String::new(),
        Conversion::Merged => ", its increments and LoRA merged into dense layers".into(),
        Conversion::Decomposed => {
            let has_increments = variant.spec.vlora.as_ref().is_some_and(VloraSpec::has_increments);
            shared_weights(start, has_increments)
        }
    };
    let read = match (alpha, start.alpha) {
        (None, _) => String::new(),
        (Some(alpha), Some(_)) => format!(", its increments read with alpha {alpha}"),
        (Some(alpha), None) => format!(
            ", its increments read with alpha {alpha}, the package's default, since the file does \
             not store it"
        ),
    };
    Some(vec![format!("from {from}{head}{read}{fitted}{converted}"), trained])
}

/// How dense weights became shared ones.
fn shared_weights(start: &StartSpec, has_increments: bool) -> String {
    let base = match start.base_init {
        BaseInit::First => "",
        BaseInit::Average => "each shared weight is the mean over the layers that use it",
        BaseInit::Stepwise => "shared weights are those of layers at equal distances",
        BaseInit::Lower => "shared weights are those of the lowest layers",
    };
    let base = match base {
        "" => String::new(),
        base => format!("; {base} ({})", code(&format!("base_init: {}", start.base_init.name()))),
    };
    let increments = match start.increments {
        _ if !has_increments => "its layers share weights",
        StartIncrements::Svd => {
            "its layers turned into increments by truncated singular value decomposition"
        }
        StartIncrements::Lora => "its layers share weights, and increments start at zero",
        StartIncrements::Authors => {
            "its layers share weights, and increments start Kaiming-uniform from the seed"
        }
    };
    format!(", {increments}{base}")
}

fn group_name(group: ParameterGroup) -> &'static str {
    match group {
        ParameterGroup::Head => "the head",
        ParameterGroup::Norms => "the norms",
        ParameterGroup::Biases => "the biases",
        ParameterGroup::Embeddings => "the embeddings",
    }
}

/// How much energy a conversion to increments kept; None without a conversion.
pub fn kept_note(label: &str, kept: &[&Kept]) -> Option<String> {
    // Nothing was decomposed where layers share without an increment.
    let kept: Vec<&&Kept> = kept.iter().filter(|k| k.rank != Rank::Of(0)).collect();
    let least = kept.iter().min_by(|a, b| a.energy_kept.total_cmp(&b.energy_kept))?;
    let mean = kept.iter().map(|k| k.energy_kept).sum::<f64>() / kept.len() as f64;
    let of_stack = match least.stack.as_str() {
        "" => String::new(),
        stack => format!("{stack}'s "),
    };
    Some(format!(
        "{} keeps {} of the energy of the differences between layers at its start, the mean \
         over matrices and runs; least {} ({of_stack}layer {}, {}).",
        code(label),
        percent(mean),
        percent(least.energy_kept),
        least.layer,
        least.target.name()
    ))
}

/// How close a matched arm's parameter count is to the one it is matched to.
pub fn match_notes(label: &str, matched: &[Matched]) -> Vec<String> {
    let note = |m: &Matched| {
        let size = match m.by {
            MatchBy::Depth => format!("depth {}", m.value),
            MatchBy::Width => format!("width {}", m.value),
        };
        let off = m.parameters as f64 / m.wanted as f64 - 1.0;
        let near = match m.parameters.cmp(&m.wanted) {
            std::cmp::Ordering::Equal => "exactly as many as".to_string(),
            std::cmp::Ordering::Greater => format!("{} more than", percent(off)),
            std::cmp::Ordering::Less => format!("{} fewer than", percent(-off)),
        };
        format!(
            "{} is dense with {size}, the nearest size to {}: {} parameters, {near} its {}.",
            code(label),
            code(&m.label),
            count(m.parameters),
            count(m.wanted)
        )
    };
    matched.iter().map(note).collect()
}

pub fn data_note(p: &Provenance) -> String {
    let from = data_source(p).map_or_else(String::new, |source| format!(" of {}", code(source)));
    let validation = match p.validation_examples {
        0 => "no".to_string(),
        n => count(n as u64),
    };
    format!(
        "Data{from}: {} training, {validation} validation and {} test examples; files' SHA-256 {}….",
        count(p.train_examples as u64),
        count(p.test_examples as u64),
        markdown(p.data_sha256.get(..12).unwrap_or(&p.data_sha256))
    )
}

/// The source of the files, `hub:owner/name@commit` or `embedded:name`. None for a local folder,
/// whose name means nothing on another machine.
fn data_source(p: &Provenance) -> Option<&str> {
    let file = p.files.keys().next()?;
    let start = match file.starts_with("hub:") {
        true => file.find('@')?,
        false => file.starts_with("embedded:").then_some(0)?,
    };
    file[start..].find('/').map(|end| &file[..start + end])
}

pub fn machine_note(s: &Session) -> String {
    let beside = match s.jobs {
        1 => String::new(),
        n => format!(", {n} runs at once"),
    };
    format!(
        "{} (numerics {}) on {}: {}, {} threads, {}{beside}.",
        markdown(&s.program),
        s.numerics_version,
        markdown(&s.device),
        markdown(&s.processor),
        s.threads,
        markdown(&s.system)
    )
}

/// Other load on the machine during training; None if it was too small to affect times.
pub fn load_note<'a>(runs: impl Iterator<Item = &'a RunResult>) -> Option<String> {
    let (mut of, mut busy, mut most, mut beside) = (0, 0, 0f64, 0);
    for run in runs {
        of += 1;
        most = most.max(run.other_programs.unwrap_or(0.0));
        busy += usize::from(run.was_slowed());
        beside += usize::from(run.was_beside_another());
    }
    if busy == 0 && beside == 0 {
        return None;
    }
    let mut said = Vec::new();
    if busy > 0 {
        said.push(format!(
            "Other programs used more than {} of the processors, up to {}, while {busy} of {of} runs \
             were trained",
            percent(RunResult::BUSY),
            percent(most)
        ));
    }
    if beside > 0 {
        said.push(format!("Another process of `vlora` computed beside {beside} of {of} runs"));
    }
    Some(format!("{}: times do not compare.", said.join(". ")))
}

/// Which parts were computed in which precision.
pub fn precision_note(precision: Precision) -> &'static str {
    match precision {
        Precision::Float32 => "computed in float32 (`precision: float32`)",
        Precision::Tf32 => {
            "matrix products in TF32, which rounds their factors to 10 bits behind the point, the \
             rest in float32 (`precision: tf32`)"
        }
        Precision::Bf16 => {
            "activations and matrix products in bfloat16; parameters, AdamW's moments, norms and \
             sums in float32 (`precision: bf16`)"
        }
    }
}

/// Number of statements about a training.
const STATEMENTS: usize = 13;

/// The training settings of a spec as [statements](super::arm_notes::ArmStatements). `provenance`: that
/// of one of its runs.
pub fn training_statements(
    evidence: &dyn Evidence,
    spec: &RunSpec,
    provenance: Option<&Provenance>,
) -> [String; STATEMENTS] {
    let Setting { model, inputs, augmentation } = evidence.setting(spec, provenance);
    let t = &spec.training;
    if !t.trains() {
        let mut statements = [const { String::new() }; STATEMENTS];
        let told = [model, inputs, "not trained: the start weights are tested".into()];
        statements.iter_mut().zip(told).for_each(|(statement, told)| *statement = told);
        return statements;
    }
    let select = match (t.select, t.average_last) {
        (Select::Last, Some(n)) => {
            format!(
                "the mean of the weights after each of the last {n} epochs is tested; validation is of \
                 the last epoch's own"
            )
        }
        (Select::Last, None) => "weights of the last epoch are tested".to_string(),
        (Select::Best, _) => {
            "weights of the epoch with the best validation metric are tested".to_string()
        }
        (Select::BestLoss, _) => {
            "weights of the epoch with the lowest validation loss are tested".to_string()
        }
    };
    let select = match t.ema_decay {
        Some(decay) => {
            format!(
                "{select}; they are an exponential moving average (decay {decay}){}",
                if spec.data.files().validation.is_some() {
                    ", which is validated, too"
                } else {
                    ""
                }
            )
        }
        None => select,
    };
    let mut epochs = match t.epochs {
        1 => "1 epoch".to_string(),
        n => format!("{n} epochs"),
    };
    if let Some(steps) = t.steps {
        epochs += &format!(", ended after {} steps", count(steps as u64));
    }
    if let Some(patience) = t.patience {
        let s = if patience == 1 { "" } else { "s" };
        let compared = match t.select {
            Select::BestLoss => "loss",
            Select::Last | Select::Best => "metric",
        };
        epochs +=
            &format!(", ended when the validation {compared} is no better for {patience} epoch{s}");
    }
    [
        model,
        inputs,
        epochs,
        evidence
            .batch_note(spec)
            .unwrap_or_else(|| format!("batch {}", t.batch_size * t.accumulation)),
        format!("AdamW (β {} and {}, ε {:e})", t.beta1, t.beta2, t.epsilon),
        format!("peak learning rate {}", t.learning_rate),
        match t.warmup_steps {
            Some(steps) => format!("warm-up over {} steps", count(steps as u64)),
            None => format!("warm-up over {} of the steps", percent(t.warmup_ratio)),
        },
        schedule(t),
        format!("weight decay {}", t.weight_decay),
        t.clip_norm.map_or("no gradient clipping".to_string(), |norm| {
            format!("gradients clipped at norm {norm}")
        }),
        format!("label smoothing {}", t.label_smoothing),
        augmentation.unwrap_or_default(),
        select,
    ]
}

/// How the rate goes on after warm-up.
fn schedule(t: &TrainingSpec) -> String {
    let least = percent(t.min_learning_rate_ratio);
    match t.schedule {
        // Earlier versions wrote a constant rate so.
        ScheduleKind::Cosine if t.min_learning_rate_ratio == 1.0 => "constant rate".to_string(),
        ScheduleKind::Cosine => format!("cosine to {least} of the peak"),
        ScheduleKind::Linear => format!("linear to {least} of the peak"),
        ScheduleKind::Constant => "constant rate".to_string(),
        ScheduleKind::InverseSqrt => {
            format!("inverse square root of the step, at least {least} of the peak")
        }
        ScheduleKind::Plateau => {
            let validations = match t.plateau_patience() {
                1 => "1 validation".to_string(),
                n => format!("{n} validations"),
            };
            let compared = match t.select {
                Select::Best => "metric",
                Select::Last | Select::BestLoss => "loss",
            };
            format!(
                "rate × {} when the validation {compared} is no better for more than {validations}, at least \
                 {least} of the peak",
                t.plateau_factor()
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A run's result with the shares of other programs and of other processes of this one.
    fn result(other_programs: Option<f64>, other_vlora: Option<f64>) -> RunResult {
        RunResult { other_programs, other_vlora, ..RunResult::least() }
    }

    #[test]
    fn a_busy_machine_is_noted() {
        let note = |results: &[&RunResult]| load_note(results.iter().copied());
        // Records of earlier versions have no shares.
        let old = &result(None, None);
        let (free, busy) = (&result(Some(0.1), Some(0.001)), &result(Some(0.374), None));
        let beside = &result(Some(0.02), Some(0.015));
        assert_eq!(note(&[old, free]), None);
        assert_eq!(
            note(&[old, free, busy]).unwrap(),
            "Other programs used more than 10.0 % of the processors, up to 37.4 %, while 1 of 3 runs \
             were trained: times do not compare."
        );
        assert_eq!(
            note(&[beside, busy]).unwrap(),
            "Other programs used more than 10.0 % of the processors, up to 37.4 %, while 1 of 2 runs \
             were trained. Another process of `vlora` computed beside 1 of 2 runs: times do not \
             compare."
        );
    }
}
