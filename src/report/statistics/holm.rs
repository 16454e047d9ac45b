//! Holm's adjustment of the p-values of several tests.

/// The adjusted p-values, in the order given. A test whose adjusted p-value is below a level is
/// significant at that level among all of these tests.
pub fn holm(p_values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p_values.len()).collect();
    order.sort_by(|a, b| p_values[*a].total_cmp(&p_values[*b]));
    let mut adjusted = vec![0.0; p_values.len()];
    let mut most = 0.0f64;
    for (done, i) in order.into_iter().enumerate() {
        most = most.max((p_values.len() - done) as f64 * p_values[i]).min(1.0);
        adjusted[i] = most;
    }
    adjusted
}
