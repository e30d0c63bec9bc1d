//! The lines that are about sysctls and not about a connection.
use super::{
    connection::task,
    object::{Object, key},
};
use crate::{
    model::{
        event::Namespace,
        sysctl::{Deadlines, Following, Sysctls, Write},
    },
    output::{append::Append as _, wall::WallClock},
};

/// A write, behind its time.
pub(super) fn write(
    object: &mut Object<'_>,
    write: &Write,
    following: Option<&Following>,
    wall: &mut WallClock,
    wall_offset_ns: i64,
) {
    let Write { mono_ns: _, netns, name, old, new, refused, by } = write;
    object.name(key!("name"), name.name());
    object.signed(key!("old"), *old);
    match refused {
        None => object.signed(key!("new"), *new),
        Some(errno) => object.quoted(key!("errno"), |out| out.errno(*errno)),
    }
    object.number(key!("netns"), *netns);
    task(object, [key!("task_pid"), key!("task_comm")], by.as_ref());
    let Some(following) = following else { return };
    let Following { sockets, now, later, never_socket, never_off, by } = following;
    object.number(key!("sockets"), *sockets);
    object.number(key!("follow_now"), *now);
    object.number(key!("follow_later"), *later);
    object.number(key!("follow_never"), following.never());
    object.number(key!("never_socket"), *never_socket);
    object.number(key!("never_off"), *never_off);
    let Some(Deadlines { nearest_ns, median_ns, last_ns }) = by else { return };
    for (key, ns) in [(key!("nearest_at"), nearest_ns), (key!("median_at"), median_ns), (key!("last_at"), last_ns)] {
        object.quoted(key, |out| wall.append(*ns, wall_offset_ns, out));
    }
}

/// A namespace, behind its time.
pub(super) fn namespace(object: &mut Object<'_>, namespace: &Namespace) {
    let Namespace { netns, host, name, sysctls, sockets, keepalive, follow, findings } = namespace;
    let Sysctls { time_s, intvl_s, probes } = *sysctls;
    object.number(key!("netns"), *netns);
    if let Some(host) = host {
        object.flag(key!("host"), *host);
    }
    object.text_if(key!("name"), name.as_deref());
    object.signed(key!("time_s"), time_s);
    object.signed(key!("intvl_s"), intvl_s);
    object.number(key!("probes"), probes);
    object.number(key!("sockets"), *sockets);
    object.number(key!("keepalive"), *keepalive);
    object.number(key!("follow"), *follow);
    object.names(key!("findings"), findings.iter().map(|finding| finding.name()));
}

#[cfg(test)]
mod tests {
    use crate::output::{Format as _, json::Json, samples};

    fn printed(event: &crate::model::event::Event) -> String {
        let mut out = Vec::new();
        Json::default().write(event, &mut out).unwrap();
        String::from_utf8(out).unwrap().trim_end().to_owned()
    }

    #[test]
    fn a_write_says_who_and_what_and_who_follows_when() {
        let [written, refused] = samples::writes();
        assert_eq!(
            printed(&written),
            concat!(
                r#"{"event":"sysctl","time":"1970-01-01T00:00:04.100000007Z","mono_ns":4100000007,"name":"net.ipv4.tcp_keepalive_time","#,
                r#""old":7200,"new":600,"netns":4026531840,"task_pid":77,"task_comm":"sysctl","sockets":12,"follow_now":1,"#,
                r#""follow_later":2,"follow_never":9,"never_socket":2,"never_off":7,"nearest_at":"1970-01-01T00:00:13.000000000Z","#,
                r#""median_at":"1970-01-01T00:10:04.000000000Z","last_at":"1970-01-01T01:58:24.000000000Z"}"#
            )
        );
        assert!(printed(&refused).contains(r#""old":9,"errno":"EINVAL","netns""#), "{}", printed(&refused));
    }

    #[test]
    fn a_namespace_says_its_values_and_whom_they_matter_to() {
        let expected = concat!(
            r#"{"event":"namespace","time":"1970-01-01T00:00:01.000000008Z","mono_ns":1000000008,"netns":4026531840,"host":true,"#,
            r#""time_s":7200,"intvl_s":0,"probes":9,"sockets":12,"keepalive":5,"follow":3,"findings":["dangerous-sysctl"]}"#
        );
        assert_eq!(printed(&samples::namespace()), expected);
    }
}
