//! What sessions run on: the device that is asked for, in which precision, and how a session is told.

use std::fmt;
use std::str::FromStr;

use ort::ep::{ArbitrarilyConfigurableExecutionProvider as _, ExecutionProviderDispatch};

use protext_kernels::{Isa, Operands};

use crate::error::ModelError;

/// What a session runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Device {
    /// The fastest that is there and proves itself.
    Auto,
    /// ONNX Runtime's own CPU provider.
    Cpu,
    /// Intel's OpenVINO, on the processor.
    Openvino,
    /// NVIDIA GPUs.
    Cuda,
}

impl Device {
    /// ONNX Runtime's name of the provider behind a device.
    #[must_use]
    pub fn provider(self) -> &'static str {
        match self {
            Device::Auto | Device::Cpu => "CPUExecutionProvider",
            Device::Openvino => "OpenVINOExecutionProvider",
            Device::Cuda => "CUDAExecutionProvider",
        }
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Device::Auto => "auto",
            Device::Cpu => "cpu",
            Device::Openvino => "openvino",
            Device::Cuda => "cuda",
        })
    }
}

impl FromStr for Device {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        match name {
            "auto" => Ok(Device::Auto),
            "cpu" => Ok(Device::Cpu),
            "openvino" => Ok(Device::Openvino),
            "cuda" => Ok(Device::Cuda),
            other => Err(format!("unknown device {other:?}: use auto, cpu, openvino or cuda")),
        }
    }
}

/// The numbers that a session computes with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precision {
    /// 32 bits everywhere.
    Fp32,
    /// Matrix products in bfloat16, where the processor has them.
    Bf16,
    /// Matrix products of numbers that are two words of bfloat16 each, three products for one: 16 bits of the 24 that numbers
    /// in 32 bits have.
    Bf16x3,
    /// 16 bits in every block, with a longer mantissa and a shorter exponent than bfloat16's: GPUs have units for them.
    Fp16,
    /// Products with weights in bytes, others in bfloat16.
    Int8,
    /// Products of whole numbers of 16 bits, each row and each column of which has a scale of its own: the CPU's, with AVX2.
    Int16,
}

impl Precision {
    /// What a device can compute with here, its own choice first. The CPU provider's is 32 bits, which all else is measured by;
    /// OpenVINO's is bfloat16 on processors with instructions for it.
    #[must_use]
    pub fn of(device: Device) -> &'static [Self] {
        match device {
            Device::Cpu if has_bf16() => &[Self::Fp32, Self::Bf16x3, Self::Int16, Self::Bf16, Self::Int8],
            Device::Cpu if Isa::detect().is_some() => &[Self::Fp32, Self::Int16],
            Device::Openvino if has_bf16() => &[Self::Bf16, Self::Fp32],
            Device::Cuda => &[Self::Fp32, Self::Fp16],
            _ => &[Self::Fp32],
        }
    }

    /// The CPU provider's numbers that are faster here than 32 bits at no price that a search would notice, if there are any: what the
    /// processor has decides, not the clock, so that a machine answers alike each time (`docs/decisions/blocks.md`).
    #[must_use]
    pub fn fast_on_cpu() -> Option<Self> {
        let operands = Isa::detect().and_then(Isa::fast_operands);
        [Self::Bf16, Self::Int16].into_iter().find(|numbers| numbers.operands() == operands)
    }

    /// Whether the CPU provider computes in our blocks with such numbers, not in ONNX Runtime's own operators.
    #[must_use]
    pub fn has_blocks(self) -> bool {
        self.operands().is_some()
    }

    /// What those blocks are made of.
    pub(crate) fn operands(self) -> Option<Operands> {
        match self {
            Self::Bf16 => Some(Operands::Bf16),
            Self::Bf16x3 => Some(Operands::TwiceBf16),
            Self::Int8 => Some(Operands::Int8),
            Self::Int16 => Some(Operands::Int16),
            Self::Fp32 | Self::Fp16 => None,
        }
    }

    /// Least cosine with the CPU's answer in 32 bits that a device must show before it is used.
    #[must_use]
    pub fn least_cosine(self) -> f32 {
        match self {
            Self::Fp32 | Self::Bf16x3 | Self::Int16 => 0.99999,
            Self::Fp16 => 0.9999,
            Self::Bf16 => 0.999,
            Self::Int8 => 0.998,
        }
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fp32 => "fp32",
            Self::Bf16 => "bf16",
            Self::Bf16x3 => "bf16x3",
            Self::Fp16 => "fp16",
            Self::Int8 => "int8",
            Self::Int16 => "int16",
        })
    }
}

impl FromStr for Precision {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        match name {
            "fp32" => Ok(Self::Fp32),
            "bf16" => Ok(Self::Bf16),
            "bf16x3" => Ok(Self::Bf16x3),
            "fp16" => Ok(Self::Fp16),
            "int8" => Ok(Self::Int8),
            "int16" => Ok(Self::Int16),
            other => Err(format!("unknown precision {other:?}: use fp32, bf16x3, int16, bf16, fp16 or int8")),
        }
    }
}

/// What a user asks for: a device, as `cpu`, or a device and its numbers, as `cpu:bf16`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DeviceChoice {
    /// The device.
    pub device: Device,
    /// Its numbers; its own choice if unsaid.
    pub precision: Option<Precision>,
}

impl From<Device> for DeviceChoice {
    fn from(device: Device) -> Self {
        Self { device, precision: None }
    }
}

impl From<DeviceChoice> for String {
    fn from(choice: DeviceChoice) -> Self {
        choice.to_string()
    }
}

impl TryFrom<String> for DeviceChoice {
    type Error = String;

