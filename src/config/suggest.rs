//! `htp: did you mean http?`

/// The name nearest to `given`, if one is near enough to have been meant.
pub(super) fn closest<'a>(given: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if given.len() > LONGEST_KEY {
        return None;
    }
    let near = |name: &&str| given.chars().count().max(name.chars().count()).div_ceil(3);
    names
        .into_iter()
        .map(|name| (distance(given, name), name))
        .filter(|(distance, name)| *distance <= near(name))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// Insertions, deletions, replacements and swaps of neighbours that lead from `a` to `b`.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            rows[i][j] = match (i, j) {
                (0, steps) | (steps, 0) => steps,
                _ => {
                    let replaced = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
                    let best = replaced.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
                    let swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
                    if swapped { best.min(rows[i - 2][j - 2] + 1) } else { best }
                }
            };
        }
    }
    rows[a.len()][b.len()]
}

/// Longer than any key; bounds the table of [`distance`].
const LONGEST_KEY: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_corrected() {
        for (given, meant) in [("htp", "http"), ("hpttp", "http"), ("htpt", "http"), ("pol", "pool"), ("logs_", "logs")] {
            assert_eq!(closest(given, ["engine", "http", "logs", "pool"]), Some(meant), "{given}");
        }
    }

    #[test]
    fn something_else_altogether_is_not() {
        assert_eq!(closest("workers", ["engine", "http", "logs", "pool"]), None);
        assert_eq!(closest("", ["http"]), None);
    }
}
