//! What is known of a connection at any event.
use crate::{
    model::{
        event::Connection,
        settings::{Origin, Settings, Sourced},
    },
    output::append::Append as _,
};

/// `keepalive 7200 s, 75 s, 9 probes (sysctl)`
pub(in crate::output) fn in_force(out: &mut Vec<u8>, settings: &Settings) {
    let Settings { keepalive, time_s, intvl_s, probes, user_timeout_ms } = settings;
    if *keepalive {
        out.text("keepalive ");
        out.signed(time_s.value.into());
        out.text(" s, ");
        out.signed(intvl_s.value.into());
        out.text(" s, ");
        out.number(probes.value.into());
        out.text(" probes (");
        let origins = [time_s.origin, intvl_s.origin, probes.origin];
        let named = if origins == [Origin::Socket; 3] || origins == [Origin::Sysctl; 3] { &origins[..1] } else { &origins };
        out.list(named.iter().map(|origin| origin.name()));
        out.text(")");
    } else {
        out.text("keepalive off");
    }
    if *user_timeout_ms > 0 {
        out.text(", TCP_USER_TIMEOUT ");
        out.seconds((*user_timeout_ms).into());
    }
}

/// What `--wide` adds.
pub(in crate::output) fn facts(out: &mut Vec<u8>, connection: &Connection) {
    let Connection { id, cookie, netns, cgroup, owner, state, settings, .. } = connection;
    out.state(*state);
    out.text(" conn ");
    out.hex(id.0);
    if let Some(cookie) = cookie {
        out.text(" cookie ");
        out.number(*cookie);
    }
    if let Some(netns) = netns {
        out.text(" netns ");
        out.number((*netns).into());
    }
    if let Some(cgroup) = cgroup {
        out.text(" cgroup ");
        out.escaped(cgroup);
    }
    if let Some(owner) = owner.filter(|owner| owner.holders > 1) {
        out.text(" held by ");
        out.number(owner.holders.into());
        out.text(" processes");
    }
    if let Some(Settings { keepalive, time_s, intvl_s, probes, user_timeout_ms }) = settings {
        out.text(if *keepalive { " keepalive on" } else { " keepalive off" });
        let probes = Sourced { value: i64::from(probes.value), origin: probes.origin };
        for (name, value, unit, origin) in [
            (" time ", i64::from(time_s.value), " s (", time_s.origin),
            (" intvl ", intvl_s.value.into(), " s (", intvl_s.origin),
            (" probes ", probes.value, " (", probes.origin),
        ] {
            out.text(name);
            out.signed(value);
            out.text(unit);
            out.text(origin.name());
            out.text(")");
        }
        if *user_timeout_ms > 0 {
            out.text(" user timeout ");
            out.seconds((*user_timeout_ms).into());
        }
    }
}
