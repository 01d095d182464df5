//! Line plots as SVG, for a page that needs nothing else. Colours are classes, which the page's style defines.

use std::fmt::Write as _;

/// The size of a plot, and of the room for its axes, in pixels.
const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 320.0;
const LEFT: f64 = 70.0;
const BOTTOM: f64 = 44.0;
const TOP: f64 = 12.0;
const RIGHT: f64 = 16.0;
/// Lines of the grid, about.
const TICKS: f64 = 5.0;
/// Colours that the style has.
pub(super) const COLOURS: usize = 8;

/// What is plotted.
pub(super) struct Plot {
    /// What is on the horizontal axis, and the places on it from left to right.
    pub(super) across: &'static str,
    pub(super) places: Vec<String>,
    /// What is on the vertical axis.
    pub(super) up: &'static str,
    /// In decades, rather than from 0 on.
    pub(super) logarithmic: bool,
    /// How a value is written.
    pub(super) text: fn(f64) -> String,
    pub(super) lines: Vec<Line>,
}

/// One line of a plot.
pub(super) struct Line {
    pub(super) name: String,
    /// For each place, if there is something.
    pub(super) values: Vec<Option<Value>>,
}

/// A value with the least and the most of the rounds it is the median of.
#[derive(Clone, Copy)]
pub(super) struct Value {
    pub(super) median: f64,
    pub(super) min: f64,
    pub(super) max: f64,
}

impl Plot {
    /// The plot as an `svg` element, with a legend below; nothing where there is nothing to plot.
    pub(super) fn svg(&self) -> String {
        let values = || self.lines.iter().flat_map(|line| &line.values).flatten();
        let most = values().map(|value| value.max).fold(0.0, f64::max);
        let least = values().map(|value| value.min).filter(|&min| min > 0.0).fold(f64::MAX, f64::min);
        if most <= 0.0 {
            return String::new();
        }
        let scale = if self.logarithmic { Scale::decades(least, most) } else { Scale::from_zero(most) };
        let mut svg = format!(
            "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{} by {}\">\n",
            escape(self.up),
            escape(self.across)
        );
        self.axes(&scale, &mut svg);
        for (n, line) in self.lines.iter().enumerate() {
            self.line(n, line, &scale, &mut svg);
        }
        svg += "</svg>\n<p class=\"legend\">";
        for (n, line) in self.lines.iter().enumerate() {
            // Writing to a string cannot fail, here and below.
            let _ = write!(svg, "<span class=\"c{}\">{}</span> ", n % COLOURS, escape(&line.name));
        }
        svg + "</p>\n"
    }

    fn axes(&self, scale: &Scale, svg: &mut String) {
        for tick in scale.ticks() {
            let y = scale.y(tick);
            let _ = writeln!(
                svg,
                "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
                 <text class=\"up\" x=\"{}\" y=\"{:.1}\">{}</text>",
                WIDTH - RIGHT,
                LEFT - 6.0,
                y + 4.0,
                escape(&(self.text)(tick)),
            );
        }
        for (at, place) in self.places.iter().enumerate() {
            let (x, y) = (self.x(at), HEIGHT - BOTTOM + 16.0);
            let _ = write!(svg, "<text class=\"across\" x=\"{x:.1}\" y=\"{y}\">{}</text>", escape(place));
        }
        let _ = writeln!(
            svg,
            "<text class=\"across\" x=\"{}\" y=\"{}\">{}</text>",
            (LEFT + WIDTH - RIGHT) / 2.0,
            HEIGHT - 8.0,
            escape(self.across)
        );
    }

