//! Training with the parts of recipes for images: policies, erasing, mixing, stochastic depth and averages.

use candle_core::{Device, Tensor};
use vlora::data::ImageData;
use vlora::data::images::Size;
use vlora::nn::{Mode, StepKey, ops};
use vlora::spec::RunSpec;
use vlora::tasks::{DataSet, ImageBatch, ImageClassification, Split, Task};

use crate::common::compare::{relative, values};
use crate::common::program::{folder_with, vlora};
use crate::common::results;
use crate::common::spec::Spec;

const PLAIN: [&str; 2] = ["data.augment.crop_padding=0", "data.augment.horizontal_flip=false"];
const PADDED: [&str; 2] = ["data.augment.crop_padding=4", "data.augment.horizontal_flip=true"];
const BATCH: usize = 9;

fn run(overrides: &[&str]) -> RunSpec {
    let spec = overrides.iter().fold(Spec::tiny(), |spec, set| spec.set(set));
    spec.set("training.batch_size=9").experiment().variants.remove(0).spec
}

fn noise() -> ImageData {
    ImageData::noise(Size { side: 28, channels: 1 }, 10, 45, 4)
}

/// The first batches of training, each with its examples.
fn batches(spec: &RunSpec, data: &ImageData) -> Vec<(Vec<usize>, ImageBatch)> {
    let task = ImageClassification::new(data, spec, 3, Device::Cpu);
    let plans = task.data().epoch(0);
    plans
        .iter()
        .map(|plan| (plan.examples.clone(), task.data().train_batch(0, plan).unwrap()))
        .collect()
}

fn with(base: &[&'static str], more: &[&'static str]) -> RunSpec {
    run(&[base, more].concat())
}

/// Each image is mixed with the one at the same place from the batch's end, its label with that one's, and
/// the loss is that of both by their shares.
#[test]
fn mixed_batches_have_both_labels() {
    let data = noise();
    let plain = with(&PADDED, &[]);
    for mix in ["data.augment.mix={mixup: 1}", "data.augment.mix={cutmix: 1}"] {
        let spec = with(&PADDED, &[mix]);
        let task = ImageClassification::new(&data, &spec, 3, Device::Cpu);
        let labels = task.data().labels(Split::Train);
        let (_store, model) = ImageClassification::blueprint(&spec).train(1, &Device::Cpu).unwrap();
        let pairs = batches(&spec, &data).into_iter().zip(batches(&plain, &data));
        let mut shares = Vec::new();
        for ((examples, mixed), (_, plain)) in pairs {
            let (others, own) = mixed.others.clone().unwrap();
            let reversed: Vec<u32> = examples.iter().rev().map(|e| labels[*e]).collect();
            assert_eq!(others.to_vec1::<u32>().unwrap(), reversed);
            let numbers = |t: &Tensor| t.to_vec1::<u32>().unwrap();
            assert_eq!(numbers(&mixed.labels), numbers(&plain.labels));
            shares.push(own);
            let order = Tensor::from_vec((0..BATCH as u32).rev().collect(), BATCH, &Device::Cpu);
            let reversed = plain.images.index_select(&order.unwrap(), 0).unwrap();
            match mix.contains("mixup") {
                true => {
                    let wanted = (&plain.images * own).unwrap() + (reversed * (1.0 - own)).unwrap();
                    assert!(relative(&mixed.images, &wanted.unwrap()) < 1e-6);
                }
                // Every pixel is one of either image.
                false => {
                    let (first, second) = (values(&plain.images), values(&reversed));
                    let all = values(&mixed.images).into_iter().zip(first).zip(second);
                    assert!(all.into_iter().all(|((v, a), b)| v == a || v == b));
                }
            }
            let key = StepKey { seed: 0, step: 1, part: 0 };
            let loss = task.loss(&model, key, &mixed).unwrap();
            let logits = model.forward(&mixed.images, Mode::Training(key)).unwrap();
            let on = |labels: &Tensor| {
                let loss = ops::mean(&ops::cross_entropy(&logits, labels, 0.0).unwrap()).unwrap();
                f64::from(loss.tensor().to_scalar::<f32>().unwrap())
            };
            let wanted = own * on(&mixed.labels) + (1.0 - own) * on(&others);
            let got = f64::from(loss.tensor().to_scalar::<f32>().unwrap());
            assert!((got - wanted).abs() < 1e-5, "{got} {wanted}");
        }
        assert!(shares.iter().any(|share| *share != shares[0]), "{shares:?}");
        // Evaluation mixes nothing.
        let plans = task.data().evaluation(Split::Test);
        assert!(task.data().evaluation_batch(Split::Test, &plans[0]).unwrap().others.is_none());
    }
}

