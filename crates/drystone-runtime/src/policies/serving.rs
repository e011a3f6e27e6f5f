//! The settings of `[serving]`: how the calls of one served method are admitted.

use std::collections::BTreeMap;

use drystone_call::TenantId;
use drystone_call::policy::ServePolicy;
use drystone_resilience::{AdmissionConfig, LimitConfig};
use toml::Value;

use super::draft::{Draft, Part};
use super::value::{Read, count, shown_time, some_time};

/// The policy of one served method, in the making.
#[derive(Clone, Debug)]
pub(super) struct Serving {
    admission: Part<AdmissionConfig>,
    tenants: BTreeMap<TenantId, u32>,
}

impl Serving {
    /// The weights of tenants, as settings write them.
    pub(super) fn shown_tenants(&self) -> Vec<(String, String)> {
        self.tenants.iter().map(|(tenant, weight)| (format!("tenants.{tenant}"), weight.to_string())).collect()
    }
}

impl Default for Serving {
    fn default() -> Self {
        let ServePolicy { admission, tenants } = ServePolicy::default();
        Self { admission: admission.map_or_else(|| Part::off(AdmissionConfig::default()), Part::on), tenants }
    }
}

/// A limit by one value: a number that stays as it is, or none.
fn limit(admission: &mut Part<AdmissionConfig>, value: &Value) -> Read<()> {
    if value.is_integer() {
        let fixed = |fixed| LimitConfig { min: fixed, initial: fixed, max: fixed };
        admission.put(count(value, 1), |admission, number| admission.limit = fixed(number))
    } else {
        admission.turn(value)
    }
}

impl Draft for Serving {
    type Policy = ServePolicy;

    const KEYS: &'static [&'static str] = &[
        "limit", "limit.min", "limit.initial", "limit.max", "queue.target", "queue.interval", "queue.length",
    ];

    fn set(&mut self, key: &str, value: &Value) -> Option<Read<()>> {
        let Self { admission, tenants } = self;
        // The queue alone does not turn a limit on.
        let queue = &mut admission.with.queue;
        Some(match key {
            "limit" => limit(admission, value),
            "limit.min" => admission.put(count(value, 1), |admission, min| admission.limit.min = min),
            "limit.initial" => admission.put(count(value, 1), |admission, first| admission.limit.initial = first),
            "limit.max" => admission.put(count(value, 1), |admission, max| admission.limit.max = max),
            "queue.target" => some_time(value).map(|target| queue.target = target),
            "queue.interval" => some_time(value).map(|interval| queue.interval = interval),
            "queue.length" => count(value, 0).map(|length| queue.length = length),
            _ => return key.strip_prefix("tenants.").map(|tenant| weight(tenants, tenant, value)),
        })
    }

    fn shown(&self) -> Vec<(&'static str, String)> {
        let Some(AdmissionConfig { limit, queue }) = self.admission.get() else {
            return vec![("limit", "false".to_owned())];
        };
        let mut all = if limit.min == limit.max {
            vec![("limit", limit.max.to_string())]
        } else {
            vec![
                ("limit.min", limit.min.to_string()),
                ("limit.initial", limit.initial.to_string()),
                ("limit.max", limit.max.to_string()),
            ]
        };
        all.push(("queue.target", shown_time(queue.target)));
        all.push(("queue.interval", shown_time(queue.interval)));
        all.push(("queue.length", queue.length.to_string()));
        all
    }

    fn policy(&self) -> Result<ServePolicy, (&'static str, String)> {
        let admission = self.admission.get().cloned();
        if let Some(AdmissionConfig { limit: LimitConfig { min, initial, max }, .. }) = &admission
            && !(min <= initial && initial <= max)
        {
            return Err(("limit", format!("min {min}, initial {initial} and max {max} do not rise; set them so that they do")));
        }
        Ok(ServePolicy { admission, tenants: self.tenants.clone() })
    }
}

fn weight(tenants: &mut BTreeMap<TenantId, u32>, tenant: &str, value: &Value) -> Read<()> {
    let tenant = TenantId::new(tenant).map_err(|error| error.message().to_owned())?;
    tenants.insert(tenant, count(value, 1)?);
    Ok(())
}
