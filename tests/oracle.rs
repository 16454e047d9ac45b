//! Models and training against PyTorch: timm's ViT and the authors' VLoRA package, from
//! `scripts/reference/make_fixtures.py`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{Device, Result, Tensor};
use vlora::models::vit::Vit;
use vlora::nn::{Frozen, ParameterStore, Source, ops};
use vlora::spec::{RunSpec, TrainingSpec};
use vlora::tasks::{Evaluation, Split, Task};
use vlora::train::Trainer;

struct Fixture {
    tensors: BTreeMap<String, Tensor>,
    spec: RunSpec,
}

/// The fixture and, from its metadata, the spec of the same model and training.
fn fixture(file: &str) -> Fixture {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(file);
    let bytes = std::fs::read(&path).unwrap();
    let tensors = candle_core::safetensors::load_buffer(&bytes, &Device::Cpu).unwrap();
    let (_, header) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
    let text = &header.metadata().as_ref().unwrap()["spec"];
    let experiment = vlora::spec::parse(text.as_bytes(), "oracle.yaml", "oracle", &[]).unwrap();
    Fixture { tensors: tensors.into_iter().collect(), spec: experiment.variants[0].spec.clone() }
}

impl Fixture {
    fn group(&self, prefix: &str) -> BTreeMap<String, Tensor> {
        let strip = |(k, v): (&String, &Tensor)| Some((k.strip_prefix(prefix)?.into(), v.clone()));
        self.tensors.iter().filter_map(strip).collect()
    }

    fn batch(&self) -> (Tensor, Tensor) {
        let labels = self.tensors["labels"].to_vec1::<i64>().unwrap();
        let labels: Vec<u32> = labels.into_iter().map(|l| l as u32).collect();
        let count = labels.len();
        let labels = Tensor::from_vec(labels, count, &Device::Cpu).unwrap();
        (self.tensors["images"].clone(), labels)
    }
}

/// The fixture's one batch as a task, so that the real training loop runs on it.
struct OneBatch<'a> {
    fixture: &'a Fixture,
}

impl Task for OneBatch<'_> {
    type Model = Vit;

    fn model(&self, source: &mut dyn Source) -> Result<Vit> {
        let spec = &self.fixture.spec;
        Vit::new(&spec.model, spec.vlora.as_ref(), source)
    }

    fn train_len(&self) -> usize {
        6
    }

    fn loss(&self, model: &Vit, _: usize, _: &[usize]) -> Result<Tensor> {
        let (images, labels) = self.fixture.batch();
        let smoothing = self.fixture.spec.training.label_smoothing;
        ops::cross_entropy(&model.forward(&images)?, &labels, smoothing)?.mean_all()
    }

    fn evaluate(&self, _: &Vit, _: Split) -> Result<Evaluation> {
        Ok(Evaluation { loss: 0.0, metric: 0.0, outcomes: Vec::new() })
    }
}

/// The largest difference over the largest magnitude of what is wanted.
fn relative(got: &Tensor, want: &Tensor) -> f64 {
    assert_eq!(got.dims(), want.dims());
    let values = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let (got, want) = (values(got), values(want));
    let size = want.iter().fold(1e-6f32, |m, v| m.max(v.abs()));
    let apart = got.iter().zip(&want).map(|(g, w)| (g - w).abs());
    f64::from(apart.fold(0f32, f32::max) / size)
}

fn check(file: &str) {
    let fixture = fixture(file);
    let task = OneBatch { fixture: &fixture };
    let mut store = ParameterStore::new(0, Device::Cpu);
    let model = task.model(&mut store).unwrap();
    // `load` refuses a missing, extra or misshapen name: the names are PyTorch's.
    store.load(&fixture.group("weight.")).unwrap();

    let (images, _) = fixture.batch();
    let logits = model.forward(&images).unwrap();
    let error = relative(&logits, &fixture.tensors["logits"]);
    assert!(error < 1e-5, "{file}: logits differ by {error:e}");
    let frozen = task.model(&mut Frozen(&store)).unwrap().forward(&images).unwrap();
    assert_eq!(relative(&frozen, &logits), 0.0, "{file}: evaluation computes something else");

    let loss = task.loss(&model, 0, &[]).unwrap();
    let error = relative(&loss, &fixture.tensors["loss"]);
    assert!(error < 1e-5, "{file}: the loss differs by {error:e}");
    let gradients = loss.backward().unwrap();
    for (name, want) in fixture.group("grad.") {
        let got = gradients.get(store.get(&name).unwrap().var.as_tensor()).unwrap();
        let error = relative(got, &want);
        assert!(error < 1e-4, "{file}: the gradient of {name} differs by {error:e}");
    }

    // Ten steps of the real loop, started from the fixture's weights.
    let training: &TrainingSpec = &fixture.spec.training;
    let mut trainer = Trainer::new(&task, training, 0, &Device::Cpu).unwrap();
    trainer.store().load(&fixture.group("weight.")).unwrap();
    while !trainer.is_done() {
        trainer.epoch(|_| true).unwrap();
    }
    assert_eq!(trainer.state().step, 10);
    for (name, want) in fixture.group("after.") {
        let got = trainer.store().get(&name).unwrap().var.as_detached_tensor();
        let error = relative(&got, &want);
        assert!(error < 1e-3, "{file}: after ten steps {name} differs by {error:e}");
    }
}

#[test]
fn vit_with_class_token_equals_timm() {
    check("vit-class-token.safetensors");
}

#[test]
fn vit_with_mean_pooling_equals_timm() {
    check("vit-mean.safetensors");
}

#[test]
fn vlora_equals_the_authors_package() {
    check("vlora-authors.safetensors");
}
