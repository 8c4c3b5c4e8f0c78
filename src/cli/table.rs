//! Tables for a terminal, and figures as people read them.

use std::time::{Duration, SystemTime};

/// Rows under a head, drawn as RoadRunner draws them.
#[derive(Debug)]
pub(super) struct Table {
    rows: Vec<Vec<String>>,
}

// === impl Table ===

impl Table {
    pub(super) fn new(head: &[&str]) -> Self {
        Self { rows: vec![head.iter().map(|name| (*name).to_owned()).collect()] }
    }

    pub(super) fn push(&mut self, row: Vec<String>) {
        self.rows.push(row.into_iter().map(printable).collect());
    }

    pub(super) fn render(&self) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| self.rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
        let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
        let rule: String = widths.iter().map(|width| format!("+{}", "-".repeat(width + 2))).chain(["+\n".into()]).collect();
        let line = |row: &[String]| {
            let cell = |(column, width): (usize, &usize)| format!("| {:<width$} ", row.get(column).map_or("", String::as_str));
            widths.iter().enumerate().map(cell).chain(["|\n".into()]).collect::<String>()
        };
        let (head, body) = self.rows.split_first().map_or((&[][..], &[][..]), |(head, body)| (head.as_slice(), body));
        let mut text = format!("{rule}{}{rule}", line(head));
        body.iter().for_each(|row| text.push_str(&line(row)));
        if !body.is_empty() {
            text.push_str(&rule);
        }
        text
    }
}

/// Without what a terminal would obey: a request's target is its sender's to choose.
fn printable(cell: String) -> String {
    let shown = |character: char| if character.is_control() { '\u{fffd}' } else { character };
    if cell.chars().count() <= LONGEST {
        cell.chars().map(shown).collect()
    } else {
        cell.chars().take(LONGEST - 1).map(shown).chain(['…']).collect()
    }
}

/// `31 MB`, `8.3 MB`
pub(super) fn bytes(count: u64) -> String {
    if count < 1000 {
        return format!("{count} B");
    }
    let (mut value, mut unit) = (count as f64, 0);
    while value >= 999.5 && unit < UNITS.len() - 1 {
        value /= 1000.0;
        unit += 1;
    }
    if value < 9.95 { format!("{value:.1} {}", UNITS[unit]) } else { format!("{value:.0} {}", UNITS[unit]) }
}

/// `42,320`
pub(super) fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `now`, `5 seconds ago`, `22 days ago`
pub(super) fn ago(then: SystemTime, now: SystemTime) -> String {
    let seconds = now.duration_since(then).unwrap_or(Duration::ZERO).as_secs();
    let unit = SPANS.iter().rev().find(|(length, _)| seconds >= *length);
    match unit.map(|(length, name)| (seconds / length, name)) {
        None => "now".into(),
        Some((1, name)) => format!("1 {name} ago"),
        Some((count, name)) => format!("{count} {name}s ago"),
    }
}

/// `350ms`, `5.2s`, `3m4s`
pub(super) fn span(length: Duration) -> String {
    match length.as_secs() {
        0 => format!("{}ms", length.as_millis()),
        1..60 => format!("{:.1}s", length.as_secs_f64()),
        seconds if seconds < 3600 => format!("{}m{}s", seconds / 60, seconds % 60),
        seconds => format!("{}h{}m", seconds / 3600, seconds / 60 % 60),
    }
}

const UNITS: &[&str] = &["B", "kB", "MB", "GB", "TB", "PB"];
const SPANS: &[(u64, &str)] = &[
    (1, "second"),
    (60, "minute"),
    (3600, "hour"),
    (86_400, "day"),
    (7 * 86_400, "week"),
    (30 * 86_400, "month"),
    (365 * 86_400, "year"),
];
const LONGEST: usize = 60;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_written_for_people() {
        for (count, expected) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (8_300_000, "8.3 MB"),
            (31_400_000, "31 MB"),
            (999_600, "1.0 MB"),
            (82_854_982_000, "83 GB"),
            (u64::MAX, "18447 PB"),
        ] {
            assert_eq!(bytes(count), expected);
        }
        for (count, expected) in [(0, "0"), (999, "999"), (1000, "1,000"), (42_320, "42,320"), (1_234_567, "1,234,567")] {
            assert_eq!(grouped(count), expected);
        }
        let now = SystemTime::now();
        for (seconds, expected) in [
            (0, "now"),
            (1, "1 second ago"),
            (59, "59 seconds ago"),
            (60, "1 minute ago"),
            (7200, "2 hours ago"),
            (86_400 * 22, "3 weeks ago"),
            (86_400 * 800, "2 years ago"),
        ] {
            assert_eq!(ago(now - Duration::from_secs(seconds), now), expected);
        }
        assert_eq!(ago(now + Duration::from_secs(5), now), "now", "clocks may differ");
        for (millis, expected) in [(350, "350ms"), (5200, "5.2s"), (184_000, "3m4s"), (7_260_000, "2h1m")] {
            assert_eq!(span(Duration::from_millis(millis)), expected);
        }
    }

    #[test]
    fn a_table_is_drawn_and_obeys_nobody() {
        let mut table = Table::new(&["PID", "REQUEST"]);
        assert_eq!(table.render(), "+-----+---------+\n| PID | REQUEST |\n+-----+---------+\n");
        table.push(vec!["7".into(), "GET /\u{1b}[2J".into()]);
        table.push(vec!["8".into(), format!("GET /{}", "é".repeat(100))]);
        let drawn = table.render();
        assert!(drawn.contains("| 7   | GET /\u{fffd}[2J "), "{drawn}");
        assert!(drawn.contains(&format!("GET /{}… |", "é".repeat(54))), "{drawn}");
        let widths: Vec<_> = drawn.lines().map(|line| line.chars().count()).collect();
        assert!(widths.iter().all(|width| *width == widths[0]), "{drawn}");
    }
}
