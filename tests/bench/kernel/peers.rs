//! Other tracers, as Debian has them.
use super::subject::{Ready, Subject};

const CAPTURE: &str = "/tmp/capture";
const STATES: &str = "tracepoint:sock:inet_sock_set_state { printf(\"%s %d %d %d %d %d\\n\", comm, pid, args.sport, args.dport, \
                      args.oldstate, args.newstate); }";
const RESETS: &str = "kprobe:tcp_send_active_reset { $sk = (struct sock *)arg0; printf(\"%s %d %d\\n\", comm, pid, \
                      $sk->__sk_common.skc_num); }";
/// Where the default `trace` hooks into the life of a connection: what remains if its programs cost nothing.
const NOTHING: &str = "fexit:tcp_v4_connect, fentry:tcp_finish_connect, fentry:security_sock_graft, fentry:__tcp_close, \
                       fentry:tcp_done {} rawtracepoint:tcp_destroy_sock {}";
/// It prints this when all probes are attached.
const BEGIN: &str = "BEGIN { printf(\"attached\\n\"); } ";

/// A peer, and what is measured of it beside churn.
pub struct Peer {
    pub subject: Subject,
    pub resets: bool,
    pub timers: bool,
}

/// All of them.
pub fn peers() -> Vec<Peer> {
    let peer = |name: &str, program: &str, arguments: &[&str]| Peer {
        subject: Subject::new(name, format!("/bin/{program}"), arguments, Ready::Alive),
        resets: true,
        timers: false,
    };
    let tcpdump = ["-i", "lo", "-w", CAPTURE, "-Z", "root", "tcp"];
    vec![
        Peer { timers: true, ..peer("tcpdump -w", "tcpdump", &tcpdump) },
        peer("tcplife", "tcplife-libbpf", &[]),
        peer("tcpstates", "tcpstates-libbpf", &[]),
        peer("bpftrace, states", "bpftrace", &["-e", STATES]),
        peer("bpftrace, resets", "bpftrace", &["-e", RESETS]),
        Peer { resets: false, ..peer("bpftrace, empty programs at our hooks", "bpftrace", &["-e", NOTHING]) },
    ]
}

/// bpftrace, for the cost of its start.
pub fn bpftrace() -> Subject {
    let program = [BEGIN, RESETS].concat();
    Subject::new("bpftrace, start", "/bin/bpftrace", &["-B", "none", "-e", &program], Ready::Stdout("attached"))
}
