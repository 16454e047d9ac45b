//! How arms differ on a chart: by a colour, and by a mark, whose shape alone separates the first
//! twelve arms in grey print.

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::style::{DrawResult, FONT, INK, Plane, Style};

/// Okabe and Ito's colours, which are distinct for any colour vision. Black is for the baseline.
const COLOURS: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(150, 130, 40),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    Disc,
    Square,
    Diamond,
    Triangle,
    InvertedTriangle,
    Plus,
    Cross,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mark {
    Filled(Shape),
    /// White inside. Plus and cross have no inside and are always `Filled`.
    Outlined(Shape),
    /// A row number of the table, used when all looks are taken.
    Row(usize),
}

/// Neighbours in this order differ most. Its length and that of [`COLOURS`] have no common divisor,
/// so stepping through both at once repeats no pair.
const MARKS: [Mark; 12] = [
    Mark::Filled(Shape::Disc),
    Mark::Filled(Shape::Square),
    Mark::Outlined(Shape::Triangle),
    Mark::Filled(Shape::Diamond),
    Mark::Outlined(Shape::Disc),
    Mark::Filled(Shape::Cross),
    Mark::Filled(Shape::InvertedTriangle),
    Mark::Outlined(Shape::Square),
    Mark::Filled(Shape::Triangle),
    Mark::Filled(Shape::Plus),
    Mark::Outlined(Shape::Diamond),
    Mark::Outlined(Shape::InvertedTriangle),
];

/// The number of arms besides the baseline with a look of their own; further arms are numbers.
pub const MAX_LOOKS: usize = MARKS.len() * COLOURS.len();

/// How an arm is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    pub colour: RGBColor,
    mark: Mark,
    /// How many times the palette was used up before; decides how the line is dashed.
    round: usize,
}

impl Look {
    /// Whether the arm is drawn as its row number, since all looks were taken.
    pub fn is_number(self) -> bool {
        matches!(self.mark, Mark::Row(_))
    }

    /// The same with a dashed line.
    pub fn dashed(self) -> Look {
        Look { round: self.round.max(1), ..self }
    }
}

/// One look per arm, without repetition: black marks for the baseline's variants, the palette in
/// order for the others. Beyond twelve baselines and [`MAX_LOOKS`] others, an arm's mark is its
/// row, counted from 1.
pub fn looks(is_baseline: &[bool]) -> Vec<Look> {
    let baselines = is_baseline.iter().filter(|is| **is).count();
    let mut taken = [0, 0];
    let look = |(row, baseline): (usize, &bool)| {
        let next = &mut taken[usize::from(*baseline)];
        let n = *next;
        *next += 1;
        let number = Look { colour: INK, mark: Mark::Row(row + 1), round: 0 };
        match baseline {
            true if n < MARKS.len() => Look { colour: INK, mark: MARKS[n], round: n },
            false if n < MAX_LOOKS => Look {
                colour: COLOURS[n % COLOURS.len()],
                // Marks continue after those of the baselines, so that they differ in grey print.
                mark: MARKS[(baselines + n) % MARKS.len()],
                round: n / COLOURS.len(),
            },
            _ => number,
        }
    };
    is_baseline.iter().enumerate().map(look).collect()
}

impl Style {
    /// Draws an arm's mark around a pixel of `area`.
    pub fn mark<DB: DrawingBackend>(
        &self,
        area: &DrawingArea<DB, Shift>,
        (x, y): (i32, i32),
        look: Look,
    ) -> DrawResult<DB> {
        let stroke = look.colour.stroke_width(self.px(2));
        let at = |(dx, dy): &(i32, i32)| (x + self.offset(*dx), y + self.offset(*dy));
        let (shape, filled) = match look.mark {
            Mark::Filled(shape) => (shape, true),
            Mark::Outlined(shape) => (shape, false),
            Mark::Row(row) => {
                let centre = Pos::new(HPos::Center, VPos::Center);
                let font = (FONT, self.px(11), FontStyle::Bold).into_font().color(&look.colour);
                return area.draw(&Text::new(row.to_string(), (x, y), font.pos(centre)));
            }
        };
        match outline(shape) {
            Outline::Circle(radius) => {
                let circle = |style: ShapeStyle| Circle::new((x, y), self.px(radius), style);
                match filled {
                    true => area.draw(&circle(look.colour.filled())),
                    false => {
                        area.draw(&circle(WHITE.filled()))?;
                        area.draw(&circle(stroke))
                    }
                }
            }
            Outline::Polygon(corners) => {
                if filled {
                    let points: Vec<(i32, i32)> = corners.iter().map(at).collect();
                    return area.draw(&Polygon::new(points, look.colour.filled()));
                }
                // A polygon in a polygon: a stroke would have notches at its corners.
                for (size, colour) in [(1.15, look.colour), (0.6, WHITE)] {
                    let points = scaled(corners, size);
                    let at = |(dx, dy): (f64, f64)| (x + self.fraction(dx), y + self.fraction(dy));
                    let points: Vec<(i32, i32)> = points.into_iter().map(at).collect();
                    area.draw(&Polygon::new(points, colour.filled()))?;
                }
                Ok(())
            }
            Outline::Strokes(strokes) => {
                for ends in strokes {
                    area.draw(&PathElement::new(ends.each_ref().map(at), stroke))?;
                }
                Ok(())
            }
        }
    }

