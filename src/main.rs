#[global_allocator]
static A: mimalloc::MiMalloc = mimalloc::MiMalloc;
use std::sync::atomic::AtomicBool;
use vlora::{results::*, runner::*, spec, train::EpochSummary};
struct O(std::time::Instant);
impl Observer for O {
    fn epoch(&mut self, e: &EpochSummary) {
        println!("{:.1} {e:?}", self.0.elapsed().as_secs_f64());
    }
    fn run_ended(&mut self, v: &PlannedVariant, _r: &PlannedRun, o: &Outcome) {
        println!("{} {o:?}", v.variant.label);
    }
}
fn main() {
    let a: Vec<String> = std::env::args().skip(1).collect();
    let e = spec::load(a[0].as_ref(), &a[1..]).unwrap_or_else(|e| {
        eprintln!("{e}");
        std::process::exit(2)
    });
    let f = ExperimentFolder::new("/tmp/res");
    let p = Plan::new(e, &f).unwrap();
    execute(
        &p,
        &f,
        &candle_core::Device::Cpu,
        &AtomicBool::new(false),
        &mut O(std::time::Instant::now()),
    )
    .unwrap();
}
