//! Program to Plan to answers on this machine.