    fn try_from(written: String) -> Result<Self, Self::Error> {
        written.parse()
    }
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.precision {
            None => write!(f, "{}", self.device),
            Some(precision) => write!(f, "{}:{precision}", self.device),
        }
    }
}

impl FromStr for DeviceChoice {
    type Err = String;

    fn from_str(written: &str) -> Result<Self, Self::Err> {
        let Some((device, precision)) = written.split_once(':') else {
            return Ok(Device::from_str(written)?.into());
        };
        let choice = Self { device: device.parse()?, precision: Some(precision.parse()?) };
        match choice.device {
            Device::Auto => Err(format!("{written:?}: auto chooses the numbers itself; name a device")),
            _ => Ok(choice),
        }
    }
}

/// True if this processor multiplies bfloat16 matrices by instructions of its own.
fn has_bf16() -> bool {
    Isa::detect().is_some_and(|isa| isa.takes(Operands::Bf16))
}

/// How an encoder uses the machine; everything settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionPlan {
    /// Intra-op threads of each session.
    pub threads_per_session: usize,
    /// Never [`Device::Auto`] where it matters: that is taken for the CPU.
    pub device: Device,
    /// Numbers.
    pub precision: Precision,
    /// GPUs that workers are spread over, one after the other; 1 elsewhere.
    pub n_gpus: usize,
}

impl Default for SessionPlan {
    /// The CPU in 32 bits, one thread a session: several sessions side by side beat one wide session on CPUs.
    fn default() -> Self {
        Self { threads_per_session: 1, device: Device::Cpu, precision: Precision::Fp32, n_gpus: 1 }
    }
}

impl SessionPlan {
    /// A device with the numbers that are asked for, else with its own choice.
    ///
    /// # Errors
    /// [`ModelError::Device`] if it has no such numbers here.
    pub fn on(choice: impl Into<DeviceChoice>) -> Result<Self, ModelError> {
        let DeviceChoice { device, precision } = choice.into();
        let has = Precision::of(device);
        let precision = precision.unwrap_or(has[0]);
        if !has.contains(&precision) {
            let has: Vec<String> = has.iter().map(ToString::to_string).collect();
            let reason = format!("it computes in {} here, not in {precision}", has.join(" or "));
            return Err(ModelError::Device { device, reason });
        }
        Ok(Self { device, precision, ..Self::default() })
    }

    /// The GPU of a worker, as CUDA counts those that it may see.
    fn gpu_of(&self, number: usize) -> i32 {
        i32::try_from(number % self.n_gpus.max(1)).unwrap_or(0)
    }

    /// What the session of the worker `number` is told to run on; nothing for the CPU provider, which is always there.
    pub(crate) fn providers(&self, number: usize) -> Vec<ExecutionProviderDispatch> {
        let threads = self.threads_per_session;
        match self.device {
            Device::Auto | Device::Cpu => Vec::new(),
            Device::Openvino => {
                let numbers = if self.precision == Precision::Fp32 { "f32" } else { "bf16" };
                // Threads are not pinned: all sessions would choose the same cores.
                let config = format!(
                    r#"{{"CPU":{{"INFERENCE_PRECISION_HINT":"{numbers}","INFERENCE_NUM_THREADS":"{threads}","NUM_STREAMS":"1","ENABLE_CPU_PINNING":"NO"}}}}"#
                );
                let provider = ort::ep::OpenVINO::default().with_device_type("CPU");
                vec![provider.with_arbitrary_config("load_config", config).build().error_on_failure()]
            }
            // Memory grows by what a batch needs, not by doubling; rounding as on the CPU.
            Device::Cuda => vec![
                ort::ep::CUDA::default()
                    .with_device_id(self.gpu_of(number))
                    .with_arena_extend_strategy(ort::ep::ArenaExtendStrategy::SameAsRequested)
                    .with_tf32(false)
                    .build()
                    .error_on_failure(),
            ],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_are_written_as_they_are_read() {
        for written in [
            "auto",
            "cpu",
            "cpu:fp32",
            "cpu:bf16x3",
            "cpu:int16",
            "cpu:int8",
            "openvino:bf16",
            "cuda",
            "cuda:fp16",
        ] {
            assert_eq!(written.parse::<DeviceChoice>().unwrap().to_string(), written);
        }
        let refused = |written: &str| written.parse::<DeviceChoice>().unwrap_err();
        assert!(refused("tpu").contains("use auto, cpu, openvino or cuda"));
        assert!(refused("cpu:fp8").contains("use fp32, bf16x3, int16, bf16, fp16 or int8"));
        assert!(refused("auto:bf16").contains("name a device"));
    }

    #[test]
    fn a_device_has_its_numbers_and_no_others() {
        let named = |written: &str| SessionPlan::on(written.parse::<DeviceChoice>().unwrap());
        assert_eq!(named("cpu").unwrap(), SessionPlan::default());
        assert_eq!(named("openvino:fp32").unwrap().precision, Precision::Fp32);
        assert_eq!(named("openvino").unwrap().precision, Precision::of(Device::Openvino)[0]);
        let refused = named("cuda:bf16").unwrap_err().to_string();
        assert!(refused.contains("fp32 or fp16 here, not in bf16"), "{refused}");
        assert_eq!(named("cuda").unwrap().precision, Precision::Fp32);
        let several = SessionPlan { n_gpus: 3, ..named("cuda").unwrap() };
        assert_eq!([0, 1, 2, 3, 4].map(|worker| several.gpu_of(worker)), [0, 1, 2, 0, 1]);
        assert_eq!([0, 1].map(|worker| named("cuda").unwrap().gpu_of(worker)), [0, 0]);
        assert_eq!(named("cuda:fp16").unwrap().precision, Precision::Fp16);
        assert!(named("openvino:int8").unwrap_err().to_string().contains("not in int8"));
    }
}
