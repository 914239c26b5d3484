mod rng;
pub use rng::Rng;
