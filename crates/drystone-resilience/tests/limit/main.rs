//! The adaptive limit on callees of many kinds, in simulated time.

mod system;

use drystone_resilience::LimitConfig;
use system::{Spread, System, Work, run};

#[test]
fn print() {
    for count in [1usize, 2, 3, 4, 8, 16, 32, 64] {
        for spread in [Spread::None, Spread::Exponential] {
            for ms in [3.0, 10.0, 50.0] {
                if count as f64 / ms > 4.0 { continue; }
                let work = Work::Workers { count, seconds: ms / 1e3, spread };
                let system = System::new(7, work, 3.0 * count as f64 / ms * 1e3);
                let seen = run(&system, 30);
                let full = count as f64 / ms * 1e3;
                let l: Vec<f64> = (0..10).map(|i| seen.limit(3*i..3*i+3).round()).collect();
                let r: Vec<f64> = (0..10).map(|i| (seen.rate(3*i..3*i+3)/full*100.0).round()).collect();
                println!("c={count} {spread:?} {ms}ms {l:?} rate% {r:?}");
            }
        }
    }
    for (f, e) in [(2e-3, 1e-4), (5e-3, 1e-4), (2e-3, 2e-5)] {
        for initial in [16, 256] {
        let mut system = System::new(7, Work::Commit { fixed: f, each: e }, 1.5 / e);
        system.config.initial = initial;
        let seen = run(&system, 30);
        let l: Vec<f64> = (0..10).map(|i| seen.limit(3*i..3*i+3).round()).collect();
        let r: Vec<f64> = (0..10).map(|i| (seen.rate(3*i..3*i+3)*e*100.0).round()).collect();
        println!("commit {f} {e} {initial} {l:?} rate% {r:?}");
        }
    }
    let mut system = System::new(7, Work::Workers { count: 8, seconds: 0.01, spread: Spread::Exponential }, 2000.0);
    system.hangs = 15.0..17.0;
    let seen = run(&system, 30);
    println!("hang {:?} {:?}", seen.limits.chunks(10).map(|c| c[9]).collect::<Vec<_>>(), seen.ended.chunks(10).map(|c| c.iter().sum::<u32>()).collect::<Vec<_>>());
    let _ = LimitConfig::fixed(1);
}
