//! Who has written lately: never forgotten too early, never more than agreed.

use std::collections::HashMap;
use std::time::Duration;

use drystone_resilience::Writes;
use proptest::prelude::*;
use tokio::time::Instant;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_write_is_remembered_for_a_minute() {
    let writes = Writes::new(10);
    let start = Instant::now();
    let at = |seconds| start + SECOND * seconds;
    assert!(writes.is_empty());
    writes.record(&"ann", at(0));
    writes.record(&"bob", at(50));
    writes.record(&"bob", at(40));
    assert_eq!(writes.last(&"ann", at(60)), Some(at(0)));
    assert_eq!(writes.last(&"ann", at(61)), None);
    assert_eq!(
        writes.last(&"bob", at(110)),
        Some(at(50)),
        "the later one counts, in whichever order they are told"
    );
    assert_eq!(writes.last(&"cem", at(60)), None);
    assert_eq!(Writes::<u8>::KEPT, 60 * SECOND);
}

#[test]
fn when_there_are_too_many_everybody_has_written() {
    let writes = Writes::new(2);
    let start = Instant::now();
    let at = |seconds| start + SECOND * seconds;
    writes.record(&1, at(0));
    writes.record(&2, at(1));
    writes.record(&1, at(2));
    assert_eq!(writes.last(&9, at(2)), None, "two are not too many");
    writes.record(&3, at(3));
    for key in [1, 2, 3, 9] {
        assert_eq!(writes.last(&key, at(4)), Some(at(3)), "{key}");
    }
    writes.record(&1, at(10));
    assert_eq!(writes.last(&1, at(10)), Some(at(10)));
    assert_eq!((writes.last(&9, at(63)), writes.last(&9, at(64))), (Some(at(3)), None));
}

#[test]
fn who_writes_again_is_not_one_more() {
    let writes = Writes::new(2);
    let start = Instant::now();
    writes.record(&1, start);
    writes.record(&2, start);
    writes.record(&2, start + 62 * SECOND);
    writes.record(&1, start + 62 * SECOND);
    assert_eq!((writes.len(), writes.overflows()), (2, 0));
}

proptest! {
    #[test]
    fn nothing_is_forgotten_too_early(
        steps in proptest::collection::vec((0..12_u8, 0..25_u32, proptest::option::of(0..30_u32)), 0..200),
        most in 1..15_usize,
    ) {
        let writes = Writes::new(most);
        let mut model = HashMap::<u8, Instant>::new();
        let mut now = Instant::now() + 3600 * SECOND;
        let (mut overflow, mut newest) = (false, None);
        for (key, wait, record) in steps {
            now += SECOND * wait;
            if let Some(ago) = record {
                // It is told late.
                let at = now - SECOND * ago;
                let before = writes.overflows();
                writes.record(&key, at);
                model.entry(key).and_modify(|last| *last = at.max(*last)).or_insert(at);
                newest = newest.max(Some(at));
                overflow |= writes.overflows() > before;
            }
            prop_assert!(writes.len() <= most);
            for key in 0..12 {
                let known = model.get(&key).copied().filter(|last| now - *last <= Writes::<u8>::KEPT);
                let told = writes.last(&key, now);
                prop_assert!(told >= known, "{:?} for {:?}", told, known);
                prop_assert!(told == known || (overflow && told <= newest), "only what was forgotten counts as written");
            }
        }
        prop_assert!(!overflow || most < 12, "all of them fit");
    }
}
