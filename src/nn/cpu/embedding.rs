//! Rows of a table by id, and patches of images as rows.

use rayon::prelude::*;

use crate::nn::slices::blocks::BLOCK;
use crate::nn::slices::elementwise::add_to;
use crate::nn::slices::memory::by_rows;

/// The rows `ids` of a table \[rows, width\].
pub fn forward(table: &[f32], width: usize, ids: &[u32]) -> Vec<f32> {
    let (rows, _) = by_rows(ids.len(), width, BLOCK, |first, out| {
        for (out, id) in out.chunks_exact_mut(width).zip(&ids[first..]) {
            out.copy_from_slice(&table[*id as usize * width..][..width]);
        }
    });
    rows
}

/// The gradient of a table of `rows` rows. Each row is the sum of the gradients of its uses, in order.
pub fn backward(rows: usize, width: usize, ids: &[u32], g: &[f32]) -> Vec<f32> {
    let mut order: Vec<u32> = (0..ids.len() as u32).collect();
    order.sort_by_key(|i| ids[*i as usize]);
    let mut table = vec![0f32; rows * width];
    // The uses of each row are now adjacent, so each task writes separate rows.
    let uses: Vec<&[u32]> = order.chunk_by(|a, b| ids[*a as usize] == ids[*b as usize]).collect();
    let mut parts = Vec::with_capacity(uses.len());
    let (mut rest, mut next) = (table.as_mut_slice(), 0);
    for uses in uses {
        let id = ids[uses[0] as usize] as usize;
        let (row, after) = std::mem::take(&mut rest)[(id - next) * width..].split_at_mut(width);
        parts.push((row, uses));
        (rest, next) = (after, id + 1);
    }
    parts.into_par_iter().with_min_len(BLOCK).for_each(|(row, uses)| {
        for i in uses {
            add_to(row, &g[*i as usize * width..][..width]);
        }
    });
    table
}

/// Sizes of images and of their square patches.
#[derive(Clone, Copy)]
pub struct Patches {
    pub channels: usize,
    pub height: usize,
    pub width: usize,
    pub side: usize,
}

impl Patches {
    /// Number of patches of an image.
    pub fn count(self) -> usize {
        (self.height / self.side) * (self.width / self.side)
    }

    /// Number of values of a patch.
    pub fn size(self) -> usize {
        self.channels * self.side * self.side
    }

    /// images \[batch, c, h, w\] → \[batch · patches, c·p·p\]. Each row is a patch, in reading order. Its
    /// values are in the order of a convolution kernel \[c, p, p\].
    pub fn rows(self, images: &[f32]) -> Vec<f32> {
        let Patches { channels, height, width, side } = self;
        let across = width / side;
        let image = channels * height * width;
        let (rows, _) = by_rows(images.len() / image, self.count() * self.size(), 1, |i, out| {
            let pixels = &images[i * image..][..image];
            for (patch, out) in out.chunks_exact_mut(self.size()).enumerate() {
                let (y, x) = (patch / across * side, patch % across * side);
                for (line, out) in out.chunks_exact_mut(side).enumerate() {
                    let (channel, row) = (line / side, y + line % side);
                    out.copy_from_slice(&pixels[(channel * height + row) * width + x..][..side]);
                }
            }
        });
        rows
    }
}

/// Patches \[batch · patches, dim\] → tokens \[batch, class + patches, dim\]. The class token comes first,
/// if there is one, and positions \[class + patches, dim\] are added.
pub fn tokens(patches: &[f32], class: Option<&[f32]>, positions: &[f32], dim: usize) -> Vec<f32> {
    let row = positions.len();
    let first = class.map_or(0, <[f32]>::len);
    let batch = patches.len() / (row - first);
    let (tokens, _) = by_rows(batch, row, 1, |i, out| {
        out.copy_from_slice(positions);
        if let Some(class) = class {
            add_to(&mut out[..dim], class);
        }
        add_to(&mut out[first..], &patches[i * (row - first)..][..row - first]);
    });
    tokens
}

/// The backward pass of [`tokens`]: the gradients of patches, class token and positions. `first` is
/// the class token's length; 0 if there is no class token.
pub fn tokens_backward(g: &[f32], first: usize, row: usize) -> (Vec<f32>, Vec<f32>, Vec<f32>) {
    let mut positions = vec![0f32; row];
    for g in g.chunks_exact(row) {
        add_to(&mut positions, g);
    }
    let (patches, _) = by_rows(g.len() / row, row - first, 1, |i, out| {
        out.copy_from_slice(&g[i * row + first..][..row - first]);
    });
    (patches, positions[..first].to_vec(), positions)
}
