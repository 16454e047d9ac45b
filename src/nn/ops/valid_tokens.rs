//! The tokens of padded sequences that are no padding.

use candle_core::{Result, Tensor, bail};

use crate::nn::graph::Variable;

/// The tokens of padded sequences without their padding, one sequence after another:
/// x \[batch, tokens, dim\] → \[sum of the lengths, dim\]. Padding gets a gradient of zero.
pub fn valid_tokens(x: &Variable, lengths: &[usize]) -> Result<Variable> {
    let (batch, tokens, dim) = x.tensor().dims3()?;
    let all: usize = lengths.iter().sum();
    if lengths.len() != batch || lengths.iter().any(|length| *length > tokens) || all == 0 {
        bail!("valid tokens: {batch} lengths up to {tokens} expected, not {lengths:?}");
    }
    if all == batch * tokens {
        return x.reshape(&[all, dim]);
    }
    // For each valid token its row in x, and for each row of x its token. Padding takes a row of zeros.
    let (mut rows, mut places) = (Vec::with_capacity(all), vec![all as u32; batch * tokens]);
    for (sequence, length) in lengths.iter().enumerate() {
        for token in 0..*length {
            let row = sequence * tokens + token;
            places[row] = rows.len() as u32;
            rows.push(row as u32);
        }
    }
    let device = x.tensor().device();
    let rows = Tensor::new(rows, device)?;
    let valid = x.tensor().reshape((batch * tokens, dim))?.index_select(&rows, 0)?;
    Ok(Variable::computed(valid, &[x], move |g, sink| {
        let zeros = Tensor::zeros((1, dim), g.dtype(), g.device())?;
        let places = Tensor::new(places, g.device())?;
        let spread = Tensor::cat(&[g, &zeros], 0)?.index_select(&places, 0)?;
        sink.add(0, spread.reshape((batch, tokens, dim))?)
    }))
}
