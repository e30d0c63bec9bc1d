use super::*;

const HZS: [u32; 4] = [100, 250, 300, 1000];

#[test]
fn the_step_is_one_jiffy_up_to_62_and_then_eight_times_more_at_each_level() {
    for (delay, expected) in
        [(0, 1), (62, 1), (63, 8), (503, 8), (504, 64), (4031, 64), (4032, 512), (32_255, 512), (32_256, 4096)]
    {
        assert_eq!(step(delay, 250), expected, "{delay}");
    }
}

#[test]
fn a_clock_of_100_ticks_a_second_or_fewer_has_one_level_less() {
    assert_eq!([100, 101, 250, 1000].map(|hz| step(u64::MAX, hz)), [1 << 21, 1 << 24, 1 << 24, 1 << 24]);
    assert_eq!((level((63 << 21) - 1, 100), level((63 << 21) - 1, 250), level(63 << 21, 250)), (7, 7, 8));
    assert_eq!((cutoff(100), cutoff(250)), (63 << 21, 63 << 24));
}

#[test]
fn a_delay_beyond_the_wheels_capacity_ends_there() {
    let last = Window { earliest: (62 << 24) + 1, latest: 63 << 24 };
    assert_eq!([63 << 24, u64::MAX].map(|delay| leg(delay, 250)), [last, last]);
    assert_eq!(leg((63 << 24) - 1, 250), Window { earliest: 63 << 24, latest: (64 << 24) - 1 });
}

#[test]
fn the_defaults_are_late_by_up_to_what_is_documented() {
    assert_eq!(HZS.map(|hz| step_ms(75, hz)), [5120, 2048, 1706, 4096]);
    assert_eq!(HZS.map(|hz| step_ms(7200, hz)), [327_680, 131_072, 873_813, 262_144]);
    assert_eq!(step_ms(-1, 250), 4);
}

#[test]
fn a_timer_of_340_s_may_fire_at_356_s() {
    assert_eq!(leg(340 * 250, 250), Window { earliest: 85_001, latest: 89_096 });
    assert_eq!(leg(340 * 250, 250).ms(250).latest_ms, 356_388);
}

#[test]
fn a_step_never_exceeds_an_eighth_of_the_delay_by_more_than_its_first_part() {
    for delay in 63..2_000_000_u64 {
        assert!(step(delay, 250) * 63 <= delay * 8, "{delay}");
    }
}

#[test]
fn a_timer_fires_at_the_end_of_its_slot_even_where_its_low_half_wraps() {
    assert_eq!(
        [(0, 0), (u32::MAX, 0), (0, 4), (4095, 4), (4097, 4), (u32::MAX, 8)].map(|(expires, level)| rounding(expires, level)),
        [1, 1, 4096, 1, 4095, 1]
    );
}

#[test]
fn a_timer_whose_level_is_known_fires_at_a_known_jiffy() {
    let armed = |left, level| Armed { left, expires: 4097, level };
    assert_eq!(armed(100, Some(4)).fires(85_000, 250), Window::exactly(4195));
    assert_eq!(armed(100, None).fires(85_000, 250), Window { earliest: 101, latest: 4196 });
    assert_eq!(armed(100, None).fires(0, 250), Window { earliest: 101, latest: 108 });
}

#[test]
fn a_timer_whose_deadline_has_passed_waits_for_the_end_of_its_slot_or_for_the_next_tick() {
    let armed = |left, level| Armed { left, expires: 4097, level };
    assert_eq!(armed(-4000, Some(4)).fires(85_000, 250), Window::exactly(95));
    assert_eq!(armed(-4095, Some(4)).fires(85_000, 250), Window::exactly(1));
    assert_eq!(armed(-9, Some(0)).fires(0, 250), Window::exactly(1));
    assert_eq!(armed(-4000, None).fires(85_000, 250), Window { earliest: 1, latest: 96 });
    assert_eq!(armed(i64::MIN, None).fires(u64::MAX, 250).earliest, 1);
}
