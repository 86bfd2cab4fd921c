//! The meter watches a stream: [`OpenHold::meter`](crate::OpenHold::meter) hands the upstream's bytes on unchanged and
//! settles the hold with what it read in them.

mod accounting;
mod bill;
mod cut;
mod late;
mod meter;
pub mod observe;
mod settlement;
mod slice;
pub mod wire;

pub use accounting::ApiAccounting;
pub use bill::{Bill, Billed};
pub use cut::{Cut, EstimateAt, MeterOptions};
pub use meter::Metered;
pub use slice::{CostHistory, Slicing};
