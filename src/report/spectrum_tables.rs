//! Tables of the differences between a model's layers, and a summary in words.

use std::path::Path;

use super::charts;
use super::table::{Align, Cell, Table, percent as share};
use super::text;
use crate::atomic::write_atomic;
use crate::error::{Error, Fault, Result};
use crate::results::SpectrumRecord;
use crate::singular_values::{LayerSpectrum, Measures, RANKS, SHARES};
use crate::spec::Reference;

/// The rank that the summary reports: the default of the authors' package for ViT.
const REPORTED_RANK: usize = 8;
/// The index of the share in [`SHARES`] that it reports.
const REPORTED_SHARE: usize = 1;

/// Writes `spectrum.md`, `spectrum.csv`, `singular-values.csv` and the chart of a record. Returns
/// the files written.
pub fn write_spectrum(record: &SpectrumRecord, folder: &Path) -> Result<Vec<String>> {
    let mut files = vec![
        ("spectrum.md".to_string(), markdown(record).into_bytes()),
        ("spectrum.csv".to_string(), layers_csv(record)?),
        ("singular-values.csv".to_string(), values_csv(record)?),
    ];
    files.extend(charts::draw_spectrum(record)?);
    for (name, content) in &files {
        write_atomic(&folder.join(name), content)?;
    }
    Ok(files.into_iter().map(|(name, _)| name).collect())
}

fn markdown(record: &SpectrumRecord) -> String {
    let mut text = format!("# How the layers of {} differ\n\n", text::markdown(&record.title));
    text += &spectrum_table(record).markdown();
    text += "\n";
    for note in spectrum_notes(record) {
        text += &format!("- {note}\n");
    }
    text + "\n![Energy kept at each rank](energy-vs-rank.svg)\n"
}

/// Means over the layers of one target.
struct Means {
    target: String,
    shape: (usize, usize),
    relative_norm: f64,
    unrelated_norm: f64,
    error_with_increment: f64,
    error_alone: f64,
    /// For D, W and the random matrix: stable rank, rank for [`REPORTED_SHARE`], energy kept at
    /// [`REPORTED_RANK`].
    matrices: [[f64; 3]; 3],
}

fn means(record: &SpectrumRecord) -> Vec<Means> {
    let of_target = |(target, random): (&str, &[f64])| -> Option<Means> {
        let layers: Vec<&LayerSpectrum> =
            record.layers.iter().filter(|l| l.target == target).collect();
        let mean = |of: &dyn Fn(&LayerSpectrum) -> f64| {
            layers.iter().map(|l| of(l)).sum::<f64>() / layers.len() as f64
        };
        let reported = |values: &[f64]| {
            let m = Measures::of(values);
            let at = RANKS.iter().position(|r| *r == REPORTED_RANK).unwrap_or(0);
            [m.stable_rank, m.ranks[REPORTED_SHARE] as f64, m.kept[at]]
        };
        let mean_reported =
            |of: fn(&LayerSpectrum) -> &[f64]| [0, 1, 2].map(|i| mean(&|l| reported(of(l))[i]));
        Some(Means {
            target: target.to_string(),
            shape: layers.first()?.shape,
            relative_norm: mean(&|l| l.relative_norm()),
            unrelated_norm: mean(&|l| l.unrelated_norm()),
            error_with_increment: mean(&|l| l.error_with_increment(REPORTED_RANK)),
            error_alone: mean(&|l| l.error_alone(REPORTED_RANK)),
            matrices: [
                mean_reported(|l| &l.difference),
                mean_reported(|l| &l.weight),
                reported(random),
            ],
        })
    };
    record.targets().into_iter().filter_map(of_target).collect()
}

