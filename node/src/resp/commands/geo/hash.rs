//! Where is it? A place on the earth as 52 bits: longitude and latitude halved 26 times each, bit by bit in turn.

/// The mean radius of the earth, in meters.
const EARTH_RADIUS: f64 = 6_372_797.560856;
/// Half the length of the equator in Mercator's projection, in meters.
const MERCATOR_MAX: f64 = 20_037_726.37;
const RADIANS: f64 = std::f64::consts::PI / 180.0;

pub(super) const LONGITUDE_MAX: f64 = 180.0;
/// Where Mercator's map is a square.
pub(super) const LATITUDE_MAX: f64 = 85.051_128_78;
/// The latitudes of the standard's geohash.
pub(super) const POLE: f64 = 90.0;
/// Halvings of each axis in a score.
pub(super) const STEPS_MAX: u32 = 26;

/// A place, in degrees.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Place {
    pub(super) longitude: f64,
    pub(super) latitude: f64,
}

/// A square of the earth. No steps: none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Cell {
    pub(super) bits: u64,
    steps: u32,
}

/// The sides of a cell.
struct Area {
    west: f64,
    east: f64,
    south: f64,
    north: f64,
}

fn spread(number: u32) -> u64 {
    let mut bits = u64::from(number);
    for (shift, mask) in [
        (16, 0x0000_FFFF_0000_FFFF),
        (8, 0x00FF_00FF_00FF_00FF),
        (4, 0x0F0F_0F0F_0F0F_0F0F),
        (2, 0x3333_3333_3333_3333),
        (1, 0x5555_5555_5555_5555),
    ] {
        bits = (bits | bits << shift) & mask;
    }
    bits
}

fn gather(bits: u64) -> u32 {
    let mut bits = bits & 0x5555_5555_5555_5555;
    for (shift, mask) in [
        (1, 0x3333_3333_3333_3333),
        (2, 0x0F0F_0F0F_0F0F_0F0F),
        (4, 0x00FF_00FF_00FF_00FF),
        (8, 0x0000_FFFF_0000_FFFF),
        (16, 0x0000_0000_FFFF_FFFF),
    ] {
        bits = (bits | bits >> shift) & mask;
    }
    bits as u32
}

impl Cell {
    pub(super) fn of(place: Place, steps: u32, latitude_max: f64) -> Self {
        let size = (1u64 << steps) as f64;
        let latitude = (place.latitude + latitude_max) / (latitude_max + latitude_max) * size;
        let longitude = (place.longitude + LONGITUDE_MAX) / (LONGITUDE_MAX + LONGITUDE_MAX) * size;
        Self { bits: spread(latitude as u32) | spread(longitude as u32) << 1, steps }
    }

    fn area(self) -> Area {
        let size = (1u64 << self.steps) as f64;
        let at = |index: f64, max: f64| -max + index / size * (max + max);
        let (row, column) = (f64::from(gather(self.bits)), f64::from(gather(self.bits >> 1)));
        Area {
            west: at(column, LONGITUDE_MAX),
            east: at(column + 1.0, LONGITUDE_MAX),
            south: at(row, LATITUDE_MAX),
            north: at(row + 1.0, LATITUDE_MAX),
        }
    }

    /// The cell so many columns to the east and rows to the north, around the edge if need be. A place at the edge of the
    /// map lies in a row or column beyond the last one, and stays there unless it is left.
    fn beside(self, east: i32, north: i32) -> Self {
        let mask = ((1u64 << self.steps) - 1) as u32;
        let moved = |index: u32, by: i32| if by == 0 { index } else { index.wrapping_add_signed(by) & mask };
        let (column, row) = (moved(gather(self.bits >> 1), east), moved(gather(self.bits), north));
        Self { bits: spread(row) | spread(column) << 1, ..self }
    }

    /// The scores of the places in the cell: from the first, to before the second.
    pub(super) fn scores(self) -> (f64, f64) {
        let shift = 52 - 2 * self.steps;
        ((self.bits << shift) as f64, ((self.bits + 1) << shift) as f64)
    }
}

