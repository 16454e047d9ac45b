//! Who trains the runs of a test.

use candle_core::Device;
use vlora::runner::Workers;

/// One run at a time, on the CPU.
pub const ALONE: Workers = at_once(1);

/// So many runs at once, on the CPU.
pub const fn at_once(jobs: usize) -> Workers<'static> {
    Workers { jobs, device: &|| Ok(Device::Cpu) }
}
