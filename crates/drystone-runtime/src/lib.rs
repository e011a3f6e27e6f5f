//! App, Module, wiring, topology, processes.
