//! Calls of the API: how many ended how, and how long their answers took to begin.

use std::{collections::HashSet, sync::Arc};

use mainspring_engine::{domain::instant::Instant, ports::clock::SharedClock};
use mainspring_proto::{code_name, permissions::RULES};
use prometheus_client::{
    metrics::{counter::Counter, family::Family, histogram::Histogram},
    registry::Registry,
};
use tonic::Code;

use super::OTHER;

/// What is served and is not of the contract.
const BESIDE: [&str; 6] = [
    "/grpc.health.v1.Health/Check",
    "/grpc.health.v1.Health/List",
    "/grpc.health.v1.Health/Watch",
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
    OTHER,
];
const SECONDS: [f64; 14] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 30.0];

type Method = [(&'static str, &'static str); 1];
type MethodAndCode = [(&'static str, &'static str); 2];

/// Counts calls. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct CallMeter {
    clock: SharedClock,
    /// Every path that is served; a path that is not could be anything.
    paths: Arc<HashSet<&'static str>>,
    ended: Family<MethodAndCode, Counter>,
    took: Family<Method, Histogram, fn() -> Histogram>,
}

impl CallMeter {
    pub(super) fn register(registry: &mut Registry, clock: SharedClock) -> Self {
        let paths = RULES.iter().map(|(path, _)| *path).chain(BESIDE).collect();
        let took = Family::new_with_constructor((|| Histogram::new(SECONDS)) as fn() -> Histogram);
        let meter = Self { clock, paths: Arc::new(paths), ended: Family::default(), took };
        registry.register("mainspring_calls", "Calls that ended, by method and status code", meter.ended.clone());
        let help = "How long calls took until their answer began; of a stream, until it was opened";
        registry.register("mainspring_call_seconds", help, meter.took.clone());
        meter
    }

    /// A call begins.
    pub(crate) fn begin(&self, path: &str) -> Call {
        let path = self.paths.get(path).copied().unwrap_or(OTHER);
        let method = path.strip_prefix('/').unwrap_or(path);
        Call { meter: self.clone(), method, began: self.clock.now(), ended: false }
    }
}

/// A call under way. Dropped before its end, it was cancelled.
#[derive(Debug)]
pub(crate) struct Call {
    meter: CallMeter,
    method: &'static str,
    began: Instant,
    ended: bool,
}

impl Call {
    /// Its answer begins.
    pub(crate) fn answered(&self) {
        let took = self.meter.clock.now().since(self.began);
        self.meter.took.get_or_create(&[("method", self.method)]).observe(took.as_secs_f64());
    }

    /// It ends, once.
    pub(crate) fn end(&mut self, code: Code) {
        if !std::mem::replace(&mut self.ended, true) {
            self.meter.ended.get_or_create(&[("method", self.method), ("code", code_name(code))]).inc();
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.end(Code::Cancelled);
    }
}