/// Erasing sets a rectangle of the normalised image to zero, and leaves the rest.
#[test]
fn erased_pixels_are_the_mean() {
    let data = noise();
    let plain = batches(&with(&PADDED, &[]), &data);
    let erased = batches(&with(&PADDED, &["data.augment.erasing={probability: 1}"]), &data);
    let mut gone = 0;
    for ((_, plain), (_, erased)) in plain.iter().zip(&erased) {
        for (before, after) in values(&plain.images).into_iter().zip(values(&erased.images)) {
            assert!(after == before || after == 0.0);
            gone += usize::from(after != before);
        }
    }
    // A mean share of (0.02 + 0.33) / 2 of the area, but for rectangles that do not fit.
    let share = gone as f64 / (45.0 * 28.0 * 28.0);
    assert!((0.1..0.25).contains(&share), "{share}");
}

/// Operations come after crop and flip, or before; what is outside the image after a crop is black, and
/// inside a sheared or moved one `fill`.
#[test]
fn operations_come_before_or_after_the_crop() {
    let data = noise();
    let images = |base: &[&'static str], more: &[&'static str]| -> Vec<Vec<f32>> {
        let spec = with(base, more);
        batches(&spec, &data).iter().map(|(_, batch)| values(&batch.images)).collect()
    };
    let policy = "data.augment.rand_augment={magnitude: 30}";
    let (first, filled) = ("data.augment.policy_first=true", "data.augment.fill=128");
    assert_ne!(images(&PADDED, &[policy]), images(&PADDED, &[policy, first]));
    assert_ne!(images(&PLAIN, &[policy]), images(&PLAIN, &[]));
    assert_ne!(images(&PLAIN, &[policy]), images(&PLAIN, &[policy, filled]));
    assert_eq!(images(&PADDED, &[policy]), images(&PADDED, &[policy]));
}

/// A run with all of it, in micro-batches, is the same again when it is interrupted, also with VLoRA; and its
/// table says what was done.
#[test]
fn a_run_with_everything_is_repeated_to_the_bit() {
    let spec = Spec::tiny()
        .set("data.validation={fraction: 0.1}")
        .set("data.augment.auto_augment=cifar10")
        .set("data.augment.erasing={probability: 0.5}")
        .set("data.augment.mix={mixup: 0.8, cutmix: 1}")
        .set("model.stochastic_depth=0.2")
        .set("model.dropout=0.1")
        .set("model.variant=compact-transformers")
        .set("training.accumulation=2")
        .set("training.ema_decay=0.9")
        .set("training.select=best")
        .set("training.epochs=2");
    let dir = folder_with(&spec.text());
    let ran = vlora(dir.path(), &["run", "tiny.yaml", "-q", "--device", "cpu"]);
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    for part in [
        "stochastic depth 0.2",
        "Compact Transformers' layers",
        "AutoAugment's CIFAR-10 policy",
        "erasing of 2.0 % to 33.0 %",
        "mixup (α 0.8) or, 50.0 % of the time, cutmix (α 1)",
        "exponential moving average (decay 0.9)",
    ] {
        assert!(ran.out.contains(part), "no {part:?} in {}", ran.out);
    }
    let experiment = dir.path().join("results/tiny");
    for arm in ["baseline", "vlora"] {
        let run = results::run_of(&experiment, arm);
        let run = format!("results/tiny/runs/{}", run.file_name().unwrap().to_str().unwrap());
        let again = vlora(dir.path(), &["verify", &run, "--device", "cpu", "--full"]);
        assert_eq!(again.code, 0, "{}{}", again.out, again.err);
        // Only the compact format holds its layers.
        for (format, code) in [("timm", 2), ("authors", 2), ("hf-vit", 2), ("compact", 0)] {
            let out = format!("{arm}-{format}");
            let exported = vlora(dir.path(), &["export", &run, "--to", format, "--out", &out]);
            assert_eq!(exported.code, code, "{format}: {}", exported.err);
            assert!(code == 0 || exported.err.contains("`model.variant: compact-transformers`"));
        }
    }
    // Another dropout is no other model.
    let run = results::run_of(&experiment, "baseline");
    let set = ["--set", "model.dropout=0.3", "--set", "model.stochastic_depth=0"];
    let weights = run.join("model.safetensors");
    let args = ["evaluate", weights.to_str().unwrap(), "--spec", "tiny.yaml", "--arm", "baseline"];
    let evaluated = vlora(dir.path(), &[&args[..], &["--device", "cpu"], &set].concat());
    assert_eq!(evaluated.code, 0, "{}", evaluated.err);
}
