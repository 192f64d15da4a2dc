//! ForgeKV as a library.
