//! Appends text to a line. Numbers and times are formatted with integers, and nothing allocates once the buffer has grown.
use std::{
    fmt::Display,
    io::Write as _,
    net::{IpAddr, SocketAddr},
};

use super::harmless::append_escaped;
use crate::model::{
    errno::Errno,
    owner::{Comm, Task},
    state::State,
};

/// Two decimal digits for each number below 100.
const PAIRS: &[u8; 200] = b"0001020304050607080910111213141516171819\
2021222324252627282930313233343536373839\
4041424344454647484950515253545556575859\
6061626364656667686970717273747576777879\
8081828384858687888990919293949596979899";

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
        self.padded(number, 1);
    }

    fn signed(&mut self, number: i64) {
        if number < 0 {
            self.push(b'-');
        }
        self.number(number.unsigned_abs());
    }

    fn padded(&mut self, number: u64, width: usize) {
        // As many bytes are always copied as the longest number has, which takes no call, and what is too much is cut off.
        const LONGEST: usize = 20;
        let mut reversed = [b'0'; 2 * LONGEST];
        let (mut at, mut left) = (LONGEST, number);
        while left >= 10 {
            let pair = (left % 100) as usize * 2;
            left /= 100;
            at -= 2;
            reversed[at] = PAIRS[pair];
            reversed[at + 1] = PAIRS[pair + 1];
        }
        if left > 0 {
            at -= 1;
            reversed[at] = b'0' + left as u8;
        }
        at = at.min(LONGEST.saturating_sub(width));
        let end = self.len() + LONGEST - at;
        if let Some(digits) = reversed[at..].first_chunk::<LONGEST>() {
            self.extend_from_slice(digits);
        }
        self.truncate(end);
    }

    fn hex(&mut self, number: u64) {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = [0; 16];
        for (place, digit) in text.iter_mut().enumerate() {
            *digit = DIGITS[(number >> (60 - 4 * place)) as usize & 15];
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
                for (index, octet) in v4.octets().into_iter().enumerate() {
                    if index > 0 {
                        self.push(b'.');
                    }
                    self.number(octet.into());
                }
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
