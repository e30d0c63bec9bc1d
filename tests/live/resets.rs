//! Resets that are not the timer's: who called, and for what reason.
use std::{fs, net::Shutdown, process, thread::sleep, time::Duration};

use anyhow::{Context, Result};
use lab::{
    event::Event,
    pair::{Family, Pair, Plan},
    sockopt,
};

use crate::{
    bench::{Bench, kernel_names_reasons, tests},
    scene::Scene,
};

tests![
    a_close_with_linger_zero_is_told_with_its_process,
    a_close_with_unread_data_is_told,
    a_close_in_fin_wait2_without_patience_is_told,
    a_disconnect_is_told,
    a_disconnect_with_unsent_data_is_told,
];

/// Time for a FIN and its ACK to pass.
const A_MOMENT: Duration = Duration::from_millis(50);

fn a_close_with_linger_zero_is_told_with_its_process(bench: &Bench) -> Result<()> {
    is_told(bench, &Plan::new(Family::V4), "TCP_STATE", Pair::abort)
}

fn a_close_with_unread_data_is_told(bench: &Bench) -> Result<()> {
    is_told(bench, &Plan::new(Family::V6), "TCP_ABORT_ON_CLOSE", |pair| {
        pair.server.send(b"unread").context("send")?;
        sleep(A_MOMENT);
        drop(pair.client);
        Ok(())
    })
}

fn a_close_in_fin_wait2_without_patience_is_told(bench: &Bench) -> Result<()> {
    is_told(bench, &Plan::new(Family::V4), "TCP_ABORT_ON_LINGER", |pair| {
        sockopt::set(&pair.client, sockopt::LINGER2, -1)?;
        pair.client.shutdown(Shutdown::Write).context("shutdown")?;
        sleep(A_MOMENT);
        drop(pair.client);
        Ok(())
    })
}

fn a_disconnect_is_told(bench: &Bench) -> Result<()> {
    is_told(bench, &Plan::new(Family::Mapped), "TCP_STATE", |pair| sockopt::disconnect(&pair.client))
}

fn a_disconnect_with_unsent_data_is_told(bench: &Bench) -> Result<()> {
    is_told(bench, &Plan::new(Family::V4).buffers(4096), "TCP_DISCONNECT_WITH_DATA", |pair| {
        pair.fill()?;
        pair.server.shutdown(Shutdown::Write).context("shutdown")?;
        sleep(A_MOMENT);
        pair.client.shutdown(Shutdown::Write).context("shutdown")?; // LAST_ACK, with the FIN behind what is unsent
        sockopt::disconnect(&pair.client)
    })
}

fn is_told(bench: &Bench, plan: &Plan, reason: &str, provoke: impl FnOnce(Pair) -> Result<()>) -> Result<()> {
    let scene = bench.scene()?;
    let pair = scene.stage.connect(plan)?;
    let connection = pair.connection;
    provoke(pair)?;
    let events = scene.is(&connection, &["reset outside the timer"])?;
    is_ours(&events[0], reason)?;
    nobody_else_told_anything(&scene);
    scene.hold()
}

fn is_ours(reset: &Event, reason: &str) -> Result<()> {
    let named = if kernel_names_reasons()? { Some(reason) } else { None };
    assert_eq!(reset.reason.as_deref(), named);
    assert_eq!((reset.in_timer, &reset.cause), (Some(false), &None));
    assert_eq!(reset.task_pid, Some(process::id()));
    let name = fs::read_to_string("/proc/thread-self/comm").context("/proc/thread-self/comm")?;
    assert_eq!(reset.task_comm.as_deref(), Some(name.trim_end()));
    assert_eq!(reset.state.as_deref(), Some("CLOSE"), "the kernel had left the old state by then");
    Ok(())
}

fn nobody_else_told_anything(scene: &Scene) {
    assert_eq!(scene.all_runs().len(), 1, "{:?}", scene.all_runs());
}
