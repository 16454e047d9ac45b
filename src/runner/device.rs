//! The device that a run computes on.

use candle_core::Device;

use super::precision::device_kind;
use crate::error::{Error, Fault, Result};
use crate::spec::DeviceKind;

/// The value of `--device`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Choice {
    Auto,
    Cpu,
    Cuda(usize),
}

impl Choice {
    fn parse(name: &str) -> Result<Choice> {
        let number = |digits: &str| match digits.bytes().all(|b| b.is_ascii_digit()) {
            true => digits.parse().ok(),
            false => None,
        };
        match name {
            "auto" => Some(Choice::Auto),
            "cpu" => Some(Choice::Cpu),
            "cuda" => Some(Choice::Cuda(0)),
            other => other.strip_prefix("cuda:").and_then(number).map(Choice::Cuda),
        }
        .ok_or_else(|| {
            Error::from(
                Fault::new("unknown device")
                    .within("--device")
                    .found(format!("`{name}`"))
                    .expected("`auto`, `cpu`, `cuda` or `cuda:N`, N from 0"),
            )
        })
    }
}

/// Opens the device named `auto`, `cpu`, `cuda` (the first GPU) or `cuda:N`. `auto` is the first
/// GPU if this program is built for GPUs and one is usable, else the CPU. Each call returns a new
/// device with its own stream.
pub fn select_device(name: &str) -> Result<Device> {
    match Choice::parse(name)? {
        Choice::Auto => automatic(),
        Choice::Cpu => Ok(Device::Cpu),
        Choice::Cuda(number) => cuda(name, number),
    }
}

/// The devices of a list such as `cuda:0,cuda:1`. Several must be GPUs, each named once.
pub fn device_list(names: &str) -> Result<Vec<&str>> {
    let list: Vec<&str> = names.split(',').collect();
    let choices = list.iter().map(|name| Choice::parse(name)).collect::<Result<Vec<Choice>>>()?;
    let fault = |what: &str, found: &str| {
        let fault = Fault::new(what).within("--device").found(format!("`{found}` in `{names}`"));
        Err(fault.expected("GPUs, each once, as in `cuda:0,cuda:1`").into())
    };
    for (i, choice) in choices.iter().enumerate() {
        if choices.len() > 1 && !matches!(choice, Choice::Cuda(_)) {
            return fault("only GPUs can be used together", list[i]);
        }
        if choices[..i].contains(choice) {
            return fault("a device is given twice", list[i]);
        }
    }
    Ok(list)
}

/// The kind of device for commands that compute nothing: planning for a GPU needs no GPU.
pub fn planned_kind(names: &str) -> Result<DeviceKind> {
    let name = device_list(names)?[0];
    match Choice::parse(name)? {
        Choice::Cpu => Ok(DeviceKind::Cpu),
        Choice::Cuda(_) => Ok(DeviceKind::Cuda),
        Choice::Auto => Ok(device_kind(&select_device(name)?)),
    }
}

/// Why `auto` does not use a GPU that may be present. The user is warned, since the run takes many
/// times as long on the CPU.
#[cfg(feature = "cuda")]
pub fn unused_gpu(name: &str) -> Option<String> {
    use crate::cuda_loader::{Unavailable, load};

    match Choice::parse(name) {
        Ok(Choice::Auto) => match load() {
            Ok(_) => on_gpu(0).err().map(|why| why.to_string()),
            Err(why @ Unavailable::Broken(_)) => Some(why.to_string()),
            Err(Unavailable::NoGpu(_)) => None,
        },
        _ => None,
    }
}

#[cfg(not(feature = "cuda"))]
pub fn unused_gpu(_name: &str) -> Option<String> {
    None
}

#[cfg(feature = "cuda")]
fn automatic() -> Result<Device> {
    // `unused_gpu` reports a GPU that is present but unusable.
    Ok(crate::cuda_loader::load().ok().and_then(|_| on_gpu(0).ok()).unwrap_or(Device::Cpu))
}

#[cfg(not(feature = "cuda"))]
fn automatic() -> Result<Device> {
    Ok(Device::Cpu)
}

#[cfg(feature = "cuda")]
fn cuda(name: &str, number: usize) -> Result<Device> {
    let devices = crate::cuda_loader::load()
        .map_err(|why| Error::from(Fault::failed(why).source(format!("--device {name}"))))?;
    if number >= devices {
        let there = match devices {
            1 => "one GPU, `cuda:0`".to_string(),
            _ => format!("{devices} GPUs, `cuda:0` to `cuda:{}`", devices - 1),
        };
        return Err(Fault::new("no such GPU")
            .within("--device")
            .found(format!("`{name}`"))
            .expected(format!("one of those that are there: {there}"))
            .into());
    }
    on_gpu(number)
}

#[cfg(not(feature = "cuda"))]
fn cuda(name: &str, _number: usize) -> Result<Device> {
    Err(Fault::new("this build computes on the CPU alone")
        .within("--device")
        .found(format!("`{name}`"))
        .expected("`auto` or `cpu`")
        .help(
            "`cargo build --release --features cuda` makes a program for \
                 NVIDIA GPUs; it needs nvcc, which scripts/cuda_toolkit.sh gets",
        )
        .into())
}

/// Opens a GPU. All work of a run goes through one stream of this device, in order.
#[cfg(feature = "cuda")]
fn on_gpu(number: usize) -> Result<Device> {
    let failed = |e: candle_core::Error| {
        Error::from(Fault::failed(format!("cuda:{number}: {}", crate::error::plain(&e))))
    };
    let device = Device::new_cuda_with_stream(number).map_err(failed)?;
    let cuda = device.as_cuda_device().map_err(failed)?;
    // SAFETY: events order memory accesses of several streams; there is only one stream here.
    unsafe { cuda.disable_event_tracking() };
    check_capability(number, cuda.cuda_stream().context())?;
    keep_freed_memory(cuda.cuda_stream().context()).map_err(|e| {
        Error::from(Fault::failed(format!("cuda:{number}: its memory pool cannot be set: {e}")))
    })?;
    Ok(device)
}

