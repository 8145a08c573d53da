//! Vectors, those around changes of the clock as cron(8) of Debian and systemd.time(7) describe them.

use chrono_tz::Tz;

use super::*;

fn time(text: &str) -> Time {
    DateTime::parse_from_rfc3339(text).unwrap().to_utc()
}

fn zone(name: &str) -> Tz {
    name.parse().unwrap()
}

fn slots(schedule: &Schedule, after: &str, count: usize) -> Vec<String> {
    let mut found = Vec::new();
    let mut slot = schedule.next(time(after), TimeDelta::zero());
    while let Some(next) = slot.filter(|_| found.len() < count) {
        found.push(next.opens.format("%Y-%m-%dT%H:%MZ").to_string());
        slot = schedule.following(next);
    }
    found
}

fn check(schedule: &Schedule, after: &str, want: &str) {
    let want: Vec<&str> = want.split(' ').collect();
    assert_eq!(slots(schedule, after, want.len()), want, "{schedule:?} after {after}");
}

fn cron(text: &str, name: &str) -> Schedule {
    Schedule::from(Cron::parse(text, zone(name)).unwrap())
}

fn calendar(text: &str, name: &str) -> Schedule {
    Schedule::from(Calendar::parse(text, zone(name)).unwrap())
}

#[test]
fn d1_a_fixed_job_in_the_skipped_hour() {
    let berlin = "Europe/Berlin";
    check(&cron("30 2 * * *", berlin), "2026-03-28T12:00:00Z", "2026-03-29T01:00Z 2026-03-30T00:30Z");
    check(&calendar("02:30:00", berlin), "2026-03-28T12:00:00Z", "2026-03-30T00:30Z 2026-03-31T00:30Z");
    let york = "America/New_York";
    check(&cron("30 2 * * *", york), "2026-03-07T12:00:00Z", "2026-03-08T07:00Z 2026-03-09T06:30Z");
    check(&calendar("02:30", york), "2026-03-07T12:00:00Z", "2026-03-09T06:30Z");
}

#[test]
fn d2_jobs_in_the_repeated_hour() {
    let berlin = "Europe/Berlin";
    check(&cron("30 2 * * *", berlin), "2026-10-24T12:00:00Z", "2026-10-25T00:30Z 2026-10-26T01:30Z");
    let half_hours =
        "2026-10-25T00:00Z 2026-10-25T00:30Z 2026-10-25T01:00Z 2026-10-25T01:30Z 2026-10-25T02:00Z";
    check(&cron("*/30 * * * *", berlin), "2026-10-24T23:45:00Z", half_hours);
    let passed_over = "2026-10-25T00:00Z 2026-10-25T00:30Z 2026-10-25T02:00Z";
    check(&calendar("*:0/30", berlin), "2026-10-24T23:45:00Z", passed_over);
    check(&calendar("02:30", berlin), "2026-10-24T12:00:00Z", "2026-10-25T00:30Z 2026-10-26T01:30Z");
    check(
        &cron("30 1 * * *", "America/New_York"),
        "2026-10-31T12:00:00Z",
        "2026-11-01T05:30Z 2026-11-02T06:30Z",
    );
}

#[test]
fn d4_a_window_to_the_end_of_a_day_of_25_hours() {
    let york = Window::parse("16:05", "24:00", zone("America/New_York")).unwrap();
    let slot = Schedule::from(york).next(time("2026-11-01T12:00:00Z"), TimeDelta::zero()).unwrap();
    assert_eq!(slot, Slot { opens: time("2026-11-01T21:05:00Z"), closes: time("2026-11-02T05:00:00Z") });
    let shanghai = Schedule::from(Window::parse("16:05", "24:00", zone("Asia/Shanghai")).unwrap());
    check(&shanghai, "2026-06-01T08:05:00Z", "2026-06-02T08:05Z 2026-06-03T08:05Z");
    check(&shanghai, "2026-06-01T08:04:59Z", "2026-06-01T08:05Z");
    // Over midnight, and opening inside a gap.
    let night = Window::parse("22:00", "02:00", zone("UTC")).unwrap();
    let slot = Schedule::from(night).next(time("2026-06-01T23:00:00Z"), TimeDelta::zero()).unwrap();
    assert_eq!(slot, Slot { opens: time("2026-06-02T22:00:00Z"), closes: time("2026-06-03T02:00:00Z") });
    let gap = Schedule::from(Window::parse("02:30", "02:45", zone("Europe/Berlin")).unwrap());
    check(&gap, "2026-03-28T12:00:00Z", "2026-03-29T01:00Z 2026-03-30T00:30Z");
}

