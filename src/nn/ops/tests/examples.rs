//! Sums in which each example has a factor.

use super::*;

/// With batches whose examples are smaller and larger than the pieces that the CPU takes at once.
#[test]
fn scaled_sums_agree() {
    for shape in [&[1usize, 1, 1][..], &[3, 5, 7], &[4, 65, 33], &[2, 4100], &[7]] {
        let factors: Vec<f32> = (0..shape[0]).map(|i| [0.0, 1.25, -2.0][i % 3]).collect();
        let mut wide = vec![1; shape.len()];
        wide[0] = shape[0];
        agree(
            &[shape, shape],
            |t| add_scaled(&t[0], &t[1], &factors),
            |t| {
                let factors = Tensor::from_vec(factors.clone(), wide.clone(), t[0].device())?;
                &t[0] + t[1].broadcast_mul(&factors.to_dtype(t[0].dtype())?)?
            },
        );
    }
    let [x, y] = [leaf(&[2, 3], "x"), leaf(&[2, 3], "y")];
    assert!(add_scaled(&x, &y, &[1.0]).is_err());
    assert!(add_scaled(&x, &leaf(&[2, 4], "y"), &[1.0, 1.0]).is_err());
}
