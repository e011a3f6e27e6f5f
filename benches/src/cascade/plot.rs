//! The plot of one run: latencies, answers, attempts and breakers over time, the phases behind them. SVG, written by hand.

use std::fmt::Write as _;

use super::watch::METHODS;
use super::{ENDPOINTS, PHASES, Run};
use crate::open::{Seen, quantile};

const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 640.0;
/// Where the time axis begins and ends.
const LEFT: f64 = 122.0;
const RIGHT: f64 = 790.0;
/// The endpoints' colours, told apart by most eyes (Okabe and Ito, "Color Universal Design", 2008).
const COLOURS: [&str; ENDPOINTS.len()] = ["#d55e00", "#cc79a7", "#0072b2", "#009e73", "#56b4e9"];
const PHASE_COLOURS: [&str; PHASES.len()] = ["#ffffff", "#fff4d6", "#fde3df", "#eaf6ec"];
/// Closed, half-open, open.
const BREAKER_COLOURS: [&str; 3] = ["#9fd3b0", "#f0c75e", "#d9534f"];

/// A panel: where it stands, and the values at its bottom and its top.
struct Panel {
    top: f64,
    bottom: f64,
    low: f64,
    high: f64,
    logarithmic: bool,
}

impl Panel {
    fn y(&self, value: f64) -> f64 {
        let place = if self.logarithmic {
            (value.max(self.low) / self.low).ln() / (self.high / self.low).ln()
        } else {
            (value - self.low) / (self.high - self.low)
        };
        self.bottom - place.clamp(0.0, 1.0) * (self.bottom - self.top)
    }
}

fn x(second: f64) -> f64 {
    let (.., end) = PHASES[PHASES.len() - 1];
    LEFT + second / end as f64 * (RIGHT - LEFT)
}

/// The whole picture.
pub(super) fn svg(run: &Run) -> String {
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{HEIGHT}\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
         font-family=\"Helvetica, Arial, sans-serif\" font-size=\"12\" fill=\"#222\">\n\
         <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#fff\"/>\n\
         <text x=\"{LEFT}\" y=\"22\" font-size=\"15\" font-weight=\"bold\">Payments slow, then dead, then back: the shop in four processes</text>\n"
    );
    phases(&mut text);
    latencies(&mut text, run);
    answers(&mut text, run);
    attempts(&mut text, run);
    breakers(&mut text, run);
    time_axis(&mut text);
    text.push_str("</svg>\n");
    text
}