impl Place {
    pub(super) fn is_on_the_map(self) -> bool {
        self.longitude.abs() <= LONGITUDE_MAX && self.latitude.abs() <= LATITUDE_MAX
    }

    pub(super) fn score(self) -> u64 {
        Cell::of(self, STEPS_MAX, LATITUDE_MAX).bits
    }

    /// The middle of the cell that a score stands for.
    pub(super) fn from_score(score: f64) -> Self {
        let area = Cell { bits: bits_of(score), steps: STEPS_MAX }.area();
        Self {
            longitude: ((area.west + area.east) / 2.0).clamp(-LONGITUDE_MAX, LONGITUDE_MAX),
            latitude: ((area.south + area.north) / 2.0).clamp(-LATITUDE_MAX, LATITUDE_MAX),
        }
    }

    /// Meters to another place, along a great circle.
    pub(super) fn distance(self, other: Self) -> f64 {
        let v = ((other.longitude * RADIANS - self.longitude * RADIANS) / 2.0).sin();
        if v == 0.0 {
            return north_south(self.latitude, other.latitude);
        }
        let (first, second) = (self.latitude * RADIANS, other.latitude * RADIANS);
        let u = ((second - first) / 2.0).sin();
        let a = u * u + first.cos() * second.cos() * v * v;
        2.0 * EARTH_RADIUS * a.sqrt().asin()
    }

    /// The eleven letters of the standard's geohash.
    pub(super) fn geohash(self) -> [u8; 11] {
        const ALPHABET: &[u8; 32] = b"0123456789bcdefghjkmnpqrstuvwxyz";
        let bits = Cell::of(self, STEPS_MAX, POLE).bits;
        std::array::from_fn(|place| {
            // The last letter would need more bits than there are.
            let index = if place == 10 { 0 } else { bits >> (52 - (place + 1) * 5) & 0x1F };
            ALPHABET[index as usize]
        })
    }
}

fn north_south(first: f64, second: f64) -> f64 {
    EARTH_RADIUS * (second * RADIANS - first * RADIANS).abs()
}

/// What is searched, in meters.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Shape {
    Circle { radius: f64 },
    Box { width: f64, height: f64 },
}

impl Shape {
    /// How far a place is from the center, if it is within.
    pub(super) fn distance(self, center: Place, place: Place) -> Option<f64> {
        match self {
            Self::Circle { radius } => Some(center.distance(place)).filter(|distance| *distance <= radius),
            Self::Box { width, height } => {
                let is_within = north_south(place.latitude, center.latitude) <= height / 2.0
                    && place.distance(Place { latitude: place.latitude, ..center }) <= width / 2.0;
                is_within.then(|| center.distance(place))
            }
        }
    }

