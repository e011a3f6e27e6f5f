//! A database per module, a wall per tenant.
