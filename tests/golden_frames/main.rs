//! What real servers and clients sent is read, and what is written back says the same: every frame, every header that has a
//! struct, every JSON body that has a type.

mod bodies;
mod frames;
mod headers;
mod mutations;
mod recordings;