    /// The cells that hold all of it, in the order in which Redis looks at them.
    pub(super) fn cells(self, center: Place) -> Vec<Cell> {
        let (radius, half_width, half_height) = match self {
            Self::Circle { radius } => (radius, radius, radius),
            Self::Box { width, height } => {
                ((width / 2.0 * (width / 2.0) + height / 2.0 * (height / 2.0)).sqrt(), width / 2.0, height / 2.0)
            }
        };
        let degrees = half_height / EARTH_RADIUS / RADIANS;
        let widest = if center.latitude < 0.0 { center.latitude - degrees } else { center.latitude + degrees };
        let sideways = half_width / EARTH_RADIUS / (widest * RADIANS).cos() / RADIANS;
        let (west, east) = (center.longitude - sideways, center.longitude + sideways);
        let (south, north) = (center.latitude - degrees, center.latitude + degrees);
        let mut steps = steps(radius, center.latitude);
        let mut middle = Cell::of(center, steps, LATITUDE_MAX);
        let is_too_small = middle.beside(0, 1).area().north < north
            || middle.beside(0, -1).area().south > south
            || middle.beside(1, 0).area().east < east
            || middle.beside(-1, 0).area().west > west;
        if steps > 1 && is_too_small {
            steps -= 1;
            middle = Cell::of(center, steps, LATITUDE_MAX);
        }
        let area = middle.area();
        let is_wanted = |to_east: i32, to_north: i32| {
            steps < 2
                || !(to_north < 0 && area.south < south
                    || to_north > 0 && area.north > north
                    || to_east < 0 && area.west < west
                    || to_east > 0 && area.east > east)
        };
        let around = [(0, 0), (0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (-1, 1), (1, -1), (-1, -1)];
        let mut cells = around.map(|(x, y)| is_wanted(x, y).then(|| middle.beside(x, y))).into_iter().flatten();
        // Huge shapes meet the same cell again on the other side of the earth, one after the other. The one in the
        // middle is not looked at for that: Redis begins with the second.
        let mut wanted: Vec<Cell> = cells.next().into_iter().collect();
        for cell in cells {
            if wanted.len() < 2 || wanted.last() != Some(&cell) {
                wanted.push(cell);
            }
        }
        wanted
    }
}

/// How often the axes are halved, so that nine cells hold a circle.
fn steps(radius: f64, latitude: f64) -> u32 {
    if radius == 0.0 {
        return STEPS_MAX;
    }
    let (mut range, mut steps) = (radius, 1i32);
    while range < MERCATOR_MAX {
        range *= 2.0;
        steps += 1;
    }
    steps -= 2;
    // Towards the poles the degrees are narrower.
    if latitude.abs() > 66.0 {
        steps -= 1;
        if latitude.abs() > 80.0 {
            steps -= 1;
        }
    }
    steps.clamp(1, STEPS_MAX as i32) as u32
}

/// What the compilers of Redis make of a score that is no place, on x86: negative ones wrap, the greatest are 0.
fn bits_of(score: f64) -> u64 {
    /// 2^63.
    const HALF: f64 = 9_223_372_036_854_775_808.0;
    if score < HALF {
        return score as i64 as u64;
    }
    let beyond = score - HALF;
    if beyond < HALF { beyond as u64 ^ 1 << 63 } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_survive_as_scores_and_letters() {
        let palermo = Place { longitude: 13.361389, latitude: 38.115556 };
        assert_eq!(palermo.score(), 3_479_099_956_230_698);
        let back = Place::from_score(palermo.score() as f64);
        assert_eq!(
            format!("{:.17} {:.17}", back.longitude, back.latitude),
            "13.36138933897018433 38.11555639549629859"
        );
        assert_eq!(&back.geohash(), b"sqc8b49rny0");
        let catania = Place { longitude: 15.087269, latitude: 37.502669 };
        let distance = back.distance(Place::from_score(catania.score() as f64));
        assert_eq!(format!("{distance:.4}"), "166274.1516");
    }

    #[test]
    fn the_cells_of_a_shape_hold_all_of_it() {
        use rand::{Rng, SeedableRng};
        let mut rng = rand::rngs::SmallRng::seed_from_u64(5);
        for _ in 0..2_000 {
            let place = |rng: &mut rand::rngs::SmallRng| Place {
                longitude: rng.random_range(-180.0..180.0),
                latitude: rng.random_range(-70.0..70.0),
            };
            let center = place(&mut rng);
            let shape = Shape::Circle { radius: 10f64.powf(rng.random_range(1.0..6.0)) };
            let near = Place {
                longitude: center.longitude + rng.random_range(-1.0..1.0),
                latitude: center.latitude + rng.random_range(-1.0..1.0),
            };
            if near.is_on_the_map() && shape.distance(center, near).is_some() {
                let score = near.score() as f64;
                let cells = shape.cells(center);
                assert!(
                    cells.iter().any(|cell| (cell.scores().0..cell.scores().1).contains(&score)),
                    "{center:?} {near:?}"
                );
            }
        }
    }
}
