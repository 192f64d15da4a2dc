//! LATENCY GRAPH: samples as columns of characters.

use crate::observe::Samples;

/// Columns that are drawn: the newest samples.
const COLUMNS: usize = 80;
const ROWS: u64 = 4;
/// From the foot to the top of a cell.
const LEVELS: [char; 3] = ['_', 'o', '#'];

/// The picture of `samples` at `now_s`, in Unix seconds, with their ages below.
pub(super) fn draw(name: &str, samples: &Samples, now_s: u64) -> String {
    let (least, most) = samples.range();
    let head =
        format!("{name} - high {most} ms, low {least} ms (all time high {} ms)\n", samples.max_ms);
    let skipped = samples.samples.len().saturating_sub(COLUMNS);
    let shown: Vec<(u64, u64)> = samples.samples.iter().skip(skipped).copied().collect();
    let steps = ROWS * LEVELS.len() as u64 - 1;
    let heights: Vec<u64> = shown
        .iter()
        .map(|(_, ms)| match most - least {
            0 => 0,
            range => (ms - least) * steps / range,
        })
        .collect();
    let mut text = head + &"-".repeat(COLUMNS) + "\n";
    for row in (0..ROWS).rev() {
        let cells = heights.iter().map(|height| {
            let foot = row * LEVELS.len() as u64;
            match height.checked_sub(foot) {
                None => ' ',
                Some(over) => LEVELS.get(over as usize).copied().unwrap_or('|'),
            }
        });
        push_line(&mut text, cells);
    }
    text.push('\n');
    let ages: Vec<Vec<char>> =
        shown.iter().map(|(at, _)| age(now_s.saturating_sub(*at)).chars().collect()).collect();
    let longest = ages.iter().map(Vec::len).max().unwrap_or_default();
    for line in 0..longest {
        push_line(&mut text, ages.iter().map(|age| age.get(line).copied().unwrap_or(' ')));
    }
    text
}

fn push_line(text: &mut String, cells: impl Iterator<Item = char>) {
    text.extend(cells);
    text.truncate(text.trim_end_matches(' ').len());
    text.push('\n');
}

fn age(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..86_400 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heights_follow_the_samples() {
        let samples =
            Samples { samples: [(10, 100), (20, 600), (70, 1200), (99, 100)].into(), max_ms: 5000 };
        let dashes = "-".repeat(80);
        let head = "command - high 1200 ms, low 100 ms (all time high 5000 ms)";
        let cells = "  #\n  |\n #|\n_||_";
        let ages = "1131\nmm0s\n  s";
        let expected = format!("{head}\n{dashes}\n{cells}\n\n{ages}\n");
        assert_eq!(draw("command", &samples, 100), expected);
    }

    #[test]
    fn equal_samples_lie_flat_and_only_the_newest_are_drawn() {
        let samples = Samples { samples: (0..100).map(|at| (at, 7)).collect(), max_ms: 7 };
        let text = draw("x", &samples, 100_000);
        assert!(text.contains(&format!("\n{}\n", "_".repeat(80))), "{text}");
        assert!(!text.contains('#'));
    }
}
