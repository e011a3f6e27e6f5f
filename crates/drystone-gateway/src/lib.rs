//! The one public entrance: REST in, contracts behind.
