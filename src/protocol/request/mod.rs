//! Request and answer headers and bodies, one family a file.