    fn line(&self, n: usize, line: &Line, scale: &Scale, svg: &mut String) {
        let points = || {
            let values = line.values.iter().enumerate();
            values.filter_map(|(at, value)| value.map(|value| (at, self.x(at), value)))
        };
        let path: Vec<_> =
            points().map(|(_, x, value)| format!("{x:.1},{:.1}", scale.y(value.median))).collect();
        let _ = write!(svg, "<g class=\"c{}\"><polyline points=\"{}\"/>", n % COLOURS, path.join(" "));
        for (at, x, Value { median, min, max }) in points() {
            let (y, low, high) = (scale.y(median), scale.y(min), scale.y(max));
            let place = self.places.get(at).map_or("", String::as_str);
            let _ = write!(
                svg,
                "<line x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{low:.1}\" y2=\"{high:.1}\"/>\
                 <circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3.5\"><title>{}, {}: {}</title></circle>",
                escape(&line.name),
                escape(place),
                escape(&(self.text)(median)),
            );
        }
        *svg += "</g>\n";
    }

    /// Where a place is, in the middle of its share of the width.
    fn x(&self, at: usize) -> f64 {
        LEFT + (WIDTH - LEFT - RIGHT) * (at as f64 + 0.5) / self.places.len().max(1) as f64
    }
}

/// How values become heights.
struct Scale {
    least: f64,
    most: f64,
    /// Between two lines of the grid; `None`: a decade.
    step: Option<f64>,
}

impl Scale {
    /// Up to `most`, in steps of 1, 2 or 5 times a power of ten.
    fn from_zero(most: f64) -> Scale {
        let rough = most / TICKS;
        let power = 10_f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|n| n * power).find(|&step| step >= rough);
        let step = step.unwrap_or(rough);
        Scale { least: 0.0, most: (most / step).ceil() * step, step: Some(step) }
    }

    /// From the power of ten below `least` to the one above `most`.
    fn decades(least: f64, most: f64) -> Scale {
        let (least, most) = (least.log10().floor(), most.log10().ceil());
        Scale { least, most: most.max(least + 1.0), step: None }
    }

    fn ticks(&self) -> Vec<f64> {
        match self.step {
            Some(step) => (0..=(self.most / step).round() as u32).map(|n| f64::from(n) * step).collect(),
            None => (self.least as i32..=self.most as i32).map(|n| 10_f64.powi(n)).collect(),
        }
    }

    fn y(&self, value: f64) -> f64 {
        let value = if self.step.is_some() { value } else { value.max(f64::MIN_POSITIVE).log10() };
        let part = ((value - self.least) / (self.most - self.least)).clamp(0.0, 1.0);
        HEIGHT - BOTTOM - part * (HEIGHT - BOTTOM - TOP)
    }
}

/// Text as it stands in HTML.
pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_end_above_what_is_plotted() {
        let scale = Scale::from_zero(17.3);
        assert_eq!(scale.ticks(), [0.0, 5.0, 10.0, 15.0, 20.0]);
        assert_eq!((scale.y(0.0), scale.y(20.0)), (HEIGHT - BOTTOM, TOP));
        let scale = Scale::decades(30.0, 2_500.0);
        assert_eq!(scale.ticks(), [10.0, 100.0, 1_000.0, 10_000.0]);
        assert_eq!((scale.y(10.0), scale.y(10_000.0)), (HEIGHT - BOTTOM, TOP));
        assert_eq!(Scale::decades(10.0, 10.0).ticks(), [10.0, 100.0]);
    }

    #[test]
    fn a_plot_has_each_value_and_no_markup_of_names() {
        let value = Some(Value { median: 2.0, min: 1.0, max: 3.0 });
        let line = |name: &str| Line { name: name.into(), values: vec![value, None] };
        let mut plot = Plot {
            across: "size",
            places: vec!["64".into(), "<b>".into()],
            up: "frames",
            logarithmic: false,
            text: |value| format!("{value:.0}"),
            lines: vec![line("engine"), line("<i>")],
        };
        let svg = plot.svg();
        assert_eq!(svg.matches("<circle").count(), 2, "{svg}");
        assert!(svg.contains("&lt;i&gt;, 64: 2") && !svg.contains("<i>") && !svg.contains("<b>"), "{svg}");
        plot.lines.clear();
        assert_eq!(plot.svg(), "");
    }
}
