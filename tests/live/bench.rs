//! What the tests of one way of attaching share: a tracer that runs all the while.
use std::{
    fs,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use lab::{
    leftovers::Hooks,
    tracer::{Attach, Tracer},
};

use crate::scene::Scene;

/// Far beyond what anything here takes: after it, a wait has failed.
pub const LIMIT: Duration = Duration::from_secs(60);

/// A test by its name, which says what is true.
pub struct Test {
    /// The name.
    pub name: &'static str,
    /// What finds out.
    pub run: fn(&Bench) -> Result<()>,
}

/// `tests![this_is_so, that_is_so]`: the list of a theme's tests.
macro_rules! tests {
    ($($test:ident),* $(,)?) => {
        pub const TESTS: &[$crate::bench::Test] = &[$($crate::bench::Test { name: stringify!($test), run: $test }),*];
    };
}
pub(crate) use tests;

/// One way of attaching, and the tracer for all tests that only want their own connections' events.
pub struct Bench {
    /// The way.
    pub attach: Attach,
    shared: Mutex<Option<Shared>>,
}

struct Shared {
    tracer: Arc<Tracer>,
    hooks_before: Hooks,
}

impl Bench {
    /// Starts nothing yet.
    pub fn new(attach: Attach) -> Self {
        Self { attach, shared: Mutex::new(None) }
    }

    /// The shared tracer, started by the first who asks.
    pub fn tracer(&self) -> Result<Arc<Tracer>> {
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(shared) = &*shared {
            return Ok(Arc::clone(&shared.tracer));
        }
        let hooks_before = Hooks::read()?;
        let tracer = Arc::new(Tracer::start(self.attach, &[])?);
        *shared = Some(Shared { tracer: Arc::clone(&tracer), hooks_before });
        Ok(tracer)
    }

    /// A tracer of a test's own.
    pub fn own_tracer(&self, arguments: &[&str]) -> Result<Tracer> {
        Tracer::start(self.attach, arguments)
    }

    /// A scene for the shared tracer.
    pub fn scene(&self) -> Result<Scene> {
        Scene::open(self.tracer()?)
    }

    /// Ends the shared tracer, if there was one: it must go as it should, having lost nothing and leaving nothing.
    pub fn close(&self) -> Result<()> {
        let Some(shared) = self.shared.lock().unwrap_or_else(PoisonError::into_inner).take() else { return Ok(()) };
        let tracer = Arc::into_inner(shared.tracer).context("a test still holds the shared tracer")?;
        let finished = tracer.stop()?;
        ensure!(finished.status.success(), "the shared tracer ended with {}: {}", finished.status, finished.errors);
        let stop = finished.stop_line()?;
        ensure!(stop.lost == Some(0), "the shared tracer lost events: {stop:?}");
        shared.hooks_before.wait_until_nothing_more(LIMIT)
    }
}

/// Whether this kernel names reasons for its resets.
pub fn kernel_names_reasons() -> Result<bool> {
    const NAME: &[u8] = b"SK_RST_REASON_TCP_KEEPALIVE_TIMEOUT\0";
    let btf = fs::read("/sys/kernel/btf/vmlinux").context("/sys/kernel/btf/vmlinux")?;
    Ok(btf.windows(NAME.len()).any(|window| window == NAME))
}
