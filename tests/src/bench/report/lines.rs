//! Line charts, both axes logarithmic: how something grows.

use anyhow::anyhow;
use plotters::{
    prelude::*,
    style::text_anchor::{HPos, Pos, VPos},
};

/// A line.
#[derive(Clone, Debug)]
pub struct Line {
    /// Its name, written at its end.
    pub name: String,
    /// Its points, from left to right; all above zero.
    pub points: Vec<(f64, f64)>,
}

const SIZE: (u32, u32) = (900, 440);
const COLOURS: [RGBColor; 6] = [
    RGBColor(0x1b, 0x6f, 0xb8),
    RGBColor(0xd9, 0x8a, 0x3d),
    RGBColor(0x3c, 0x8d, 0x5a),
    RGBColor(0xb0, 0x3a, 0x48),
    RGBColor(0x6b, 0x53, 0x9c),
    RGBColor(0x5b, 0x67, 0x75),
];

/// What a chart is called and what its axes mean.
#[derive(Clone, Copy, Debug)]
pub struct Titles<'a> {
    /// The title.
    pub title: &'a str,
    /// The axis to the right.
    pub across: &'a str,
    /// The axis upwards.
    pub upwards: &'a str,
}

/// Draws them in one chart.
///
/// # Errors
///
/// There is nothing to draw.
pub fn draw(titles: Titles<'_>, lines: &[Line]) -> anyhow::Result<String> {
    let points = || lines.iter().flat_map(|line| &line.points);
    let ends = |pick: fn(&(f64, f64)) -> f64| {
        points()
            .map(pick)
            .fold((f64::INFINITY, 0.0), |(low, high): (f64, f64), value| {
                (low.min(value), high.max(value))
            })
    };
    let (across, upwards) = (ends(|point| point.0), ends(|point| point.1));
    let title = titles.title;
    if across.0 <= 0.0 || upwards.0 <= 0.0 || across.1 <= across.0 {
        return Err(anyhow!("{title}: nothing to draw"));
    }
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        let failed = |error: DrawingAreaErrorKind<_>| anyhow!("cannot draw {title}: {error}");
        area.fill(&WHITE).map_err(failed)?;
        let x = across.0..across.1 * 1.02;
        let y = upwards.0 / 1.6..upwards.1 * 1.6;
        let mut chart = ChartBuilder::on(&area)
            .caption(title, ("sans-serif", 20))
            .margin(14)
            .margin_right(220)
            .x_label_area_size(48)
            .y_label_area_size(76)
            .build_cartesian_2d(x.log_scale(), y.log_scale())
            .map_err(failed)?;
        let number = |value: &f64| {
            if *value >= 10_000.0 {
                format!("{}k", value / 1000.0)
            } else {
                format!("{value}")
            }
        };
        chart
            .configure_mesh()
            .light_line_style(WHITE)
            .x_desc(titles.across)
            .y_desc(titles.upwards)
            .label_style(("sans-serif", 13))
            .axis_desc_style(("sans-serif", 14))
            .x_label_formatter(&number)
            .y_label_formatter(&number)
            .draw()
            .map_err(failed)?;
        for (line, colour) in lines.iter().zip(COLOURS.iter().cycle()) {
            let path = LineSeries::new(line.points.iter().copied(), colour.stroke_width(2));
            chart.draw_series(path).map_err(failed)?;
            let dots = line
                .points
                .iter()
                .map(|point| Circle::new(*point, 3, colour.filled()));
            chart.draw_series(dots).map_err(failed)?;
            if let Some(last) = line.points.last() {
                let (x, y) = chart.backend_coord(last);
                let style = TextStyle::from(("sans-serif", 13).into_font())
                    .color(colour)
                    .pos(Pos::new(HPos::Left, VPos::Center));
                let name = Text::new(line.name.clone(), (x + 8, y), style);
                area.draw(&name).map_err(failed)?;
            }
        }
        area.present().map_err(failed)?;
    }
    Ok(svg)
}
