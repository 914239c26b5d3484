//! Wire messages of TiKV and PD.
