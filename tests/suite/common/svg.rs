//! What a chart's SVG shows: its elements in the order drawn.

/// Pixels.
pub type Point = (f64, f64);

#[derive(Clone, Debug, PartialEq)]
pub struct Element {
    pub tag: String,
    pub fill: String,
    pub stroke: String,
    pub opacity: f64,
    /// Corners or ends; a circle's centre and the ends of its diameter.
    pub points: Vec<Point>,
    /// Of a text.
    pub text: String,
    pub bold: bool,
}

pub fn elements(svg: &str) -> Vec<Element> {
    let mut elements = Vec::new();
    // The picture's first attribute is its width in pixels; its box has finer units.
    let after = |text: &str| svg[svg.find(text).unwrap() + text.len()..].to_string();
    let first = |text: String| text.split(['"', ' ']).next().unwrap().parse::<f64>().unwrap();
    let units = first(after("viewBox=\"0 0 ")) / first(after("<svg width=\""));
    for piece in svg.split('<').skip(1).filter(|piece| !piece.starts_with('/')) {
        let (head, text) = piece.split_once('>').unwrap();
        let tag = head.split([' ', '/']).next().unwrap().to_string();
        let attribute = |name: &str| {
            let from = head.find(&format!(" {name}=\""))? + name.len() + 3;
            Some(head[from..from + head[from..].find('"')?].to_string())
        };
        let number =
            |name: &str| attribute(name).map_or(0.0, |v| v.parse::<f64>().unwrap() / units);
        let points = match tag.as_str() {
            "circle" => {
                let (x, y, r) = (number("cx"), number("cy"), number("r"));
                vec![(x, y), (x - r, y), (x + r, y), (x, y - r), (x, y + r)]
            }
            "rect" => {
                let (x, y) = (number("x"), number("y"));
                vec![(x, y), (x + number("width"), y + number("height"))]
            }
            "line" => vec![(number("x1"), number("y1")), (number("x2"), number("y2"))],
            "text" => vec![(number("x"), number("y"))],
            _ => attribute("points")
                .unwrap_or_default()
                .split_whitespace()
                .map(|p| pair(p, units))
                .collect(),
        };
        let unescaped =
            [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&apos;", "'"), ("&amp;", "&")];
        let text = unescaped.iter().fold(text.trim().to_string(), |t, (a, b)| t.replace(a, b));
        elements.push(Element {
            fill: attribute("fill").unwrap_or_default(),
            stroke: attribute("stroke").unwrap_or_default(),
            bold: attribute("font-weight").is_some_and(|weight| weight == "bold"),
            opacity: attribute("opacity").map_or(1.0, |v| v.parse().unwrap()),
            tag,
            points,
            text,
        });
    }
    elements
}

fn pair(text: &str, units: f64) -> Point {
    let (x, y) = text.split_once(',').unwrap();
    (x.parse::<f64>().unwrap() / units, y.parse::<f64>().unwrap() / units)
}

impl Element {
    /// Whether it is the other element, moved by a vector; and by which.
    fn moved_from(&self, other: &Element) -> Option<Point> {
        let same = (&self.tag, &self.fill, &self.stroke, &self.text)
            == (&other.tag, &other.fill, &other.stroke, &other.text);
        if !same || self.points.len() != other.points.len() {
            return None;
        }
        let (x, y) = (self.points[0].0 - other.points[0].0, self.points[0].1 - other.points[0].1);
        let mut all = self.points.iter().zip(&other.points);
        let near = |a: f64, b: f64| (a - b).abs() < 1e-6;
        let same = all.all(|(a, b)| near(a.0 - b.0, x) && near(a.1 - b.1, y));
        same.then_some((x, y))
    }

    /// Whether it hides what was drawn at a point.
    pub fn covers(&self, (x, y): Point) -> bool {
        let of = |f: fn(&Point) -> f64| self.points.iter().map(f);
        let least = |all: &mut dyn Iterator<Item = f64>| all.fold(f64::INFINITY, f64::min);
        let most = |all: &mut dyn Iterator<Item = f64>| all.fold(f64::NEG_INFINITY, f64::max);
        let within = least(&mut of(|p| p.0)) - 1.0 <= x
            && x <= most(&mut of(|p| p.0)) + 1.0
            && least(&mut of(|p| p.1)) - 1.0 <= y
            && y <= most(&mut of(|p| p.1)) + 1.0;
        within && self.opacity > 0.5 && self.tag != "text"
    }
}

/// A name of the legend with the elements of its mark, and how the mark stands to its place.
pub struct Entry {
    pub name: String,
    pub mark: Vec<Element>,
    pub at: Point,
}

/// The legend's entries, marks without the pieces of lines behind them. `names` are looked for.
pub fn legend(elements: &[Element], names: &[String]) -> Vec<Entry> {
    // A name stands whole, or behind the heading that it shares with others.
    let is_named = |(i, e): (usize, &Element), name: &str| {
        let heading = || elements[..i].iter().rfind(|e| e.tag == "text" && e.bold);
        let behind = |h: &Element| format!("{} {}", h.text, e.text) == name;
        e.tag == "text" && !e.bold && (e.text == name || heading().is_some_and(behind))
    };
    let entry = |name: &String| {
        let at = elements.iter().enumerate().position(|e| is_named(e, name)).unwrap();
        let (x, y) = elements[at].points[0];
        // A name stands 24 pixels behind its mark.
        let centre = (x - 24.0, y);
        let near = |e: &&Element| {
            let dash = e.tag == "polyline"
                && matches!(e.points[..], [a, b] if a.1 == b.1 && (a.0 - b.0).abs() <= 6.0);
            let within = |p: &Point| (p.0 - centre.0).abs() < 8.0 && (p.1 - centre.1).abs() < 8.0;
            !dash && e.points.iter().all(within)
        };
        let before = elements[..at].iter().rev();
        let mut mark: Vec<Element> = before.take_while(near).cloned().collect();
        mark.reverse();
        assert!(!mark.is_empty(), "{name} has no mark");
        Entry { name: name.clone(), mark, at: centre }
    };
    names.iter().map(entry).collect()
}

/// Where an entry's mark is drawn beside its place in the legend, and the place in the order of
/// drawing behind it.
pub fn drawn(elements: &[Element], entry: &Entry) -> Vec<(Point, usize)> {
    let n = entry.mark.len();
    let mut found = Vec::new();
    for i in 0..=elements.len().saturating_sub(n) {
        let Some((dx, dy)) = elements[i].moved_from(&entry.mark[0]) else { continue };
        let mut rest = elements[i..i + n].iter().zip(&entry.mark);
        if (dx, dy) != (0.0, 0.0)
            && rest.all(|(e, m)| {
                let moved = e.moved_from(m);
                moved.is_some_and(|(x, y)| (x - dx).abs() < 1e-6 && (y - dy).abs() < 1e-6)
            })
        {
            found.push(((entry.at.0 + dx, entry.at.1 + dy), i + n));
        }
    }
    found
}

/// What a place on the y axis stands for, by the labels beside it.
pub fn y_scale(elements: &[Element]) -> impl Fn(f64) -> f64 {
    let labels: Vec<(f64, f64)> = elements
        .iter()
        .filter(|e| e.tag == "text" && e.points[0].0 < 70.0)
        .filter_map(|e| Some((e.points[0].1, e.text.parse().ok()?)))
        .collect();
    let (first, last) = (labels[0], labels[labels.len() - 1]);
    let slope = (last.1 - first.1) / (last.0 - first.0);
    move |y| first.1 + (y - first.0) * slope
}
