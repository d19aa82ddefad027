"""The notation and everything that follows from it: spec, plan, arithmetic, tables, modules."""