#[test]
fn cron_reads_weekdays_and_days_as_vixie_cron() {
    check(
        &cron("5 16 * * *", "Asia/Shanghai"),
        "2026-01-01T00:00:00Z",
        "2026-01-01T08:05Z 2026-01-02T08:05Z",
    );
    // 2026-01-01 is a Thursday.
    check(&cron("0 9 * * 1-5", "UTC"), "2026-01-01T12:00:00Z", "2026-01-02T09:00Z 2026-01-05T09:00Z");
    check(&cron("0 0 * * 7", "UTC"), "2026-01-01T12:00:00Z", "2026-01-04T00:00Z 2026-01-11T00:00Z");
    check(
        &cron("0 0 13 * 5", "UTC"),
        "2026-01-01T12:00:00Z",
        "2026-01-02T00:00Z 2026-01-09T00:00Z 2026-01-13T00:00Z",
    );
    check(&cron("@daily", "UTC"), "2026-01-01T12:00:00Z", "2026-01-02T00:00Z");
    check(&cron("0 0 29 2 *", "UTC"), "2026-01-01T12:00:00Z", "2028-02-29T00:00Z 2032-02-29T00:00Z");
    for bad in ["", "* * * *", "60 * * * *", "0 0 30 2 *", "* * * * * *", "nope"] {
        assert!(Cron::parse(bad, Tz::UTC).is_err(), "{bad}");
    }
}

#[test]
fn calendars_are_those_of_systemd() {
    let cases = [
        ("Mon..Fri 09:00", "2026-01-02T12:00:00Z", "2026-01-05T09:00Z 2026-01-06T09:00Z"),
        (
            "Sat,Sun *-*-* 10:15:00",
            "2026-01-01T00:00:00Z",
            "2026-01-03T10:15Z 2026-01-04T10:15Z 2026-01-10T10:15Z",
        ),
        ("*-02~01", "2027-01-01T00:00:00Z", "2027-02-28T00:00Z 2028-02-29T00:00Z"),
        (
            "2026-12-24..26 18:00",
            "2026-01-01T00:00:00Z",
            "2026-12-24T18:00Z 2026-12-25T18:00Z 2026-12-26T18:00Z",
        ),
        ("12-31 23:59", "2026-01-01T00:00:00Z", "2026-12-31T23:59Z 2027-12-31T23:59Z"),
        ("*:7/20", "2026-01-01T00:30:00Z", "2026-01-01T00:47Z 2026-01-01T01:07Z"),
        ("weekly", "2026-01-01T00:00:00Z", "2026-01-05T00:00Z"),
        ("quarterly", "2026-01-01T00:00:00Z", "2026-04-01T00:00Z"),
        ("daily Asia/Tokyo", "2026-01-01T00:00:00Z", "2026-01-01T15:00Z"),
        ("2026-01-01 08:00", "2025-01-01T00:00:00Z", "2026-01-01T08:00Z"),
    ];
    for (text, after, want) in cases {
        check(&calendar(text, "UTC"), after, want);
    }
    let once = calendar("2026-01-01 08:00", "UTC");
    assert_eq!(once.next(time("2026-01-01T08:00:00Z"), TimeDelta::zero()), None, "no next time");
    for bad in [
        "",
        "25:00",
        "Mon..Xyz",
        "*-13-01",
        "*-02-30",
        "10:00 nowhere",
        "*-*-*/0",
        "Fri..Mon 00:00",
        "5..3:00",
        "foo",
    ] {
        assert!(Calendar::parse(bad, Tz::UTC).is_err(), "{bad}");
    }
}

#[test]
fn e1_an_early_contact_counts_when_that_is_allowed() {
    let schedule = cron("0 4 * * *", "UTC");
    let before = time("2026-01-02T03:59:57Z");
    assert_eq!(schedule.next(before, TimeDelta::zero()).unwrap().opens, time("2026-01-02T04:00:00Z"));
    assert_eq!(schedule.next(before, TimeDelta::seconds(10)).unwrap().opens, time("2026-01-03T04:00:00Z"));
}

#[test]
fn d6_old_names_of_zones_are_read() {
    for (old, new) in
        [("Asia/Calcutta", "Asia/Kolkata"), ("US/Eastern", "America/New_York"), ("GB", "Europe/London")]
    {
        let [old, new] = [old, new].map(|name| slots(&cron("30 2 * * *", name), "2026-03-07T12:00:00Z", 30));
        assert_eq!(old, new);
    }
}

#[test]
fn f6_a_year_is_not_too_long() {
    let yearly = Schedule::Every(TimeDelta::days(400));
    check(&yearly, "2026-01-01T00:00:00Z", "2027-02-05T00:00Z 2028-03-11T00:00Z");
}

#[test]
fn windows_need_times_of_the_day() {
    for (at, until) in
        [("24:00", "24:00"), ("1", "2:00"), ("a:00", "2:00"), ("1:00", "24:01"), ("1:60", "2:00")]
    {
        assert!(Window::parse(at, until, Tz::UTC).is_err(), "{at} {until}");
    }
}
