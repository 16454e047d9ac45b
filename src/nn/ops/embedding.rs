//! Embeddings: rows of a table by id.

use candle_core::{Result, Tensor};

use super::checks::{checked_ids, expect};
use super::patches::with_positions;
use super::reduce::{first_tokens, sum};
use crate::nn::backend::Backend;
use crate::nn::graph::Variable;
use crate::nn::{cpu, cuda};

/// Rows of a table by id: table \[rows, width\], ids u32 of any shape → \[…, width\]. The gradient of a
/// row is the sum over its uses, in order. An id that is not a row is an error; on a GPU, where checking it
/// would wait for all queued work, it gives NaN.
pub fn embedding(table: &Variable, ids: &Tensor) -> Result<Variable> {
    let (rows, width) = table.tensor().dims2()?;
    expect("embedding", width > 0 && ids.elem_count() > 0, &[table])?;
    let row_ids = || checked_ids(ids, rows, "embedding: id");
    let mut dims = ids.dims().to_vec();
    dims.push(width);
    match Backend::of(&[table.tensor(), ids]) {
        Backend::Cuda(backend) => {
            let dtype = table.copy().map_or(table.tensor().dtype(), Tensor::dtype);
            cuda::embedding(backend, table, ids, dtype)
        }
        Backend::Cpu => on_cpu(table, row_ids()?, dims),
        Backend::Composed => {
            row_ids()?;
            let ids = Variable::constant(ids.flatten_all()?);
            Variable::composed(&[table, &ids], move |t| {
                t[0].index_select(&t[1], 0)?.reshape(dims.as_slice())
            })
        }
    }
}

/// Turns token ids into an encoder's input: the rows of the tokens, plus the rows of positions and token
/// types if there are such tables.
///
/// ids \[batch, tokens\] u32, table \[vocabulary, dim\], positions \[at least tokens, dim\], types
/// (\[types, dim\], ids \[batch, tokens\] u32) → \[batch, tokens, dim\].
pub fn embed_tokens(
    ids: &Tensor,
    table: &Variable,
    positions: Option<&Variable>,
    types: Option<(&Variable, &Tensor)>,
) -> Result<Variable> {
    let (batch, tokens) = ids.dims2()?;
    let dim = table.tensor().dim(1)?;
    let rows = embedding(table, ids)?;
    let typed = match types {
        None => rows,
        Some((table, type_ids)) => {
            let fits = type_ids.dims() == [batch, tokens] && table.tensor().dim(1)? == dim;
            expect("token types", fits, &[table, &Variable::constant(type_ids.clone())])?;
            sum(&[&rows, &embedding(table, type_ids)?])?
        }
    };
    positions.map_or(Ok(typed.clone()), |positions| add_positions(&typed, positions))
}

/// Adds to each token the row of its position: x \[batch, tokens, dim\], positions \[at least tokens,
/// dim\] → \[batch, tokens, dim\].
pub fn add_positions(x: &Variable, positions: &Variable) -> Result<Variable> {
    let (batch, tokens, dim) = x.tensor().dims3()?;
    let (most, width) = positions.tensor().dims2()?;
    expect("positions of tokens", tokens <= most && width == dim, &[x, positions])?;
    let position_rows = first_tokens(&positions.reshape(&[1, most, dim])?, tokens)?;
    with_positions(&x.reshape(&[batch * tokens, dim])?, None, &position_rows, (batch, tokens, dim))
}

fn on_cpu(table: &Variable, numbers: Vec<u32>, dims: Vec<usize>) -> Result<Variable> {
    let (rows, width) = table.tensor().dims2()?;
    let values = cpu::with_values([table.tensor()], |[table]| {
        Ok(cpu::embedding::forward(table, width, &numbers))
    })?;
    let values = cpu::tensor(values, dims, table.tensor())?;
    Ok(Variable::computed(values, &[table], move |g, sink| {
        let d =
            cpu::with_values([g], |[g]| Ok(cpu::embedding::backward(rows, width, &numbers, g)))?;
        sink.add(0, cpu::tensor(d, (rows, width), g)?)
    }))
}
