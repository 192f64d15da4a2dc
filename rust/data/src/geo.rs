//! Points on the globe, kept as scores of a sorted set.
//!
//! A point's score is the number of its cell in a grid of 2^26 by 2^26 cells (see [`grid`]): the numbers of
//! cells that lie together mostly lie together, so what is near a point is found in a few ranges of scores.
//! Distances are those on a sphere (the haversine formula). All of it is Redis's geometry, down to the order
//! of floating-point operations, because users see scores, coordinates and distances.

mod grid;
mod search;
mod shape;

pub use search::{Found, Search, Sort, search};
pub use shape::{Form, Shape};

use grid::{Cell, Extent};

/// The earth's radius in metres.
const RADIUS: f64 = 6_372_797.560_856;

/// The digits of a geohash's text.
const ALPHABET: &[u8; 32] = b"0123456789bcdefghjkmnpqrstuvwxyz";
/// The characters of a geohash's text.
pub const TEXT: usize = 11;

/// A point, in degrees.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    /// East of Greenwich.
    pub longitude: f64,
    /// North of the equator.
    pub latitude: f64,
}

impl Point {
    /// Whether the point can be kept: the poles are left out.
    pub fn is_valid(self) -> bool {
        Extent::EARTH.contains(self)
    }

    /// The number of its cell, which is below 2^52 and so exact in a double.
    pub fn score(self) -> f64 {
        Cell::at(self, &Extent::EARTH, grid::STEPS).bits() as f64
    }

    /// The middle of the cell that a score names.
    pub fn of_score(score: f64) -> Point {
        Cell::of_score(score).area().middle()
    }

    /// The text that geohash.org would give, its last character aside, which is always `0`: 52 bits do not
    /// reach that far. Its grid goes up to the poles.
    pub fn text(self) -> [u8; TEXT] {
        let bits = Cell::at(self, &Extent::GLOBE, grid::STEPS).bits();
        let mut text = [b'0'; TEXT];
        for (n, character) in text.iter_mut().enumerate().take(TEXT - 1) {
            let digit = (bits >> (52 - 5 * (n + 1))) & 31;
            *character = ALPHABET.get(digit as usize).copied().unwrap_or(b'0');
        }
        text
    }

    /// The distance to another point along the surface, in metres.
    pub fn distance(self, other: Point) -> f64 {
        let (east, west) = (radians(other.longitude), radians(self.longitude));
        let v = ((east - west) / 2.0).sin();
        // On one meridian no more is needed, and this is more exact.
        if v == 0.0 {
            return distance_along_meridian(self.latitude, other.latitude);
        }
        let (a, b) = (radians(self.latitude), radians(other.latitude));
        let u = ((b - a) / 2.0).sin();
        let h = u * u + a.cos() * b.cos() * v * v;
        2.0 * RADIUS * h.sqrt().asin()
    }
}

/// The distance between two latitudes, in metres.
fn distance_along_meridian(a: f64, b: f64) -> f64 {
    RADIUS * (radians(b) - radians(a)).abs()
}

fn radians(degrees: f64) -> f64 {
    degrees * (std::f64::consts::PI / 180.0)
}

fn degrees(radians: f64) -> f64 {
    radians / (std::f64::consts::PI / 180.0)
}

#[cfg(test)]
#[path = "geo/tests.rs"]
mod tests;
