//! Appends text to a line. Numbers and times are formatted with integers, and nothing allocates once the buffer has grown.
use std::{
    fmt::Display,
    io::Write as _,
    net::{IpAddr, SocketAddr},
};

use super::harmless::{append_escaped, is_plain_comm};
use crate::model::{
    errno::Errno,
    owner::{Comm, Task},
    state::State,
};

/// Two hexadecimal digits for each byte.
const HEX: [[u8; 2]; 256] = {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut bytes = [[0; 2]; 256];
    let mut byte = 0;
    while byte < 256 {
        bytes[byte] = [DIGITS[byte / 16], DIGITS[byte % 16]];
        byte += 1;
    }
    bytes
};

/// The first number with more than eight digits.
const EIGHT: u64 = 100_000_000;
/// The digit 0, eight times.
const ZEROS: u64 = 0x3030_3030_3030_3030;

/// The decimal digits of a number below 100,000,000, a byte each, the first one in the lowest byte.
#[inline]
fn eight_digits(number: u64) -> u64 {
    // Halves of four digits each, then quarters of two, are divided side by side: by 100, then by 10.
    let halves = (number / 10_000) | ((number % 10_000) << 32);
    let hundreds = ((halves * 10_486) >> 20) & 0x0000_007f_0000_007f;
    let quarters = hundreds | ((halves - hundreds * 100) << 16);
    let tens = ((quarters * 103) >> 10) & 0x000f_000f_000f_000f;
    tens | ((quarters - tens * 10) << 8)
}

/// Each octet of an address in decimal with a dot behind it, and how long that is.
const OCTETS: [([u8; 4], usize); 256] = {
    let mut octets = [([0; 4], 0); 256];
    let mut octet = 0;
    while octet < 256 {
        let [hundreds, tens, ones] = [b'0' + (octet / 100) as u8, b'0' + (octet / 10 % 10) as u8, b'0' + (octet % 10) as u8];
        octets[octet] = match octet {
            ..10 => ([ones, b'.', 0, 0], 2),
            10..100 => ([tens, ones, b'.', 0], 3),
            _ => ([hundreds, tens, ones, b'.'], 4),
        };
        octet += 1;
    }
    octets
};

/// The append operations of a line of output.
pub(super) trait Append {
    /// Appends text unchanged.
    fn text(&mut self, text: &str);
    /// Appends text from outside, with harmful characters escaped.
    fn escaped(&mut self, text: &str);
    /// Appends a number in decimal.
    fn number(&mut self, number: u64);
    /// Appends a number in decimal, with its sign if it is negative.
    fn signed(&mut self, number: i64);
    /// Appends a number in decimal, filled with zeros to at least `width` digits.
    fn padded(&mut self, number: u64, width: usize);
    /// Appends a number as 16 hexadecimal digits.
    fn hex(&mut self, number: u64);
    /// Appends milliseconds, as seconds with three decimals and their unit.
    fn seconds(&mut self, ms: i64);
    /// Appends microseconds: as milliseconds with their unit below a second, else as seconds.
    fn short(&mut self, us: u64);
    /// Appends an IP address.
    fn address(&mut self, address: IpAddr);
    /// Appends an IP address and its port.
    fn endpoint(&mut self, endpoint: SocketAddr);
    /// Appends what the value displays.
    fn display(&mut self, value: &impl Display);
    /// Appends names with commas between them.
    fn list(&mut self, names: impl Iterator<Item = &'static str>);
    /// Appends `1 probe`, `3 probes`.
    fn counted(&mut self, count: u64, what: &str);
    /// Appends a state's name.
    fn state(&mut self, state: State);
    /// Appends an error's name.
    fn errno(&mut self, errno: Errno);
    /// Appends a task's name, escaped.
    fn comm(&mut self, comm: &Comm);
    /// Appends `app[812]`.
    fn task(&mut self, task: &Task);
}

impl Append for Vec<u8> {
    #[inline]
    fn text(&mut self, text: &str) {
        self.extend_from_slice(text.as_bytes());
    }

    fn escaped(&mut self, text: &str) {
        append_escaped(self, text);
    }

    #[inline]
    fn number(&mut self, number: u64) {
        match number {
            ..10 => self.push(b'0' + number as u8),
            _ => self.padded(number, 1),
        }
    }