fn line(text: &mut String, from: (f64, f64), to: (f64, f64), style: &str) {
    let ((x1, y1), (x2, y2)) = (from, to);
    let _ = writeln!(text, "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" {style}/>");
}

fn word(text: &mut String, at: (f64, f64), style: &str, what: &str) {
    let _ = writeln!(text, "<text x=\"{:.1}\" y=\"{:.1}\" {style}>{what}</text>", at.0, at.1);
}

fn curve(text: &mut String, panel: &Panel, points: &[(f64, f64)], style: &str) {
    let points: Vec<String> =
        points.iter().map(|(second, value)| format!("{:.1},{:.1}", x(*second), panel.y(*value))).collect();
    let _ = writeln!(
        text,
        "<polyline points=\"{}\" fill=\"none\" {style} stroke-width=\"1.8\" stroke-linejoin=\"round\"/>",
        points.join(" ")
    );
}

/// The shades behind everything, and the phases' names.
fn phases(text: &mut String) {
    for ((name, from, to), colour) in PHASES.into_iter().zip(PHASE_COLOURS) {
        let (left, right) = (x(from as f64), x(to as f64));
        let _ = writeln!(
            text,
            "<rect x=\"{left:.1}\" y=\"34\" width=\"{:.1}\" height=\"570\" fill=\"{colour}\"/>",
            right - left
        );
        word(text, ((left + right) / 2.0, 48.0), "text-anchor=\"middle\" font-weight=\"bold\"", name);
    }
}

/// A panel's frame, its title on the left and its marks.
fn frame(text: &mut String, panel: &Panel, title: [&str; 2], marks: &[(f64, &str)]) {
    for (value, name) in marks {
        let y = panel.y(*value);
        line(text, (LEFT, y), (RIGHT, y), "stroke=\"#ccc\" stroke-width=\"0.6\"");
        word(text, (LEFT - 6.0, y + 4.0), "text-anchor=\"end\" font-size=\"11\"", name);
    }
    for (row, words) in title.into_iter().enumerate() {
        let y = panel.top + 4.0 + row as f64 * 13.0;
        word(text, (4.0, y), "font-size=\"11\" font-weight=\"bold\"", words);
    }
}

fn legend(text: &mut String, top: f64, entries: &[(&str, &str)]) {
    for (row, (colour, name)) in entries.iter().enumerate() {
        let y = top + row as f64 * 17.0;
        line(
            text,
            (RIGHT + 12.0, y - 4.0),
            (RIGHT + 32.0, y - 4.0),
            &format!("stroke=\"{colour}\" stroke-width=\"3\""),
        );
        word(text, (RIGHT + 38.0, y), "", name);
    }
}

/// What a second's requests of an endpoint are; `is` chooses among them.
fn second(run: &Run, endpoint: usize, second: u64, is: fn(&Seen) -> bool) -> impl Iterator<Item = &Seen> {
    run.seen.iter().filter(move |seen| seen.stream == endpoint && seen.due.as_secs() == second && is(seen))
}

fn seconds() -> std::ops::Range<u64> {
    0..PHASES[PHASES.len() - 1].2
}

fn latencies(text: &mut String, run: &Run) {
    let panel = Panel { top: 62.0, bottom: 272.0, low: 0.5, high: 4000.0, logarithmic: true };
    let marks = [(1.0, "1 ms"), (10.0, "10 ms"), (100.0, "100 ms"), (1000.0, "1 s")];
    frame(text, &panel, ["p99 of", "each second"], &marks);
    for (endpoint, colour) in COLOURS.into_iter().enumerate() {
        let point = |at: u64| {
            let value = quantile(second(run, endpoint, at, |_| true), 0.99);
            value.is_finite().then_some((at as f64 + 0.5, value))
        };
        curve(
            text,
            &panel,
            &seconds().filter_map(point).collect::<Vec<_>>(),
            &format!("stroke=\"{colour}\""),
        );
    }
    let names = ENDPOINTS.map(|(name, _)| name);
    let entries: Vec<(&str, &str)> = COLOURS.into_iter().zip(names).collect();
    legend(text, panel.top + 14.0, &entries);
}

fn answers(text: &mut String, run: &Run) {
    let panel = Panel { top: 290.0, bottom: 390.0, low: 0.0, high: 25.0, logarithmic: false };
    frame(text, &panel, ["answers", "a second"], &[(0.0, "0"), (10.0, "10"), (20.0, "20")]);
    type Kind = (&'static str, &'static str, usize, fn(&Seen) -> bool);
    let kinds: [Kind; 4] = [
        ("#009e73", "orders placed", 0, |seen| seen.status == 200),
        ("#d55e00", "orders refused", 0, |seen| seen.status != 200),
        ("#0072b2", "receipts, whole", 1, |seen| seen.status == 200 && !seen.marked),
        ("#cc79a7", "receipts by fallback", 1, |seen| seen.marked),
    ];
    for (colour, _, endpoint, is) in kinds {
        let point = |at: u64| (at as f64 + 0.5, second(run, endpoint, at, is).count() as f64);
        let dashes = if endpoint == 0 { "" } else { "stroke-dasharray=\"6 3\"" };
        let style = format!("stroke=\"{colour}\" {dashes}");
        curve(text, &panel, &seconds().map(point).collect::<Vec<_>>(), &style);
    }
    legend(text, panel.top + 14.0, &kinds.map(|(colour, name, ..)| (colour, name)));
}

fn attempts(text: &mut String, run: &Run) {
    let calm = run.attempts(0);
    let calm = calm.iter().sum::<f64>() / calm.len().max(1) as f64;
    let panel =
        Panel { top: 408.0, bottom: 508.0, low: 0.0, high: (calm * 1.5).max(1.0), logarithmic: false };
    frame(
        text,
        &panel,
        ["attempts at the", "payments a second"],
        &[(0.0, "0"), (calm, &format!("{calm:.0}"))],
    );
    let all = (0..PHASES.len()).flat_map(|phase| run.attempts(phase));
    for (second, value) in all.enumerate() {
        let (left, top) = (x(second as f64) + 1.0, panel.y(value));
        let _ = writeln!(
            text,
            "<rect x=\"{left:.1}\" y=\"{top:.1}\" width=\"{:.1}\" height=\"{:.1}\" fill=\"#7a8ea6\"/>",
            x(1.0) - x(0.0) - 2.0,
            panel.bottom - top
        );
    }
    let most = panel.y(calm * 1.2);
    line(text, (LEFT, most), (RIGHT, most), "stroke=\"#d55e00\" stroke-dasharray=\"5 4\"");
    legend(text, panel.top + 14.0, &[("#7a8ea6", "attempts"), ("#d55e00", "1.2 x calm")]);
}

fn breakers(text: &mut String, run: &Run) {
    let top = 528.0;
    word(text, (4.0, top + 4.0), "font-size=\"11\" font-weight=\"bold\"", "breakers");
    for (row, method) in METHODS.into_iter().enumerate() {
        let y = top + row as f64 * 26.0;
        word(text, (LEFT - 6.0, y + 13.0), "text-anchor=\"end\" font-size=\"11\"", method);
        for (state, from, to) in stretches(run, row) {
            let (left, right) = (x(from), x(to));
            let colour = BREAKER_COLOURS[usize::from(state.min(2))];
            let _ = writeln!(
                text,
                "<rect x=\"{left:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"18\" fill=\"{colour}\"/>",
                right - left
            );
        }
    }
    let names = ["closed", "half-open", "open"];
    let entries: Vec<(&str, &str)> = BREAKER_COLOURS.into_iter().zip(names).collect();
    legend(text, top + 10.0, &entries);
}

/// The states of a method's breaker, one after the other, each from and to a second.
fn stretches(run: &Run, row: usize) -> Vec<(u8, f64, f64)> {
    let mut all: Vec<(u8, f64, f64)> = Vec::new();
    for look in &run.looks {
        let (state, at) = (look.breakers[row], look.at.as_secs_f64());
        match all.last_mut() {
            Some((last, _, to)) if *last == state => *to = at,
            Some((.., to)) => {
                *to = at;
                all.push((state, at, at));
            }
            None => all.push((state, 0.0, at)),
        }
    }
    if let Some((.., to)) = all.last_mut() {
        *to = PHASES[PHASES.len() - 1].2 as f64;
    }
    all
}

fn time_axis(text: &mut String) {
    for second in seconds().step_by(5).chain([PHASES[PHASES.len() - 1].2]) {
        let x = x(second as f64);
        line(text, (x, 600.0), (x, 604.0), "stroke=\"#222\"");
        word(text, (x, 618.0), "text-anchor=\"middle\" font-size=\"11\"", &format!("{second} s"));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::watch::Look;
    use super::*;

    #[test]
    fn the_plot_has_every_endpoint_and_every_state() {
        let seen = (0..45).flat_map(|second| {
            (0..5).map(move |stream| Seen {
                stream,
                due: Duration::from_secs(second),
                took: Duration::from_millis(3),
                status: 200,
                marked: false,
            })
        });
        let look = |second: u32| Look {
            at: Duration::from_secs(second.into()),
            breakers: [u8::try_from(second / 15).unwrap(), 0],
            attempts: f64::from(second) * 40.0,
        };
        let svg = svg(&Run { seen: seen.collect(), looks: (0..45).map(look).collect() });
        assert_eq!(svg.matches("<polyline").count(), 9);
        for colour in COLOURS.iter().chain(&BREAKER_COLOURS).chain(&PHASE_COLOURS) {
            assert!(svg.contains(colour), "{colour}");
        }
        assert_eq!(svg.matches("height=\"18\"").count(), 4);
        assert!(!svg.contains("NaN") && svg.trim_end().ends_with("</svg>"));
    }
}
