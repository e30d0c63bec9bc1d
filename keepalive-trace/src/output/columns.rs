//! Columns of a line.
use std::{
    fmt::Display,
    io::{self, Write as _},
    net::SocketAddr,
};

/// A column: what `fill` writes, then blanks up to the width, and one more.
pub(super) fn cell(out: &mut Vec<u8>, width: usize, fill: impl FnOnce(&mut Vec<u8>) -> io::Result<()>) -> io::Result<()> {
    let start = out.len();
    fill(out)?;
    // Names may be of more bytes than characters.
    let text = &out[start..];
    let shown = if text.is_ascii() { text.len() } else { String::from_utf8_lossy(text).chars().count() };
    out.resize(out.len() + width.saturating_sub(shown) + 1, b' ');
    Ok(())
}

/// An address and its port. The kernel's lists are long, and most of what they hold are these.
pub(super) fn endpoint(out: &mut Vec<u8>, endpoint: SocketAddr) -> io::Result<()> {
    let SocketAddr::V4(v4) = endpoint else { return write!(out, "{endpoint}") };
    for (index, octet) in v4.ip().octets().into_iter().enumerate() {
        if index > 0 {
            out.push(b'.');
        }
        digits(out, octet.into());
    }
    out.push(b':');
    digits(out, v4.port().into());
    Ok(())
}

/// Milliseconds, as seconds with their unit.
pub(super) fn seconds(out: &mut Vec<u8>, ms: i64) {
    if ms < 0 {
        out.push(b'-');
    }
    let ms = ms.unsigned_abs();
    digits(out, ms / 1000);
    let [hundreds, tens, ones] = [ms / 100 % 10, ms / 10 % 10, ms % 10].map(|digit| b'0' + digit as u8);
    out.extend_from_slice(&[b'.', hundreds, tens, ones, b' ', b's']);
}

/// A number in decimal, without all that `fmt` can do beside.
pub(super) fn digits(out: &mut Vec<u8>, number: u64) {
    let mut reversed = [0; 20];
    let (mut at, mut left) = (reversed.len(), number);
    loop {
        at -= 1;
        reversed[at] = b'0' + (left % 10) as u8;
        left /= 10;
        if left == 0 {
            break;
        }
    }
    out.extend_from_slice(&reversed[at..]);
}

pub(super) fn or_dash(out: &mut Vec<u8>, value: Option<impl Display>) -> io::Result<()> {
    match value {
        Some(value) => write!(out, "{value}"),
        None => write!(out, "-"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn numbers_and_times_are_what_fmt_makes_of_them() {
        for number in [0, 7, 10, 65_535, u64::MAX] {
            assert_eq!(printed(|out| digits(out, number)), number.to_string());
        }
        for (ms, text) in [(0, "0.000 s"), (3996, "3.996 s"), (-4, "-0.004 s"), (7_200_010, "7200.010 s")] {
            assert_eq!(printed(|out| seconds(out, ms)), text);
        }
    }

    #[test]
    fn an_address_is_what_fmt_makes_of_it() {
        for address in ["127.0.0.1:80", "255.10.0.99:65535", "[::1]:443", "[2001:db8::7]:1"] {
            assert_eq!(printed(|out| endpoint(out, address.parse().unwrap()).unwrap()), address);
        }
    }
}
