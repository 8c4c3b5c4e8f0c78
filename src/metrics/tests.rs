use prometheus::TextEncoder;

use super::*;

pub(super) fn declared(name: &str, kind: Kind, labels: &[&str]) -> Declaration {
    Declaration {
        name: name.into(),
        kind,
        help: "Helps.".into(),
        labels: labels.iter().map(|label| (*label).to_owned()).collect(),
        ..Declaration::default()
    }
}

fn text(collectors: &Collectors) -> String {
    let mut text = String::new();
    TextEncoder::new().encode_utf8(&collectors.gather(), &mut text).unwrap();
    text
}

fn add(collectors: &Collectors, name: &str, value: f64, labels: &[&str]) -> Result<(), Error> {
    collectors.change(name, Change::Add, value, &labels.iter().map(|label| (*label).to_owned()).collect::<Vec<_>>())
}

#[test]
fn each_kind_is_shown_as_prometheus_reads_it() {
    let all = Collectors::new(100);
    let named = Declaration { namespace: "app".into(), subsystem: "shop".into(), ..declared("sold", Kind::Counter, &["what"]) };
    all.declare(named).unwrap();
    all.declare(declared("open", Kind::Gauge, &[])).unwrap();
    all.declare(Declaration { buckets: vec![1.0, 2.0], ..declared("took", Kind::Histogram, &[]) }).unwrap();
    all.declare(Declaration { objectives: vec![(0.5, 0.05), (0.9, 0.01)], ..declared("size", Kind::Summary, &[]) }).unwrap();
    all.declare(declared("unused", Kind::Counter, &["label"])).unwrap();
    add(&all, "sold", 2.0, &["tea \"green\"\n"]).unwrap();
    add(&all, "sold", 1.5, &["tea \"green\"\n"]).unwrap();
    for (change, value) in [(Change::Set, 5.0), (Change::Sub, 2.0), (Change::Add, 0.5)] {
        all.change("open", change, value, &[]).unwrap();
    }
    for value in [1.0, 1.5, 9.0] {
        all.change("took", Change::Observe, value, &[]).unwrap();
    }
    for value in 1..=10 {
        all.change("size", Change::Observe, f64::from(value), &[]).unwrap();
    }
    assert_eq!(
        text(&all),
        "# HELP app_shop_sold Helps.\n# TYPE app_shop_sold counter\napp_shop_sold{what=\"tea \\\"green\\\"\\n\"} 3.5\n\
         # HELP open Helps.\n# TYPE open gauge\nopen 3.5\n\
         # HELP size Helps.\n# TYPE size summary\nsize{quantile=\"0.5\"} 5\nsize{quantile=\"0.9\"} 9\nsize_sum 55\nsize_count 10\n\
         # HELP took Helps.\n# TYPE took histogram\ntook_bucket{le=\"1\"} 1\ntook_bucket{le=\"2\"} 2\ntook_bucket{le=\"+Inf\"} 3\n\
         took_sum 11.5\ntook_count 3\n"
    );
}

#[test]
fn what_does_not_fit_is_refused_in_roadrunners_words() {
    let all = Collectors::new(100);
    all.declare(declared("counter", Kind::Counter, &[])).unwrap();
    all.declare(declared("labelled", Kind::Gauge, &["a", "b"])).unwrap();
    assert_eq!(all.declare(declared("counter", Kind::Gauge, &["x"])), Ok(()), "the first one stays");
    let duplicate = Declaration { namespace: "labelled".into(), ..declared("x", Kind::Gauge, &[]) };
    all.declare(duplicate).unwrap();
    let told = |result: Result<(), Error>| result.unwrap_err().to_string();
    assert_eq!(
        told(all.declare(declared("labelled_x", Kind::Gauge, &[]))),
        "duplicate metrics collector registration attempted: labelled_x has another name already"
    );
    assert_eq!(told(add(&all, "nobody", 1.0, &[])), "undefined collector: nobody");
    assert_eq!(told(add(&all, "labelled", 1.0, &[])), "required labels for collector: labelled");
    assert!(
        told(add(&all, "labelled", 1.0, &["1"])).starts_with("inconsistent label cardinality: expected 2 label values but got 1")
    );
    assert_eq!(told(add(&all, "counter", -1.0, &[])), "counter cannot decrease in value: counter");
    assert_eq!(
        told(all.change("counter", Change::Observe, 1.0, &[])),
        "collector does not support the requested operation: counter does not support Observe"
    );
    assert_eq!(told(all.unregister("nobody")), "undefined collector: nobody");
    for wrong in [
        declared("", Kind::Gauge, &[]),
        declared("1a", Kind::Gauge, &[]),
        declared("a-b", Kind::Gauge, &[]),
        declared("a", Kind::Gauge, &["__own"]),
        declared("a", Kind::Gauge, &["b", "b"]),
        declared("a", Kind::Histogram, &["le"]),
        declared("a", Kind::Summary, &["quantile"]),
        Declaration { buckets: vec![2.0, 1.0], ..declared("a", Kind::Histogram, &[]) },
        Declaration { objectives: vec![(1.5, 0.1)], ..declared("a", Kind::Summary, &[]) },
    ] {
        assert!(matches!(all.declare(wrong.clone()), Err(Error::Declaration { .. })), "{wrong:?}");
    }
}

#[test]
fn there_is_room_for_so_many_and_what_is_forgotten_makes_room() {
    let all = Collectors::new(4);
    all.declare(declared("hits", Kind::Counter, &["path"])).unwrap();
    for path in ["/a", "/b", "/c", "/a"] {
        add(&all, "hits", 1.0, &[path]).unwrap();
    }
    assert_eq!(add(&all, "hits", 1.0, &["/d"]), Err(Error::Full { name: "hits".into(), most: 4 }));
    assert_eq!(all.declare(declared("more", Kind::Gauge, &[])), Err(Error::Full { name: "more".into(), most: 4 }));
    add(&all, "hits", 1.0, &["/a"]).unwrap();
    assert!(matches!(add(&all, "hits", 1.0, &["x".repeat(2000).as_str()]), Err(Error::Long { .. })));
    all.unregister("hits").unwrap();
    assert_eq!(all.len(), 0);
    all.declare(declared("more", Kind::Gauge, &[])).unwrap();
    assert_eq!(text(&all), "# HELP more Helps.\n# TYPE more gauge\nmore 0\n");
}

#[test]
fn a_summary_is_of_the_last_observations() {
    let all = Collectors::new(4);
    all.declare(Declaration { objectives: vec![(1.0, 0.0)], ..declared("took", Kind::Summary, &[]) }).unwrap();
    assert!(text(&all).contains("took{quantile=\"1\"} NaN"));
    all.change("took", Change::Observe, 1000.0, &[]).unwrap();
    for _ in 0..512 {
        all.change("took", Change::Observe, 1.0, &[]).unwrap();
    }
    assert!(text(&all).contains("took{quantile=\"1\"} 1\ntook_sum 1512\ntook_count 513\n"), "{}", text(&all));
}
