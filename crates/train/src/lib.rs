//! The only room with Burn: recipes, layers, estimators, optimizers, fit, export.
