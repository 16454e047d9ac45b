//! The provenance of a run's numbers.

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use candle_core::Device;
use chrono::{DateTime, SecondsFormat, Utc};
use sha2::{Digest, Sha256};

use super::device::device_name;
use super::plan::{Plan, PlannedVariant};
use crate::results::{Provenance, Session};
use crate::spec::{NUMERICS_VERSION, hex};
use crate::tasks::{DataRecord, Split};

/// The provenance of a run of `variant`. This process is appended to the sessions `before`, as one
/// of `jobs` concurrent runs.
pub fn provenance(
    plan: &Plan,
    variant: &PlannedVariant,
    device: &Device,
    jobs: usize,
    before: Vec<Session>,
) -> Provenance {
    let mut sessions = before;
    sessions.push(session(plan, variant, device, jobs));
    let data = plan.data(&variant.variant);
    let DataRecord { files, task, mut notes } = data.record();
    notes.extend(variant.data_notes.iter().cloned());
    Provenance {
        data_sha256: data.sha256(),
        files,
        task: task.and(variant.fields.clone()),
        train_examples: data.len(Split::Train),
        validation_examples: data.len(Split::Validation),
        test_examples: data.len(Split::Test),
        data_notes: notes,
        sessions,
    }
}

/// This process, as one of `jobs` that train runs of `variant` at once.
pub fn session(plan: &Plan, variant: &PlannedVariant, device: &Device, jobs: usize) -> Session {
    let source = &plan.experiment.source;
    let spec_sha256 = (!source.is_empty()).then(|| hex(&Sha256::digest(source)));
    Session {
        program: format!("vlora {}", env!("CARGO_PKG_VERSION")),
        numerics_version: NUMERICS_VERSION,
        device: device_name(device),
        processor: processor(),
        threads: rayon::current_num_threads(),
        precision: variant.variant.spec.precision,
        jobs,
        system: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
        started: utc_now(),
        command: plan.invocation.command.clone(),
        spec_sha256,
        repository: plan.invocation.repository.clone(),
        resumed_at: None,
        starts_there: 0,
        recovered: None,
        // Cargo recompiles when the variable changes.
        program_commit: option_env!("VLORA_COMMIT").map(str::to_string),
    }
}

pub fn processor() -> String {
    fs::read_to_string("/proc/cpuinfo")
        .ok()
        .and_then(|text| {
            let line = text.lines().find(|l| l.starts_with("model name"))?;
            Some(line.split_once(':')?.1.trim().to_string())
        })
        .unwrap_or_else(|| "unknown".into())
}

fn utc_now() -> String {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
    rfc3339(seconds)
}

/// Seconds since 1970 as `2026-01-31T12:00:00Z`. Later times than chrono can represent become its
/// maximum, in the year 262,142.
pub fn rfc3339(seconds: u64) -> String {
    let at = i64::try_from(seconds).ok().and_then(|seconds| DateTime::from_timestamp(seconds, 0));
    at.unwrap_or(DateTime::<Utc>::MAX_UTC).to_rfc3339_opts(SecondsFormat::Secs, true)
}

#[cfg(test)]
mod tests {
    use super::rfc3339;

    #[test]
    fn times_are_formatted_as_rfc3339() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00Z");
        assert_eq!(rfc3339(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(rfc3339(1_000_000_000), "2001-09-09T01:46:40Z");
        assert_eq!(rfc3339(4_102_444_799), "2099-12-31T23:59:59Z");
    }
}
