//! The inventory of the guide's examples: the shop's, with no more in it than a page can show.

drystone_call::include_contract!("guide.inventory.v1");
