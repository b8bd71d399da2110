//! Which of the processor's instructions can be used.

use crate::shape::Operands;

/// Instructions for products in 16 bits and fewer. A value is proof that the processor has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Isa(Option<Kind>);

/// Instructions for bfloat16 and bytes, beside AVX2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code, reason = "only made there"))]
pub(crate) enum Kind {
    /// AMX tiles (and AVX-512 with bfloat16 and VNNI).
    Amx,
    /// AVX-512 with bfloat16 and VNNI.
    Avx512,
}

impl Isa {
    /// The fastest that this processor has and the system permits; `None` if there is none.
    #[must_use]
    pub fn detect() -> Option<Self> {
        match Self::avx512() {
            Some(_) if amx_is_permitted() => Some(Self(Some(Kind::Amx))),
            Some(avx512) => Some(avx512),
            None => Self::avx2(),
        }
    }

    /// Without tiles, where the processor has instructions for bfloat16.
    #[must_use]
    pub fn avx512() -> Option<Self> {
        #[cfg(target_arch = "x86_64")]
        {
            let has_all = is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512vl")
                && is_x86_feature_detected!("avx512bf16")
                && is_x86_feature_detected!("avx512vnni");
            Self::avx2().filter(|_| has_all).map(|_| Self(Some(Kind::Avx512)))
        }
        #[cfg(not(target_arch = "x86_64"))]
        {
            None
        }
    }

    /// Without those for bfloat16.
    #[must_use]
    pub fn avx2() -> Option<Self> {
        #[cfg(target_arch = "x86_64")]
        {
            let has_all = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
            has_all.then_some(Self(None))
        }
        #[cfg(not(target_arch = "x86_64"))]
        {
            None
        }
    }

    /// Whether blocks of such operands can be computed with them.
    #[must_use]
    pub fn takes(self, operands: Operands) -> bool {
        self.0.is_some() || operands == Operands::Int16
    }

    /// The operands that are faster here than 32 bits and near enough to them to be anyone's choice. Tiles do bfloat16 fast; AMD's
    /// processors do twice as many numbers in the same time; Intel's without tiles gained nothing (`docs/decisions/blocks.md`). With AVX2
    /// alone whole numbers of 16 bits are twice as many in a word as those of 32 bits.
    #[must_use]
    pub fn fast_operands(self) -> Option<Operands> {
        match self.0 {
            Some(Kind::Amx) => Some(Operands::Bf16),
            Some(Kind::Avx512) => is_amd().then_some(Operands::Bf16),
            None => (!has_avx512()).then_some(Operands::Int16),
        }
    }

    /// Their name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self.0 {
            Some(Kind::Amx) => "AMX",
            Some(Kind::Avx512) => "AVX-512",
            None => "AVX2",
        }
    }

    #[cfg(target_arch = "x86_64")]
    pub(crate) fn kind(self) -> Option<Kind> {
        self.0
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

#[cfg(target_arch = "x86_64")]
fn is_amd() -> bool {
    let leaf = std::arch::x86_64::__cpuid(0);
    [leaf.ebx, leaf.edx, leaf.ecx].map(u32::to_le_bytes).as_flattened() == b"AuthenticAMD"
}

#[cfg(not(target_arch = "x86_64"))]
fn is_amd() -> bool {
    false
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
