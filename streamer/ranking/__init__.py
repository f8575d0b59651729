"""From a context to a list: candidates, features, score, reasons. Reading never writes but into scratch."""
