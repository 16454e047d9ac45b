//! The share of the energy that each rank keeps, one panel per target: of the differences between
//! layers, of the weights themselves, and of a random matrix.

use plotters::coord::Shift;
use plotters::prelude::*;

use super::chart::Chart;
use super::legend::{Key, Legend};
use super::marks::{Look, looks};
use super::style::{DrawResult, Style};
use crate::results::SpectrumRecord;
use crate::singular_values::{LayerSpectrum, energy_kept};

pub struct Energy {
    panels: Vec<Panel>,
    legend: Vec<(String, Look)>,
}

struct Panel {
    title: String,
    /// log₂ of the full rank.
    end: f64,
    /// (log₂ rank, minimum, maximum) of the differences over layers.
    band: Vec<(f64, f64, f64)>,
    /// (log₂ rank, per cent), in the order of the legend.
    lines: [Vec<(f64, f64)>; 3],
}

impl Energy {
    pub fn new(record: &SpectrumRecord) -> Energy {
        let panel = |(target, random): (&str, &[f64])| {
            let of_target = record.layers.iter().filter(|l| l.target == target);
            Panel::new(target, &of_target.collect::<Vec<_>>(), random)
        };
        let names = ["differences D", "weights W", "random G"].map(String::from);
        let mut looks = looks(&[false, false, true]);
        // In grey print D and W have one colour.
        looks[1] = looks[1].dashed();
        Energy {
            panels: record.targets().into_iter().map(panel).collect(),
            legend: names.into_iter().zip(looks).collect(),
        }
    }

    fn legend(&self) -> Legend {
        Legend::new(self.legend.iter().map(|(name, look)| (name.clone(), *look, Key::Line)))
    }

    pub fn size(&self) -> (u32, u32) {
        let (width, _) = self.legend().size();
        (PANELS_WIDTH + width, ROW_HEIGHT * self.panels.len().div_ceil(2) as u32)
    }
}

/// Width of two panels side by side and height of one panel, in pixels.
const PANELS_WIDTH: u32 = 760;
const ROW_HEIGHT: u32 = 310;

impl Panel {
    fn new(target: &str, layers: &[&LayerSpectrum], random: &[f64]) -> Panel {
        let full = random.len();
        let percent = |values: &[f64], rank| 100.0 * energy_kept(values, rank);
        let over_layers = |rank: usize, of: fn(&LayerSpectrum) -> &[f64]| {
            let all: Vec<f64> = layers.iter().map(|l| percent(of(l), rank)).collect();
            let mean = all.iter().sum::<f64>() / all.len().max(1) as f64;
            let low = all.iter().copied().fold(f64::INFINITY, f64::min);
            let high = all.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            (mean, low, high)
        };
        let (mut band, mut lines) = (Vec::new(), [Vec::new(), Vec::new(), Vec::new()]);
        for rank in ranks(full) {
            let x = (rank as f64).log2();
            let (mean, low, high) = over_layers(rank, |l| &l.difference);
            band.push((x, low, high));
            let (weight, ..) = over_layers(rank, |l| &l.weight);
            for (line, y) in lines.iter_mut().zip([mean, weight, percent(random, rank)]) {
                line.push((x, y));
            }
        }
        let shape = layers.first().map_or((0, 0), |l| l.shape);
        let title = format!("{target} ({} × {})", shape.0, shape.1);
        Panel { title, end: (full as f64).log2(), band, lines }
    }

    fn draw<DB: DrawingBackend>(
        &self,
        area: &DrawingArea<DB, Shift>,
        legend: &[(String, Look)],
        style: &Style,
    ) -> DrawResult<DB> {
        let x = if self.end > 0.0 { 0.0..self.end } else { -0.5..0.5 };
        let mut chart = ChartBuilder::on(area)
            .caption(&self.title, style.bold(15))
            .margin(style.px(10))
            .x_label_area_size(style.px(40))
            .y_label_area_size(style.px(52))
            .build_cartesian_2d(x, 0.0..100.0)?;
        style.axes(&mut chart, area, "Rank", "Energy kept (%)", Some(&power_of_two))?;
        let looks = || legend.iter().map(|(_, look)| *look);
        if let Some(look) = looks().next() {
            style.band(&mut chart, &self.band, look)?;
        }
        // The differences are drawn last, so that they are on top.
        for (line, look) in self.lines.iter().zip(looks()).rev() {
            style.line(&mut chart, line.clone(), look)?;
            if let [only] = line[..] {
                style.marker(&chart, area, only, look)?;
            }
        }
        Ok(())
    }
}

/// Eight ranks per octave, from 1 to the full rank.
fn ranks(full: usize) -> Vec<usize> {
    let octave = |step: i32| (f64::from(step) / 8.0).exp2().round() as usize;
    let mut ranks: Vec<usize> = (0..).map(octave).take_while(|rank| *rank < full).collect();
    ranks.push(full);
    ranks.dedup();
    ranks
}

/// Labels the powers of two on a log₂ axis.
fn power_of_two(log: f64) -> String {
    match (log - log.round()).abs() < 1e-6 {
        true => format!("{:.0}", log.exp2()),
        false => String::new(),
    }
}

impl Chart for Energy {
    fn draw<DB: DrawingBackend>(
        &self,
        area: &DrawingArea<DB, Shift>,
        style: &Style,
    ) -> DrawResult<DB> {
        area.fill(&WHITE)?;
        let (panels, legend) = area.split_horizontally(style.px(PANELS_WIDTH));
        let rows = self.panels.len().div_ceil(2).max(1);
        for (panel, area) in self.panels.iter().zip(panels.split_evenly((rows, 2))) {
            panel.draw(&area, &self.legend, style)?;
        }
        self.legend().draw(&legend, style)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_rise_from_one_to_the_full() {
        assert_eq!(ranks(1), [1]);
        assert_eq!(ranks(5), [1, 2, 3, 4, 5]);
        let many = ranks(3072);
        assert!(many.windows(2).all(|p| p[0] < p[1]));
        assert!(many.len() < 100 && [1, 2, 64, 1024, 3072].iter().all(|r| many.contains(r)));
    }
}