    fn signed(&mut self, number: i64) {
        if number < 0 {
            self.push(b'-');
        }
        self.number(number.unsigned_abs());
    }

    fn padded(&mut self, number: u64, width: usize) {
        // A fixed number of bytes is always copied, which takes no call, and what is too much is cut off.
        let width = width.max(1);
        if number < EIGHT && width <= 8 {
            let digits = eight_digits(number);
            let left_out = (digits.trailing_zeros() as usize / 8).min(8 - width);
            let end = self.len() + 8 - left_out;
            self.extend_from_slice(&((digits | ZEROS) >> (8 * left_out)).to_le_bytes());
            return self.truncate(end);
        }
        let (upper, lower) = (number / EIGHT, number % EIGHT);
        if upper < EIGHT && width <= 16 {
            let (upper, lower) = (eight_digits(upper), eight_digits(lower));
            // Of these there are at most eight zeros in front.
            let left_out = (upper.trailing_zeros() as usize / 8).min(16 - width);
            let digits = u128::from(upper | ZEROS) | u128::from(lower | ZEROS) << 64;
            let end = self.len() + 16 - left_out;
            self.extend_from_slice(&(digits >> (8 * left_out)).to_le_bytes());
            return self.truncate(end);
        }
        self.padded(upper, width.saturating_sub(8));
        self.extend_from_slice(&(eight_digits(lower) | ZEROS).to_le_bytes());
    }

    fn hex(&mut self, number: u64) {
        let mut text = [0; 16];
        for (digits, byte) in text.chunks_exact_mut(2).zip(number.to_be_bytes()) {
            digits.copy_from_slice(&HEX[usize::from(byte)]);
        }
        self.extend_from_slice(&text);
    }

    fn seconds(&mut self, ms: i64) {
        if ms < 0 {
            self.push(b'-');
        }
        thousandths(self, ms.unsigned_abs(), b" s");
    }

    fn short(&mut self, us: u64) {
        match us {
            ..1_000_000 => thousandths(self, us, b" ms"),
            _ => thousandths(self, us / 1000, b" s"),
        }
    }

    fn address(&mut self, address: IpAddr) {
        match address {
            IpAddr::V4(v4) => {
                let (mut text, mut end) = ([0; 16], 0);
                for octet in v4.octets() {
                    let (digits, length) = &OCTETS[usize::from(octet)];
                    text[end..end + digits.len()].copy_from_slice(digits);
                    end += length;
                }
                // Without the last dot. A fixed number of bytes is copied without a call.
                let end = self.len() + end - 1;
                self.extend_from_slice(&text);
                self.truncate(end);
            }
            IpAddr::V6(v6) => self.display(&v6),
        }
    }

    fn endpoint(&mut self, endpoint: SocketAddr) {
        match endpoint {
            SocketAddr::V4(v4) => {
                self.address(IpAddr::V4(*v4.ip()));
                self.push(b':');
                self.number(v4.port().into());
            }
            SocketAddr::V6(v6) => self.display(&v6),
        }
    }

    fn display(&mut self, value: &impl Display) {
        // Writing to a Vec does not fail.
        let _ = write!(self, "{value}");
    }

    fn list(&mut self, names: impl Iterator<Item = &'static str>) {
        for (place, name) in names.enumerate() {
            self.text(if place == 0 { "" } else { ", " });
            self.text(name);
        }
    }

    fn counted(&mut self, count: u64, what: &str) {
        self.number(count);
        self.push(b' ');
        self.text(what);
        self.text(if count == 1 { "" } else { "s" });
    }

    fn state(&mut self, state: State) {
        match state.name() {
            Some(name) => self.text(name),
            None => self.display(&state),
        }
    }

    fn errno(&mut self, errno: Errno) {
        match errno.name() {
            Some(name) => self.text(name),
            None => self.display(&errno),
        }
    }

    fn comm(&mut self, comm: &Comm) {
        if is_plain_comm(comm) {
            let end = self.len() + comm.bytes().len();
            self.extend_from_slice(comm.padded());
            return self.truncate(end);
        }
        // Bytes that are no UTF-8 are replaced.
        for chunk in comm.bytes().utf8_chunks() {
            self.escaped(chunk.valid());
            self.text(if chunk.invalid().is_empty() { "" } else { "\u{fffd}" });
        }
    }

