//! Where the graph of a training step is computed: on the CPU by Burn's Flex backend with onebit's own
//! operations, or by a GPU backend that this build has, out of Burn's operations alone.
//!
//! In: a name, host values. Out: tensors on the device, and tensors brought back. Parameters, their binarisation,
//! the optimizer, data and evaluation stay on the host.

use burn::backend::Flex;
use burn::backend::flex::FlexTensor;
use burn::tensor::{Tensor, TensorData};

use crate::ops::{contiguous, flex_tensor};

/// A place to train on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeviceName {
    /// The processor.
    #[default]
    Cpu,
    /// The GPU that wgpu picks: Vulkan, Metal or DirectX 12. Needs the feature `wgpu`.
    Wgpu,
    /// The first NVIDIA GPU. Needs the feature `cuda`.
    Cuda,
}

impl DeviceName {
    /// The name on the command line, and of the cargo feature.
    pub fn name(self) -> &'static str {
        match self {
            DeviceName::Cpu => "cpu",
            DeviceName::Wgpu => "wgpu",
            DeviceName::Cuda => "cuda",
        }
    }
}

/// Why a device cannot be trained on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeviceError {
    /// The backend is not part of this build.
    #[error(
        "this build cannot train on {0}; build one that can with `cargo build --release --features {0}`, or train on cpu"
    )]
    NotBuilt(&'static str),
    /// The backend finds no hardware.
    #[error("{0} finds no device on this machine; install its driver, or train on cpu")]
    NotFound(&'static str),
}

/// A device that is there.
#[derive(Clone, Debug)]
pub struct Device {
    name: DeviceName,
    /// Burn's, with autodiff.
    tensors: burn::tensor::Device,
    /// Whether tensors are Flex's and onebit's own operations take them.
    is_fused: bool,
}

impl Default for Device {
    /// The processor.
    fn default() -> Device {
        Device {
            name: DeviceName::Cpu,
            tensors: burn::tensor::Device::flex().autodiff(),
            is_fused: crate::ops::are_fused(),
        }
    }
}

impl Device {
    /// The device of a name.
    ///
    /// # Errors
    /// [`DeviceError`] if the build has no such backend or the machine no such device.
    pub fn open(name: DeviceName) -> Result<Device, DeviceError> {
        match name {
            DeviceName::Cpu => Ok(Device::default()),
            #[cfg(feature = "wgpu")]
            DeviceName::Wgpu => {
                use burn::tensor::{DeviceKind, DeviceType};
                let device = burn::tensor::Device::wgpu(DeviceKind::DefaultDevice);
                found(name, DeviceType::Wgpu, device)
            }
            #[cfg(feature = "cuda")]
            DeviceName::Cuda => {
                use burn::tensor::DeviceType;
                found(name, DeviceType::Cuda, burn::tensor::Device::cuda(0))
            }
            #[cfg(not(all(feature = "wgpu", feature = "cuda")))]
            other => Err(DeviceError::NotBuilt(other.name())),
        }
    }

    /// What it is called.
    pub fn name(&self) -> DeviceName {
        self.name
    }

    /// Whether onebit's own operations compute the graph, rather than compositions of Burn's.
    pub fn is_fused(&self) -> bool {
        self.is_fused
    }

    /// Host values as an untracked tensor of the same shape in an autodiff graph.
    pub fn tensor(&self, values: FlexTensor) -> Tensor<2> {
        let tensor = Tensor::<2>::from_primitive::<Flex>(values);
        match self.is_fused {
            true => tensor.autodiff(),
            false => Tensor::from_data(tensor.into_data(), &self.tensors),
        }
    }
}

/// `device`, if its backend lists any hardware: constructing one that is not there would panic later.
#[cfg(any(feature = "wgpu", feature = "cuda"))]
fn found(
    name: DeviceName,
    kind: burn::tensor::DeviceType,
    device: burn::tensor::Device,
) -> Result<Device, DeviceError> {
    if burn::tensor::Device::enumerate(kind).is_empty() {
        return Err(DeviceError::NotFound(name.name()));
    }
    Ok(Device {
        name,
        tensors: device.autodiff(),
        is_fused: false,
    })
}

/// A constant `[rows, cols]` on the device of `tensor`, to compute with it.
pub fn constant_beside<const D: usize>(
    tensor: &Tensor<D>,
    values: Vec<f32>,
    rows: usize,
    cols: usize,
) -> Tensor<2> {
    Tensor::from_data(TensorData::new(values, [rows, cols]), &tensor.device())
}

/// The values of a tensor without graph, contiguous on the host; waits for its device.
pub fn to_host(tensor: Tensor<2>) -> FlexTensor {
    if let Ok(values) = tensor.clone().try_into_primitive::<Flex>() {
        return contiguous(values);
    }
    let [rows, cols] = tensor.dims();
    let values = tensor
        .into_data()
        .try_into_vec_as()
        .expect("floats convert to f32");
    flex_tensor(values, rows, cols)
}