    /// Pixels of a dash and of the gap after it; None for a solid line.
    pub fn dash(&self, look: Look) -> Option<(u32, u32)> {
        match look.round % 3 {
            0 => None,
            1 => Some((self.px(6), self.px(4))),
            _ => Some((self.px(2), self.px(3))),
        }
    }

    /// A line through points, dashed from the palette's second round on.
    pub fn line<DB: DrawingBackend>(
        &self,
        chart: &mut Plane<DB>,
        points: Vec<(f64, f64)>,
        look: Look,
    ) -> DrawResult<DB> {
        let stroke = look.colour.stroke_width(self.px(2));
        if let Some((dash, gap)) = self.dash(look) {
            chart.draw_series(DashedLineSeries::new(points, dash, gap, stroke))?;
        } else {
            chart.draw_series(LineSeries::new(points, stroke))?;
        }
        Ok(())
    }

    /// A band through points (x, low, high), to be drawn behind a line.
    pub fn band<DB: DrawingBackend>(
        &self,
        chart: &mut Plane<DB>,
        points: &[(f64, f64, f64)],
        look: Look,
    ) -> DrawResult<DB> {
        let top = points.iter().map(|p| (p.0, p.2));
        let back = points.iter().rev().map(|p| (p.0, p.1));
        let outline: Vec<_> = top.chain(back).collect();
        chart.draw_series([Polygon::new(outline, look.colour.mix(0.15))])?;
        Ok(())
    }

    /// An arm's mark at a point of a chart on `area`. It is drawn on that area, since the chart's
    /// own area would cut off marks at its edge.
    pub fn marker<DB: DrawingBackend>(
        &self,
        chart: &Plane<DB>,
        area: &DrawingArea<DB, Shift>,
        at: (f64, f64),
        look: Look,
    ) -> DrawResult<DB> {
        let (x, y) = chart.backend_coord(&at);
        let (left, top) = area.get_base_pixel();
        self.mark(area, (x - left, y - top), look)
    }
}

/// The corners of a polygon, moved away from their middle by a factor.
fn scaled(corners: &[(i32, i32)], factor: f64) -> Vec<(f64, f64)> {
    let n = corners.len() as f64;
    let middle = |of: fn(&(i32, i32)) -> i32| corners.iter().map(of).sum::<i32>() as f64 / n;
    let (x, y) = (middle(|c| c.0), middle(|c| c.1));
    let moved =
        |c: &(i32, i32)| (x + factor * (f64::from(c.0) - x), y + factor * (f64::from(c.1) - y));
    corners.iter().map(moved).collect()
}

/// A shape in pixels around its centre.
enum Outline {
    Circle(u32),
    Polygon(&'static [(i32, i32)]),
    Strokes([[(i32, i32); 2]; 2]),
}

fn outline(shape: Shape) -> Outline {
    match shape {
        Shape::Disc => Outline::Circle(5),
        Shape::Square => Outline::Polygon(&[(-4, -4), (4, -4), (4, 4), (-4, 4)]),
        Shape::Diamond => Outline::Polygon(&[(0, -6), (6, 0), (0, 6), (-6, 0)]),
        Shape::Triangle => Outline::Polygon(&[(0, -6), (6, 4), (-6, 4)]),
        Shape::InvertedTriangle => Outline::Polygon(&[(0, 6), (6, -4), (-6, -4)]),
        Shape::Plus => Outline::Strokes([[(-6, 0), (6, 0)], [(0, -6), (0, 6)]]),
        Shape::Cross => Outline::Strokes([[(-4, -4), (4, 4)], [(-4, 4), (4, -4)]]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Looks up to the documented number, then numbers, which do not repeat either.
    #[test]
    fn looks_do_not_repeat() {
        for (baselines, others) in [(1, 20), (12, MAX_LOOKS), (30, 3 * MAX_LOOKS)] {
            // In mixed order, as a sweep over baselines and others gives them.
            let arms: Vec<bool> = (0..baselines + others).map(|i| i < baselines).rev().collect();
            let looks = looks(&arms);
            for (i, look) in looks.iter().enumerate() {
                let same = |l: &&Look| (l.colour, l.mark) == (look.colour, look.mark);
                assert_eq!(looks.iter().filter(same).count(), 1, "arm {i} of {}", arms.len());
            }
            let numbers = looks.iter().filter(|l| l.is_number()).count();
            let spare = (baselines.max(12) - 12) + (others.max(MAX_LOOKS) - MAX_LOOKS);
            assert_eq!(numbers, spare);
        }
    }

    /// Twelve arms, the baseline among them, without any colour.
    #[test]
    fn the_first_twelve_arms_differ_without_colour() {
        let looks = looks(&[[true].as_slice(), &[false; 11]].concat());
        for (i, look) in looks.iter().enumerate() {
            assert!(looks[..i].iter().all(|l| l.mark != look.mark), "arm {i}");
        }
    }
}
