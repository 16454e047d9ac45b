//! What the head would answer after each layer, by arm: log-likelihood of the truth and metric.

use super::legend::{Key, Legend};
use super::marks::{Look, looks};
use super::panels::{Panel, Panels, Series};
use crate::report::layers::Layers;
use crate::report::summary::Summary;

/// None if no run's layers were read.
pub fn layer_readouts(summary: &Summary) -> Option<Panels> {
    let layers = summary.layers();
    let looks = looks(&summary.baselines());
    let arms: Vec<(Layers, Look)> = layers
        .into_iter()
        .map(|layers| {
            let look = looks[layers.index];
            (layers, look)
        })
        .collect();
    let split = arms.first()?.0.split.clone();
    let metric = summary.metric();
    let panel = |title: String, values: &dyn Fn(&Layers, usize) -> Vec<f64>| Panel {
        title,
        x_title: "Layer",
        series: arms
            .iter()
            .map(|(layers, look)| {
                let depth = layers.log_likelihood.len();
                let points = (0..depth).map(|layer| (layer as f64, values(layers, layer)));
                Series::over_runs(*look, points)
            })
            .collect(),
    };
    let panels = vec![
        panel(format!("Log-likelihood of the truth (nats), {split}"), &|layers, layer| {
            layers.log_likelihood[layer].clone()
        }),
        panel(format!("{} {}", capitalised(&split), metric.title()), &|layers, layer| {
            layers.metric[layer].iter().map(|value| metric.shown(*value)).collect()
        }),
    ];
    let entries =
        arms.iter().map(|(layers, look)| (summary.marked_label(layers.arm), *look, Key::Both));
    let mut legend = Legend::new(entries);
    legend.add_sentence("0 is the embedding. The final norm and the head read every layer.");
    legend.add_notes(summary);
    Some(Panels { panels, legend })
}

fn capitalised(word: &str) -> String {
    let mut letters = word.chars();
    match letters.next() {
        Some(first) => first.to_uppercase().chain(letters).collect(),
        None => String::new(),
    }
}
