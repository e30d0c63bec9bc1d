//! What the tests get: a way of attaching, a mode, and a tracer that they share.
use std::{
    fs,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use lab::tracer::{Attach, Mode, Tracer};

use crate::scene::Scene;

/// Far beyond what anything here takes: after it, a wait has failed.
pub const LIMIT: Duration = Duration::from_secs(60);

/// A test by its name, which says what is true.
pub struct Test {
    /// The name.
    pub name: &'static str,
    /// What finds out.
    pub run: fn(&Bench) -> Result<()>,
    /// It is about connections that quiet mode only counts, or about records that it does not make.
    pub needs_full_stream: bool,
}

/// `tests![this_is_so, #[full_stream] that_is_so]`: the list of a theme's tests, which may have another name than `TESTS`.
/// What is marked starts its tracer by way of [`Bench::full_stream`], and is not listed for quiet mode.
macro_rules! tests {
    (@) => { false };
    (@ full_stream) => { true };
    ($list:ident: $($(#[$needs:ident])? $test:ident),* $(,)?) => {
        pub const $list: &[$crate::bench::Test] = &[$($crate::bench::Test {
            name: stringify!($test),
            run: $test,
            needs_full_stream: $crate::bench::tests!(@ $($needs)?),
        }),*];
    };
    ($($(#[$needs:ident])? $test:ident),* $(,)?) => {
        $crate::bench::tests! { TESTS: $($(#[$needs])? $test),* }
    };
}
pub(crate) use tests;

/// One way of attaching and one mode, for the tests that try them.
pub struct Bench {
    /// The way.
    pub attach: Attach,
    /// The mode.
    mode: Mode,
    shared: Arc<Shared>,
}

impl Bench {
    /// For these, sharing with the others.
    pub fn new(attach: Attach, mode: Mode, shared: &Arc<Shared>) -> Self {
        Self { attach, mode, shared: Arc::clone(shared) }
    }

    /// Whether a test has its place here.
    pub fn lists(&self, test: &Test) -> bool {
        self.mode == Mode::Full || !test.needs_full_stream
    }

    /// Whether a run of the timer in which nothing happened is a line.
    pub fn shows_timer_lines(&self) -> bool {
        self.mode == Mode::Full
    }

    /// For a test that needs each connection's events, whatever happens on it.
    pub fn full_stream(&self) -> Result<&Self> {
        ensure!(self.mode == Mode::Full, "this test needs the full stream, and is not marked as one that does");
        Ok(self)
    }

    /// The tracer for all tests that only want their own connections' events.
    pub fn tracer(&self) -> Result<Arc<Tracer>> {
        self.shared.running((self.attach, Command::Trace(self.mode)))
    }

    /// Whoever watches the sysctls, for all tests that only write those of their own namespace.
    pub fn watcher(&self) -> Result<Arc<Tracer>> {
        self.shared.running((self.attach, Command::Sysctl))
    }

    /// A tracer of a test's own, for what would be too much for the shared one, which goes home first.
    pub fn only_tracer(&self, arguments: &[&str]) -> Result<Tracer> {
        self.shared.state().end();
        self.own_tracer(arguments)
    }

    /// The same, for so many events that nobody should have to record and replay them on an emulated machine.
    pub fn only_tracer_unrecorded(&self, arguments: &[&str]) -> Result<Tracer> {
        self.shared.state().end();
        Tracer::start_unrecorded(self.attach, self.mode, arguments)
    }

    /// A tracer of a test's own.
    pub fn own_tracer(&self, arguments: &[&str]) -> Result<Tracer> {
        Tracer::start(self.attach, self.mode, arguments)
    }

    /// A scene for the shared tracer.
    pub fn scene(&self) -> Result<Scene> {
        Scene::open(self.tracer()?)
    }
}

/// What a shared tracer was started as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Command {
    Trace(Mode),
    Sysctl,
}

/// A tracer that runs from test to test, one at a time.
#[derive(Default)]
pub struct Shared(Mutex<State>);

#[derive(Default)]
struct State {
    running: Option<((Attach, Command), Arc<Tracer>)>,
    /// What was wrong with those that have ended: no single test's fault.
    complaints: Vec<String>,
}

impl Shared {
    /// The one of this kind, attached this way, started by the first who asks.
    fn running(&self, wanted: (Attach, Command)) -> Result<Arc<Tracer>> {
        let mut state = self.state();
        if let Some((_, tracer)) = state.running.as_ref().filter(|(running, _)| *running == wanted) {
            return Ok(Arc::clone(tracer));
        }
        state.end();
        let tracer = Arc::new(match wanted {
            (attach, Command::Trace(mode)) => Tracer::start(attach, mode, &[])?,
            (attach, Command::Sysctl) => Tracer::watch_sysctls(attach, &[])?,
        });
        state.running = Some((wanted, Arc::clone(&tracer)));
        Ok(tracer)
    }

    /// Ends the one that runs, and says what was wrong with any of them.
    pub fn end(&self) -> Result<()> {
        let mut state = self.state();
        state.end();
        ensure!(state.complaints.is_empty(), "{}", state.complaints.join("; "));
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn end(&mut self) {
        let Some(((attach, command), tracer)) = self.running.take() else { return };
        if let Err(error) = goes_as_it_should(tracer) {
            self.complaints.push(format!("the {attach} tracer that the tests shared ({command:?}): {error:#}"));
        }
    }
}

/// It ends with its last line, having lost nothing.
fn goes_as_it_should(tracer: Arc<Tracer>) -> Result<()> {
    let finished = Arc::into_inner(tracer).context("a test still holds it")?.stop()?;
    ensure!(finished.status.success(), "it ended with {}: {}", finished.status, finished.errors);
    let stop = finished.stop_line()?;
    let lost: Vec<_> = finished.events.iter().filter(|event| event.kind == "lost").collect();
    ensure!(stop.lost == Some(0), "it lost events: {stop:?}: {lost:?}");
    Ok(())
}

/// Whether this kernel names reasons for its resets.
pub fn kernel_names_reasons() -> Result<bool> {
    const NAME: &[u8] = b"SK_RST_REASON_TCP_KEEPALIVE_TIMEOUT\0";
    let btf = fs::read("/sys/kernel/btf/vmlinux").context("/sys/kernel/btf/vmlinux")?;
    Ok(btf.windows(NAME.len()).any(|window| window == NAME))
}
