//! Recordings: what they hold when all goes well, and what is left of them when it doesn't.
use std::{
    fs::{self, File},
    os::unix::{fs::PermissionsExt as _, process::ExitStatusExt as _},
    path::{Path, PathBuf},
    process::{Child, Stdio},
    thread::sleep,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use lab::{
    clock::{self, Moment},
    event::Event,
    pair::{Family, Pair, Plan},
    recorded::output,
    stage::Stage,
    tracer::{Attach, command},
};
use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use socket2::TcpKeepalive;

use crate::bench::{Bench, LIMIT, tests};

tests![
    it_records_every_probe_that_the_kernel_counts,
    killed_amid_events_it_misses_a_second_at_most_and_says_so,
    a_full_disk_ends_it_with_one_sentence_and_a_whole_recording,
    it_goes_on_in_another_file_and_keeps_so_many,
    it_records_to_standard_output,
    an_existing_file_and_one_that_is_being_recorded_are_left_alone,
];

/// How the recorder says that it records: by its file.
const PATIENCE: Duration = Duration::from_secs(60);

/// A folder of its own, gone afterwards.
struct Folder(PathBuf);

impl Folder {
    fn new(bench: &Bench) -> Result<Self> {
        let path = std::env::temp_dir().join(format!("recordings-{}", bench.attach));
        drop(fs::remove_dir_all(&path));
        fs::create_dir_all(&path).context("cannot make a folder")?;
        Ok(Self(path))
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Names of what is in it.
    fn names(&self) -> Result<Vec<String>> {
        let there = fs::read_dir(&self.0).context("cannot list it")?;
        let mut names: Vec<_> =
            there.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect::<Result<_>>()?;
        names.sort();
        Ok(names)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

/// A storm: with two sysctls at 0 a probe goes out at every tick, answered or not, on each of these.
fn storm(stage: &Stage, pairs: usize) -> Result<Vec<Pair>> {
    for (name, value) in [("time", 0), ("intvl", 0), ("probes", 255)] {
        stage.netns.sysctl(&format!("tcp_keepalive_{name}"), value)?;
    }
    let plan = Plan::new(Family::V4).keepalive_with(TcpKeepalive::new());
    (0..pairs).map(|_| stage.connect(&plan)).collect()
}

/// `record -o FILE`, begun: something is in the file.
fn record(attach: Attach, path: &Path, arguments: &[&str]) -> Result<Child> {
    let mut command = command(&["record", "--attach", attach.name(), "-o"]);
    let child = command.arg(path).args(arguments).spawn().context("cannot start it")?;
    let begun = clock::now();
    let first = || {
        let there = fs::read_dir(path.parent()?).ok()?;
        there.filter_map(|entry| entry.ok()?.metadata().ok()).map(|about| about.len()).max()
    };
    while first().is_none_or(|bytes| bytes == 0) {
        ensure!(clock::between(begun, clock::now()) < PATIENCE, "it doesn't record");
        sleep(Duration::from_millis(20));
    }
    Ok(child)
}

fn signal(child: &Child, signal: Signal) -> Result<()> {
    kill(Pid::from_raw(child.id().try_into()?), signal).context("cannot signal it")
}

/// All events of recordings, in order.
fn events(path: &Path) -> Result<Vec<Event>> {
    output("export", path, &["--format", "jsonl", "-o", "-"])?.lines().map(|line| Ok(Event::parse(line)?)).collect()
}

fn probes(events: &[Event]) -> Vec<&Event> {
    events.iter().filter(|event| event.kind == "probe").collect()
}

fn complains(ended: &std::process::Output) -> bool {
    String::from_utf8_lossy(&ended.stderr).contains("error")
}

fn kept_to_its_owner(path: &Path) -> Result<()> {
    let mode = fs::metadata(path).with_context(|| format!("{}", path.display()))?.permissions().mode();
    ensure!(mode & 0o777 == 0o600, "{} has the mode {mode:o}", path.display());
    Ok(())
}

fn it_records_every_probe_that_the_kernel_counts(bench: &Bench) -> Result<()> {
    let (stage, folder) = (Stage::open()?, Folder::new(bench)?);
    let (path, netns) = (folder.file("x.arrows"), stage.netns.inode().to_string());
    let child = record(bench.attach, &path, &["--netns", &netns])?;
    // The snapshot is over.
    sleep(Duration::from_secs(1));
    let before = stage.netns.counters()?;
    let pairs = storm(&stage, 2)?;
    sleep(Duration::from_secs(2));
    for pair in &pairs {
        pair.client.set_keepalive(false).context("SO_KEEPALIVE")?;
    }
    let counted = stage.netns.counters()?.since(&before, "TCPKeepAlive")?;
    signal(&child, Signal::SIGINT)?;
    let ended = child.wait_with_output()?;
    // Of sysctls whose followers it can't count it warns; that is another test's.
    ensure!(ended.status.success() && ended.stdout.is_empty() && !complains(&ended), "{ended:?}");
    kept_to_its_owner(&path)?;
    let events = events(&path)?;
    assert_eq!(i64::try_from(probes(&events).len())?, counted);
    assert!(counted > 100, "{counted}");
    let report = output("report", &path, &[])?;
    assert!(!report.contains("incomplete") && report.contains(" 0 lost; 2 connections"), "{report}");
    Ok(())
}

fn killed_amid_events_it_misses_a_second_at_most_and_says_so(bench: &Bench) -> Result<()> {
    let (stage, folder) = (Stage::open()?, Folder::new(bench)?);
    let (path, netns) = (folder.file("x.arrows"), stage.netns.inode().to_string());
    let mut child = record(bench.attach, &path, &["--netns", &netns])?;
    sleep(Duration::from_secs(1));
    let _pairs = storm(&stage, 4)?;
    sleep(Duration::from_millis(3300));
    // What is known a second before its death is in it.
    let (counted, second_before) = (stage.netns.counters()?.get("TCPKeepAlive")?, clock::now());
    assert!(counted > 100, "{counted} probes: no storm");
    sleep(Duration::from_secs(1));
    signal(&child, Signal::SIGKILL)?;
    let died = clock::now();
    let status = child.wait()?;
    ensure!(status.signal() == Some(Signal::SIGKILL as i32), "{status:?}");
    ensure!(clock::between(second_before, died) < Duration::from_millis(1500), "the machine stood still");
    let output = command(&["export", "--format", "jsonl", "-o", "-"]).arg(&path).output()?;
    ensure!(output.status.success(), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("x.arrows has no end") && said.contains("killed"), "{said}");
    let text = String::from_utf8(output.stdout)?;
    let events: Vec<Event> = text.lines().map(|line| Ok(Event::parse(line)?)).collect::<Result<_>>()?;
    let recorded = probes(&events);
    assert!(i64::try_from(recorded.len())? >= counted, "{} probes of {counted} that there were a second before", recorded.len());
    let last: Moment = recorded.last().context("no probe")?.at();
    assert!(last <= died, "an event from after its death");
    let report = lab::recorded::output("report", &path, &[])?;
    assert!(report.contains("incomplete: x.arrows has no end"), "{report}");
    Ok(())
}

fn a_full_disk_ends_it_with_one_sentence_and_a_whole_recording(bench: &Bench) -> Result<()> {
    let (stage, folder) = (Stage::open()?, Folder::new(bench)?);
    let small = folder.file("small");
    fs::create_dir(&small).context("cannot make a folder")?;
    mount(Some("tmpfs"), &small, Some("tmpfs"), MsFlags::empty(), Some("size=128k")).context("cannot mount a tmpfs")?;
    let ended = fills(bench, &stage, &small.join("x.arrows"));
    let kept = ended.and_then(|ended| {
        let path = folder.file("x.arrows");
        fs::copy(small.join("x.arrows"), &path).context("cannot copy it")?;
        Ok((ended, path))
    });
    umount2(&small, MntFlags::MNT_DETACH).context("cannot unmount it")?;
    let (ended, path) = kept?;
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert_eq!(ended.status.code(), Some(1), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(said.starts_with("error: recording stopped: cannot write ") && said.contains("No space left on device"), "{said}");
    let events = events_of_what_is_left(&path)?;
    assert!(probes(&events).len() > 100, "{} events", events.len());
    Ok(())
}

/// Records until the disk is full.
fn fills(bench: &Bench, stage: &Stage, path: &Path) -> Result<std::process::Output> {
    let netns = stage.netns.inode().to_string();
    let child = record(bench.attach, path, &["--netns", &netns, "--duration", "50s"])?;
    let _pairs = storm(stage, 8)?;
    child.wait_with_output().context("cannot wait for it")
}

/// It may have no end, where even that had no room; it must be whole as far as it goes.
fn events_of_what_is_left(path: &Path) -> Result<Vec<Event>> {
    let output = command(&["export", "--format", "jsonl", "-o", "-"]).arg(path).output()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success() && !said.contains("damaged") && !said.contains("no whole"), "{said}");
    String::from_utf8(output.stdout)?.lines().map(|line| Ok(Event::parse(line)?)).collect()
}

fn it_goes_on_in_another_file_and_keeps_so_many(bench: &Bench) -> Result<()> {
    let (stage, folder) = (Stage::open()?, Folder::new(bench)?);
    let netns = stage.netns.inode().to_string();
    let path = folder.file("x.arrows");
    let child = record(bench.attach, &path, &["--netns", &netns, "--rotate", "64KiB,2s", "--keep", "3"])?;
    let _pairs = storm(&stage, 4)?;
    let begun = clock::now();
    while !folder.names()?.contains(&"x-00005.arrows".to_owned()) {
        ensure!(clock::between(begun, clock::now()) < LIMIT, "it has not rotated: {:?}", folder.names()?);
        sleep(Duration::from_millis(100));
    }
    signal(&child, Signal::SIGTERM)?;
    let ended = child.wait_with_output()?;
    ensure!(ended.status.success() && !complains(&ended), "{ended:?}");
    let names = folder.names()?;
    assert_eq!(names.len(), 3, "{names:?}");
    let paths: Vec<PathBuf> = names.iter().map(|name| folder.file(name)).collect();
    paths.iter().try_for_each(|path| kept_to_its_owner(path))?;
    // In any order: a probe of each connection at every tick, and none missing between files.
    let mut all = command(&["export", "--format", "jsonl", "-o", "-"]);
    let output = all.args(paths.iter().rev()).output()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "{said}");
    assert!(said.contains("parts 1 to ") && said.lines().count() == 1, "{said}");
    let text = String::from_utf8(output.stdout)?;
    let events: Vec<Event> = text.lines().map(|line| Ok(Event::parse(line)?)).collect::<Result<_>>()?;
    assert!(events.is_sorted_by_key(|event| event.mono_ns), "not in order");
    let single: usize = paths.iter().map(|path| Ok(probes(&events_of_part(path)?).len())).sum::<Result<usize>>()?;
    assert_eq!(probes(&events).len(), single);
    // The middle one left out is named.
    let output = command(&["report"]).arg(&paths[2]).arg(&paths[0]).output()?;
    let report = String::from_utf8(output.stdout)?;
    assert!(report.matches("incomplete: part").count() == 2, "{report}");
    Ok(())
}

fn events_of_part(path: &Path) -> Result<Vec<Event>> {
    let output = command(&["export", "--format", "jsonl", "-o", "-"]).arg(path).output()?;
    ensure!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout)?.lines().map(|line| Ok(Event::parse(line)?)).collect()
}

fn it_records_to_standard_output(bench: &Bench) -> Result<()> {
    let (stage, folder) = (Stage::open()?, Folder::new(bench)?);
    let (path, netns) = (folder.file("x.arrows"), stage.netns.inode().to_string());
    let _pairs = storm(&stage, 1)?;
    let mut recorder = command(&["record", "--attach", bench.attach.name(), "-o", "-", "--duration", "1s", "--netns", &netns]);
    let ended = recorder.stdout(Stdio::from(File::create(&path)?)).output()?;
    ensure!(ended.status.success() && !complains(&ended), "{ended:?}");
    assert!(probes(&events(&path)?).len() > 10);
    Ok(())
}

fn an_existing_file_and_one_that_is_being_recorded_are_left_alone(bench: &Bench) -> Result<()> {
    let folder = Folder::new(bench)?;
    let path = folder.file("x.arrows");
    let refused = |arguments: &[&str]| -> Result<String> {
        let mut again = command(&["record", "--attach", bench.attach.name(), "--duration", "1s", "-o"]);
        let output = again.arg(&path).args(arguments).output()?;
        ensure!(output.status.code() == Some(1), "{output:?}");
        Ok(String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let child = record(bench.attach, &path, &[])?;
    for arguments in [&[][..], &["--force"]] {
        let said = refused(arguments)?;
        assert!(said.contains("another recorder is writing") && said.lines().count() == 1, "{said}");
    }
    signal(&child, Signal::SIGINT)?;
    ensure!(child.wait_with_output()?.status.success(), "it did not end well");
    let before = fs::read(&path)?;
    let said = refused(&[])?;
    assert!(said.contains("exists already") && said.contains("--force"), "{said}");
    assert_eq!(fs::read(&path)?, before, "it was touched");
    let mut again = command(&["record", "--attach", bench.attach.name(), "--duration", "1s", "--force", "-o"]);
    ensure!(again.arg(&path).status()?.success(), "it was not overwritten");
    kept_to_its_owner(&path)
}
