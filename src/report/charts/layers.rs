//! What the head would answer after each layer, by arm: log-likelihood of the truth and metric.

use super::legend::{Key, Legend};
use super::marks::{Look, looks};
use super::panels::{Panel, Panels, Series};
use crate::report::layers::Layers;
use crate::report::summary::Summary;
use crate::report::text::capitalised;

/// None if no run's layers were read.
pub fn logit_lens_panels(summary: &Summary) -> Option<Panels> {
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
    let likelihoods = |layers: &Layers, layer: usize| layers.log_likelihood[layer].clone();
    let metrics = |layers: &Layers, layer: usize| -> Vec<f64> {
        layers.metric[layer].iter().map(|value| metric.shown(*value)).collect()
    };
    let all: Vec<&[Vec<f64>]> =
        arms.iter().map(|(layers, _)| layers.log_likelihood.as_slice()).collect();
    let first = usize::from(is_far_off(&all));
    let panel = |title: String, values: &dyn Fn(&Layers, usize) -> Vec<f64>| Panel {
        title,
        x_title: "Layer",
        series: arms
            .iter()
            .map(|(layers, look)| {
                let depth = layers.log_likelihood.len();
                let points = (first..depth).map(|layer| (layer as f64, values(layers, layer)));
                Series::over_runs(*look, points)
            })
            .collect(),
    };
    let mut panels =
        vec![panel(format!("Log-likelihood of the truth (nats), {split}"), &likelihoods)];
    // A metric that is the loss itself would show the same again, upside down.
    if !metric.is_loss() {
        panels.push(panel(format!("{} {}", capitalised(&split), metric.title()), &metrics));
    }
    let entries =
        arms.iter().map(|(layers, look)| (summary.marked_label(layers.arm), *look, Key::Both));
    let mut legend = Legend::new(entries);
    legend.add_sentence(match first {
        0 => "0 is the embedding. The final norm and the head read every layer.",
        _ => {
            "The final norm and the head read every layer. The embedding is far off, and not shown: \
             layers.csv has it."
        }
    });
    legend.add_notes(summary);
    Some(Panels { panels, legend })
}

/// Whether the embedding's reading is so far from those of the layers that these would look alike beside
/// it. For each arm, the log-likelihoods of its runs after the embedding and after each layer.
fn is_far_off(arms: &[&[Vec<f64>]]) -> bool {
    const MAX_RATIO: f64 = 4.0;
    let span = |from: usize| {
        let values = || arms.iter().flat_map(|arm| arm.iter().skip(from)).flatten().copied();
        values().fold(f64::NEG_INFINITY, f64::max) - values().fold(f64::INFINITY, f64::min)
    };
    // A single layer has nothing to be compared with but the embedding.
    arms.iter().any(|arm| arm.len() > 2) && span(0) > MAX_RATIO * span(1)
}

#[cfg(test)]
mod tests {
    use super::is_far_off;

    #[test]
    fn an_embedding_far_below_the_layers_is_told() {
        let of = |values: &[f64]| values.iter().map(|v| vec![*v, v + 0.01]).collect::<Vec<_>>();
        let far = of(&[-11.2, -2.16, -1.88, -1.78, -1.73]);
        assert!(is_far_off(&[&far, &of(&[-11.7, -1.74])]));
        assert!(!is_far_off(&[&of(&[-2.3, -1.8, -1.2, -0.9])]));
        // Another arm's layers reach nearly as far.
        assert!(!is_far_off(&[&far, &of(&[-9.0, -8.1, -2.0])]));
        assert!(!is_far_off(&[&of(&[-11.2, -1.7])]));
    }
}
