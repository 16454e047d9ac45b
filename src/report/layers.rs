//! What the arms' models would answer after each of their layers, as `vlora probe` found.

use super::numbers::plus_minus;
use super::statistics::Spread;
use super::summary::{ArmSummary, Summary};
use super::table::{Align, Cell, Table};
use crate::results::LogitLens;

/// An arm's layers. Each value is that of a run.
pub struct Layers<'a> {
    pub arm: &'a ArmSummary,
    /// The place of the arm in the summary.
    pub index: usize,
    /// The split that was read.
    pub split: String,
    /// Mean log-likelihood of the truth in nats, after the embedding and after each layer.
    pub log_likelihood: Vec<Vec<f64>>,
    /// The primary metric after the same.
    pub metric: Vec<Vec<f64>>,
}

impl Layers<'_> {
    /// What each layer adds to the log-likelihood, one value a run.
    pub fn gains(&self) -> Vec<Vec<f64>> {
        let gain = |pair: &[Vec<f64>]| pair[1].iter().zip(&pair[0]).map(|(b, a)| b - a).collect();
        self.log_likelihood.windows(2).map(gain).collect()
    }
}

impl Summary {
    /// The layers of each arm with runs whose layers were read: on validation if any run's were, else on
    /// the test split.
    pub fn layers(&self) -> Vec<Layers<'_>> {
        let mut splits =
            self.runs().filter_map(|run| Some(run.logit_lens.as_ref()?.split.as_str()));
        let Some(first) = splits.next() else { return Vec::new() };
        let is_validation = |split: &str| split == "validation";
        let split = splits.find(|split| is_validation(split)).unwrap_or(first);
        let arms = self.arms.iter().enumerate();
        arms.filter_map(|(index, arm)| self.layers_of(arm, index, split)).collect()
    }

    fn layers_of<'a>(&self, arm: &'a ArmSummary, index: usize, split: &str) -> Option<Layers<'a>> {
        let of_split = |logit_lens: &&LogitLens| logit_lens.split == split;
        let read: Vec<&LogitLens> =
            arm.runs.iter().filter_map(|run| run.logit_lens.as_ref().filter(of_split)).collect();
        let depth = read.iter().map(|logit_lens| logit_lens.layers.len()).min()?;
        let metric = self.metric().name;
        let over_runs = |value: &dyn Fn(&LogitLens, usize) -> f64| {
            (0..depth).map(|layer| read.iter().map(|r| value(r, layer)).collect()).collect()
        };
        Some(Layers {
            arm,
            index,
            split: split.into(),
            log_likelihood: over_runs(&|logit_lens, layer| -logit_lens.layers[layer].loss),
            metric: over_runs(&|logit_lens, layer| {
                logit_lens.layers[layer].metrics.get(metric).copied().unwrap_or(f64::NAN)
            }),
        })
    }

    /// One row an arm: where its layers' log-likelihood begins and ends, and how steadily it rises. None
    /// if no run's layers were read.
    pub fn layers_table(&self) -> Option<Table> {
        let arms = self.layers();
        let right = Align::Right;
        let mut table = Table::new()
            .column("arm", "arm", Align::Left)
            .column("runs", "runs", right)
            .column("layers", "layers", right)
            .column("first", "log-likelihood after the embedding", right)
            .column("last", "after the last layer", right)
            .column("rises", "layers that raise it", right)
            .column("largest_fall", "largest fall (nats)", right);
        for layers in &arms {
            let mean = |values: &Vec<f64>| Spread::of(values).map_or(f64::NAN, |s| s.mean);
            let gains: Vec<f64> = layers.gains().iter().map(mean).collect();
            let rises = gains.iter().filter(|gain| **gain > 0.0).count();
            let fall = gains.iter().copied().fold(0.0, f64::min).abs();
            let nats = |values: Option<&Vec<f64>>| match values.and_then(|v| Spread::of(v)) {
                Some(Spread { mean, sd, .. }) => {
                    let sd = sd.map_or(String::new(), |sd| format!(" ± {sd:.3}"));
                    Cell::number(mean, format!("{mean:.3}{sd}").replace('-', "−"))
                }
                None => Cell::none(),
            };
            let runs = layers.log_likelihood.first().map_or(0, Vec::len);
            table.row(vec![
                Cell::text(&layers.arm.variant.label),
                Cell::number(runs, runs.to_string()),
                Cell::number(gains.len(), gains.len().to_string()),
                nats(layers.log_likelihood.first()),
                nats(layers.log_likelihood.last()),
                Cell::number(rises, format!("{rises} of {}", gains.len())),
                Cell::number(fall, if fall > 0.0 { format!("{fall:.3}") } else { "none".into() }),
            ]);
        }
        (!arms.is_empty()).then_some(table)
    }

    /// One row an arm and layer, for programs.
    pub fn layers_data(&self) -> Table {
        let metric = self.metric();
        let right = Align::Right;
        let mut table = Table::new()
            .column("arm", "arm", Align::Left)
            .column("layer", "layer", right)
            .column("log_likelihood", "log-likelihood", right)
            .hidden("log_likelihood_sd")
            .column("metric", metric.title(), right)
            .hidden("metric_sd")
            .column("runs", "runs", right);
        for layers in self.layers() {
            for layer in 0..layers.log_likelihood.len() {
                let spreads =
                    [&layers.log_likelihood[layer], &layers.metric[layer]].map(|v| Spread::of(v));
                let [Some(likelihood), Some(of_metric)] = spreads else { continue };
                let sd =
                    |s: Spread| s.sd.map_or_else(Cell::none, |sd| Cell::number(sd, sd.to_string()));
                table.row(vec![
                    Cell::text(&layers.arm.variant.label),
                    Cell::number(layer, layer.to_string()),
                    Cell::number(likelihood.mean, format!("{:.4}", likelihood.mean)),
                    sd(likelihood),
                    Cell::number(of_metric.mean, plus_minus(metric, of_metric)),
                    sd(of_metric),
                    Cell::number(likelihood.n, likelihood.n.to_string()),
                ]);
            }
        }
        table
    }

    /// How the layers are read, as Markdown.
    pub fn layers_notes(&self) -> Vec<String> {
        let split = self.layers().into_iter().next().map(|layers| layers.split).unwrap_or_default();
        vec![format!(
            "After the embedding and after each layer, the final norm and the head of the trained model \
             answer the {split} examples, though they were trained to read the last layer alone. The \
             log-likelihood is the mean over examples, or over tokens of a text, of the logarithm of the probability given to the \
             truth, in nats. Layers that are steps of one procedure would raise it one after another."
        )]
    }
}
