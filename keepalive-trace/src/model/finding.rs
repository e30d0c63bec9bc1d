//! What can be wrong with a connection's keepalive.

/// What is found, by the name that it is called everywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Finding {
    /// Idle for long and without keepalive: it would outlive its peer forever.
    NoKeepalive,
    /// TCP_USER_TIMEOUT ends it before the last probe would have gone unanswered.
    UserTimeoutOverrides,
    /// A probe can come after a middlebox has dropped the flow.
    LateForLimit,
    /// The armed timer is older than the sysctl's present value. Only a value that was lowered can be seen so.
    ArmedBeforeSysctl,
    /// A sysctl in force here has another value on the host.
    NetnsDiffers,
    /// A dead peer is noticed too late, or never.
    SlowDetection,
    /// A sysctl has a value that the kernel takes and nobody wants.
    DangerousSysctl,
}

impl Finding {
    pub const ALL: [Self; 7] = [
        Self::NoKeepalive,
        Self::UserTimeoutOverrides,
        Self::LateForLimit,
        Self::ArmedBeforeSysctl,
        Self::NetnsDiffers,
        Self::SlowDetection,
        Self::DangerousSysctl,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::NoKeepalive => "no-keepalive",
            Self::UserTimeoutOverrides => "user-timeout-overrides",
            Self::LateForLimit => "late-for-limit",
            Self::ArmedBeforeSysctl => "armed-before-sysctl",
            Self::NetnsDiffers => "netns-differs",
            Self::SlowDetection => "slow-detection",
            Self::DangerousSysctl => "dangerous-sysctl",
        }
    }
}
