//! The engine under every fault that the simulator knows: nothing lost, nothing twice, nothing out of order; and worlds that are broken on purpose are caught.

#[path = "simulation/broken.rs"]
mod broken;
#[path = "simulation/claims.rs"]
mod claims;
#[path = "simulation/determinism.rs"]
mod determinism;
#[path = "simulation/properties.rs"]
mod properties;
#[path = "simulation/seeds.rs"]
mod seeds;
