//! The settings of `[serving]`: how the calls of one served method are admitted.

use std::collections::BTreeMap;

use drystone_call::TenantId;
use drystone_call::policy::ServePolicy;
use drystone_resilience::{AdmissionConfig, LimitConfig, QueueConfig};
use toml::Value;

use super::draft::{Draft, Part};
use super::value::{Read, count, shown_time, some_time};

/// The policy of one served method, in the making.
#[derive(Clone, Debug)]
pub(super) struct Serving {
    admission: Part<AdmissionConfig>,
    /// Whether the limit was given as one number.
    fixed: bool,
    /// Whether somebody said where the limit begins.
    begins: bool,
    tenants: BTreeMap<TenantId, u32>,
}

impl Serving {
    /// What was asked for; a limit of which nobody said where to begin begins as near the default as its bounds allow.
    fn admission(&self) -> Option<AdmissionConfig> {
        let mut admission = self.admission.get().cloned()?;
        let LimitConfig { min, initial, max } = &mut admission.limit;
        if !self.begins && *min <= *max {
            *initial = (*initial).clamp(*min, *max);
        }
        Some(admission)
    }

    /// The weights of tenants, as settings write them.
    pub(super) fn shown_tenants(&self) -> Vec<(String, String)> {
        self.tenants
            .iter()
            .map(|(tenant, weight)| (format!("tenants.{tenant}"), weight.to_string()))
            .collect()
    }
}

impl Default for Serving {
    fn default() -> Self {
        let ServePolicy { admission, tenants } = ServePolicy::default();
        let admission = admission.map_or_else(|| Part::off(AdmissionConfig::default()), Part::on);
        Self { admission, fixed: false, begins: false, tenants }
    }
}

/// What a limit by one number sets.
const LIMITS: &[&str] = &["limit.min", "limit.initial", "limit.max"];

impl Serving {
    /// A limit by one value: a number that stays as it is, or none.
    fn limit(&mut self, value: &Value) -> Read<()> {
        if !value.is_integer() {
            return self.admission.turn(value);
        }
        (self.fixed, self.begins) = (true, false);
        self.admission.put(count(value, 1), |admission, limit| admission.limit = LimitConfig::fixed(limit))
    }

    /// The queue, which alone does not turn a limit on.
    fn queue(&mut self) -> &mut QueueConfig {
        &mut self.admission.with.queue
    }

    fn part_of_limit(&mut self, value: &Value, put: impl FnOnce(&mut LimitConfig, u32)) -> Read<()> {
        self.fixed = false;
        self.admission.put(count(value, 1), |admission, number| put(&mut admission.limit, number))
    }
}

impl Draft for Serving {
    type Policy = ServePolicy;

    const KEYS: &'static [&'static str] = &[
        "limit",
        "limit.min",
        "limit.initial",
        "limit.max",
        "queue.target",
        "queue.interval",
        "queue.length",
    ];

    fn set(&mut self, key: &str, value: &Value) -> Option<Read<()>> {
        Some(match key {
            "limit" => self.limit(value),
            "limit.min" => self.part_of_limit(value, |limit, min| limit.min = min),
            "limit.initial" => {
                self.begins = true;
                self.part_of_limit(value, |limit, initial| limit.initial = initial)
            }
            "limit.max" => self.part_of_limit(value, |limit, max| limit.max = max),
            "queue.target" => some_time(value).map(|target| self.queue().target = target),
            "queue.interval" => some_time(value).map(|interval| self.queue().interval = interval),
            "queue.length" => count(value, 0).map(|length| self.queue().length = length),
            _ => return key.strip_prefix("tenants.").map(|tenant| weight(&mut self.tenants, tenant, value)),
        })
    }

    fn covers(key: &str, value: &Value) -> &'static [&'static str] {
        if key == "limit" && value.is_integer() { LIMITS } else { &[] }
    }

    fn shown(&self) -> Vec<(&'static str, String)> {
        let Some(AdmissionConfig { limit, queue }) = self.admission() else {
            return vec![("limit", "false".to_owned())];
        };
        let mut all = if self.fixed {
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
        let admission = self.admission();
        if let Some(AdmissionConfig { limit: LimitConfig { min, initial, max }, .. }) = &admission
            && !(min <= initial && initial <= max)
        {
            return Err((
                "limit",
                format!("min {min}, initial {initial} and max {max} do not rise; set them so that they do"),
            ));
        }
        Ok(ServePolicy { admission, tenants: self.tenants.clone() })
    }
}

fn weight(tenants: &mut BTreeMap<TenantId, u32>, tenant: &str, value: &Value) -> Read<()> {
    let tenant = TenantId::new(tenant).map_err(|error| error.message().to_owned())?;
    tenants.insert(tenant, count(value, 1)?);
    Ok(())
}
