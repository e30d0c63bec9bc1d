//! Connections that were in danger and got over it: their end is another one.
use anyhow::Result;
use lab::{
    application::{Ending, Reader},
    pair::{Family, Pair, Plan},
    peer,
    wire::Kind,
};

use super::three_probes;
use crate::{
    bench::{Bench, LIMIT, tests},
    scene::gists,
};

tests![two_probes_missed_and_the_third_answered, a_full_queue_that_empties, a_user_timeout_that_an_answer_forestalls,];

fn two_probes_missed_and_the_third_answered(bench: &Bench) -> Result<()> {
    let mut scene = bench.scene()?;
    let Pair { client, server, connection } = scene.stage.connect(&three_probes(Family::V6))?;
    let reader = Reader::start(&server, LIMIT)?;
    peer::deafen(&server)?;
    scene.stage.capture.wait_for_probes(&connection, 2, LIMIT)?;
    peer::hear(&server)?;
    scene.stage.capture.wait_for_probes(&connection, 3, LIMIT)?;
    assert_eq!(scene.stage.capture.answers(&connection)?, [Kind::Ack]);
    drop(client); // before the timer runs again: it is recognised at the end
    assert_eq!(reader.wait()?.0, Ending::Eof);
    drop(server);

    let story = scene.ended(&connection)?.is("local-close", None).probes(3, 2).because(&["FIN"]).tells(&[
        "open connect",
        "probe 1/3 sent",
        "probe 2/3 sent",
        "probe 3/3 sent",
        "reply 3 ack",
        "end local-close",
    ]);
    assert_eq!(story.events[4].missed, Some(2));
    scene.ended(&connection.other_end())?.is("peer-close", None).because(&["FIN"]);
    scene.hold()
}

fn a_full_queue_that_empties(bench: &Bench) -> Result<()> {
    let mut scene = bench.scene()?;
    let Pair { client, server, connection } = scene.stage.connect(&three_probes(Family::V4))?;
    scene.stage.netns.choke()?;
    // One that met a full queue is tried again, and never counts.
    scene.begins(&connection, &["probe 1/3 congested"; 4])?;
    scene.stage.netns.unchoke()?;
    scene.stage.capture.wait_for_probes(&connection, 1, LIMIT)?;
    let reader = Reader::start(&client, LIMIT)?;
    drop(server);
    assert_eq!(reader.wait()?.0, Ending::Eof);
    drop(client);

    let story = scene.ended(&connection)?.is("peer-close", None).probes(1, 0).because(&["FIN"]);
    let told = gists(&story.events);
    let happy = ["probe 1/3 sent", "reply 1 ack", "end peer-close"].map(str::to_owned);
    assert!(told.ends_with(&happy), "{told:?}");
    scene.ended(&connection.other_end())?.is("local-close", None).because(&["FIN"]);
    scene.hold()
}

fn a_user_timeout_that_an_answer_forestalls(bench: &Bench) -> Result<()> {
    let mut scene = bench.scene()?;
    let plan = Plan::new(Family::Mapped).keepalive(1, 1, 9).user_timeout(std::time::Duration::from_millis(3500));
    let Pair { client, server, connection } = scene.stage.connect(&plan)?;
    peer::deafen(&server)?;
    scene.stage.capture.wait_for_probes(&connection, 1, LIMIT)?;
    peer::hear(&server)?;
    scene.stage.capture.wait_for_probes(&connection, 3, LIMIT)?;
    drop(client);
    let story = scene.ended(&connection)?.is("local-close", None).probes(3, 1);
    let replies: Vec<_> = story.events.iter().filter(|event| event.kind == "reply").collect();
    let told: Vec<_> = replies.iter().map(|reply| (reply.n, reply.missed)).collect();
    assert_eq!(told, [(Some(2), Some(1)), (Some(1), Some(0))]);
    drop(server);
    scene.ended(&connection.other_end())?.is("peer-close", None);
    scene.hold()
}