/// One row per target, with means over layers.
pub fn spectrum_table(record: &SpectrumRecord) -> Table {
    let right = Align::Right;
    let mut table = Table::new()
        .column("target", "target", Align::Left)
        .column("shape", "shape", right)
        .column("relative_norm", "‖D‖/‖W‖", right)
        .column("unrelated_norm", "unrelated", right)
        .column("stable_rank_difference", "stable D", right)
        .column("stable_rank_weight", "stable W", right)
        .column("stable_rank_random", "stable G", right)
        .column("rank_90_difference", "90 % D", right)
        .column("rank_90_weight", "90 % W", right)
        .column("rank_90_random", "90 % G", right)
        .column("energy_8_difference", "at 8 D", right)
        .column("energy_8_weight", "at 8 W", right)
        .column("energy_8_random", "at 8 G", right)
        .column("error_8_increment", "error W_ref + 8", right)
        .column("error_8_alone", "error 8 alone", right);
    for m in means(record) {
        let number = |v: f64, text: String| Cell::number(v, text);
        let mut cells = vec![
            Cell::text(&m.target),
            Cell::text(format!("{} × {}", m.shape.0, m.shape.1)),
            number(m.relative_norm, format!("{:.3}", m.relative_norm)),
            number(m.unrelated_norm, format!("{:.3}", m.unrelated_norm)),
        ];
        cells.extend(m.matrices.map(|v| number(v[0], format!("{:.1}", v[0]))));
        cells.extend(m.matrices.map(|v| number(v[1], format!("{:.0}", v[1]))));
        cells.extend(m.matrices.map(|v| number(v[2], share(v[2]))));
        cells.extend([m.error_with_increment, m.error_alone].map(|v| number(v, share(v))));
        table.row(cells);
    }
    table
}

/// Explains the columns, and states the findings.
pub fn spectrum_notes(record: &SpectrumRecord) -> Vec<String> {
    let before = match record.reference {
        Reference::Base => "the weight of its compound's first layer (`base`)",
        Reference::Previous => "the weight of the layer before (`previous`)",
    };
    let percent = 100.0 * SHARES[REPORTED_SHARE];
    let mut notes = vec![
        format!(
            "W is a layer's weight, D = W − W_ref its difference from {before}, in compounds of \
             {} of {} layers; G is a Gaussian matrix of the same shape. Means over {} layers.",
            record.compound_size,
            record.depth,
            record.depth - record.depth.div_ceil(record.compound_size),
        ),
        "unrelated: what ‖D‖/‖W‖ would be if W and W_ref were orthogonal, as independent matrices \
         nearly are."
            .into(),
        format!(
            "stable: stable rank ‖·‖_F² / ‖·‖₂². {percent:.0} %: the least rank that keeps \
             {percent:.0} % of the energy ‖·‖_F². at {REPORTED_RANK}: the energy kept at rank \
             {REPORTED_RANK}. error: ‖W − Ŵ‖/‖W‖ of the best increment of rank {REPORTED_RANK} on W_ref, \
             and of the best matrix of rank {REPORTED_RANK} alone."
        ),
    ];
    notes.push(
        "The chart shows means over layers, with a band from the least to the largest. The numbers \
         are of the weights as they stand: hidden units and heads of a layer can change places \
         without changing the model, which changes D. And layers that were trained apart need not \
         show what training in compounds finds."
            .into(),
    );
    if record.reference == Reference::Previous {
        notes.push(
            "Each D is taken to the layer before as it is. A model in compounds has that layer only \
             as its own increments make it, so its errors add up along a compound; `vlora \
             compress` shows them."
                .into(),
        );
    }
    notes.extend(findings(record));
    notes.push(format!(
        "Read from {} (SHA-256 {}) in the layout of {}, by {}; random matrices of seed {}.",
        text::code(&record.file),
        text::markdown(&record.sha256),
        text::markdown(&record.layout),
        text::markdown(&record.program),
        record.seed,
    ));
    notes
}

