//! Random crop with padding and horizontal flip, a stream an (epoch, example).

use crate::random::{Purpose, Stream};
use crate::spec::Augment;

/// Draws the changes of one epoch. What happens to an example depends on (seed, epoch,
/// example) alone, not on its place in a batch.
#[derive(Clone, Debug)]
pub struct Augmenter {
    seed: u64,
    epoch: usize,
    padding: usize,
    flip: bool,
}

impl Augmenter {
    pub fn new(augment: &Augment, seed: u64, epoch: usize) -> Augmenter {
        Augmenter { seed, epoch, padding: augment.crop_padding, flip: augment.horizontal_flip }
    }

    /// How far the crop window moves right and down in pixels, each in −padding..=padding, and
    /// whether to mirror.
    pub fn draw(&self, example: usize) -> (isize, isize, bool) {
        if self.padding == 0 && !self.flip {
            return (0, 0, false);
        }
        let name = format!("{}/{example}", self.epoch);
        let mut stream = Stream::new(self.seed, Purpose::Augment, &name);
        let mut shift = || {
            let places = 2 * self.padding as u32 + 1;
            stream.below(places) as isize - self.padding as isize
        };
        let (dx, dy) = (shift(), shift());
        (dx, dy, self.flip && stream.below(2) == 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_cover_their_range_and_repeat() {
        let augment = Augment { crop_padding: 2, horizontal_flip: true };
        let a = Augmenter::new(&augment, 1, 0);
        let draws: Vec<_> = (0..2000).map(|e| a.draw(e)).collect();
        for shift in -2..=2 {
            assert!(draws.iter().any(|d| d.0 == shift) && draws.iter().any(|d| d.1 == shift));
        }
        assert!(draws.iter().all(|d| d.0.abs() <= 2 && d.1.abs() <= 2));
        let flips = draws.iter().filter(|d| d.2).count();
        assert!((900..1100).contains(&flips), "{flips}");
        assert_eq!(draws[7], Augmenter::new(&augment, 1, 0).draw(7));
        let other = |seed, epoch| {
            let a = Augmenter::new(&augment, seed, epoch);
            (0..20).map(|e| a.draw(e)).collect::<Vec<_>>()
        };
        assert_ne!(other(1, 0), other(2, 0));
        assert_ne!(other(1, 0), other(1, 1));
    }
}