/// The kernels need bf16 on tensor cores, available since Ampere.
#[cfg(feature = "cuda")]
fn check_capability(number: usize, context: &cudarc::driver::CudaContext) -> Result<()> {
    let failed = |e| {
        Error::from(Fault::failed(format!(
            "cuda:{number}: its compute capability cannot be read: {e}"
        )))
    };
    let (major, minor) = context.compute_capability().map_err(failed)?;
    match major >= 8 {
        true => Ok(()),
        false => Err(Fault::failed(format!(
            "cuda:{number}: this GPU is too old: its compute capability is \
                 {major}.{minor}, and the program needs 8.0 (Ampere) or newer; \
                 compute with `--device cpu`"
        ))
        .into()),
    }
}

/// Keeps freed memory in the pool. By default the pool returns it to the driver whenever the stream
/// is synchronised, and the next step has to request it again.
#[cfg(feature = "cuda")]
fn keep_freed_memory(
    context: &cudarc::driver::CudaContext,
) -> std::result::Result<(), cudarc::driver::DriverError> {
    use cudarc::driver::{result, sys};

    let pools = sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED;
    if context.attribute(pools)? == 0 {
        return Ok(());
    }
    use sys::CUmemPool_attribute::{
        CU_MEMPOOL_ATTR_RELEASE_THRESHOLD, CU_MEMPOOL_ATTR_REUSE_ALLOW_INTERNAL_DEPENDENCIES,
    };
    let (mut threshold, mut reuse) = (u64::MAX, 0i32);
    // SAFETY: the pool belongs to this device; the attributes are a 64-bit integer and an int.
    unsafe {
        let pool = result::device::get_default_mem_pool(context.cu_device())?;
        let set = |attribute, value| result::mem_pool::set_attribute(pool, attribute, value);
        set(CU_MEMPOOL_ATTR_RELEASE_THRESHOLD, (&raw mut threshold).cast())?;
        // Concurrent runs have their own streams. None should wait for memory that another frees
        // later.
        set(CU_MEMPOOL_ATTR_REUSE_ALLOW_INTERNAL_DEPENDENCIES, (&raw mut reuse).cast())
    }
}

/// The name for provenance; for a GPU it includes the driver's name.
pub fn device_name(device: &Device) -> String {
    match device {
        Device::Cpu => "cpu".into(),
        #[cfg(feature = "cuda")]
        Device::Cuda(cuda) => {
            let name = cuda.cuda_stream().context().name();
            format!("cuda ({})", name.as_deref().unwrap_or("no name"))
        }
        #[cfg(not(feature = "cuda"))]
        Device::Cuda(_) => "cuda".into(),
        Device::Metal(_) => "metal".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_devices_are_different_gpus() {
        assert_eq!(device_list("cpu").unwrap(), ["cpu"]);
        assert_eq!(device_list("cuda:0,cuda:3").unwrap(), ["cuda:0", "cuda:3"]);
        for (names, what) in [
            ("cuda,cuda:0", "given twice"),
            ("cpu,cpu", "only GPUs"),
            ("cuda:0,auto", "only GPUs"),
            ("cuda:0,", "unknown device"),
            ("", "unknown device"),
        ] {
            let told = device_list(names).unwrap_err().to_string();
            assert!(told.contains(what), "{names}: {told}");
        }
    }

    #[test]
    fn device_names_are_parsed_exactly() {
        let parsed = |name| Choice::parse(name).ok();
        assert_eq!(parsed("auto"), Some(Choice::Auto));
        assert_eq!(parsed("cpu"), Some(Choice::Cpu));
        assert_eq!(parsed("cuda"), Some(Choice::Cuda(0)));
        assert_eq!(parsed("cuda:0"), Some(Choice::Cuda(0)));
        assert_eq!(parsed("cuda:12"), Some(Choice::Cuda(12)));
        for unknown in
            ["", "gpu", "CUDA", "cuda:", "cuda:x", "cuda:-1", "cuda:+1", "cuda:1.5", "cuda 1"]
        {
            assert_eq!(parsed(unknown), None, "{unknown}");
        }
        // Larger than any integer type.
        assert_eq!(parsed("cuda:99999999999999999999999"), None);
    }

    #[test]
    fn the_cpu_is_always_available() {
        let device = select_device("cpu").unwrap();
        assert!(device.is_cpu());
        assert_eq!(device_name(&device), "cpu");
    }

    #[cfg(feature = "cuda")]
    #[test]
    #[ignore = "needs a GPU"]
    fn the_first_device_is_named_and_adds_on_the_gpu() {
        use candle_core::Tensor;

        let device = select_device("cuda").unwrap();
        let name = device_name(&device);
        assert!(
            device.is_cuda() && name.starts_with("cuda (") && name != "cuda (no name)",
            "{name}"
        );
        let a = Tensor::new(&[1f32, 2.0, 3.0], &device).unwrap();
        assert_eq!((&a + &a).unwrap().to_vec1::<f32>().unwrap(), [2.0, 4.0, 6.0]);
        let product = a.unsqueeze(0).unwrap().matmul(&a.unsqueeze(1).unwrap()).unwrap();
        assert_eq!(product.to_vec2::<f32>().unwrap(), [[14.0]]);
        assert!(select_device("auto").unwrap().is_cuda());
        assert_eq!(select_device("cuda:999").unwrap_err().exit_code(), 2);
    }
}