    fn task(&mut self, task: &Task) {
        self.comm(&task.comm);
        self.push(b'[');
        self.number(task.pid.into());
        self.push(b']');
    }
}

/// A number of thousandths with three decimals, and the unit.
fn thousandths(out: &mut Vec<u8>, thousandths: u64, unit: &[u8]) {
    out.number(thousandths / 1000);
    out.push(b'.');
    out.padded(thousandths % 1000, 3);
    out.extend_from_slice(unit);
}

/// The text that `write` appends.
pub(super) fn appended(write: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut out = Vec::new();
    write(&mut out);
    String::from_utf8(out).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use proptest::prelude::*;

    use super::*;
    use crate::output::escape;

    #[test]
    fn numbers_are_formatted_as_by_fmt() {
        for number in [0, 7, 9, 10, 99, 100, 101, 999, 1000, 65_535, u64::MAX] {
            assert_eq!(appended(|out| out.number(number)), number.to_string());
            assert_eq!(appended(|out| out.padded(number, 3)), format!("{number:03}"));
            assert_eq!(appended(|out| out.hex(number)), format!("{number:016x}"));
        }
        assert_eq!(appended(|out| out.signed(i64::MIN)), i64::MIN.to_string());
    }

    #[test]
    fn times_have_three_decimals_and_a_unit() {
        for (ms, text) in [(0, "0.000 s"), (3996, "3.996 s"), (-4, "-0.004 s"), (7_200_010, "7200.010 s")] {
            assert_eq!(appended(|out| out.seconds(ms)), text);
        }
        for (us, text) in [(18, "0.018 ms"), (999_999, "999.999 ms"), (1_500_000, "1.500 s")] {
            assert_eq!(appended(|out| out.short(us)), text);
        }
    }

    #[test]
    fn addresses_are_formatted_as_by_fmt() {
        for address in ["127.0.0.1:80", "255.10.0.99:65535", "[::1]:443", "[2001:db8::7]:1", "[::ffff:10.0.0.1]:7"] {
            assert_eq!(appended(|out| out.endpoint(address.parse().unwrap())), address);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_name_is_its_text_escaped(bytes in any::<[u8; 16]>()) {
            let comm = Comm::from(bytes);
            let text = comm.text();
            prop_assert_eq!(appended(|out| out.comm(&comm)), escape(&text));
        }
    }

    /// Up to here a float has all milliseconds, and what was printed before is exact.
    const EXACT: i64 = 1 << 42;

    proptest! {
        #![proptest_config(ProptestConfig { cases: 4096, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn seconds_are_those_of_a_float_with_three_decimals(ms in -EXACT..EXACT) {
            prop_assert_eq!(appended(|out| out.seconds(ms)), format!("{:.3} s", ms as f64 / 1000.0));
        }

        #[test]
        fn short_times_are_those_of_a_float_with_three_decimals(us in 0..1_000_000_u64) {
            prop_assert_eq!(appended(|out| out.short(us)), format!("{:.3} ms", us as f64 / 1000.0));
        }

        #[test]
        fn any_number_is_formatted_as_by_fmt(number in any::<u64>(), shift in 0..64_u32, width in 1..20_usize) {
            let number = number >> shift;
            prop_assert_eq!(appended(|out| out.number(number)), number.to_string());
            prop_assert_eq!(appended(|out| out.signed(number.cast_signed())), number.cast_signed().to_string());
            prop_assert_eq!(appended(|out| out.padded(number, width)), format!("{number:0width$}"));
            prop_assert_eq!(appended(|out| out.hex(number)), format!("{number:016x}"));
        }

        #[test]
        fn any_address_is_formatted_as_by_fmt(v4 in any::<[u8; 4]>(), v6 in any::<[u8; 16]>(), port in any::<u16>()) {
            for ip in [IpAddr::from(Ipv4Addr::from(v4)), IpAddr::from(Ipv6Addr::from(v6))] {
                let endpoint = SocketAddr::new(ip, port);
                prop_assert_eq!(appended(|out| out.address(ip)), ip.to_string());
                prop_assert_eq!(appended(|out| out.endpoint(endpoint)), endpoint.to_string());
            }
        }
    }
}
