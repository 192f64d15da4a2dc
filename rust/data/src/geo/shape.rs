//! What is searched: a circle, a box or a polygon; and the cells that cover it.

use super::grid::{Cell, Extent, STEPS};
use super::{Point, RADIUS, degrees, distance_along_meridian, radians};
use smallvec::SmallVec;

/// Half the length of the equator in Mercator's projection, in metres.
const MERCATOR_MAX: f64 = 20_037_726.37;

/// A shape, in metres.
#[derive(Debug, Clone, PartialEq)]
pub enum Form {
    /// Up to so far from the centre.
    Circle(f64),
    /// So wide and so high, with the centre in the middle.
    Box(f64, f64),
    /// Inside the line that goes around these points. Neither it nor what it encloses crosses the 180th
    /// meridian.
    Polygon(Vec<Point>),
}

/// Where something is searched.
#[derive(Debug, Clone, PartialEq)]
pub struct Shape {
    /// From here distances are counted.
    pub center: Point,
    /// What is around it.
    pub form: Form,
}

/// The limits of a shape, in degrees, and what the size of the cells follows from.
struct Limits {
    middle: Point,
    west: f64,
    south: f64,
    east: f64,
    north: f64,
    /// How far the shape reaches from the middle, in metres.
    reach: f64,
}

impl Shape {
    /// A polygon. Distances are counted from the mean of its vertices.
    pub fn polygon(vertices: Vec<Point>) -> Shape {
        let n = vertices.len().max(1) as f64;
        let mean = |of: fn(&Point) -> f64| vertices.iter().map(of).sum::<f64>() / n;
        let center = Point { longitude: mean(|p| p.longitude), latitude: mean(|p| p.latitude) };
        Shape { center, form: Form::Polygon(vertices) }
    }

    /// How far a point inside is from the centre, in metres; `None` for a point outside.
    pub(super) fn distance(&self, point: Point) -> Option<f64> {
        match &self.form {
            Form::Circle(radius) => {
                Some(self.center.distance(point)).filter(|distance| distance <= radius)
            }
            Form::Box(width, height) => {
                if distance_along_meridian(point.latitude, self.center.latitude) > height / 2.0 {
                    return None;
                }
                // The width holds at every latitude of the box.
                let across = Point { longitude: self.center.longitude, ..point };
                if point.distance(across) > width / 2.0 {
                    return None;
                }
                Some(self.center.distance(point))
            }
            Form::Polygon(vertices) => {
                encloses(vertices, point).then(|| self.center.distance(point))
            }
        }
    }

    fn limits(&self) -> Limits {
        let (half_width, half_height) = match &self.form {
            Form::Circle(radius) => (*radius, *radius),
            Form::Box(width, height) => (width / 2.0, height / 2.0),
            Form::Polygon(vertices) => return Limits::of_polygon(vertices),
        };
        let Point { longitude, latitude } = self.center;
        let up = degrees(half_height / RADIUS);
        // A degree is shorter towards the poles, so the side that is nearer to one counts.
        let at = if latitude < 0.0 { latitude - up } else { latitude + up };
        let aside = degrees(half_width / RADIUS / radians(at).cos());
        let reach = match &self.form {
            Form::Circle(radius) => *radius,
            _ => (half_width * half_width + half_height * half_height).sqrt(),
        };
        Limits {
            middle: self.center,
            west: longitude - aside,
            east: longitude + aside,
            south: latitude - up,
            north: latitude + up,
            reach,
        }
    }

    /// Ranges of scores, the first and the one behind the last, that cover the shape: the cell in the middle
    /// and those of its eight neighbours that are needed.
    pub(super) fn ranges(&self) -> SmallVec<[(f64, f64); 9]> {
        let limits = self.limits();
        let mut steps = steps(limits.reach, limits.middle.latitude);
        let cell = |steps: u32| Cell::at(limits.middle, &Extent::EARTH, steps);
        let middle = cell(steps);
        let falls_short = middle.neighbour(0, 1).area().north < limits.north
            || middle.neighbour(0, -1).area().south > limits.south
            || middle.neighbour(1, 0).area().east < limits.east
            || middle.neighbour(-1, 0).area().west > limits.west;
        if falls_short && steps > 1 {
            steps -= 1;
        }
        let (middle, area) = (cell(steps), cell(steps).area());
        // With two by two cells all are neighbours; leaving one out on one side would lose the other.
        let all = steps < 2;
        let wanted = |east: i32, north: i32| {
            all || !((north < 0 && area.south < limits.south)
                || (north > 0 && area.north > limits.north)
                || (east < 0 && area.west < limits.west)
                || (east > 0 && area.east > limits.east))
        };
        let around = [(0, 0), (0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (-1, 1), (1, -1), (-1, -1)];
        let mut ranges: SmallVec<[(f64, f64); 9]> = SmallVec::new();
        for (east, north) in around {
            let range = middle.neighbour(east, north).scores();
            // In a coarse grid a cell is its own neighbour.
            if wanted(east, north) && ranges.last() != Some(&range) {
                ranges.push(range);
            }
        }
        ranges
    }
}

impl Limits {
    fn of_polygon(vertices: &[Point]) -> Limits {
        let side = |of: fn(&Point) -> f64, pick: fn(f64, f64) -> f64| {
            vertices.iter().map(of).reduce(pick).unwrap_or_default()
        };
        let (west, east) = (side(|p| p.longitude, f64::min), side(|p| p.longitude, f64::max));
        let (south, north) = (side(|p| p.latitude, f64::min), side(|p| p.latitude, f64::max));
        let middle = Point { longitude: (west + east) / 2.0, latitude: (south + north) / 2.0 };
        let corners = [south, north].map(|latitude| Point { longitude: west, latitude });
        let reach = corners.iter().map(|corner| middle.distance(*corner)).fold(0.0, f64::max);
        Limits { middle, west, south, east, north, reach }
    }
}

/// The steps of a grid whose cells are about as large as a shape that reaches so far.
fn steps(mut reach: f64, latitude: f64) -> u32 {
    if reach == 0.0 {
        return STEPS;
    }
    let mut steps = 1i32;
    while reach < MERCATOR_MAX {
        reach *= 2.0;
        steps += 1;
    }
    // So that in most cases the neighbours cover it.
    steps -= 2;
    // Cells are narrower towards the poles.
    if latitude.abs() > 66.0 {
        steps -= 1;
        if latitude.abs() > 80.0 {
            steps -= 1;
        }
    }
    steps.clamp(1, STEPS as i32) as u32
}

/// Whether a polygon encloses a point: whether a ray from it to the east crosses the line an odd number of
/// times. A vertex belongs to the side above it.
fn encloses(vertices: &[Point], point: Point) -> bool {
    let mut inside = false;
    let mut from = vertices.last();
    for to in vertices {
        if let Some(from) = from
            && (from.latitude > point.latitude) != (to.latitude > point.latitude)
        {
            let share = (point.latitude - from.latitude) / (to.latitude - from.latitude);
            let crossing = from.longitude + share * (to.longitude - from.longitude);
            inside ^= point.longitude < crossing;
        }
        from = Some(to);
    }
    inside
}
