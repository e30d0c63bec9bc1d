//! What comes over the guest's serial line: the words of the firmware, the kernel, init and the command.
const START: &str = "keepalive-trace-vm: start";
const EXIT: &str = "keepalive-trace-vm: exit ";

/// After one of these lines, nothing that the guest says can be trusted.
const DEADLY: [&str; 4] = ["Kernel panic", "BUG: soft lockup", "BUG: kernel NULL pointer", "Oops: "];

/// One line, by who wrote it.
#[derive(Debug, PartialEq, Eq)]
pub enum Line {
    /// The firmware, or the kernel.
    Boot(String),
    /// The command.
    Guest(String),
    /// The kernel's last words.
    Deadly(String),
    /// What is to be told of this boot from outside.
    Note(String),
    /// Init runs, and starts the command.
    Start,
    /// The command ended.
    Exit(i32),
}

impl Line {
    /// The line as it is for a log.
    pub fn text(&self) -> String {
        match self {
            Self::Boot(text) | Self::Guest(text) | Self::Deadly(text) | Self::Note(text) => text.clone(),
            Self::Start => START.to_owned(),
            Self::Exit(code) => format!("{EXIT}{code}"),
        }
    }
}

/// Sorts the lines of one boot.
#[derive(Debug, Default)]
pub struct Console {
    started: bool,
}

impl Console {
    pub fn line(&mut self, bytes: &[u8]) -> Line {
        let text = cleaned(&String::from_utf8_lossy(bytes));
        if let Some(code) = text.find(EXIT).and_then(|place| text[place + EXIT.len()..].trim().parse().ok()) {
            return Line::Exit(code);
        }
        if text.trim() == START {
            self.started = true;
            return Line::Start;
        }
        let kernel = is_kernel(&text);
        if (kernel || !self.started) && DEADLY.iter().any(|deadly| text.contains(deadly)) {
            return Line::Deadly(text);
        }
        if kernel || !self.started { Line::Boot(text) } else { Line::Guest(text) }
    }
}

/// `[    1.234567] ...` or `[    1.234567][   T12] ...`
fn is_kernel(text: &str) -> bool {
    let Some((stamp, _)) = text.strip_prefix('[').and_then(|rest| rest.split_once(']')) else { return false };
    let Some((seconds, fraction)) = stamp.trim_start().split_once('.') else { return false };
    fraction.len() == 6 && [seconds, fraction].iter().all(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Drops carriage returns and the terminal's control sequences, but keeps colours.
fn cleaned(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut rest = text.trim_end_matches(['\r', '\n']);
    while let Some(place) = rest.find(['\x1b', '\r']) {
        kept.push_str(&rest[..place]);
        let (sequence, after) = rest[place..].split_at(sequence_length(&rest[place..]));
        if sequence.ends_with('m') && sequence.starts_with("\x1b[") {
            kept.push_str(sequence);
        }
        rest = after;
    }
    kept.push_str(rest);
    kept
}

/// How much of the text is the control sequence that it begins with.
fn sequence_length(text: &str) -> usize {
    let Some(parameters) = text.strip_prefix("\x1b[") else {
        let escaped = text.strip_prefix('\x1b').and_then(|rest| rest.chars().next());
        return 1 + escaped.map_or(0, char::len_utf8);
    };
    let end = parameters.find(|letter: char| ('\x40'..='\x7e').contains(&letter));
    end.map_or(text.len(), |end| 2 + end + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_sequences_go_and_colours_stay() {
        assert_eq!(cleaned("\x1bc\x1b[?7l\x1b[2J\x1b[0mSeaBIOS\r\n"), "\x1b[0mSeaBIOS");
        assert_eq!(cleaned("\x1b[1;31mdead\x1b[0m\x1b[K, \u{fc}\r\n"), "\x1b[1;31mdead\x1b[0m, \u{fc}");
        assert_eq!(cleaned("cut \x1b[3"), "cut ");
        assert_eq!(cleaned("cut \x1b"), "cut ");
    }

    #[test]
    fn lines_are_told_apart_by_who_wrote_them() {
        let mut console = Console::default();
        assert_eq!(console.line(b"Booting from ROM..\r\n"), Line::Boot("Booting from ROM..".to_owned()));
        assert_eq!(console.line(b"keepalive-trace-vm: start\r\n"), Line::Start);
        assert_eq!(console.line(b"a story of a Kernel panic\n"), Line::Guest("a story of a Kernel panic".to_owned()));
        assert_eq!(
            console.line(b"[    7.123456] loop: module loaded\n"),
            Line::Boot("[    7.123456] loop: module loaded".to_owned())
        );
        assert!(matches!(console.line(b"[    7.123456] Kernel panic - not syncing: Attempted to kill init!\n"), Line::Deadly(_)));
        assert_eq!(console.line(b"no newkeepalive-trace-vm: exit 101\r\n"), Line::Exit(101));
    }

    #[test]
    fn a_panic_before_init_is_deadly_without_a_time() {
        assert!(matches!(Console::default().line(b"Kernel panic - not syncing: VFS\n"), Line::Deadly(_)));
    }
}
