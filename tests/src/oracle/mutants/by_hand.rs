//! Frames written down by hand.
