//! The builds of ONNX Runtime that Protext is tested with: wheels, the files taken out of them, their hashes.

use super::{RuntimeError, RuntimeKind};

/// One wheel.
pub(super) struct Pinned {
    pub(super) kind: RuntimeKind,
    pub(super) version: &'static str,
    pub(super) architecture: &'static str,
    /// `e_machine` of ELF.
    pub(super) elf_machine: u16,
    pub(super) package: &'static str,
    pub(super) platforms: [&'static str; 2],
    pub(super) wheel_sha256: &'static str,
    /// The library that is loaded, `onnxruntime/capi/libonnxruntime.so.<version>`.
    pub(super) library_sha256: &'static str,
    /// What that library loads, from the same folder of the wheel; the wheel's hash pins them.
    pub(super) beside: &'static [&'static str],
}

const X86_64: u16 = 62;
const AARCH64: u16 = 183;

const PINNED: [Pinned; 4] = [
    Pinned {
        kind: RuntimeKind::Cpu,
        version: "1.31.1",
        architecture: "x86_64",
        elf_machine: X86_64,
        package: "onnxruntime",
        platforms: ["manylinux_2_28_x86_64", "manylinux_2_27_x86_64"],
        wheel_sha256: "5752bd508126ae7c49894d3b9d2e83f0c3d487319246d04c444b393308d7ad7f",
        library_sha256: "fc44112fbe06d7d689c57e11d3862031f64711007e4ee020f8eed5185fd2c1d3",
        beside: &[],
    },
    Pinned {
        kind: RuntimeKind::Cpu,
        version: "1.31.1",
        architecture: "aarch64",
        elf_machine: AARCH64,
        package: "onnxruntime",
        platforms: ["manylinux_2_28_aarch64", "manylinux_2_27_aarch64"],
        wheel_sha256: "da05378364c44d4407e463982d2bf8d5e4cfea873283757e48beeb41df97b7f3",
        library_sha256: "8aa3b76b28c778a2b1dd660d34161adb1d508c9ccd04ff9dc80e26eca5df8467",
        beside: &[],
    },
    Pinned {
        kind: RuntimeKind::Openvino,
        version: "1.24.1",
        architecture: "x86_64",
        elf_machine: X86_64,
        package: "onnxruntime-openvino",
        platforms: ["manylinux_2_28_x86_64", "manylinux_2_27_x86_64"],
        wheel_sha256: "3007c803634cc69c6d52af1dea7ce729d9bb62b9a11070fd2f959119199007a8",
        library_sha256: "2d963a419b96018b79dfe63bb50120ddcb724149912a8a6d8ac747a557c089f4",
        beside: &[
            "libonnxruntime_providers_shared.so",
            "libonnxruntime_providers_openvino.so",
            "libopenvino.so.2541",
            "libopenvino_onnx_frontend.so.2541",
            "libopenvino_intel_cpu_plugin.so",
            "libtbb.so.12",
        ],
    },
    Pinned {
        kind: RuntimeKind::Cuda,
        version: "1.31.1",
        architecture: "x86_64",
        elf_machine: X86_64,
        package: "onnxruntime-gpu",
        platforms: ["manylinux_2_28_x86_64", "manylinux_2_27_x86_64"],
        wheel_sha256: "e26c475fe361b2015f45b4b824bd13f0bb20204e59b62814e6f0acd5f3d491a6",
        library_sha256: "5104254339ecadae808da771bd0b63b240f0dbd466514234905e54372435c303",
        beside: &["libonnxruntime_providers_shared.so", "libonnxruntime_providers_cuda.so"],
    },
];

/// The wheel of a build for this machine.
pub(super) fn pinned(kind: RuntimeKind) -> Result<&'static Pinned, RuntimeError> {
    let architecture = std::env::consts::ARCH;
    let here = |pinned: &&Pinned| {
        std::env::consts::OS == "linux" && pinned.kind == kind && pinned.architecture == architecture
    };
    PINNED.iter().find(here).ok_or(RuntimeError::Platform { kind, os: std::env::consts::OS, architecture })
}

/// `e_machine` of this machine's programs and its name, where any build is pinned for it.
pub(super) fn this_machine() -> Result<(u16, &'static str), RuntimeError> {
    pinned(RuntimeKind::Cpu).map(|pinned| (pinned.elf_machine, pinned.architecture))
}

/// What a value of `e_machine` is called.
pub(super) fn machine_name(machine: u16) -> String {
    let known = PINNED.iter().find(|pinned| pinned.elf_machine == machine);
    known.map_or_else(|| format!("ELF machine {machine}"), |pinned| pinned.architecture.to_owned())
}
