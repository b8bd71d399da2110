//! What sessions run on: the device that is asked for, in which precision, and how a session is told.

use std::fmt;
use std::str::FromStr;

use ort::ep::{ArbitrarilyConfigurableExecutionProvider as _, ExecutionProviderDispatch};

/// What a session runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// 32 bits everywhere.
    Fp32,
    /// Matrix products in bfloat16, where the processor has them.
    Bf16,
}

impl Precision {
    /// The fastest that a device has: bfloat16 for OpenVINO on processors with instructions for it.
    #[must_use]
    pub fn fastest_of(device: Device) -> Self {
        if device == Device::Openvino && has_bf16() { Self::Bf16 } else { Self::Fp32 }
    }

    /// Least cosine with the CPU's answer in 32 bits that a device must show before it is used.
    #[must_use]
    pub fn least_cosine(self) -> f32 {
        match self {
            Self::Fp32 => 0.99999,
            Self::Bf16 => 0.999,
        }
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fp32 => "fp32",
            Self::Bf16 => "bf16",
        })
    }
}

impl FromStr for Precision {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        match name {
            "fp32" => Ok(Self::Fp32),
            "bf16" => Ok(Self::Bf16),
            other => Err(format!("unknown precision {other:?}: use fp32 or bf16")),
        }
    }
}

/// True if this processor multiplies bfloat16 matrices by instructions of its own.
#[must_use]
pub fn has_bf16() -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        is_x86_feature_detected!("avx512bf16")
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        false
    }
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
    /// Which GPU, of several.
    pub gpu: i32,
}

impl Default for SessionPlan {
    /// The CPU in 32 bits, one thread a session: several sessions side by side beat one wide session on CPUs.
    fn default() -> Self {
        Self::on(Device::Cpu)
    }
}

impl SessionPlan {
    /// A device with the fastest numbers that it has.
    #[must_use]
    pub fn on(device: Device) -> Self {
        Self { threads_per_session: 1, device, precision: Precision::fastest_of(device), gpu: 0 }
    }

    /// What a session is told to run on; nothing for the CPU provider, which is always there.
    pub(crate) fn providers(&self) -> Vec<ExecutionProviderDispatch> {
        let threads = self.threads_per_session;
        match self.device {
            Device::Auto | Device::Cpu => Vec::new(),
            Device::Openvino => {
                let numbers = match self.precision {
                    Precision::Fp32 => "f32",
                    Precision::Bf16 => "bf16",
                };
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
                    .with_device_id(self.gpu)
                    .with_arena_extend_strategy(ort::ep::ArenaExtendStrategy::SameAsRequested)
                    .with_tf32(false)
                    .build()
                    .error_on_failure(),
            ],
        }
    }
}
