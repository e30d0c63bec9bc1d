//! What a file is that is no recording, for the sentence that says so.
use std::path::Path;

use anyhow::anyhow;

use super::frame::{Message, Next};

/// So many bytes tell.
pub(super) const TELLING: usize = 16;

/// Why a file that begins like this has nothing to read: `first` is what came instead of its first message.
pub(super) fn refused(path: &Path, begin: &[u8], first: &Next) -> anyhow::Error {
    let name = path.display();
    let looks = match begin {
        _ if begin.iter().take(4).all(|byte| *byte == 0xff) => return stream(path, first),
        [b'A', b'R', b'R', b'O', b'W', b'1', ..] => {
            "an Arrow file, perhaps another tool's copy of one: give the recording itself"
        }
        [b'P', b'A', b'R', b'1', ..] => "a Parquet file, perhaps an export: give the recording that it was made from",
        [0x1f, 0x8b, ..] => "a gzip file: unpack it first",
        [0x28, 0xb5, 0x2f, 0xfd, ..] => "a zstd file: unpack it first",
        [0xfd, b'7', b'z', b'X', b'Z', ..] => "an xz file: unpack it first",
        [b'B', b'Z', b'h', b'1'..=b'9', ..] => "a bzip2 file: unpack it first",
        [b'P', b'K', 3, 4, ..] => "a zip file: unpack it first",
        [0xd4, 0xc3, 0xb2, 0xa1, ..]
        | [0xa1, 0xb2, 0xc3, 0xd4, ..]
        | [0x4d, 0x3c, 0xb2, 0xa1, ..]
        | [0xa1, 0xb2, 0x3c, 0x4d, ..]
        | [0x0a, 0x0d, 0x0d, 0x0a, ..] => "a packet capture, which other tools read",
        [b'{', ..] => "JSON: give the recording, not what was made of it",
        _ if begin.iter().all(|byte| *byte == 0) => "zeros: perhaps its disk was full, or the machine went down",
        _ if readable(begin) => "text",
        _ => return anyhow!("{name} is no recording of keepalive-trace: `keepalive-trace record` makes them"),
    };
    anyhow!("{name} is no recording of keepalive-trace: it looks like {looks}")
}

/// One that begins like an Arrow stream.
fn stream(path: &Path, first: &Next) -> anyhow::Error {
    let name = path.display();
    match first {
        Next::End | Next::Beyond => anyhow!("{name} is an Arrow stream with nothing in it"),
        Next::Torn(bytes) => anyhow!(
            "{name} was cut off within its first message, after {bytes} bytes: whatever was to be recorded into it is not there"
        ),
        Next::Foreign(message) => exported(path, message),
        Next::Message(_) | Next::Damaged(_) => {
            anyhow!("{name} is damaged at its very beginning, without which nothing of it can be read: look for a copy")
        }
    }
}

/// One whose first message is whole, and not sealed as ours are.
fn exported(path: &Path, message: &Message) -> anyhow::Error {
    let name = path.display();
    let flat = arrow_ipc::root_as_message(&message.metadata).ok();
    let schema = flat.and_then(|flat| flat.header_as_schema());
    let Some(schema) = schema else { return anyhow!("{name} is an Arrow stream, but no recording of keepalive-trace") };
    let mut keys = schema.custom_metadata().into_iter().flatten().filter_map(|entry| entry.key());
    if keys.any(|key| key.starts_with("keepalive-trace.")) {
        return anyhow!("{name} is an export or another tool's copy of a recording: give the recording that it was made from");
    }
    anyhow!("{name} is an Arrow stream, but no recording of keepalive-trace")
}

fn readable(begin: &[u8]) -> bool {
    begin.iter().all(|byte| matches!(byte, b' '..=b'~' | b'\t' | b'\r' | b'\n' | 0x80..))
        && begin.iter().filter(|byte| byte.is_ascii()).count() * 2 > begin.len()
}
