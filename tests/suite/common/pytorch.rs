//! Files of what PyTorch computed: tensors by name, and texts beside them.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{Device, Tensor};

pub struct Fixture {
    pub tensors: BTreeMap<String, Tensor>,
    pub metadata: BTreeMap<String, String>,
}

impl Fixture {
    /// Of tests/fixtures.
    pub fn named(file: &str) -> Fixture {
        Fixture::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(file))
    }

    pub fn read(path: &Path) -> Fixture {
        let bytes = std::fs::read(path).unwrap();
        let tensors = candle_core::safetensors::load_buffer(&bytes, &Device::Cpu).unwrap();
        let (_, header) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
        let metadata = header.metadata().clone().unwrap_or_default().into_iter().collect();
        Fixture { tensors: tensors.into_iter().collect(), metadata }
    }

    /// The tensors whose names begin so, by the rest of their names.
    pub fn group(&self, prefix: &str) -> BTreeMap<String, Tensor> {
        let strip = |(k, v): (&String, &Tensor)| Some((k.strip_prefix(prefix)?.into(), v.clone()));
        self.tensors.iter().filter_map(strip).collect()
    }

    /// A tensor of PyTorch's whole numbers, such as labels.
    pub fn numbers(&self, name: &str) -> Tensor {
        let tensor = &self.tensors[name];
        let numbers = tensor.flatten_all().unwrap().to_vec1::<i64>().unwrap();
        let numbers: Vec<u32> = numbers.into_iter().map(|n| n as u32).collect();
        Tensor::from_vec(numbers, tensor.dims(), &Device::Cpu).unwrap()
    }
}
