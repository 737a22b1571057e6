use std::{sync::Arc, time::Instant as Wall};
use mainspring_engine::domain::attempt::{AttemptKey, Outcome};
use mainspring_engine::ports::store::*;
use mainspring_engine::domain::ids::RunId;
use mainspring_server::adapters::sql::{OpenOptions, Synchronous, open};
use mainspring_tests::conformance::world::*;
use mainspring_engine::domain::{instant::Instant, names::Scope, rules::LeaseRules};

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let total: usize = std::env::args().nth(1).map_or(60_000, |a| a.parse().unwrap());
    let batch: usize = std::env::args().nth(2).map_or(500, |a| a.parse().unwrap());
    for synchronous in [Synchronous::Full, Synchronous::Normal] {
        let home = tempfile::tempdir_in(std::env::var("BENCH_DIR").unwrap_or("/tmp".into())).unwrap();
        let store = open(OpenOptions { synchronous, rules: LeaseRules::default(), ..OpenOptions::new(home.path().join("d")) }).await.unwrap();
        let now = Instant::from_micros(1_800_000_000_000_000);
        let w = Arc::new(World::over(store, now, Box::new(home)));
        let owner = w.connect().await;
        // three phases apart
        let mut ids: Vec<_> = Vec::new();
        let start = Wall::now();
        for _ in 0..total / batch {
            let runs: Vec<NewRun> = (0..batch).map(|_| { let mut r = w.new_run(); r.payload.data = vec![7; 100]; r }).collect();
            ids.extend(w.submit(runs).await.iter().map(pointer));
        }
        let s = start.elapsed();
        let start = Wall::now();
        let mut keys = Vec::new();
        for piece in ids.chunks(batch) {
            for r in w.lease_all(owner, piece.to_vec()).await { if let LeaseResult::Leased(a) = r { keys.push(a.key) } }
        }
        let l = start.elapsed();
        assert_eq!(keys.len(), ids.len());
        let start = Wall::now();
        for piece in keys.chunks(batch) {
            let reports = piece.iter().map(|k| w.report_of(*k, Outcome::Succeeded)).collect();
            for a in w.store.report(w.now, reports).await.unwrap() { assert!(matches!(a, ReportAnswer::Applied(_))); }
        }
        let r = start.elapsed();
        let n = keys.len() as f64;
        println!("{synchronous:?}: submit {:.1} lease {:.1} report {:.1} us/run; sum {:.1} -> {:.0}/s", s.as_micros() as f64 / n, l.as_micros() as f64 / n, r.as_micros() as f64 / n, (s + l + r).as_micros() as f64 / n, n / (s + l + r).as_secs_f64());
        // pipelined
        let start = Wall::now();
        let (tx1, mut rx1) = tokio::sync::mpsc::channel::<Vec<Moved>>(4);
        let (tx2, mut rx2) = tokio::sync::mpsc::channel::<Vec<AttemptKey>>(4);
        let w1 = w.clone();
        let a = async move { for _ in 0..total / batch { let runs: Vec<NewRun> = (0..batch).map(|_| { let mut r = w1.new_run(); r.payload.data = vec![7; 100]; r }).collect(); tx1.send(w1.submit(runs).await).await.unwrap(); } };
        let w2 = w.clone();
        let b = async move { while let Some(m) = rx1.recv().await { let p = m.iter().map(pointer).collect(); let k = w2.lease_all(owner, p).await.into_iter().filter_map(|r| match r { LeaseResult::Leased(a) => Some(a.key), _ => None }).collect(); tx2.send(k).await.unwrap(); } };
        let w3 = w.clone();
        let c = async move { while let Some(k) = rx2.recv().await { let reports = k.iter().map(|k| w3.report_of(*k, Outcome::Succeeded)).collect(); w3.store.report(w3.now, reports).await.unwrap(); } };
        tokio::join!(a, b, c);
        println!("{synchronous:?}: pipelined {:.0}/s", total as f64 / start.elapsed().as_secs_f64());
        // single submits, 64 in flight
        let start = Wall::now();
        let per = 200;
        futures::future::join_all((0..64).map(|_| { let w = w.clone(); async move { for _ in 0..per { w.submit(vec![w.new_run()]).await; } } })).await;
        println!("{synchronous:?}: single x64 {:.0}/s", (64 * per) as f64 / start.elapsed().as_secs_f64());
        let start = Wall::now();
        for _ in 0..300 { w.submit(vec![w.new_run()]).await; }
        println!("{synchronous:?}: sequential submit {:.2} ms", start.elapsed().as_micros() as f64 / 300_000.0);
        let _ = (RunId::new(now), Scope::default());
    }
}
