//! Compares operations with PyTorch. `scripts/reference/make_operation_fixtures.py` made the numbers.

use std::collections::HashMap;
use std::path::Path;

use super::*;

struct Fixture {
    tensors: HashMap<String, Tensor>,
    cases: serde_json::Map<String, serde_json::Value>,
}

fn fixture() -> Fixture {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/operations.safetensors");
    let bytes = std::fs::read(path).unwrap();
    let tensors = candle_core::safetensors::load_buffer(&bytes, &Device::Cpu).unwrap();
    let (_, header) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
    let text = &header.metadata().as_ref().unwrap()["cases"];
    Fixture { tensors, cases: serde_json::from_str(text).unwrap() }
}

impl Fixture {
    fn tensor(&self, case: &str, what: &str) -> Tensor {
        self.tensors[&format!("{case}.{what}")].clone()
    }

    fn ids(&self, case: &str, what: &str) -> Tensor {
        self.tensor(case, what).to_dtype(DType::U32).unwrap()
    }

    fn lengths(&self, case: &str) -> Option<Vec<usize>> {
        serde_json::from_value(self.cases[case]["lengths"].clone()).unwrap()
    }

    /// Compares the result and every gradient in float32, which the CPU's kernels compute, and in float64,
    /// which the compositions compute.
    fn check(&self, case: &str, inputs: &[&str], f: impl Fn(&[Variable]) -> Result<Variable>) {
        for dtype in [DType::F32, DType::F64] {
            let typed = |what: &str| self.tensor(case, what).to_dtype(dtype).unwrap();
            let leaves: Vec<Variable> = inputs.iter().map(|i| Variable::leaf(typed(i))).collect();
            let y = f(&leaves).unwrap();
            close(y.tensor(), &typed("out"), &format!("{case}, {dtype:?}"));
            let probe = Variable::constant(typed("probe"));
            let total = Variable::composed(&[&y, &probe], |t| (&t[0] * &t[1])?.sum_all()).unwrap();
            let gradients = total.backward(1.0).unwrap();
            for (input, leaf) in inputs.iter().zip(&leaves) {
                let got = gradients.get(leaf).expect("a gradient for every input");
                close(
                    got,
                    &typed(&format!("grad.{input}")),
                    &format!("{case}, {dtype:?}, {input}"),
                );
            }
        }
    }
}

fn close(got: &Tensor, want: &Tensor, what: &str) {
    assert_eq!(got.dims(), want.dims(), "{what}");
    let (got, want) = (numbers_of(got), numbers_of(want));
    let size = want.iter().fold(1.0f64, |m, v| m.max(v.abs()));
    for (i, (g, w)) in got.iter().zip(&want).enumerate() {
        assert!((g - w).abs() < 2e-6 * size, "{what}, value {i}: {g} for {w}");
    }
}

#[test]
fn attention_matches_pytorch() {
    let fixture = fixture();
    let mut count = 0;
    for (case, options) in fixture.cases.iter().filter(|(case, _)| case.starts_with("attention")) {
        let heads = options["heads"].as_u64().unwrap() as usize;
        let (causal, lengths) = (options["causal"].as_bool().unwrap(), fixture.lengths(case));
        let mask = Mask { causal, lengths, ..Mask::default() };
        fixture.check(case, &["q", "k", "v"], |t| {
            attention([&t[0], &t[1], &t[2]], heads, &mask, None)
        });
        // The packed operation, if it is self-attention.
        let [q, k, v] = ["q", "k", "v"].map(|part| fixture.tensor(case, part));
        if q.dims() == k.dims() {
            let qkv = Variable::constant(Tensor::cat(&[q, k, v], 2).unwrap());
            let out = self_attention(&qkv, heads, qkv.dims()[1], &mask, None).unwrap();
            close(out.tensor(), &fixture.tensor(case, "out"), &format!("{case}, packed"));
        }
        count += 1;
    }
    assert_eq!(count, 10);
}

#[test]
fn the_mean_of_valid_tokens_matches_sentence_transformers() {
    let fixture = fixture();
    let lengths = fixture.lengths("mean").unwrap();
    fixture.check("mean", &["x"], |t| mean_valid_tokens(&t[0], &lengths));
}

#[test]
fn embedded_tokens_match_bert() {
    let fixture = fixture();
    let (ids, type_ids) = (fixture.ids("embed", "ids"), fixture.ids("embed", "type_ids"));
    fixture.check("embed", &["words", "positions", "types"], |t| {
        embed_tokens(&ids, &t[0], Some(&t[1]), Some((&t[2], &type_ids)))
    });
}

#[test]
fn activations_match_pytorch() {
    let fixture = fixture();
    fixture.check("gelu", &["x"], |t| gelu(&t[0], Gelu::Exact));
    fixture.check("gelu-tanh", &["x"], |t| gelu(&t[0], Gelu::Tanh));
    fixture.check("tanh", &["x"], |t| tanh(&t[0]));
    fixture.check("relu", &["x"], |t| relu(&t[0]));
    fixture.check("silu", &["x"], |t| silu(&t[0]));
}