/// The findings in words.
fn findings(record: &SpectrumRecord) -> Vec<String> {
    let means = means(record);
    let range = |of: &dyn Fn(&Means) -> f64| {
        let all = means.iter().map(of).filter(|v| v.is_finite());
        all.fold(None, |range: Option<(f64, f64)>, v| {
            Some(range.map_or((v, v), |(low, high)| (low.min(v), high.max(v))))
        })
    };
    let times = |range: Option<(f64, f64)>| match range {
        None => "—".into(),
        Some((low, high)) => span(&format!("{low:.2}"), &format!("{high:.2}")),
    };
    let shares = |range: Option<(f64, f64)>| match range {
        None => "—".into(),
        Some((low, high)) => span(&share(low), &share(high)),
    };
    let count = |test: &dyn Fn(&Means) -> bool| means.iter().filter(|m| test(m)).count();
    let n = means.len();
    let percent = 100.0 * SHARES[REPORTED_SHARE];
    let [d, w, g] = [0, 1, 2];
    let rank = |m: &Means, of: usize| m.matrices[of][1];
    let kept = |m: &Means, of: usize| m.matrices[of][2];
    vec![
        format!(
            "**Size.** ‖D‖ is {} times what unrelated layers would have (1: they share nothing; \
             0: they are equal).",
            times(range(&|m| m.relative_norm / m.unrelated_norm)),
        ),
        format!(
            "**Rank.** For {percent:.0} % of its energy D needs {} times the rank that W itself \
             needs, fewer for {} of {n} targets, and {} times that of a random matrix.",
            times(range(&|m| rank(m, d) / rank(m, w))),
            count(&|m| rank(m, d) < rank(m, w)),
            times(range(&|m| rank(m, d) / rank(m, g))),
        ),
        format!(
            "**At rank {REPORTED_RANK}.** The best increment keeps {} of D; of W the best matrix keeps \
             {}, of a random matrix {}. W is then missed by {} of its norm with W_ref and the \
             increment, by {} with a matrix of rank {REPORTED_RANK} and no W_ref: with W_ref is closer \
             for {} of {n} targets.",
            shares(range(&|m| kept(m, d))),
            shares(range(&|m| kept(m, w))),
            shares(range(&|m| kept(m, g))),
            shares(range(&|m| m.error_with_increment)),
            shares(range(&|m| m.error_alone)),
            count(&|m| m.error_with_increment < m.error_alone),
        ),
    ]
}

/// `a`, or `a to b`.
fn span(low: &str, high: &str) -> String {
    if low == high { low.into() } else { format!("{low} to {high}") }
}

/// One row per layer and target, in full precision.
fn layers_csv(record: &SpectrumRecord) -> Result<Vec<u8>> {
    let mut header: Vec<String> =
        ["layer", "reference_layer", "target", "out", "in", "relative_norm", "unrelated_norm"]
            .map(String::from)
            .to_vec();
    for matrix in ["difference", "weight", "random"] {
        header.push(format!("stable_rank_{matrix}"));
        header.extend(SHARES.map(|s| format!("rank_{:.0}_{matrix}", 100.0 * s)));
        header.extend(RANKS.map(|r| format!("energy_{r}_{matrix}")));
    }
    header.extend(RANKS.map(|r| format!("error_{r}_increment")));
    header.extend(RANKS.map(|r| format!("error_{r}_alone")));
    let rows = record.layers.iter().map(|l| {
        let mut row = vec![
            l.layer.to_string(),
            l.reference_layer.to_string(),
            l.target.clone(),
            l.shape.0.to_string(),
            l.shape.1.to_string(),
            l.relative_norm().to_string(),
            l.unrelated_norm().to_string(),
        ];
        let random = record.random.get(&l.target).map_or(&[][..], Vec::as_slice);
        for values in [&l.difference, &l.weight, random] {
            let m = Measures::of(values);
            row.push(m.stable_rank.to_string());
            row.extend(m.ranks.map(|r| r.to_string()));
            row.extend(m.kept.map(|e| e.to_string()));
        }
        row.extend(RANKS.map(|r| l.error_with_increment(r).to_string()));
        row.extend(RANKS.map(|r| l.error_alone(r).to_string()));
        row
    });
    csv_bytes(header, rows)
}

/// One row per singular value of the differences.
fn values_csv(record: &SpectrumRecord) -> Result<Vec<u8>> {
    let rows = record.layers.iter().flat_map(|l| {
        l.difference.iter().enumerate().map(|(i, value)| {
            vec![l.layer.to_string(), l.target.clone(), i.to_string(), value.to_string()]
        })
    });
    csv_bytes(["layer", "target", "index", "value"].map(String::from).to_vec(), rows)
}

fn csv_bytes(header: Vec<String>, rows: impl Iterator<Item = Vec<String>>) -> Result<Vec<u8>> {
    let failed = |e: String| Error::from(Fault::failed(format!("a CSV file cannot be made: {e}")));
    let mut writer = csv::Writer::from_writer(Vec::new());
    for row in std::iter::once(header).chain(rows) {
        writer.write_record(row).map_err(|e| failed(e.to_string()))?;
    }
    writer.into_inner().map_err(|e| failed(e.to_string()))
}
