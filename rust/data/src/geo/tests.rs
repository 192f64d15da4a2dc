use super::*;

const PALERMO: Point = Point { longitude: 13.361389, latitude: 38.115556 };
const CATANIA: Point = Point { longitude: 15.087269, latitude: 37.502669 };

/// Numbers that redis-server answers.
#[test]
fn scores_texts_and_distances_are_redis_s() {
    assert_eq!(PALERMO.score(), 3_479_099_956_230_698.0);
    assert_eq!(CATANIA.score(), 3_479_447_370_796_909.0);
    let (palermo, catania) = (Point::of_score(PALERMO.score()), Point::of_score(CATANIA.score()));
    assert_eq!(format!("{:.17}", palermo.longitude), "13.36138933897018433");
    assert_eq!(format!("{:.17}", palermo.latitude), "38.11555639549629859");
    assert_eq!(&palermo.text(), b"sqc8b49rny0");
    assert_eq!(&catania.text(), b"sqdtr74hyu0");
    assert_eq!(format!("{:.4}", palermo.distance(catania)), "166274.1516");
    assert_eq!(palermo.distance(palermo), 0.0);
}

#[test]
fn points_at_the_borders() {
    for (longitude, latitude, valid) in [
        (180.0, 85.051_128_78, true),
        (-180.0, -85.051_128_78, true),
        (180.1, 0.0, false),
        (0.0, 85.06, false),
        (f64::NAN, 0.0, false),
    ] {
        assert_eq!(Point { longitude, latitude }.is_valid(), valid, "{longitude} {latitude}");
    }
    // Whatever a score is, there is a point for it.
    for score in [-1.0, 0.5, 2f64.powi(52), 1e300, f64::INFINITY] {
        assert!(Point::of_score(score).is_valid(), "{score}");
    }
}

fn at(longitude: f64, latitude: f64) -> Point {
    Point { longitude, latitude }
}

#[test]
fn shapes_contain_what_they_should() {
    let circle = Shape { center: at(15.0, 37.0), form: Form::Circle(200_000.0) };
    assert!(circle.distance(PALERMO).is_some());
    let small = Shape { center: at(15.0, 37.0), form: Form::Circle(100_000.0) };
    assert!(small.distance(PALERMO).is_none() && small.distance(CATANIA).is_some());
    let flat = Shape { center: at(15.0, 37.0), form: Form::Box(400_000.0, 100_000.0) };
    assert!(flat.distance(PALERMO).is_none() && flat.distance(CATANIA).is_none());
    let high = Shape { center: at(15.0, 37.0), form: Form::Box(50_000.0, 400_000.0) };
    assert!(high.distance(PALERMO).is_none() && high.distance(CATANIA).is_some());
    let hook = Shape::polygon(vec![
        at(0.0, 0.0),
        at(4.0, 0.0),
        at(4.0, 4.0),
        at(3.0, 4.0),
        at(3.0, 1.0),
        at(0.0, 1.0),
    ]);
    for (point, inside) in [
        (at(2.0, 0.5), true),
        (at(3.5, 3.5), true),
        (at(2.0, 2.0), false),
        (at(-1.0, 0.5), false),
        (at(3.5, 4.5), false),
    ] {
        assert_eq!(hook.distance(point).is_some(), inside, "{point:?}");
    }
}

/// Whatever is inside a shape is in one of its ranges of scores.
#[test]
fn ranges_cover_the_shape() {
    let mut rng = forgekv_base::rng::Rng::seeded(5);
    for _ in 0..300 {
        let center = at(rng.f64() * 300.0 - 150.0, rng.f64() * 120.0 - 60.0);
        let size = 10f64.powf(rng.f64() * 5.0 + 1.0);
        let degrees = size / 111_000.0;
        let shape = match rng.below(3) {
            0 => Shape { center, form: Form::Circle(size) },
            1 => Shape { center, form: Form::Box(2.0 * size, 2.0 * size * rng.f64()) },
            _ => Shape::polygon(
                (0..5)
                    .map(|_| {
                        let (x, y) = (rng.f64() - 0.5, rng.f64() - 0.5);
                        at(center.longitude + x * degrees, center.latitude + y * degrees)
                    })
                    .collect(),
            ),
        };
        let ranges = shape.ranges();
        assert!(!ranges.is_empty() && ranges.len() <= 9);
        for _ in 0..100 {
            let x = (rng.f64() - 0.5) * 2.0 * degrees / center.latitude.to_radians().cos();
            let y = (rng.f64() - 0.5) * 2.0 * degrees;
            let point = at(center.longitude + x, center.latitude + y);
            if !point.is_valid() {
                continue;
            }
            let score = point.score();
            if shape.distance(Point::of_score(score)).is_some() {
                let covered = ranges.iter().any(|(from, to)| (from..to).contains(&&score));
                assert!(covered, "{shape:?} {point:?}");
            }
        }
    }
}
