//! The engine under every fault that the simulator knows: nothing lost, nothing twice, nothing out of order; and worlds that are broken on purpose are caught.

#[path = "simulation/seeds.rs"]
mod seeds;
