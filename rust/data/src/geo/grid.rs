//! The grid of a geohash: cells of one size, numbered so that halving a cell adds a bit to its number.
//!
//! A grid of step `n` has 2^n by 2^n cells. A cell's number holds the bits of its row (south to north) and of
//! its column (west to east) in turn, the column's first: so the number of a cell is the start of the numbers
//! of all cells inside.

use super::Point;

/// The steps of the finest grid: its numbers fit a double.
pub(super) const STEPS: u32 = 26;

/// What a grid covers, in degrees.
pub(super) struct Extent {
    longitude: (f64, f64),
    latitude: (f64, f64),
}

impl Extent {
    /// What web maps show: Mercator's projection as a square.
    pub(super) const EARTH: Extent =
        Extent { longitude: (-180.0, 180.0), latitude: (-85.051_128_78, 85.051_128_78) };
    /// Everything.
    pub(super) const GLOBE: Extent = Extent { longitude: (-180.0, 180.0), latitude: (-90.0, 90.0) };

    pub(super) fn contains(&self, point: Point) -> bool {
        let within = |value: f64, (from, to): (f64, f64)| value >= from && value <= to;
        within(point.longitude, self.longitude) && within(point.latitude, self.latitude)
    }
}

/// A cell of the grid over [`Extent::EARTH`] (or, for a geohash's text, over the globe).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cell {
    column: u32,
    row: u32,
    steps: u32,
}

/// Where a cell lies, in degrees.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Area {
    pub(super) west: f64,
    pub(super) east: f64,
    pub(super) south: f64,
    pub(super) north: f64,
}

impl Area {
    pub(super) fn middle(&self) -> Point {
        let ((west, east), (south, north)) = (Extent::EARTH.longitude, Extent::EARTH.latitude);
        Point {
            longitude: ((self.west + self.east) / 2.0).clamp(west, east),
            latitude: ((self.south + self.north) / 2.0).clamp(south, north),
        }
    }
}

impl Cell {
    /// The cell in which a point lies.
    pub(super) fn at(point: Point, extent: &Extent, steps: u32) -> Cell {
        let part = |value: f64, (from, to): (f64, f64)| {
            // The far border belongs to no cell; it wraps, as everything does here.
            ((value - from) / (to - from) * (1u64 << steps) as f64) as u64 as u32
        };
        Cell {
            column: part(point.longitude, extent.longitude),
            row: part(point.latitude, extent.latitude),
            steps,
        }
    }

    /// The cell of the finest grid that a score names. Sorted sets may hold any score: those that name no cell
    /// are taken as Redis takes them, by what its processors make of such a double.
    pub(super) fn of_score(score: f64) -> Cell {
        const HALF: f64 = (1u64 << 63) as f64;
        let bits = match score {
            score if score < HALF => score as i64 as u64,
            score if score < 2.0 * HALF => score as u64,
            _ => 0,
        };
        Cell { column: gather(bits >> 1), row: gather(bits), steps: STEPS }
    }

    pub(super) fn bits(&self) -> u64 {
        spread(self.row) | spread(self.column) << 1
    }

    /// The numbers of its cells in the finest grid: the first, and the one behind the last.
    pub(super) fn scores(&self) -> (f64, f64) {
        let below = 2 * (STEPS - self.steps);
        let bits = self.bits();
        ((bits << below) as f64, ((bits + 1) << below) as f64)
    }

    /// The cell so many columns to the east and rows to the north; the grid has no borders.
    pub(super) fn neighbour(&self, east: i32, north: i32) -> Cell {
        let mask = u32::MAX >> (32 - self.steps);
        Cell {
            column: self.column.wrapping_add_signed(east) & mask,
            row: self.row.wrapping_add_signed(north) & mask,
            steps: self.steps,
        }
    }

    /// Where it lies in the grid over [`Extent::EARTH`].
    pub(super) fn area(&self) -> Area {
        let border = |n: u64, (from, to): (f64, f64)| {
            from + (n as f64 / (1u64 << self.steps) as f64) * (to - from)
        };
        let (column, row) = (u64::from(self.column), u64::from(self.row));
        let Extent { longitude, latitude } = Extent::EARTH;
        Area {
            west: border(column, longitude),
            east: border(column + 1, longitude),
            south: border(row, latitude),
            north: border(row + 1, latitude),
        }
    }
}

/// Puts a zero before each bit: bit `n` becomes bit `2n`.
fn spread(bits: u32) -> u64 {
    let mut x = u64::from(bits);
    x = (x | x << 16) & 0x0000_ffff_0000_ffff;
    x = (x | x << 8) & 0x00ff_00ff_00ff_00ff;
    x = (x | x << 4) & 0x0f0f_0f0f_0f0f_0f0f;
    x = (x | x << 2) & 0x3333_3333_3333_3333;
    (x | x << 1) & 0x5555_5555_5555_5555
}

/// Takes every other bit: what [`spread`] made, undone.
fn gather(bits: u64) -> u32 {
    let mut x = bits & 0x5555_5555_5555_5555;
    x = (x | x >> 1) & 0x3333_3333_3333_3333;
    x = (x | x >> 2) & 0x0f0f_0f0f_0f0f_0f0f;
    x = (x | x >> 4) & 0x00ff_00ff_00ff_00ff;
    x = (x | x >> 8) & 0x0000_ffff_0000_ffff;
    (x | x >> 16) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_spread_and_gathered() {
        for bits in [0, 1, 2, 3, 0x8000_0001, 0x1234_5678, u32::MAX] {
            assert_eq!(gather(spread(bits)), bits);
            assert_eq!(spread(bits).count_ones(), bits.count_ones());
        }
        assert_eq!(spread(0b111), 0b10101);
    }

    #[test]
    fn cells_have_neighbours_all_around() {
        let corner = Cell { column: 0, row: 3, steps: 2 };
        assert_eq!(corner.neighbour(-1, 1), Cell { column: 3, row: 0, steps: 2 });
        assert_eq!(corner.neighbour(1, -1), Cell { column: 1, row: 2, steps: 2 });
        let whole = Cell { column: 1, row: 1, steps: 1 };
        assert_eq!(whole.scores(), (3.0 * 2f64.powi(50), 2f64.powi(52)));
    }
}
