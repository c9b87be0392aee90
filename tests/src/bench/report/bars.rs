//! Bar charts: bars lie, so that their names can be read, and each says what it stands for.

use anyhow::anyhow;
use plotters::{
    prelude::*,
    style::text_anchor::{HPos, Pos, VPos},
};

/// What a bar is about, which gives it its colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The redirector.
    Ours,
    /// What nothing can surpass.
    Limit,
    /// Something else.
    Rival,
}

impl Kind {
    fn colour(self) -> RGBColor {
        match self {
            Self::Ours => RGBColor(0x1b, 0x6f, 0xb8),
            Self::Limit => RGBColor(0x9a, 0xa5, 0xb1),
            Self::Rival => RGBColor(0xd9, 0x8a, 0x3d),
        }
    }

    fn meaning(self) -> &'static str {
        match self {
            Self::Ours => "redirector",
            Self::Limit => "limit: does nothing else",
            Self::Rival => "others",
        }
    }
}

/// A bar.
#[derive(Clone, Debug)]
pub struct Bar {
    /// Its name.
    pub name: String,
    /// How long it is.
    pub value: f64,
    /// Between what the value varied.
    pub between: Option<(f64, f64)>,
    /// What is written at its end.
    pub text: String,
    /// Its colour.
    pub kind: Kind,
}

/// Bars that are compared with each other.
#[derive(Clone, Debug)]
pub struct Group {
    /// What they have in common.
    pub name: String,
    /// The bars.
    pub bars: Vec<Bar>,
}

const WIDTH: i32 = 900;
const NAMES: i32 = 250;
const TEXTS: i32 = 200;
const BAR: i32 = 22;
const GROUP: i32 = 34;
const TOP: i32 = 96;
const BOTTOM: i32 = 14;

const INK: RGBColor = RGBColor(0x22, 0x2b, 0x36);
const FAINT: RGBColor = RGBColor(0x5b, 0x67, 0x75);

/// Draws them all on one scale. Says below the title what longer means.
///
/// # Errors
///
/// There is nothing to draw.
pub fn draw(title: &str, meaning: &str, groups: &[Group]) -> anyhow::Result<String> {
    let bars = || groups.iter().flat_map(|group| &group.bars);
    let longest = bars()
        .map(|bar| {
            bar.between
                .map_or(bar.value, |(_, high)| high.max(bar.value))
        })
        .filter(|value| value.is_finite())
        .fold(0.0, f64::max);
    if longest <= 0.0 {
        return Err(anyhow!("{title}: nothing to draw"));
    }
    let rows = i32::try_from(bars().count())?;
    let height = TOP + rows * BAR + i32::try_from(groups.len())? * GROUP + BOTTOM;
    let mut svg = String::new();
    {
        let size = (WIDTH.unsigned_abs(), height.unsigned_abs());
        let area = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        let failed = |error: DrawingAreaErrorKind<_>| anyhow!("cannot draw {title}: {error}");
        area.fill(&WHITE).map_err(failed)?;
        let write = |text: &str, size: i32, colour: &RGBColor, at: (i32, i32), side: HPos| {
            let style = TextStyle::from(("sans-serif", size).into_font())
                .color(colour)
                .pos(Pos::new(side, VPos::Center));
            area.draw(&Text::new(text.to_owned(), at, style))
        };
        write(title, 20, &INK, (16, 22), HPos::Left).map_err(failed)?;
        write(meaning, 14, &FAINT, (16, 46), HPos::Left).map_err(failed)?;
        let mut x = 16;
        for kind in [Kind::Ours, Kind::Limit, Kind::Rival] {
            if bars().any(|bar| bar.kind == kind) {
                let square = Rectangle::new([(x, 64), (x + 12, 76)], kind.colour().filled());
                area.draw(&square).map_err(failed)?;
                write(kind.meaning(), 13, &FAINT, (x + 18, 70), HPos::Left).map_err(failed)?;
                x += 30 + 7 * i32::try_from(kind.meaning().len())?;
            }
        }
        let room = f64::from(WIDTH - NAMES - TEXTS);
        #[expect(clippy::cast_possible_truncation, reason = "within the picture")]
        let place = |value: f64| NAMES + (value / longest * room).round() as i32;
        let mut y = TOP;
        for group in groups {
            write(&group.name, 15, &INK, (16, y + GROUP / 2), HPos::Left).map_err(failed)?;
            y += GROUP;
            for bar in &group.bars {
                let middle = y + BAR / 2 - 2;
                write(&bar.name, 13, &INK, (NAMES - 8, middle), HPos::Right).map_err(failed)?;
                let end = place(bar.value).max(NAMES + 1);
                let body =
                    Rectangle::new([(NAMES, y), (end, y + BAR - 5)], bar.kind.colour().filled());
                area.draw(&body).map_err(failed)?;
                let mut text_at = end;
                if let Some((low, high)) = bar.between {
                    let whisker = PathElement::new(
                        vec![(place(low), middle), (place(high), middle)],
                        INK.stroke_width(1),
                    );
                    area.draw(&whisker).map_err(failed)?;
                    text_at = text_at.max(place(high));
                }
                write(&bar.text, 13, &INK, (text_at + 6, middle), HPos::Left).map_err(failed)?;
                y += BAR;
            }
        }
        area.present().map_err(failed)?;
    }
    Ok(svg)
}
