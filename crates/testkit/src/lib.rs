//! Random valid Programs and inputs, and the agreement oracle over all engines.
