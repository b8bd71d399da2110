//! Which of the processor's instructions can be used.

use crate::shape::Operands;

/// Instructions for products in 16 bits and fewer. A value is proof that the processor has them, and the system permits them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Isa(Level);

/// Each has what those before it have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code, reason = "only made there"))]
enum Level {
    /// AVX2 and FMA.
    Avx2,
    /// AVX-512 with VNNI, for whole numbers.
    Vnni,
    /// AVX-512 with bfloat16.
    Bf16,
    /// Tiles of bfloat16 and of bytes.
    Amx,
}

/// What blocks in bfloat16 and in bytes are computed with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code, reason = "only made there"))]
pub(crate) enum Kind {
    /// AMX tiles, beside the other.
    Amx,
    /// AVX-512 with bfloat16 and VNNI.
    Avx512,
}

impl Isa {
    /// The fastest that this processor has; `None` if there is none.
    #[must_use]
    pub fn detect() -> Option<Self> {
        Self::all().next()
    }

    /// All that it has, the fastest first.
    pub fn all() -> impl Iterator<Item = Self> {
        let best = Level::best();
        let levels = [Level::Amx, Level::Bf16, Level::Vnni, Level::Avx2].into_iter();
        levels.filter(move |level| Some(*level) <= best).map(Self)
    }

    /// Whether blocks of such operands can be computed with them.
    #[must_use]
    pub fn takes(self, operands: Operands) -> bool {
        self.0 >= Level::Bf16 || operands == Operands::Int16
    }

    /// The operands that are faster here than 32 bits and near enough to them to be anyone's choice: tiles do bfloat16 fast, and all
    /// others twice as many whole numbers of 16 bits as numbers of 32 (`docs/decisions/blocks.md`).
    #[must_use]
    pub fn fast_operands(self) -> Option<Operands> {
        match self.0 {
            Level::Amx => Some(Operands::Bf16),
            Level::Bf16 | Level::Vnni => Some(Operands::Int16),
            Level::Avx2 => (!has_avx512()).then_some(Operands::Int16),
        }
    }

    /// Their name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self.0 {
            Level::Amx => "AMX",
            Level::Bf16 => "AVX-512 BF16",
            Level::Vnni => "AVX-512 VNNI",
            Level::Avx2 => "AVX2",
        }
    }

    /// Those for bfloat16 and bytes.
    #[cfg(target_arch = "x86_64")]
    pub(crate) fn kind(self) -> Option<Kind> {
        match self.0 {
            Level::Amx => Some(Kind::Amx),
            Level::Bf16 => Some(Kind::Avx512),
            Level::Vnni | Level::Avx2 => None,
        }
    }

    /// Whether whole numbers of 16 bits are multiplied 32 at a time.
    #[cfg(target_arch = "x86_64")]
    pub(crate) fn is_wide(self) -> bool {
        self.0 >= Level::Vnni
    }
}

impl Level {
    #[cfg(target_arch = "x86_64")]
    fn best() -> Option<Self> {
        let has_avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
        let has_vnni = has_avx512()
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512vnni");
        match () {
            () if !has_avx2 => None,
            () if !has_vnni => Some(Self::Avx2),
            () if !is_x86_feature_detected!("avx512bf16") => Some(Self::Vnni),
            () if !amx_is_permitted() => Some(Self::Bf16),
            () => Some(Self::Amx),
        }
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn best() -> Option<Self> {
        None
    }
}

/// Whether products in 32 bits take 16 numbers at once, as ONNX Runtime's do then.
fn has_avx512() -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        is_x86_feature_detected!("avx512f")
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        false
    }
}

/// Whether the processor has tiles of bfloat16 and of bytes and the system lets this process use them: Linux hands out the registers when asked.
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
fn amx_is_permitted() -> bool {
    use std::arch::asm;
    use std::arch::x86_64::{__cpuid, __cpuid_count};
    use std::sync::LazyLock;

    static IS_PERMITTED: LazyLock<bool> = LazyLock::new(|| {
        const ARCH_PRCTL: i64 = 158;
        const REQUEST: i64 = 0x1023;
        const TILE_DATA: i64 = 18;
        const BF16: u32 = 1 << 22;
        const TILES: u32 = 1 << 24;
        const INT8: u32 = 1 << 25;
        let has_leaf = __cpuid(0).eax >= 7;
        let wanted = BF16 | TILES | INT8;
        if !has_leaf || __cpuid_count(7, 0).edx & wanted != wanted {
            return false;
        }
        let mut answer = ARCH_PRCTL;
        // SAFETY: a system call that takes two numbers and touches no memory of ours.
        unsafe {
            asm!("syscall", inlateout("rax") answer, in("rdi") REQUEST, in("rsi") TILE_DATA,
                lateout("rcx") _, lateout("r11") _, options(nostack));
        }
        answer == 0
    });
    *IS_PERMITTED
}

#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
fn amx_is_permitted() -> bool {
    false
}

#[cfg(test)]
#[cfg(target_arch = "x86_64")]
pub(crate) mod tests {
    use super::*;

    /// Runs a check of kernels for AVX2 and of those for AVX-512 where the processor has them.
    pub(crate) fn on_each(avx2: impl FnOnce(), avx512: impl FnOnce()) {
        match Isa::detect() {
            None => return eprintln!("NOT RUN: this processor has no AVX2"),
            Some(isa) if isa.is_wide() => avx512(),
            Some(_) => eprintln!("NOT RUN on AVX-512: this processor has none with VNNI"),
        }
        avx2();
    }

    #[test]
    fn a_processor_has_all_that_is_below_its_best() {
        let all: Vec<Isa> = Isa::all().collect();
        assert_eq!(all.first().copied(), Isa::detect());
        assert!(all.is_sorted_by(|left, right| left.0 > right.0));
        assert!(all.is_empty() || all.last().map(|isa| isa.name()) == Some("AVX2"));
    }
}
